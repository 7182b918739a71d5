/*
 * prompt: reads lines and runs each as an emqx_ctl command; `emqx attach` and `emqx console`.
 * Thread: any; blocks.
 */
#ifndef CTL_PROMPT_H
#define CTL_PROMPT_H

#include "base/compiler.h"

#define PROMPT_LINE_BYTES_MAX 4096
#define PROMPT_WORDS_MAX 64

/* Cuts `line` (changed) into words at blanks; '...' and "..." hold blanks, a backslash takes the next character as it
 * is (not within '...'). Returns the number of words, -EINVAL for a quote without its end, -E2BIG. */
MUST_USE int prompt_split(char *line, char *out_words[PROMPT_WORDS_MAX + 1]);

struct prompt_options {
    const char *node_name;
    const char *socket_path;
    const char *leave_help; /* what Ctrl-D does: "leaves; the broker goes on" */
    int stop_fd;            /* readable: leave at once; -1: none */
};

/* Until end of input, `exit`, `quit` or stop_fd. Returns 0; -ECONNREFUSED and the like when the broker has gone. */
int prompt_run(const struct prompt_options *options);

#endif
