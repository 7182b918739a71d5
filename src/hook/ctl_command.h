/*
 * ctl_command: the commands of emqx_ctl. A feature registers its rows; the control socket (mgmt/ctl_server.h)
 * runs them; both sides meet here.
 *
 * A handler may finish at once or later, on the control thread, after answers have come from the workers. It always calls
 * ctl_finish() exactly once. When the caller has gone meanwhile its output is dropped and ctl_abandoned() says so; the
 * handler then finishes as soon as it can. A handler with much to say prints a slice and goes on in
 * ctl_when_writable(), so that a slow reader holds neither the control thread nor memory.
 * Thread: control, for everything here.
 */
#ifndef HOOK_CTL_COMMAND_H
#define HOOK_CTL_COMMAND_H

#include "base/compiler.h"
#include "base/slice.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl_registry;
struct ctl_request;

#define CTL_COMMANDS_MAX 256u

/* One line of a command's usage. A list ends with a NULL syntax; that row's description, if it has one, is whole lines that
 * follow the usage when help is asked for: explanations, examples. */
struct ctl_usage {
    const char *syntax;      /* "clients show <ClientId>" */
    const char *description; /* "Show a client" */
};

/* All about one command. Lives as long as it is registered. */
struct ctl_command {
    const char *name;
    const struct ctl_usage *usage; /* NULL: not shown to users */
    /* argv[0] is the name; argv[argc] is NULL; the words live until ctl_finish(). */
    void (*run)(struct ctl_request *request, int argc, char **argv);
};

/* How a command ended; what the process exits with follows from it in one place (ctl_exit_status()). */
enum ctl_result {
    CTL_OK,
    CTL_FAILED,  /* the operation was refused or found nothing; the text says why */
    CTL_USAGE,   /* known command, wrong words */
    CTL_HELP,    /* help was asked for and given */
    CTL_UNKNOWN, /* no such command */
    CTL_BROKEN,  /* could not be carried out (short memory, shutting down) */
};

/* 0 for OK and HELP, else 1. With `legacy`, as the original: FAILED and USAGE 0, HELP 1. */
int ctl_exit_status(enum ctl_result result, bool legacy);

/* NULL when memory is short. */
struct ctl_registry *ctl_registry_new(void);
/* No request may be running. NULL is fine. */
void ctl_registry_free(struct ctl_registry *registry);
/* Adds a command after the others. -EEXIST, -ENOSPC (CTL_COMMANDS_MAX), -ENOMEM. */
MUST_USE int ctl_register(struct ctl_registry *registry, const struct ctl_command *command, void *context);
/* -ENOENT; -EBUSY while requests of this command are running. */
MUST_USE int ctl_unregister(struct ctl_registry *registry, const char *name);

/* ---- for handlers ---- */

/* Does this word ask for help: "--help", "-h", "help"? */
bool ctl_is_help(const char *word);
/* A whole number above 0 (decimal digits only); 0 for anything else. */
uint64_t ctl_parse_number(const char *text);
/* What was given to ctl_register(). */
void *ctl_context(const struct ctl_request *request);
/* Text to the caller's standard output. */
void ctl_print(struct ctl_request *request, const char *format, ...) PRINTF_LIKE(2, 3);
/* Text to the caller's standard error. */
void ctl_printerr(struct ctl_request *request, const char *format, ...) PRINTF_LIKE(2, 3);
/* Text from the wire to standard output: control characters appear as \xHH, so that a client id neither moves the
 * caller's cursor nor makes up lines. */
void ctl_print_slice(struct ctl_request *request, struct slice text);
/* Did the caller ask for JSON (`--json` anywhere among the words, which the handler does not see)? A handler that has more to say than one line then prints values
 * with ctl_json_add_take() instead of text. What any handler prints as text with --json becomes {"result":"ok" or "failed","message":"..."}. */
bool ctl_json(const struct ctl_request *request);
/* With --json: begins a list, so that the output is [] even when nothing follows; the values are its rows, one a line. Without it the only value is the output. */
void ctl_json_list(struct ctl_request *request);
/* Takes the reference; NULL (memory was short) fails the request. */
void ctl_json_add_take(struct ctl_request *request, json_t *value);
/* The usage of the request's own command, to standard output, and a line to standard error; then CTL_USAGE. Finishes the request. */
void ctl_finish_usage(struct ctl_request *request);
/* The usage and the help of the request's own command, then CTL_HELP. Finishes the request. */
void ctl_finish_help(struct ctl_request *request);
/* Ends the request; it may not be used any more. */
void ctl_finish(struct ctl_request *request, enum ctl_result result);
/* Is the caller gone? */
bool ctl_abandoned(const struct ctl_request *request);
/* Calls `resume` once output may be printed again: from within this call when nothing is waiting or the caller is gone, else
 * later. One at a time per request. */
void ctl_when_writable(struct ctl_request *request, void (*resume)(struct ctl_request *request, void *context),
                       void *context);

/* ---- for who runs requests ---- */

/* Where output goes. Provided by the caller of ctl_run(). */
struct ctl_sink {
    /* `to_stderr` false: standard output. Copies the bytes. */
    void (*write)(struct ctl_sink *sink, bool to_stderr, const char *data, size_t len);
    /* So much is waiting that a handler should pause. */
    bool (*congested)(struct ctl_sink *sink);
    /* The request is over and gone. */
    void (*finish)(struct ctl_sink *sink, int exit_status);
};

/* Runs the command in `words` (copied). `*out_request` is set before the handler starts and back to NULL when the
 * request ends, which may happen within this call; it must live as long as the request or until ctl_detach().
 * -ENOMEM: nothing was run, `sink` is not called. */
MUST_USE int ctl_run(struct ctl_registry *registry, struct ctl_sink *sink, bool legacy, int count,
                     const char *const *words, struct ctl_request **out_request);
/* The sink has room again: goes on with a handler that waits in ctl_when_writable(). */
void ctl_drained(struct ctl_request *request);
/* The caller is gone: the sink is not called any more. */
void ctl_detach(struct ctl_request *request);

#endif
