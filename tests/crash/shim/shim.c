/*
 * shim: the file system as the crash suite wants it, by LD_PRELOAD: calls that change files below one directory are counted, logged, fail
 * on demand, and end the process before, after or in the middle of the one that was asked for.
 *
 *   EMQC_SHIM_DIR      directory, absolute: what lies elsewhere is left alone
 *   EMQC_SHIM_CONTROL  file with a struct control, shared with the test, which changes it at any time
 *   EMQC_SHIM_LOG      log of what was done, appended to; not set: none
 *   EMQC_SHIM_TRASH    directory on the same file system: files that lose their last name stay here under their inode number
 *
 * Lines of the log, fields separated by tabs, each written after the call has succeeded:
 *
 *   create INODE PATH      write INODE OFFSET LENGTH    trunc INODE LENGTH       mkdir INODE PATH
 *   rename OLD NEW INODE   unlink PATH INODE            begin TOKEN INODE, end TOKEN: an fsync or fdatasync, of a directory as well
 *   patch INODE OFFSET BEFORE AFTER: a small write over bytes that were there, both in hexadecimal digits
 *
 * From the log and the files a test can tell what a power cut would have left (crash/powercut.py). A sync covers what was logged before its
 * `begin`. The calls are made with syscall(), so that nothing has to be looked up in the C library while it starts.
 * Not seen: what stdio writes (RocksDB's LOG), and maps.
 *
 * It also drives threads apart: one that has woken another (sem_post(), an eventfd) may be made to sleep then, so that the other goes far ahead.
 * Thread: any.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here, so the headers must not rename one to the other */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FD_COUNT 65536 /* descriptors from here on are not looked at */
#define PATH_BYTES 512 /* longer paths are not looked at; RocksDB's are short */
#define PATCH_BYTES                                                                                                    \
    64 /* writes over more bytes than these are logged without them: the test will not know what was there */

enum call {
    CALL_WRITE = 1 << 0,
    CALL_SYNC = 1 << 1,
    CALL_CREATE = 1 << 2, /* also opening for writing */
    CALL_RENAME = 1 << 3,
    CALL_UNLINK = 1 << 4,
    CALL_TRUNCATE = 1 << 5,
    CALL_ALLOCATE = 1 << 6,
    CALL_READ = 1 << 7, /* fails on demand only: neither counted nor logged */
};

enum when { WHEN_NEVER, WHEN_BEFORE, WHEN_AFTER, WHEN_HALF };

/* Little-endian as the machine has it; crash/shim.py knows the layout. */
struct control {
    _Atomic uint64_t calls;   /* so far */
    _Atomic uint64_t kill_at; /* the number of the call, from 1 */
    _Atomic uint32_t kill_when;
    _Atomic uint32_t fail_errno; /* 0: nothing fails */
    _Atomic uint32_t fail_mask;  /* enum call */
    _Atomic uint32_t sync_delay_us;
    _Atomic uint32_t no_space;    /* statvfs() says that nothing is free */
    _Atomic uint32_t killed_call; /* enum call: that was it */
    _Atomic uint32_t deciding;    /* threads that look whether theirs is the call */
    _Atomic uint32_t doomed;      /* one of them has found it so: the process is about to end */
    _Atomic uint32_t pause_us;    /* who has woken another thread sleeps up to that long now and then */
    char killed_path[PATH_BYTES];
};

static struct control *control;
static char dir[PATH_BYTES];
static size_t dir_len;
static const char *trash;
static int log_fd = -1;
static _Atomic uint32_t sync_token;
static _Atomic uint64_t
    inodes[FD_COUNT]; /* of files below the directory that are open for writing, and of directories; 0: another */

