/*
 * settings: the few settings that commands need before, or without, the broker: node.name and node.data_dir.
 *
 * They are read leniently, line by line, not through conf/: `emqx stop` and `emqx_ctl` must reach a running broker also while
 * its configuration file is broken. The last line of a key wins. Thread: any.
 */
#ifndef CTL_SETTINGS_H
#define CTL_SETTINGS_H

#include "base/compiler.h"
#include "ctl/paths.h"

#define NODE_NAME_BYTES_MAX 512

struct settings {
    char node_name[NODE_NAME_BYTES_MAX]; /* with its host */
    char data_dir[PATH_MAX];             /* absolute */
};

/* EMQX_NODE_NAME, EMQX_NODE__NAME and EMQX_NODE__DATA_DIR go before the file. What is missing gets its default. A file that cannot be read counts as empty: the
 * broker itself reports it. -ENAMETOOLONG. */
MUST_USE int settings_read(const struct paths *paths, struct settings *out_settings);

#endif
