/*
 * configuration: reads this installation's configuration, the same way for the broker and for the check before a restart.
 */
#ifndef MAIN_CONFIGURATION_H
#define MAIN_CONFIGURATION_H

#include "conf/conf.h"
#include "ctl/paths.h"

/* etc/emqx.conf, etc/plugins/NAME.conf and the environment, checked and typed. 0; -EINVAL (*out_errors says why; the caller
 * frees it), -ENOMEM, -ENAMETOOLONG. `*out_conf` and `*out_errors` are NULL where there is none. Thread: start-up. */
MUST_USE int configuration_load(const struct paths *paths, struct conf **out_conf, struct conf_errors **out_errors);

#endif
