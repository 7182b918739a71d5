/*
 * command_attach: a prompt on the running broker, and the old way to call emqx_ctl.
 */
#include "ctl/client.h"
#include "ctl/instance.h"
#include "ctl/prompt.h"
#include "main/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int command_attach(const struct command_context *context, int argc, char **argv)
{
    struct instance instance;
    struct prompt_options options;
    int err = instance_find(&context->paths, context->settings.data_dir, &instance);

    (void)argc;
    (void)argv;
    if (err == -ESRCH) {
        printf("Node is not running!\n");
        return 1;
    }
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    options = (struct prompt_options){.node_name = context->settings.node_name,
                                      .socket_path = instance.socket_path,
                                      .leave_help = "leave; the broker goes on",
                                      .stop_fd = -1};
    err = prompt_run(&options);
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    return 0;
}

int command_rpc(const struct command_context *context, int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[1], "emqx_ctl") != 0 || strcmp(argv[2], "run_command") != 0) {
        fprintf(stderr,
                "emqx rpc: not supported by this implementation, except: emqx rpc emqx_ctl run_command <command>\n");
        return 1;
    }
    return ctl_client_main(&context->paths, &context->settings, argc - 3, (const char *const *)argv + 3);
}
