/*
 * process: what a process has used so far: processor time and memory, from /proc and getrusage. Thread: any.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct process_memory {
    uint64_t rss_bytes;
    uint64_t pss_bytes;
    uint64_t anonymous_bytes; /* heap, stacks and other private pages: the process's own data */
};

struct process_cpu {
    uint64_t user_ns;
    uint64_t system_ns;
};

/* Processor time of all threads that live now, in ns, from their schedstat; where the kernel has none, utime +
 * stime of /proc/PID/stat (10 ms steps). Returns 0 or -errno (-ENOENT, -ESRCH: no such process). */
int process_cpu_ns(pid_t pid, uint64_t *out_cpu_ns);

/* From /proc/PID/smaps_rollup; needs the right to trace the process. Returns 0 or -errno. */
int process_memory(pid_t pid, struct process_memory *out_memory);

/* Processor time of this process. */
struct process_cpu process_own_cpu(void);

#endif
