/*
 * disk_fault: see disk_fault.h. The functions below stand before those of the C library, for RocksDB too.
 */
#include "disk_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VISIBLE __attribute__((visibility("default")))

static int fault, fault_errno;
static uint32_t calls;

static bool is_file(int fd)
{
    struct stat status;

    return syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH) == 0 && S_ISREG(status.st_mode);
}

static bool now_and_then(void)
{
    uint32_t call = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);

    return (call * 2654435761u >> 16) % 60 == 0;
}

VISIBLE ssize_t write(int fd, const void *data, size_t length)
{
    int now = __atomic_load_n(&fault, __ATOMIC_SEQ_CST);

    if (now != DISK_WORKS && now != DISK_SYNCS_FAIL && length > 0 && is_file(fd) &&
        (now != DISK_SOME_FAIL || now_and_then())) {
        if (now != DISK_WRITES_FAIL)
            syscall(SYS_write, fd, data, length / 2);
        errno = __atomic_load_n(&fault_errno, __ATOMIC_SEQ_CST);
        return -1;
    }
    return syscall(SYS_write, fd, data, length);
}

static int sync_file(int fd, long call)
{
    int now = __atomic_load_n(&fault, __ATOMIC_SEQ_CST);

    if (now == DISK_SYNCS_FAIL || (now == DISK_SOME_FAIL && now_and_then())) {
        errno = __atomic_load_n(&fault_errno, __ATOMIC_SEQ_CST);
        return -1;
    }
    return (int)syscall(call, fd);
}

VISIBLE int fdatasync(int fd)
{
    return sync_file(fd, SYS_fdatasync);
}

VISIBLE int fsync(int fd)
{
    return sync_file(fd, SYS_fsync);
}

void disk_fault_set(enum disk_fault kind, int error)
{
    __atomic_store_n(&fault_errno, error, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fault, kind, __ATOMIC_SEQ_CST);
}
