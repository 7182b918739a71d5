/*
 * emqx_ctl: hands its words to the running broker and shows what comes back.
 */
#include "ctl/client.h"
#include "ctl/plugin_new.h"

#include <stdio.h>
#include <string.h>

static void print_help(void)
{
    printf(
        "Usage: emqx_ctl <command> [arguments]\n"
        "\n"
        "Asks the running broker of this installation, over the control socket in its data directory.\n"
        "`emqx_ctl help` lists the commands of the running broker, `emqx_ctl <command> help` those of one.\n"
        "\n"
        "Examples\n"
        "  emqx_ctl status                       is the broker up?\n"
        "  emqx_ctl clients list --limit 20      the first 20 connected clients\n"
        "  emqx_ctl clients show sensor-17       one client\n"
        "  emqx_ctl clients kick sensor-17       close its connection\n"
        "  emqx_ctl listeners                    ports and how many are connected to each\n"
        "  emqx_ctl listeners restart ssl:external\n"
        "                                        read that listener's settings and certificates again\n"
        "  emqx_ctl plugins load emqx_auth_http  check who logs in by HTTP from now on\n"
        "\n"
        "Exit status: 0 done, 1 failed or wrong arguments. With EMQX_CTL_LEGACY_EXIT=1 in the environment, 0 also for\n"
        "an operation that failed and for wrong arguments, as EMQX 3 has it.\n"
        "Environment: EMQX_ROOT (the installation), EMQX_NODE_NAME.\n");
}

int main(int argc, char **argv)
{
    struct paths paths;
    struct settings settings;
    int err;

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return 0;
    }
    err = paths_find(&paths);
    if (err == 0 && argc == 5 && strcmp(argv[1], "plugins") == 0 && strcmp(argv[2], "new") == 0)
        return plugin_new_main(&paths, argv[3], argv[4]);
    if (err == 0)
        err = settings_read(&paths, &settings);
    if (err < 0) {
        fprintf(stderr, "emqx_ctl: cannot find the installation: %s\n", strerror(-err));
        return 1;
    }
    return ctl_client_main(&paths, &settings, argc - 1, (const char *const *)argv + 1);
}
