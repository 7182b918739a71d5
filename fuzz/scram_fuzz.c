/*
 * scram_fuzz: any two messages of a client of SCRAM. The input is cut at its first newline: client-first, then client-final; a first byte '5'
 * means SHA-512, any other SHA-256, and is no part of the message.
 *
 * Nobody who does not know the password comes in: the credentials are of no password at all. What is accepted as client-first gives a user name
 * without control characters and a challenge that begins with the client's nonce. Base64 that is read is written the same.
 */
#include "lib/scram.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(fact)                                                                                                    \
    do {                                                                                                               \
        if (!(fact))                                                                                                   \
            abort();                                                                                                   \
    } while (0)

/* A copy of its own size, so that a read past the end is seen. */
static struct emqc_slice copy_of(const uint8_t *data, size_t len)
{
    char *copy = malloc(len + (len == 0));

    CHECK(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return (struct emqc_slice){copy, len};
}

static void check_base64(struct emqc_slice text)
{
    uint8_t bytes[3072];
    char again[4100];
    int len = scram_base64_decode(text, bytes, sizeof(bytes));

    if (len < 0)
        return;
    CHECK(scram_base64_encode((struct emqc_slice){(const char *)bytes, (size_t)len}, again) == text.len);
    CHECK(memcmp(again, text.data, text.len) == 0);
}

static void run(enum scram_mechanism mechanism, struct emqc_slice first, struct emqc_slice final)
{
    static const uint8_t secret[SCRAM_SECRET_BYTES] = "nothing that any client knows";
    struct scram_exchange exchange = {0};
    struct scram_credentials credentials;
    char server_final[SCRAM_SERVER_FINAL_MAX];
    const char *why = NULL;

    if (scram_read_first(&exchange, mechanism, first, &why) < 0) {
        CHECK(why != NULL);
        return;
    }
    struct emqc_slice name = scram_user_name(&exchange);
    CHECK(scram_text_fits(name, SCRAM_USER_NAME_MAX));
    CHECK(scram_fake(mechanism, secret, name, SCRAM_ITERATIONS_MIN, &credentials) == 0);
    struct emqc_slice challenge = scram_challenge(&exchange, &credentials, true, (struct emqc_slice){"SERVER", 6});
    CHECK(challenge.len > 2 && memcmp(challenge.data, "r=", 2) == 0 &&
          memchr(challenge.data, '\0', challenge.len) == NULL);
    CHECK(scram_finish(&exchange, final, server_final, &why) < 0 && why != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline;
    struct emqc_slice first, final;

    if (size == 0)
        return 0;
    newline = memchr(data + 1, '\n', size - 1);
    size_t first_len = newline == NULL ? size - 1 : (size_t)(newline - data) - 1;
    first = copy_of(data + 1, first_len);
    final = newline == NULL ? copy_of(data, 0) : copy_of(newline + 1, size - first_len - 2);
    run(data[0] == '5' ? SCRAM_SHA_512 : SCRAM_SHA_256, first, final);
    check_base64(first);
    free((void *)(uintptr_t)first.data);
    free((void *)(uintptr_t) final.data);
    return 0;
}
