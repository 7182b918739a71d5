/*
 * command_store: `emqx check_store`: what `emqx_ctl store check` does while no broker runs.
 */
#include "ctl/client.h"
#include "ctl/instance.h"
#include "main/command.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int command_check_store(const struct command_context *context, int argc, char **argv)
{
    static const char *const words[] = {"store", "check", NULL};
    struct instance instance;
    char dir[PATH_MAX];
    int err = instance_find(&context->paths, context->settings.data_dir, &instance);

    (void)argc;
    (void)argv;
    if (err == 0)
        return ctl_client_main(&context->paths, &context->settings, 2, words);
    if (paths_join(context->settings.data_dir, "store", dir) < 0)
        return 1;
    if (access(dir, F_OK) < 0) {
        fprintf(stderr, "There is no store at %s: %s\n", dir, strerror(errno));
        return 1;
    }
    if (store_check_dir(dir, stdout) < 0) {
        fprintf(stderr,
                "The store is damaged, or could not be read to its end. Restore %s from a backup, or move it away: the "
                "broker then starts without sessions, queued, retained and delayed messages.\n",
                dir);
        return 1;
    }
    printf("No damage was found.\n");
    return 0;
}
