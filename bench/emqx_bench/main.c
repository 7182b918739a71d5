/*
 * emqx_bench: a load generator for MQTT brokers.
 *
 * conn, pub and sub take the options of emqtt-bench; load runs publishers and subscribers together as a closed loop
 * and checks that every message arrives once and in order; queue does the same with persistent sessions whose clients are away.
 */
#include "load.h"
#include "queue.h"
#include "simple.h"

#include <stdio.h>
#include <string.h>

static int usage(FILE *out)
{
    (void)fputs("Usage: emqx_bench conn|pub|sub|load|queue [OPTION VALUE]...\n\n"
                "  conn   opens connections and keeps them\n"
                "  pub    connections that publish\n"
                "  sub    connections that subscribe and count what comes\n"
                "  load   publishers and subscribers together: fan-out, fan-in, pair, shared, wildcard, idle\n"
                "  queue  persistent sessions whose clients are away: filled, then drained\n\n"
                "emqx_bench COMMAND --help lists a command's options.\n",
                out);
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct options options;

    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
        return usage(stdout);
    for (int command = 0; command < COMMAND_COUNT; command++) {
        if (strcmp(argv[1], options_command_name((enum command)command)) == 0) {
            int parsed = options_parse((enum command)command, argc - 2, argv + 2, &options);
            if (parsed != 0)
                return parsed < 0 ? 2 : 0;
            switch ((enum command)command) {
            case COMMAND_LOAD: return load_main(&options);
            case COMMAND_QUEUE: return queue_main(&options);
            default: return simple_main(&options);
            }
        }
    }
    (void)fprintf(stderr, "emqx_bench: there is no command '%s'\n", argv[1]);
    return usage(stderr);
}
