/*
 * verdict: what an answer of the server means.
 */
#ifndef EMQX_AUTH_HTTP_VERDICT_H
#define EMQX_AUTH_HTTP_VERDICT_H

#include <stdbool.h>

#include "lib/http_client.h"

enum verdict_kind {
    VERDICT_FAIL,   /* no answer, or one that cannot be obeyed; also what a verdict is before there is one */
    VERDICT_ALLOW,  /* 200 */
    VERDICT_REFUSE, /* any other status */
    VERDICT_IGNORE, /* 200 and the word ignore: the next one decides */
    VERDICT_BUSY,   /* the same, for too many wait already */
};

struct verdict {
    enum verdict_kind kind;
    bool is_superuser;
    char *mountpoint; /* the client's new one; NULL: as it is. Freed by verdict_fini() */
};

/* Of an ACL request. */
enum verdict_kind verdict_read(const struct http_answer *answer);
/* Of an auth request: a JSON object may have a mountpoint. One that is no prefix for topics (wildcards), or for which memory is short, is
 * VERDICT_FAIL: without it the client would be among others' topics. */
void verdict_read_auth(const struct http_answer *answer, struct verdict *out_verdict);
/* Frees what belongs to it. */
void verdict_fini(struct verdict *verdict);
/* A copy with a mountpoint of its own; false: memory is short, and nothing was written. */
bool verdict_dup(const struct verdict *verdict, struct verdict *out_copy);

#endif
