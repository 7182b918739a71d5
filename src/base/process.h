/*
 * process: what the operating system knows about this process and its neighbours. Linux.
 *
 * Thread: any.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/compiler.h"

#include <stdint.h>
#include <sys/types.h>

/* Raises the limit of open descriptors to `wanted` (0: as far as the hard limit allows). A process that may raises the
 * hard limit too. *out_limit is what holds now, whether it succeeded or not. 0 when it is at least `wanted`; -EPERM:
 * the hard limit is lower; -errno. */
MUST_USE int process_raise_descriptor_limit(uint64_t wanted, uint64_t *out_limit);

/* Bytes of memory that this process has in use (resident set). -errno. */
MUST_USE int process_resident_bytes(uint64_t *out_bytes);

/* Descriptors this process has open. -errno. */
MUST_USE int process_open_descriptors(uint32_t *out_count);

struct port_holder {
    pid_t pid;     /* 0: the port is held, but the system does not tell us by whom */
    char name[64]; /* of its command, as `ps` shows it; "" when unknown */
};

/* Who listens on the TCP port, on whatever address, in this network namespace? For the message about a port that is
 * taken; reads all of /proc, so not for a worker. Processes of other users are seen by root only. -ENOENT: nobody
 * listens; -errno. */
MUST_USE int process_find_port_holder(uint16_t port, struct port_holder *out_holder);

#endif
