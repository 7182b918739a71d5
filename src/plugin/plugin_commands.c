/*
 * plugin_commands: commands of emqx_ctl that plugins add.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct plugin_command {
    struct plugin_command *next;
    struct emqc_plugin_instance *instance;
    struct ctl_command command;
    struct emqc_command options;
    struct ctl_usage *usage;
    char name[PLUGIN_NAME_MAX + 1];
};

struct plugin_request {
    struct plugin_request *next;
    struct ctl_request *request;
};

static void run(struct ctl_request *request, int argc, char **argv)
{
    struct plugin_command *command = ctl_context(request);
    struct plugin_request *running;

    if (argc == 2 && ctl_is_help(argv[1])) {
        ctl_finish_help(request);
        return;
    }
    running = malloc(sizeof(*running));
    if (running == NULL) {
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    *running = (struct plugin_request){command->instance->requests, request};
    command->instance->requests = running;
    command->options.run(command->options.context, (struct emqc_request *)request, argc, argv);
}

/* The texts stay the plugin's. */
static struct ctl_usage *copy_usage(const struct emqc_usage *usage)
{
    size_t count = 0;
    struct ctl_usage *copy;

    while (usage != NULL && usage[count].syntax != NULL)
        count++;
    copy = calloc(count + 1, sizeof(*copy));
    for (size_t i = 0; copy != NULL && usage != NULL && i <= count; i++)
        copy[i] = (struct ctl_usage){usage[i].syntax, usage[i].description};
    return copy;
}

int plugin_command_add(struct emqc_plugin_instance *self, const struct emqc_command *options)
{
    struct plugin_command *command;
    int err;

    if (!EMQC_HAS(options, struct emqc_command, context) || options->run == NULL || options->name == NULL ||
        strlen(options->name) > PLUGIN_NAME_MAX)
        return -EINVAL;
    command = calloc(1, sizeof(*command));
    if (command == NULL)
        return -ENOMEM;
    command->instance = self;
    command->options = *options;
    snprintf(command->name, sizeof(command->name), "%s", options->name);
    command->usage = copy_usage(options->usage);
    command->command = (struct ctl_command){.name = command->name, .usage = command->usage, .run = run};
    err = command->usage == NULL ? -ENOMEM : ctl_register(self->host->options.commands, &command->command, command);
    if (err < 0) {
        free(command->usage);
        free(command);
        return err;
    }
    command->next = self->commands;
    self->commands = command;
    return 0;
}

void plugin_commands_remove(struct emqc_plugin_instance *self)
{
    ASSERT(self->requests == NULL);
    while (self->commands != NULL) {
        struct plugin_command *command = self->commands;
        self->commands = command->next;
        ASSERT(ctl_unregister(self->host->options.commands, command->name) == 0);
        free(command->usage);
        free(command);
    }
}

static void forget_request(struct emqc_plugin_instance *self, const struct ctl_request *request)
{
    struct plugin_request **place = &self->requests, *running;

    while ((*place)->request != request)
        place = &(*place)->next;
    running = *place;
    *place = running->next;
    free(running);
}

void plugin_requests_abandon(struct emqc_plugin_instance *self)
{
    while (self->requests != NULL) {
        struct ctl_request *request = self->requests->request;
        forget_request(self, request);
        ctl_finish(request, CTL_BROKEN);
    }
}

void plugin_request_finish(struct emqc_request *opaque, enum emqc_command_result result)
{
    struct ctl_request *request = (struct ctl_request *)opaque;
    struct plugin_command *command = ctl_context(request);

    forget_request(command->instance, request);
    switch (result) {
    case EMQC_COMMAND_USAGE: ctl_finish_usage(request); break;
    case EMQC_COMMAND_HELP: ctl_finish_help(request); break;
    case EMQC_COMMAND_OK: ctl_finish(request, CTL_OK); break;
    case EMQC_COMMAND_FAILED:
    default: ctl_finish(request, CTL_FAILED); break;
    }
}
