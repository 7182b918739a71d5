/*
 * http_transfer: one of libcurl's handles, and what its results mean. See http_client.h.
 */
#include "lib/http_client_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_FIRST_BYTES 512u

static size_t on_body(char *data, size_t one, size_t count, void *context)
{
    struct http_transfer *transfer = context;

    (void)one; /* libcurl: always 1 */
    if (count > transfer->body_bytes_max - transfer->body_bytes) {
        transfer->is_too_long = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (count > transfer->body_size - transfer->body_bytes) {
        size_t size = transfer->body_size == 0 ? BODY_FIRST_BYTES : transfer->body_size;
        while (size - transfer->body_bytes < count)
            size *= 2;
        char *body = realloc(transfer->body, size);
        if (body == NULL) {
            transfer->is_out_of_memory = true;
            return CURL_WRITEFUNC_ERROR;
        }
        transfer->body = body;
        transfer->body_size = size;
    }
    if (count > 0)
        memcpy(transfer->body + transfer->body_bytes, data, count);
    transfer->body_bytes += count;
    return count;
}

static void set_tls(CURL *easy, const struct http_client_options *options)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->verify_server ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->verify_server ? 2L : 0L);
    if (options->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* these authorities and no others */
    }
    if (options->certificate_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, options->certificate_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY,
                         options->key_file != NULL ? options->key_file : options->certificate_file);
    }
}

/* What all tries have in common. */
static void set_up(struct http_transfer *transfer, const struct http_client_options *options,
                   struct curl_slist *headers)
{
    CURL *easy = transfer->easy;

    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)HTTP_REDIRECTS_MAX);
    /* A POST stays one but for 303, which says otherwise: without its parameters it would ask nothing. */
    curl_easy_setopt(easy, CURLOPT_POSTREDIR, (long)(CURL_REDIR_POST_301 | CURL_REDIR_POST_302));
    /* Else who gives up on a slow resolver waits for it, and all others with him. Its thread runs on: libcurl stays in memory (http_client.c). */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    /* 0 would be libcurl's 300 s. */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     options->connect_timeout_ms == 0 ? (long)INT_MAX : (long)options->connect_timeout_ms);
    set_tls(easy, options);
}

struct http_transfer *http_transfer_new(const struct http_client_options *options, struct curl_slist *headers)
{
    struct http_transfer *transfer = calloc(1, sizeof(*transfer));

    if (transfer == NULL)
        return NULL;
    transfer->body_bytes_max = options->answer_bytes_max;
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL) {
        http_transfer_free(transfer);
        return NULL;
    }
    set_up(transfer, options, headers);
    return transfer;
}

void http_transfer_free(struct http_transfer *transfer)
{
    if (transfer == NULL)
        return;
    curl_easy_cleanup(transfer->easy);
    free(transfer->body);
    free(transfer);
}

void http_transfer_set(struct http_transfer *transfer, struct http_job *job, uint64_t left_ms)
{
    CURL *easy = transfer->easy;
    const char *url = job->url;

    transfer->job = job;
    transfer->body_bytes = 0;
    transfer->is_too_long = transfer->is_out_of_memory = false;
    transfer->error[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, strncasecmp(url, "https:", 6) == 0 ? "https" : "http,https");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left_ms > INT_MAX ? INT_MAX : left_ms));
    if (job->has_body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, job->body); /* not copied */
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->body_bytes);
    } else {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
}

static int error_of(const struct http_transfer *transfer, CURLcode result)
{
    if (transfer->is_too_long)
        return -EMSGSIZE;
    if (transfer->is_out_of_memory)
        return -ENOMEM;
    switch (result) {
    case CURLE_OK: return 0;
    case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT: return -ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST: return -EHOSTUNREACH;
    case CURLE_TOO_MANY_REDIRECTS: return -ELOOP;
    case CURLE_OUT_OF_MEMORY: return -ENOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM: return -EKEYREJECTED;
    default: return -EIO;
    }
}

struct http_answer http_transfer_answer(const struct http_transfer *transfer, CURLcode result)
{
    struct http_answer answer = {.err = error_of(transfer, result), .body = "", .error_text = ""};
    long status = 0;

    if (answer.err != 0) {
        answer.error_text = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(result);
        if (transfer->is_too_long)
            answer.error_text = "the answer is too long";
        return answer;
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    if (transfer->body_bytes > 0) {
        answer.body = transfer->body;
        answer.body_bytes = transfer->body_bytes;
    }
    return answer;
}

bool http_error_is_transient(int err)
{
    return err != 0 && err != -EMSGSIZE && err != -ELOOP && err != -EKEYREJECTED && err != -ENOMEM;
}
