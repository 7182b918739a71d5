/*
 * http_client_internal: between http_client.c, which says when, and http_transfer.c, which says how.
 */
#ifndef PLUGINS_LIB_HTTP_CLIENT_INTERNAL_H
#define PLUGINS_LIB_HTTP_CLIENT_INTERNAL_H

#include "lib/http_client.h"

#include <curl/curl.h>

/* A request without an answer. Belongs to the client's thread once it was taken. */
struct http_job {
    struct http_job *next;
    http_answered_fn *answered;
    void *context;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    uint64_t due_ms;      /* of its next try, while it pauses */
    uint32_t tries;
    size_t bytes; /* of all this */
    bool has_body;
    size_t body_bytes;
    const char *body; /* behind the URL */
    char url[];
};

/* A try under way: one of libcurl's handles, used again and again. */
struct http_transfer {
    struct http_transfer *next; /* of all, or of the idle ones */
    struct http_transfer *next_idle;
    struct http_job *job; /* NULL: idle */
    CURL *easy;
    size_t body_bytes_max;
    size_t body_bytes;
    size_t body_size;
    char *body;
    bool is_too_long;
    bool is_out_of_memory;
    char error[CURL_ERROR_SIZE];
};

/* NULL: memory is short. `headers` stay where they are. */
struct http_transfer *http_transfer_new(const struct http_client_options *options, struct curl_slist *headers);
/* NULL is fine. */
void http_transfer_free(struct http_transfer *transfer);
/* Sets the handle up for a try of `job`. `left_ms`: 0 is no limit. */
void http_transfer_set(struct http_transfer *transfer, struct http_job *job, uint64_t left_ms);
/* The answer, as libcurl's result tells; valid until the transfer is set again. */
struct http_answer http_transfer_answer(const struct http_transfer *transfer, CURLcode result);
/* Might another try be answered? */
bool http_error_is_transient(int err);

#endif
