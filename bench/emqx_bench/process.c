/*
 * process: see process.h.
 */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The first number of /proc/PID/task/TID/schedstat: ns on a processor. */
static int task_cpu_ns(pid_t pid, const char *tid, uint64_t *out_cpu_ns)
{
    char path[64 + 256];
    FILE *file;
    int count;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    count = fscanf(file, "%" SCNu64, out_cpu_ns);
    (void)fclose(file);
    return count == 1 ? 0 : -EIO;
}

static int stat_cpu_ns(pid_t pid, uint64_t *out_cpu_ns)
{
    char path[64];
    char text[1024];
    const char *after_name;
    unsigned long user, system;
    size_t len;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    len = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[len] = '\0';
    after_name = strrchr(text, ')'); /* the name may itself hold spaces and parentheses */
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -EIO;
    *out_cpu_ns = (uint64_t)(user + system) * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
    return 0;
}

int process_cpu_ns(pid_t pid, uint64_t *out_cpu_ns)
{
    char path[64];
    struct dirent *entry;
    uint64_t sum = 0;
    bool complete = true;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (tasks == NULL)
        return -errno;
    while ((entry = readdir(tasks)) != NULL) {
        uint64_t task = 0;
        if (entry->d_name[0] == '.')
            continue;
        complete = task_cpu_ns(pid, entry->d_name, &task) == 0 && complete;
        sum += task;
    }
    (void)closedir(tasks);
    if (!complete)
        return stat_cpu_ns(pid, out_cpu_ns);
    *out_cpu_ns = sum;
    return 0;
}

int process_memory(pid_t pid, struct process_memory *out_memory)
{
    struct process_memory memory = {0};
    char path[64];
    char line[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    while (fgets(line, sizeof(line), file) != NULL) {
        uint64_t kib;
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
            memory.rss_bytes = kib * 1024;
        else if (sscanf(line, "Pss: %" SCNu64, &kib) == 1)
            memory.pss_bytes = kib * 1024;
        else if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1)
            memory.anonymous_bytes = kib * 1024;
    }
    (void)fclose(file);
    if (memory.rss_bytes == 0)
        return -EIO;
    *out_memory = memory;
    return 0;
}

static uint64_t timeval_ns(struct timeval time)
{
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_usec * 1000;
}

struct process_cpu process_own_cpu(void)
{
    struct rusage usage = {0};

    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct process_cpu){timeval_ns(usage.ru_utime), timeval_ns(usage.ru_stime)};
}
