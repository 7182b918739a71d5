/*
 * auth_http_fuzz: any bytes as the parameters of a request (up to the first zero byte), and behind it as a client's facts and as the server's answer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "form.h"
#include "verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_form(const char *text, struct emqc_slice fact, bool is_acl)
{
    struct form *form = NULL;
    struct form_facts facts;

    for (int i = 0; i < FORM_FACT_COUNT; i++)
        facts.values[i] = fact;
    if (form_parse(text, is_acl, &form) != NULL)
        return;
    size_t bytes = form_bytes(form, &facts);
    char *out = malloc(bytes); /* of its own size, so that a write past the end is seen */
    ASSERT(out != NULL && form_write(form, &facts, out) == out + bytes);
    for (size_t i = 0; i < bytes; i++)
        ASSERT(out[i] > ' ' && out[i] < 127);
    free(out);
    form_free(form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    size_t len = strlen(text), rest = len < size ? size - len - 1 : 0;
    char *body = malloc(rest + (rest == 0));
    ASSERT(body != NULL);
    if (rest > 0)
        memcpy(body, text + len + 1, rest);
    fuzz_form(text, (struct emqc_slice){body, rest}, true);
    fuzz_form(text, (struct emqc_slice){body, rest}, false);

    struct http_answer answer = {.status = 200, .body = body, .body_bytes = rest, .error_text = ""};
    struct verdict verdict;
    verdict_read_auth(&answer, &verdict);
    ASSERT(verdict.kind == VERDICT_ALLOW || verdict.kind == VERDICT_IGNORE || verdict.kind == VERDICT_FAIL);
    ASSERT(verdict.mountpoint == NULL || strpbrk(verdict.mountpoint, "+#") == NULL);
    verdict_fini(&verdict);
    free(body);
    free(text);
    return 0;
}
