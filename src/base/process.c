/*
 * process: limits, memory and the holder of a port, from getrlimit() and /proc.
 *
 * A listening socket is found by its inode: /proc/net/tcp and tcp6 name the inode of each socket, and the links in
 * /proc/<pid>/fd say which process has it open.
 */
#include "base/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    TCP_LISTEN_STATE = 0x0A,
    INODES_MAX = 64, /* sockets that listen on one port: several addresses, or SO_REUSEPORT; more are left out */
};

int process_raise_descriptor_limit(uint64_t wanted, uint64_t *out_limit)
{
    struct rlimit limit;
    struct rlimit raised;

    *out_limit = 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    *out_limit = limit.rlim_cur;
    if (wanted == 0)
        wanted = limit.rlim_max;
    if (limit.rlim_cur >= wanted)
        return 0;
    raised = (struct rlimit){.rlim_cur = wanted, .rlim_max = limit.rlim_max < wanted ? wanted : limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        *out_limit = wanted;
        return 0;
    }
    /* Not allowed to raise the hard limit: take what there is. */
    raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) < 0)
        return -errno;
    *out_limit = limit.rlim_max;
    return -EPERM;
}

int process_resident_bytes(uint64_t *out_bytes)
{
    FILE *file = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;
    int count;

    if (file == NULL)
        return -errno;
    count = fscanf(file, "%*u %" SCNu64, &pages);
    fclose(file);
    if (count != 1)
        return -EIO;
    *out_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

int process_open_descriptors(uint32_t *out_count)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    uint32_t count = 0;

    if (directory == NULL)
        return -errno;
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(directory);
    *out_count = count - 1; /* without the directory itself */
    return 0;
}

/* Adds the inodes of the sockets of `table` that listen on the port. */
static int read_listeners(const char *table, uint16_t port, uint64_t inodes[INODES_MAX], uint32_t *inout_count)
{
    FILE *file = fopen(table, "re");
    char line[512];

    if (file == NULL)
        return -errno;
    while (fgets(line, sizeof(line), file) != NULL && *inout_count < INODES_MAX) {
        unsigned int local_port;
        unsigned int state;
        uint64_t inode;

        /* slot: address:port peer:port state queues timer retransmits uid timeout inode; the heading does not match */
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %" SCNu64, &local_port,
                   &state, &inode) == 3 &&
            local_port == port && state == TCP_LISTEN_STATE)
            inodes[(*inout_count)++] = inode;
    }
    fclose(file);
    return 0;
}

static bool is_one_of(uint64_t inode, const uint64_t inodes[INODES_MAX], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (inodes[i] == inode)
            return true;
    }
    return false;
}

static bool process_holds(const char *pid_text, const uint64_t inodes[INODES_MAX], uint32_t count)
{
    char path[64];
    const struct dirent *entry;
    bool found = false;
    DIR *directory;

    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid_text);
    directory = opendir(path);
    if (directory == NULL)
        return false;
    while (!found && (entry = readdir(directory)) != NULL) {
        char target[64];
        uint64_t inode;
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

        if (length <= 0)
            continue;
        target[length] = '\0';
        found = sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1 && is_one_of(inode, inodes, count);
    }
    closedir(directory);
    return found;
}

static void read_name(struct port_holder *holder)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)holder->pid);
    file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(holder->name, sizeof(holder->name), file) == NULL)
        holder->name[0] = '\0';
    holder->name[strcspn(holder->name, "\n")] = '\0';
    fclose(file);
}

int process_find_port_holder(uint16_t port, struct port_holder *out_holder)
{
    uint64_t inodes[INODES_MAX];
    uint32_t count = 0;
    int err4 = read_listeners("/proc/net/tcp", port, inodes, &count);
    int err6 = read_listeners("/proc/net/tcp6", port, inodes, &count);
    struct port_holder holder = {0};
    const struct dirent *entry;
    DIR *directory;

    if (count == 0)
        return err4 < 0 && err6 < 0 ? err4 : -ENOENT;
    directory = opendir("/proc");
    if (directory == NULL)
        return -errno;
    while (holder.pid == 0 && (entry = readdir(directory)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) && process_holds(entry->d_name, inodes, count))
            holder.pid = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    closedir(directory);
    if (holder.pid != 0)
        read_name(&holder);
    *out_holder = holder;
    return 0;
}
