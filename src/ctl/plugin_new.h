/*
 * plugin_new: `emqx_ctl plugins new NAME DIRECTORY`: begins a plugin of the user's own. No broker is needed.
 */
#ifndef CTL_PLUGIN_NEW_H
#define CTL_PLUGIN_NEW_H

#include "ctl/paths.h"

/* Copies the template that is installed with the broker into `dir` (made if it is not there), under the plugin's name, set up for this installation.
 * Says on stdout what comes next, on stderr what is wrong. Files that are there already stay, and are an error. The exit status. Thread: any; blocks. */
int plugin_new_main(const struct paths *paths, const char *name, const char *dir);

#endif
