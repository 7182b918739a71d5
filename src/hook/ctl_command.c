/*
 * ctl_command: the registry of emqx_ctl commands and the requests that run them.
 *
 * A registry is a short list in order of registration, which is also the order of the usage; names are compared one
 * by one. A request holds a copy of its words and, until the caller has gone, the sink its output goes to.
 */
#include "hook/ctl_command.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE_SYNTAX_COLUMNS 48

struct ctl_entry {
    const struct ctl_command *command;
    void *context;
    uint32_t running_count;
};

struct ctl_registry {
    struct ctl_entry **entries;
    size_t count;
};

struct ctl_request {
    struct ctl_registry *registry;
    struct ctl_entry *entry; /* NULL: none was found */
    struct ctl_sink *sink;   /* NULL: the caller is gone */
    struct ctl_request **handle;
    void (*resume)(struct ctl_request *request, void *context);
    void *resume_context;
    bool legacy;
    int argc;
    char *argv[];
};

int ctl_exit_status(enum ctl_result result, bool legacy)
{
    switch (result) {
    case CTL_OK: return 0;
    case CTL_FAILED:
    case CTL_USAGE: return legacy ? 0 : 1;
    case CTL_HELP: return legacy ? 1 : 0;
    case CTL_UNKNOWN:
    case CTL_BROKEN: break;
    }
    return 1;
}

struct ctl_registry *ctl_registry_new(void)
{
    return calloc(1, sizeof(struct ctl_registry));
}

void ctl_registry_free(struct ctl_registry *registry)
{
    if (registry == NULL)
        return;
    for (size_t i = 0; i < registry->count; i++) {
        ASSERT(registry->entries[i]->running_count == 0);
        free(registry->entries[i]);
    }
    free(registry->entries);
    free(registry);
}

static size_t registry_index(const struct ctl_registry *registry, const char *name)
{
    size_t i;

    for (i = 0; i < registry->count; i++)
        if (strcmp(registry->entries[i]->command->name, name) == 0)
            break;
    return i;
}

int ctl_register(struct ctl_registry *registry, const struct ctl_command *command, void *context)
{
    struct ctl_entry **entries;
    struct ctl_entry *entry;

    if (registry_index(registry, command->name) < registry->count)
        return -EEXIST;
    if (registry->count == CTL_COMMANDS_MAX)
        return -ENOSPC;
    entries = realloc(registry->entries, (registry->count + 1) * sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    registry->entries = entries;
    entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return -ENOMEM;
    entry->command = command;
    entry->context = context;
    registry->entries[registry->count++] = entry;
    return 0;
}

int ctl_unregister(struct ctl_registry *registry, const char *name)
{
    size_t index = registry_index(registry, name);

    if (index == registry->count)
        return -ENOENT;
    if (registry->entries[index]->running_count > 0)
        return -EBUSY;
    free(registry->entries[index]);
    registry->count--;
    memmove(registry->entries + index, registry->entries + index + 1,
            (registry->count - index) * sizeof(*registry->entries));
    return 0;
}

bool ctl_is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

uint64_t ctl_parse_number(const char *text)
{
    char *end;
    uint64_t value;

    if (text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : 0;
}

void *ctl_context(const struct ctl_request *request)
{
    return request->entry->context;
}

static void request_write(struct ctl_request *request, bool to_stderr, const char *data, size_t len)
{
    if (request->sink != NULL && len > 0)
        request->sink->write(request->sink, to_stderr, data, len);
}

static void PRINTF_LIKE(3, 0)
    request_write_format(struct ctl_request *request, bool to_stderr, const char *format, va_list arguments)
{
    static const char sorry[] = "(memory is short)\n";
    char *text = NULL;
    int len = vasprintf(&text, format, arguments);

    if (len < 0) {
        request_write(request, true, sorry, sizeof(sorry) - 1);
        return;
    }
    request_write(request, to_stderr, text, (size_t)len);
    free(text);
}

void ctl_print(struct ctl_request *request, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    request_write_format(request, false, format, arguments);
    va_end(arguments);
}

void ctl_printerr(struct ctl_request *request, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    request_write_format(request, true, format, arguments);
    va_end(arguments);
}

void ctl_print_slice(struct ctl_request *request, struct slice text)
{
    size_t start = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] >= 0x20 && text.data[i] != 0x7f)
            continue;
        request_write(request, false, (const char *)text.data + start, i - start);
        ctl_print(request, "\\x%02x", text.data[i]);
        start = i + 1;
    }
    request_write(request, false, (const char *)text.data + start, text.len - start);
}

static void print_usage(struct ctl_request *request, const struct ctl_command *command)
{
    for (const struct ctl_usage *usage = command->usage; usage != NULL && usage->syntax != NULL; usage++)
        ctl_print(request, "%-*s# %s\n", USAGE_SYNTAX_COLUMNS, usage->syntax, usage->description);
}

