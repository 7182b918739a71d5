/*
 * prompt: a line of words is a command, with or without "emqx_ctl" before it.
 */
#include "ctl/prompt.h"

#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Copies one word over itself without its quotes; `*at` moves behind it. False: a quote does not end. */
static bool take_word(char **at, char **out_word)
{
    char *from = *at;
    char *to = from;
    char quote = '\0';

    *out_word = from;
    for (; *from != '\0'; from++) {
        if (quote == '\0' && (*from == ' ' || *from == '\t'))
            break;
        if (quote == '\0' && (*from == '\'' || *from == '"'))
            quote = *from;
        else if (quote != '\0' && *from == quote)
            quote = '\0';
        else if (*from == '\\' && quote != '\'' && from[1] != '\0')
            *to++ = *++from;
        else
            *to++ = *from;
    }
    *at = *from == '\0' ? from : from + 1;
    *to = '\0';
    return quote == '\0';
}

int prompt_split(char *line, char *out_words[PROMPT_WORDS_MAX + 1])
{
    int count = 0;

    line[strcspn(line, "\r\n")] = '\0';
    for (;;) {
        line += strspn(line, " \t");
        if (*line == '\0')
            break;
        if (count == PROMPT_WORDS_MAX)
            return -E2BIG;
        if (!take_word(&line, out_words + count))
            return -EINVAL;
        count++;
    }
    out_words[count] = NULL;
    return count;
}

/* Waits for a line. 1: there is one, 0: end of input or told to stop. */
static int read_line(int stop_fd, char line[PROMPT_LINE_BYTES_MAX])
{
    size_t len = 0;

    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        char c;

        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return 0;
        }
        if (fds[1].revents != 0 || read(STDIN_FILENO, &c, 1) != 1)
            return 0;
        if (c == '\n') {
            line[len] = '\0';
            return 1;
        }
        if (len < PROMPT_LINE_BYTES_MAX - 1)
            line[len++] = c;
    }
}

/* 0 to go on, 1 to leave, -errno: the broker has gone. */
static int run_line(const struct prompt_options *options, char *line)
{
    char *word_store[PROMPT_WORDS_MAX + 1];
    char **words = word_store;
    int status;
    int count = prompt_split(line, words);
    int err;

    if (count < 0) {
        printf("%s\n", count == -E2BIG ? "too many words" : "a quote has no end");
        return 0;
    }
    if (count > 0 && strcmp(words[0], "emqx_ctl") == 0) {
        words++;
        count--;
    }
    if (count == 0)
        return 0;
    if (strcmp(words[0], "exit") == 0 || strcmp(words[0], "quit") == 0)
        return 1;
    err = ctl_client_run(options->socket_path, count, (const char *const *)words, CTL_CLIENT_SILENCE_MS, stdout, stdout,
                         &status, NULL);
    if (err == 0 && strcmp(words[0], "help") == 0)
        printf("exit, quit, Ctrl-D: %s\n", options->leave_help);
    if (err == -ETIMEDOUT || err == -E2BIG || err == -EPROTO) {
        printf("%s\n", strerror(-err));
        return 0;
    }
    return err;
}

int prompt_run(const struct prompt_options *options)
{
    char line[PROMPT_LINE_BYTES_MAX];

    for (unsigned int number = 1;; number++) {
        int state;

        printf("(%s)%u> ", options->node_name, number);
        fflush(stdout);
        if (read_line(options->stop_fd, line) == 0) {
            printf("\n");
            return 0;
        }
        state = run_line(options, line);
        if (state != 0)
            return state < 0 ? state : 0;
    }
}
