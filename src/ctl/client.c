/*
 * client: the asking side of the control socket.
 */
#include "ctl/client.h"

#include "mgmt/ctl_frame.h"
#include "mgmt/ctl_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_BYTES_MAX (CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX)

static uint8_t legacy_flag(void)
{
    const char *value = getenv("EMQX_CTL_LEGACY_EXIT");

    return value != NULL && strcmp(value, "1") == 0 ? CTL_FLAG_LEGACY_EXIT : 0;
}

static int send_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EPIPE ? -ECONNRESET : -errno;
        data += sent;
        len -= (size_t)sent;
    }
    return 0;
}

/* Waits for bytes and reads them. */
static ssize_t receive_some(int fd, uint8_t *buffer, size_t capacity, int silence_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    ssize_t len;
    int ready;

    do {
        ready = poll(&poll_fd, 1, silence_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return -errno;
    if (ready == 0)
        return -ETIMEDOUT;
    do {
        len = recv(fd, buffer, capacity, 0);
    } while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    return len == 0 ? -ECONNRESET : len;
}

static void write_text(FILE *file, struct slice text)
{
    if (file == NULL)
        return;
    fwrite(text.data, 1, text.len, file);
    fflush(file);
}

/* Takes all whole frames out of `buffer`. 1: EXIT has come, 0: more is needed, -EPROTO. */
static int take_frames(uint8_t *buffer, size_t *len, FILE *out, FILE *err, int *out_status)
{
    struct slice rest = slice_make(buffer, *len);
    struct ctl_frame frame;
    ssize_t taken;

    while ((taken = ctl_frame_parse(rest, &frame)) > 0) {
        if (frame.type == CTL_FRAME_EXIT && frame.payload.len == 1) {
            *out_status = frame.payload.data[0];
            return 1;
        }
        if (frame.type != CTL_FRAME_STDOUT && frame.type != CTL_FRAME_STDERR)
            return -EPROTO;
        write_text(frame.type == CTL_FRAME_STDOUT ? out : err, frame.payload);
        rest = slice_skip(rest, (size_t)taken);
    }
    if (taken < 0)
        return (int)taken;
    memmove(buffer, rest.data, rest.len);
    *len = rest.len;
    return 0;
}

static int receive_answer(int fd, uint8_t *buffer, int silence_ms, FILE *out, FILE *err, int *out_status)
{
    size_t len = 0;

    for (;;) {
        ssize_t more = receive_some(fd, buffer + len, FRAME_BYTES_MAX - len, silence_ms);
        int state;

        if (more < 0)
            return (int)more;
        len += (size_t)more;
        state = take_frames(buffer, &len, out, err, out_status);
        if (state != 0)
            return state < 0 ? state : 0;
    }
}

int ctl_client_run(const char *socket_path, int count, const char *const *words, int silence_ms, FILE *out, FILE *err,
                   int *out_status, pid_t *out_pid)
{
    uint8_t *buffer = malloc(FRAME_BYTES_MAX);
    pid_t pid;
    ssize_t len;
    int fd = -1;
    int result = -ENOMEM;

    if (buffer == NULL)
        return result;
    len = ctl_request_encode(buffer, FRAME_BYTES_MAX, legacy_flag(), count, words);
    result = len < 0 ? (int)len : ctl_socket_connect(socket_path, &fd, &pid);
    if (result == 0) {
        if (out_pid != NULL)
            *out_pid = pid;
        result = send_all(fd, buffer, (size_t)len);
        if (result == 0)
            result = receive_answer(fd, buffer, silence_ms, out, err, out_status);
        close(fd);
    }
    free(buffer);
    return result;
}

void ctl_client_explain(const struct paths *paths, const struct settings *settings, int err)
{
    struct instance instance;

    fprintf(stderr, "Node '%s' not responding to pings.\n", settings->node_name);
    if (err == -EACCES) {
        fprintf(stderr, "The files in %s belong to another user: run this as that user or as root.\n",
                settings->data_dir);
    } else if (instance_find(paths, settings->data_dir, &instance) == 0) {
        fprintf(stderr, "emqx runs as process %ld but does not answer at %s (%s).\n", (long)instance.pid,
                instance.socket_path, strerror(-err));
        fprintf(stderr, "It may still be starting or already stopping: try again, or see the logs in %s.\n",
                paths->log);
    } else if (paths->installed) {
        fprintf(stderr, "It is not running. To start it: emqx start\n");
    } else {
        fprintf(stderr, "It is not running. To start it: %s/bin/emqx start\n", paths->root);
    }
}

/* The store can be checked without a broker, by the program that knows it. Returns only if that program could not be run. */
static void check_store_offline(const struct paths *paths)
{
    char program[PATH_MAX];
    size_t length = strlen(paths->executable);

    while (length > 0 && paths->executable[length - 1] != '/')
        length--;
    if (snprintf(program, sizeof(program), "%.*semqx", (int)length, paths->executable) < (int)sizeof(program))
        execl(program, program, "check_store", (char *)NULL);
}

int ctl_client_main(const struct paths *paths, const struct settings *settings, int count, const char *const *words)
{
    static const char *const no_words[] = {"help", NULL};
    struct instance instance;
    bool none = count == 0;
    int status = 1;
    int err = instance_find(paths, settings->data_dir, &instance);

    if (err == -ESRCH && count == 2 && strcmp(words[0], "store") == 0 && strcmp(words[1], "check") == 0)
        check_store_offline(paths);
    if (err == 0)
        err = ctl_client_run(instance.socket_path, none ? 1 : count, none ? no_words : words, CTL_CLIENT_SILENCE_MS,
                             stdout, stderr, &status, NULL);
    if (err == 0 && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
        fprintf(stderr, "emqx_ctl: cannot write the output: %s\n", strerror(errno));
        return 1;
    }
    switch (err) {
    case 0:
        /* No word at all shows the usage too, but is not what anybody means to type. */
        return none ? 1 : status;
    case -ETIMEDOUT: fprintf(stderr, "RPC to %s failed: timeout\n", settings->node_name); return 1;
    case -E2BIG:
        fprintf(stderr, "emqx_ctl: too many or too long arguments (at most %u, %u bytes in all)\n", CTL_WORDS_MAX,
                CTL_PAYLOAD_BYTES_MAX);
        return 1;
    case -ECONNRESET:
    case -EPROTO:
        fprintf(stderr, "RPC to %s error: %s\n", settings->node_name,
                err == -EPROTO ? "the answer is not understood" : "the broker ended the connection");
        return 1;
    default: ctl_client_explain(paths, settings, err); return 1;
    }
}
