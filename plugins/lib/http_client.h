/*
 * http_client: HTTP requests that are answered later, on libcurl. Nobody waits for them but whom the answer is for.
 *
 *   any thread                          the client's own thread
 *   http_client_send() ── request ────► waits for a connection, is sent, is tried again after a pause
 *   (goes on)                           answered(context, answer)
 *
 * Connections are kept and used again. HTTP/1.1 over TCP or TLS 1.2 and later; only http and https, also where a redirect leads, and from https
 * never to http. No proxy, whatever the environment says; no cookies; no compression.
 *
 * Bounded: connections, connections of a host, requests that have no answer yet and their bytes (http_client_send() refuses more at once),
 * bytes of an answer, redirects (HTTP_REDIRECTS_MAX).
 */
#ifndef PLUGINS_LIB_HTTP_CLIENT_H
#define PLUGINS_LIB_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_REDIRECTS_MAX 5u /* one more is an error: -ELOOP */
#define HTTP_RETRIES_MAX 10u

struct http_client; /* opaque, see http_client.c */

/* Texts are copied. */
struct http_client_options {
    uint32_t connections_max;          /* of all hosts, so many requests are under way at once; over 0 */
    uint32_t connections_per_host_max; /* 0: no other limit */
    uint32_t queue_max;                /* requests without an answer, those under way included; over 0 */
    size_t queue_bytes_max;            /* the same in bytes; over 0 */
    size_t answer_bytes_max;           /* of a body; a longer one ends the request with -EMSGSIZE */
    uint32_t connect_timeout_ms;       /* with the handshake of TLS; 0: no limit of its own */
    uint32_t retries_max;              /* after errors of transport; at most HTTP_RETRIES_MAX */
    uint32_t retry_interval_ms;        /* before the first retry */
    double retry_backoff;              /* each further pause is so many times as long; 1 or more */
    const char *content_type;          /* of requests with a body; NULL: application/x-www-form-urlencoded */
    const char *ca_file;               /* PEM; NULL: the system's authorities */
    const char *certificate_file;      /* PEM, ours; NULL: none */
    const char *key_file;              /* PEM; NULL: in the certificate's file */
    bool verify_server;                /* its certificate, and that it is of the host in the URL */
};

/* What came. Valid until answered() returns. */
struct http_answer {
    int err; /* 0, or why there is no whole answer: -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH (its name is not known), -EKEYREJECTED (its
                          certificate, ours), -EMSGSIZE, -ELOOP, -ECANCELED (the client is closed), -ENOMEM, -EIO (all else) */
    int status;       /* of HTTP, of the last answer where redirects were followed; with `err` 0 only */
    const char *body; /* never NULL; not terminated */
    size_t body_bytes;
    const char *
        error_text; /* why, for a log: never has a part of the request, but possibly bytes of the server's. Never NULL */
};

/* Exactly once for each request. May send further ones. Thread: the client's; it must not block, for all other requests would wait. */
typedef void http_answered_fn(void *context, const struct http_answer *answer);

/* Copied by http_client_send(). */
struct http_request {
    const char *url;   /* http_url_check() */
    const char *query; /* added to the URL; NULL: none. Encoded */
    size_t query_bytes;
    const char *body; /* of a POST; NULL: a GET */
    size_t body_bytes;
    uint32_t
        timeout_ms; /* until the answer is there, all tries and pauses included; 0: none. No try is begun that would be too late */
    http_answered_fn *answered;
    void *context;
};

/* Starts the thread. -ENOMEM, -EAGAIN (threads), -EINVAL (options out of their ranges, a NULL), -EIO (libcurl). Thread: any. */
int http_client_open(const struct http_client_options *options, struct http_client **out_client);

/* Answers all requests with -ECANCELED and ends the thread, then returns. NULL is fine. Thread: any but the client's; nobody sends any more but answered(),
 * which is refused. */
void http_client_close(struct http_client *client);

/* Returns 0: answered() will be called, or already was; or -EAGAIN (full), -ECANCELED (being closed), -ENOMEM: then it is not called. Thread: any. */
int http_client_send(struct http_client *client, const struct http_request *request);

/* NULL when it is a whole http or https URL, else what is wrong with it, as half a sentence (static text). Thread: any. */
const char *http_url_check(const char *url);

#endif