__attribute__((constructor)) static void shim_init(void)
{
    const char *name = getenv("EMQC_SHIM_DIR");
    const char *control_name = getenv("EMQC_SHIM_CONTROL");
    const char *log_name = getenv("EMQC_SHIM_LOG");

    if (name == NULL || control_name == NULL || strlen(name) >= sizeof dir)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control_name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        return;
    trash = getenv("EMQC_SHIM_TRASH");
    if (log_name != NULL)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    strcpy(dir, name);
    dir_len = strlen(dir);
    control = map;
    control->deciding = 0; /* a thread of the process before may have ended in between */
}

static bool ours(const char *path)
{
    return control != NULL && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == 0) &&
           strlen(path) < PATH_BYTES;
}

/* The inode of a descriptor that is ours; 0: it is not, or is another file by now (whoever closed it did so inside the C library). */
static uint64_t tracked(int fd)
{
    struct stat status;

    if (control == NULL || fd < 0 || fd >= FD_COUNT || inodes[fd] == 0)
        return 0;
    if (fstat(fd, &status) == 0 && status.st_ino == inodes[fd] && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return status.st_ino;
    inodes[fd] = 0;
    return 0;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char line[3 * PATH_BYTES];
    va_list arguments;

    if (log_fd < 0)
        return;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (syscall(SYS_write, log_fd, line, (size_t)len) != len)
        abort(); /* without its log the test would show nothing */
}

static _Noreturn void die(enum call call, const char *path)
{
    control->killed_call = call;
    if (path != NULL)
        strncpy(control->killed_path, path, PATH_BYTES - 1);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* How a call is to go on. */
struct fate {
    bool fail; /* with errno as it is set */
    enum when kill;
};

/* Counts the call. Does not return when the process is to end before it. */
static struct fate begin(enum call call, const char *path)
{
    struct fate fate = {.kill = WHEN_NEVER};
    int error = (int)control->fail_errno;

    if (error != 0 && (control->fail_mask & call) != 0) {
        errno = error;
        fate.fail = true;
        return fate;
    }
    /* Whoever sets kill_when to WHEN_NEVER and then sees nobody decide knows from `doomed` what will be. */
    atomic_fetch_add(&control->deciding, 1);
    uint64_t number = atomic_fetch_add(&control->calls, 1) + 1;
    uint32_t when = control->kill_when;
    if (when != WHEN_NEVER && number >= control->kill_at) { /* it may have been armed a moment too late for that call */
        fate.kill = (enum when)when;
        control->doomed = 1;
    }
    atomic_fetch_sub(&control->deciding, 1);
    if (fate.kill == WHEN_BEFORE || (fate.kill == WHEN_HALF && call != CALL_WRITE))
        die(call, path);
    return fate;
}

static void end(struct fate fate, enum call call, const char *path)
{
    if (fate.kill != WHEN_NEVER)
        die(call, path);
}

/* ---- opening */

static int open_ours(const char *path, int flags, mode_t mode)
{
    struct stat status;
    bool changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
    bool creates = (flags & O_CREAT) != 0 && stat(path, &status) != 0;

    if (!changes) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (fd >= 0 && fd < FD_COUNT) /* a directory may be synced, and reads may fail */
            inodes[fd] = fstat(fd, &status) == 0 ? status.st_ino : 0;
        return fd;
    }
    if (!creates && (flags & O_TRUNC) == 0 && control->fail_errno != EROFS) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (fd >= 0 && fd < FD_COUNT)
            inodes[fd] = fstat(fd, &status) == 0 ? status.st_ino : 0;
        return fd;
    }
    struct fate fate = begin(CALL_CREATE, path);
    if (fate.fail)
        return -1;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0) {
        end(fate, CALL_CREATE, path);
        return fd;
    }
    uint64_t inode = fstat(fd, &status) == 0 ? status.st_ino : 0;
    if (fd < FD_COUNT)
        inodes[fd] = inode;
    if (creates)
        note("create\t%llu\t%s\n", (unsigned long long)inode, path);
    else if ((flags & O_TRUNC) != 0)
        note("trunc\t%llu\t0\n", (unsigned long long)inode);
    end(fate, CALL_CREATE, path);
    return fd;
}

