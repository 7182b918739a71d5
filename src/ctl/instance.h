/*
 * instance: is a broker of this installation running, and where?
 *
 * The running broker holds a lock on `emqx.pid` in its data directory, which also has its process id in it; the
 * kernel drops the lock whenever the process ends. The control socket `emqx.sock` lies beside it. If the data
 * directory is not the installation's default one, the default one has a file `emqx.run` that names it, so a
 * broker is found although node.name or node.data_dir in the configuration were changed since it was started.
 * Thread: any.
 */
#ifndef CTL_INSTANCE_H
#define CTL_INSTANCE_H

#include "base/compiler.h"
#include "ctl/paths.h"

#include <stdbool.h>
#include <sys/types.h>

/* A running broker as seen from another process. */
struct instance {
    char data_dir[PATH_MAX];
    char socket_path[PATH_MAX];
    pid_t pid; /* 0: it has only just started, or its file is not ours to read */
};

/* Looks in `data_dir` (configured now), in the default place and where emqx.run says. 0, -ESRCH (none runs), -EACCES (the files
 * belong to another user), -errno. */
MUST_USE int instance_find(const struct paths *paths, const char *data_dir, struct instance *out_instance);

struct instance_lock;

/* Makes `data_dir` (absolute) if need be and takes its lock for this process. -EBUSY: a broker runs there;
 * -ENOMEM, -errno. Thread: start-up. */
MUST_USE int instance_lock_take(const struct paths *paths, const char *data_dir, struct instance_lock **out_lock);
/* Path of the control socket that belongs to the lock; valid as long as it. */
const char *instance_lock_socket(const struct instance_lock *lock);
/* Gives it back; at the end of the process the kernel does it too. NULL is fine. */
void instance_lock_release(struct instance_lock *lock);

#endif