static void print_full_usage(struct ctl_request *request)
{
    static const char hyphens[] = "--------------------------------------------------------------------------------";

    static_assert(sizeof(hyphens) == 81, "80 hyphens");
    ctl_print(request, "Usage: emqx_ctl\n");
    for (size_t i = 0; i < request->registry->count; i++) {
        const struct ctl_command *command = request->registry->entries[i]->command;

        if (command->usage == NULL)
            continue;
        ctl_print(request, "%s\n", hyphens);
        print_usage(request, command);
    }
}

/* The whole lines that follow the usage. NULL: there are none. */
static const char *more_help(const struct ctl_command *command)
{
    const struct ctl_usage *row = command->usage;

    while (row != NULL && row->syntax != NULL)
        row++;
    return row == NULL ? NULL : row->description;
}

void ctl_finish_usage(struct ctl_request *request)
{
    const struct ctl_command *command = request->entry->command;

    print_usage(request, command);
    if (more_help(command) == NULL)
        ctl_printerr(request, "emqx_ctl %s: arguments are missing or wrong\n", command->name);
    else
        ctl_printerr(request, "emqx_ctl %s: arguments are missing or wrong; see: emqx_ctl %s --help\n", command->name,
                     command->name);
    ctl_finish(request, CTL_USAGE);
}

void ctl_finish(struct ctl_request *request, enum ctl_result result)
{
    struct ctl_sink *sink = request->sink;
    bool legacy = request->legacy;

    if (request->entry != NULL)
        request->entry->running_count--;
    if (request->handle != NULL)
        *request->handle = NULL;
    free(request);
    if (sink != NULL)
        sink->finish(sink, ctl_exit_status(result, legacy));
}

void ctl_finish_help(struct ctl_request *request)
{
    const char *more = more_help(request->entry->command);

    print_usage(request, request->entry->command);
    if (more != NULL)
        request_write(request, false, more, strlen(more));
    ctl_finish(request, CTL_HELP);
}

bool ctl_abandoned(const struct ctl_request *request)
{
    return request->sink == NULL;
}

void ctl_when_writable(struct ctl_request *request, void (*resume)(struct ctl_request *request, void *context),
                       void *context)
{
    ASSERT(request->resume == NULL);
    if (request->sink == NULL || !request->sink->congested(request->sink)) {
        resume(request, context);
        return;
    }
    request->resume = resume;
    request->resume_context = context;
}

static struct ctl_request *request_new(int count, const char *const *words)
{
    size_t bytes = sizeof(struct ctl_request) + ((size_t)count + 1) * sizeof(char *);
    struct ctl_request *request;
    char *text;

    for (int i = 0; i < count; i++)
        bytes += strlen(words[i]) + 1;
    request = calloc(1, bytes);
    if (request == NULL)
        return NULL;
    request->argc = count;
    text = (char *)(request->argv + count + 1);
    for (int i = 0; i < count; i++) {
        size_t len = strlen(words[i]) + 1;

        memcpy(text, words[i], len);
        request->argv[i] = text;
        text += len;
    }
    return request;
}

int ctl_run(struct ctl_registry *registry, struct ctl_sink *sink, bool legacy, int count, const char *const *words,
            struct ctl_request **out_request)
{
    struct ctl_request *request = request_new(count, words);
    size_t index = count == 0 ? registry->count : registry_index(registry, words[0]);

    if (request == NULL)
        return -ENOMEM;
    request->registry = registry;
    request->sink = sink;
    request->legacy = legacy;
    request->handle = out_request;
    *out_request = request;
    if (index == registry->count) {
        bool help = count > 0 && ctl_is_help(words[0]);

        print_full_usage(request);
        if (count > 0 && !help)
            ctl_printerr(request, "emqx_ctl: there is no command '%.64s'\n", words[0]);
        ctl_finish(request, help ? CTL_HELP : CTL_UNKNOWN);
        return 0;
    }
    request->entry = registry->entries[index];
    request->entry->running_count++;
    if (count == 2 && ctl_is_help(words[1]) && request->entry->command->usage != NULL) {
        ctl_finish_help(request);
        return 0;
    }
    request->entry->command->run(request, request->argc, request->argv);
    return 0;
}

static void request_resume(struct ctl_request *request)
{
    void (*resume)(struct ctl_request *, void *) = request->resume;

    if (resume == NULL)
        return;
    request->resume = NULL;
    resume(request, request->resume_context);
}

void ctl_drained(struct ctl_request *request)
{
    request_resume(request);
}

void ctl_detach(struct ctl_request *request)
{
    *request->handle = NULL;
    request->handle = NULL;
    request->sink = NULL;
    request_resume(request);
}