static int open_any(int dir_fd, const char *path, int flags, mode_t mode)
{
    if (ours(path)) /* absolute */
        return open_ours(path, flags, mode);
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    if (fd >= 0 && fd < FD_COUNT)
        inodes[fd] = 0;
    return fd;
}

#define OPEN_MODE(flags, last, mode)                                                                                   \
    do {                                                                                                               \
        if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                                                  \
            va_list arguments;                                                                                         \
            va_start(arguments, last);                                                                                 \
            (mode) = va_arg(arguments, mode_t);                                                                        \
            va_end(arguments);                                                                                         \
        }                                                                                                              \
    } while (0)

EXPORT int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, flags, mode);
    return open_any(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, flags, mode);
    return open_any(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dir_fd, const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, flags, mode);
    return open_any(dir_fd, path, flags, mode);
}

EXPORT int openat64(int dir_fd, const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, flags, mode);
    return open_any(dir_fd, path, flags, mode);
}

EXPORT int creat(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int creat64(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int close(int fd)
{
    if (fd >= 0 && fd < FD_COUNT)
        inodes[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

/* ---- writing */

/* What a write is going to change. */
struct target {
    uint64_t inode;
    off_t offset;
    ssize_t before; /* bytes of it that are there already and were read; -1: none or too many */
    unsigned char bytes[PATCH_BYTES];
};

/* Also of a file that is open for writing only. */
static ssize_t read_through(int fd, void *out, size_t len, off_t offset)
{
    char name[64];

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
    if (again < 0)
        return -1;
    ssize_t got = syscall(SYS_pread64, again, out, len, offset);
    syscall(SYS_close, again);
    return got;
}

static void look_at_target(int fd, const struct iovec *parts, int count, off_t offset, struct target *target)
{
    struct stat status;
    size_t len = 0;

    target->before = -1;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    if (fstat(fd, &status) != 0)
        return;
    if (offset < 0)
        offset = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? status.st_size : lseek(fd, 0, SEEK_CUR);
    target->offset = offset;
    if (offset < status.st_size && len <= PATCH_BYTES)
        target->before = read_through(fd, target->bytes, len, offset);
}

static const char *hex(const unsigned char *bytes, ssize_t len, char out[2 * PATCH_BYTES + 1])
{
    for (ssize_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return out;
}

static void note_write(const struct target *target, const struct iovec *parts, ssize_t written)
{
    char before[2 * PATCH_BYTES + 1] = "", after[2 * PATCH_BYTES + 1] = "";

    ssize_t over = target->before < written ? target->before : written;

    if (over > 0 && parts[0].iov_len >= (size_t)over)
        note("patch\t%llu\t%lld\t%s\t%s\n", (unsigned long long)target->inode, (long long)target->offset,
             hex(target->bytes, over, before), hex(parts[0].iov_base, over, after));
    else
        over = 0;
    if (over < written)
        note("write\t%llu\t%lld\t%zd\n", (unsigned long long)target->inode, (long long)target->offset + over,
             written - over);
}

/* `offset` -1: at the file's own position. */
static ssize_t write_any(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct target target = {.inode = tracked(fd)};
    struct fate fate = {.kill = WHEN_NEVER};
    struct iovec half = {NULL, 0};

    if (target.inode != 0) {
        fate = begin(CALL_WRITE, NULL);
        if (fate.fail)
            return -1;
        if (fate.kill == WHEN_HALF) {
            half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
            parts = &half;
            count = 1;
        }
        if (log_fd >= 0)
            look_at_target(fd, parts, count, offset, &target);
    }
    ssize_t written = offset < 0 ? syscall(SYS_writev, fd, parts, count)
                                 : syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L);
    if (target.inode != 0 && written >= 0)
        note_write(&target, parts, written);
    end(fate, CALL_WRITE, NULL);
    return written;
}

/* ---- threads apart */

/* One time in four. */
static void fall_behind(void)
{
    static _Thread_local uint32_t chance;
    uint32_t most_us = control == NULL ? 0 : control->pause_us;

    if (most_us == 0)
        return;
    if (chance == 0)
        chance = (uint32_t)syscall(SYS_gettid) * 2654435761u | 1;
    chance ^= chance << 13;
    chance ^= chance >> 17;
    chance ^= chance << 5;
    if (chance % 4 == 0)
        nanosleep(&(struct timespec){.tv_nsec = (long)(chance / 4 % most_us) * 1000}, NULL);
}

EXPORT int sem_post(sem_t *semaphore)
{
    static void *_Atomic found;
    int (*post)(sem_t *);
    void *symbol = found;

    if (symbol == NULL)
        found = symbol = dlsym(RTLD_NEXT, "sem_post");
    memcpy(&post, &symbol, sizeof post);
    int result = post(semaphore);
    int error = errno;
    fall_behind();
    errno = error;
    return result;
}

EXPORT ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t result = write_any(fd, &(struct iovec){(void *)data, len}, 1, -1);

    if (len == sizeof(uint64_t) && result == (ssize_t)len && tracked(fd) == 0)
        fall_behind(); /* an eventfd */
    return result;
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_any(fd, parts, count, -1);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return write_any(fd, &(struct iovec){(void *)data, len}, 1, offset);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return write_any(fd, &(struct iovec){(void *)data, len}, 1, offset);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_any(fd, parts, count, offset);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return write_any(fd, parts, count, offset);
}

EXPORT ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    if (control != NULL && (control->fail_mask & CALL_READ) != 0 && control->fail_errno != 0 && tracked(fd) != 0) {
        errno = (int)control->fail_errno;
        return -1;
    }
    return syscall(SYS_pread64, fd, data, len, offset);
}

EXPORT ssize_t pread64(int fd, void *data, size_t len, off64_t offset)
{
    return pread(fd, data, len, offset);
}

/* ---- syncing */

static int sync_any(int fd, long number)
{
    uint64_t inode = tracked(fd);

    if (inode == 0)
        return (int)syscall(number, fd);
    struct fate fate = begin(CALL_SYNC, NULL);
    if (fate.fail)
        return -1;
    uint32_t token = atomic_fetch_add(&sync_token, 1);
    note("begin\t%d.%u\t%llu\n", getpid(), token, (unsigned long long)inode);
    uint32_t delay = control->sync_delay_us;
    if (delay != 0)
        nanosleep(&(struct timespec){delay / 1000000, (long)(delay % 1000000) * 1000}, NULL);
    int result = (int)syscall(number, fd);
    if (result == 0)
        note("end\t%d.%u\n", getpid(), token);
    end(fate, CALL_SYNC, NULL);
    return result;
}

EXPORT int fsync(int fd)
{
    return sync_any(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
    return sync_any(fd, SYS_fdatasync);
}

/* Promises nothing, so it is not logged. */
EXPORT int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    struct fate fate = {.kill = WHEN_NEVER};
    bool is_ours = tracked(fd) != 0;

    if (is_ours) {
        fate = begin(CALL_SYNC, NULL);
        if (fate.fail)
            return -1;
    }
    int result = (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
    if (is_ours)
        end(fate, CALL_SYNC, NULL);
    return result;
}

/* ---- lengths */

static int truncate_any(int fd, off_t len)
{
    uint64_t inode = tracked(fd);

    if (inode == 0)
        return (int)syscall(SYS_ftruncate, fd, len);
    struct fate fate = begin(CALL_TRUNCATE, NULL);
    if (fate.fail)
        return -1;
    int result = (int)syscall(SYS_ftruncate, fd, len);
    if (result == 0)
        note("trunc\t%llu\t%lld\n", (unsigned long long)inode, (long long)len);
    end(fate, CALL_TRUNCATE, NULL);
    return result;
}

EXPORT int ftruncate(int fd, off_t len)
{
    return truncate_any(fd, len);
}

EXPORT int ftruncate64(int fd, off64_t len)
{
    return truncate_any(fd, len);
}

static int allocate_any(int fd, int mode, off_t offset, off_t len)
{
    uint64_t inode = tracked(fd);
    struct stat status;

    if (inode == 0)
        return (int)syscall(SYS_fallocate, fd, mode, offset, len);
    struct fate fate = begin(CALL_ALLOCATE, NULL);
    if (fate.fail)
        return -1;
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (result == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0 && fstat(fd, &status) == 0)
        note("trunc\t%llu\t%lld\n", (unsigned long long)inode, (long long)status.st_size);
    end(fate, CALL_ALLOCATE, NULL);
    return result;
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return allocate_any(fd, mode, offset, len);
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return allocate_any(fd, mode, offset, len);
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t len)
{
    return allocate_any(fd, 0, offset, len) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return allocate_any(fd, 0, offset, len) == 0 ? 0 : errno;
}

/* ---- names */

/* Before `path` loses its file: another name for it in the trash. Its inode; 0: there is none. */
static uint64_t keep(const char *path)
{
    struct stat status;
    char name[PATH_BYTES];

    if (lstat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return 0;
    if (trash != NULL) {
        snprintf(name, sizeof name, "%s/%llu", trash, (unsigned long long)status.st_ino);
        if (link(path, name) != 0 && errno != EEXIST)
            abort();
    }
    return status.st_ino;
}

EXPORT int rename(const char *from, const char *to)
{
    if (!ours(from) && !ours(to))
        return (int)syscall(SYS_rename, from, to);
    struct fate fate = begin(CALL_RENAME, to);
    if (fate.fail)
        return -1;
    keep(to);
    struct stat status;
    uint64_t inode = stat(from, &status) == 0 ? status.st_ino : 0;
    int result = (int)syscall(SYS_rename, from, to);
    if (result == 0)
        note("rename\t%s\t%s\t%llu\n", from, to, (unsigned long long)inode);
    end(fate, CALL_RENAME, to);
    return result;
}

EXPORT int unlink(const char *path)
{
    if (!ours(path))
        return (int)syscall(SYS_unlink, path);
    struct fate fate = begin(CALL_UNLINK, path);
    if (fate.fail)
        return -1;
    uint64_t inode = keep(path);
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0)
        note("unlink\t%s\t%llu\n", path, (unsigned long long)inode);
    end(fate, CALL_UNLINK, path);
    return result;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    if (!ours(path))
        return (int)syscall(SYS_mkdir, path, mode);
    struct stat status;
    if (stat(path, &status) == 0) {
        errno = EEXIST;
        return -1;
    }
    struct fate fate = begin(CALL_CREATE, path);
    if (fate.fail)
        return -1;
    int result = (int)syscall(SYS_mkdir, path, mode);
    if (result == 0 && stat(path, &status) == 0)
        note("mkdir\t%llu\t%s\n", (unsigned long long)status.st_ino, path);
    end(fate, CALL_CREATE, path);
    return result;
}

/* ---- free space: of whatever file system is asked for */

static bool no_space(void)
{
    return control != NULL && control->no_space != 0;
}

#define STATFS(name, type, argument)                                                                                   \
    EXPORT int name(argument, struct type *out)                                                                        \
    {                                                                                                                  \
        int (*real)(argument, struct type *);                                                                          \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                     \
        int result = real(what, out);                                                                                  \
        if (result == 0 && no_space())                                                                                 \
            out->f_bfree = out->f_bavail = 0;                                                                          \
        return result;                                                                                                 \
    }

STATFS(statvfs, statvfs, const char *what)
STATFS(statvfs64, statvfs64, const char *what)
STATFS(fstatvfs, statvfs, int what)
STATFS(fstatvfs64, statvfs64, int what)
STATFS(statfs, statfs, const char *what)
STATFS(statfs64, statfs64, const char *what)
STATFS(fstatfs, statfs, int what)
STATFS(fstatfs64, statfs64, int what)
