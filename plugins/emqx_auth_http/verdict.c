/*
 * verdict: see verdict.h.
 */
#include "verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum verdict_kind verdict_read(const struct http_answer *answer)
{
    static const char ignore[] = "ignore";

    if (answer->err != 0)
        return answer->err == -EAGAIN ? VERDICT_BUSY : VERDICT_FAIL;
    if (answer->status != 200)
        return VERDICT_REFUSE;
    if (answer->body_bytes == strlen(ignore) && memcmp(answer->body, ignore, strlen(ignore)) == 0)
        return VERDICT_IGNORE;
    return VERDICT_ALLOW;
}

/* Of a JSON object; any other body has none. Gives false when the mountpoint cannot be used. */
static bool read_mountpoint(const struct http_answer *answer, char **out_mountpoint)
{
    json_t *root, *value;
    bool is_fine = true;

    if (memchr(answer->body, '{', answer->body_bytes) == NULL)
        return true; /* saves the parser most answers */
    root = json_loadb(answer->body, answer->body_bytes, 0, NULL);
    value = json_object_get(root, "mountpoint");
    if (json_is_string(value)) {
        is_fine = strpbrk(json_string_value(value), "+#") == NULL;
        *out_mountpoint = is_fine ? strdup(json_string_value(value)) : NULL;
        is_fine = *out_mountpoint != NULL;
    }
    json_decref(root);
    return is_fine;
}

void verdict_read_auth(const struct http_answer *answer, struct verdict *out_verdict)
{
    *out_verdict = (struct verdict){.kind = verdict_read(answer)};
    if (out_verdict->kind == VERDICT_ALLOW && !read_mountpoint(answer, &out_verdict->mountpoint))
        out_verdict->kind = VERDICT_FAIL;
}

void verdict_fini(struct verdict *verdict)
{
    free(verdict->mountpoint);
    verdict->mountpoint = NULL;
}

bool verdict_dup(const struct verdict *verdict, struct verdict *out_copy)
{
    char *mountpoint = verdict->mountpoint == NULL ? NULL : strdup(verdict->mountpoint);

    if (verdict->mountpoint != NULL && mountpoint == NULL)
        return false;
    *out_copy = *verdict;
    out_copy->mountpoint = mountpoint;
    return true;
}
