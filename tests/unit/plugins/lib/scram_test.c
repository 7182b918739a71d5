/*
 * scram: the exchange of RFC 7677, section 3, and the same for SHA-512 (for which no RFC has one; computed with Python's hashlib), messages as
 * they must not be, and what becomes of users that are not known.
 */
#include "lib/scram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define CLIENT_FIRST "n,,n=user,r=" CLIENT_NONCE
#define SERVER_FIRST "r=" CLIENT_NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define WITHOUT_PROOF "c=biws,r=" CLIENT_NONCE SERVER_NONCE
#define PROOF_256 "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SIGNATURE_256 "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
#define PROOF_512 "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
#define SIGNATURE_512 "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw=="

static struct emqc_slice slice(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

static bool is_text(struct emqc_slice text, const char *expected)
{
    return text.len == strlen(expected) && memcmp(text.data, expected, text.len) == 0;
}

static struct scram_credentials derive(enum scram_mechanism mechanism, const char *password, const char *salt_base64,
                                       uint32_t iterations)
{
    struct scram_credentials credentials;
    uint8_t salt[SCRAM_SALT_MAX];
    int len = scram_base64_decode(slice(salt_base64), salt, sizeof(salt));

    assert_true(len > 0);
    assert_int_equal(scram_derive(mechanism, slice(password), (struct emqc_slice){(char *)salt, (size_t)len},
                                  iterations, &credentials),
                     0);
    return credentials;
}

/* Both steps of a client, to the end. */
static int run(enum scram_mechanism mechanism, const struct scram_credentials *credentials, bool is_known,
               const char *client_first, const char *server_nonce, const char *server_first, const char *client_final,
               char out_server_final[SCRAM_SERVER_FINAL_MAX])
{
    struct scram_exchange exchange = {0};
    const char *why = NULL;

    assert_int_equal(scram_read_first(&exchange, mechanism, slice(client_first), &why), 0);
    assert_true(is_text(scram_challenge(&exchange, credentials, is_known, slice(server_nonce)), server_first));
    int err = scram_finish(&exchange, slice(client_final), out_server_final, &why);
    assert_true(err == 0 || why != NULL);
    return err;
}

static void the_exchange_of_rfc_7677(void **state)
{
    struct scram_credentials credentials = derive(SCRAM_SHA_256, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    char server_final[SCRAM_SERVER_FINAL_MAX];

    (void)state;
    assert_int_equal(run(SCRAM_SHA_256, &credentials, true, CLIENT_FIRST, SERVER_NONCE, SERVER_FIRST,
                         WITHOUT_PROOF ",p=" PROOF_256, server_final),
                     0);
    assert_string_equal(server_final, "v=" SIGNATURE_256);
}

static void the_same_with_sha_512(void **state)
{
    struct scram_credentials credentials = derive(SCRAM_SHA_512, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    char server_final[SCRAM_SERVER_FINAL_MAX];

    (void)state;
    assert_int_equal(run(SCRAM_SHA_512, &credentials, true, CLIENT_FIRST, SERVER_NONCE, SERVER_FIRST,
                         WITHOUT_PROOF ",p=" PROOF_512, server_final),
                     0);
    assert_string_equal(server_final, "v=" SIGNATURE_512);
}

/* Flag y, an authorization identity, escapes, letters beyond ASCII and extensions in both messages. */
static void all_that_messages_may_have(void **state)
{
    struct scram_credentials credentials = derive(SCRAM_SHA_512, "p\xc3\xa4ss,=word",
                                                  "MDEyMzQ1Njc4OWFiY2RlZg==", 10000);
    char server_final[SCRAM_SERVER_FINAL_MAX];

    (void)state;
    assert_int_equal(run(SCRAM_SHA_512, &credentials, true, "y,a=a=2Cb=3D\xc3\xa4,n=a=2Cb=3D\xc3\xa4,r=cn,z=1", "sn",
                         "r=cnsn,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=10000",
                         "c=eSxhPWE9MkNiPTNEw6Qs,r=cnsn,x=ext,p="
                         "NH5DTZI6RRjiirNNtXEWQJ3UAXmhVHa82Uf7UeSVW6wnoAi08gBF2jYIw8V0hZIfbLP8zJlRSgNVZq/RQURFZA==",
                         server_final),
                     0);
    assert_string_equal(server_final,
                        "v=+Y1/8qxjS4Rd1CAoVRQOYKj7g8kxtjaZ0XAjOTaWYCDnEHeZhDUyclpE29PkIRThCFIIS2X2Cpk4zhNzO2z+wg==");
}

static void the_user_name_has_no_escapes(void **state)
{
    struct scram_exchange exchange = {0};
    const char *why = NULL;

    (void)state;
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice("n,,n==3D=2C=3Dx,r=a"), &why), 0);
    assert_true(is_text(scram_user_name(&exchange), "=,=x"));
}

static void who_does_not_know_the_password_is_refused(void **state)
{
    struct scram_credentials right = derive(SCRAM_SHA_256, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    struct scram_credentials wrong = derive(SCRAM_SHA_256, "Pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    char server_final[SCRAM_SERVER_FINAL_MAX] = "";

    (void)state;
    assert_int_equal(run(SCRAM_SHA_256, &wrong, true, CLIENT_FIRST, SERVER_NONCE, SERVER_FIRST,
                         WITHOUT_PROOF ",p=" PROOF_256, server_final),
                     -EACCES);
    /* Even with the right proof: the user is not known. */
    assert_int_equal(run(SCRAM_SHA_256, &right, false, CLIENT_FIRST, SERVER_NONCE, SERVER_FIRST,
                         WITHOUT_PROOF ",p=" PROOF_256, server_final),
                     -EACCES);
    assert_string_equal(server_final, "");
}

static void first_messages_as_they_must_not_be(void **state)
{
    static const char *const messages[] = {
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,n=user,",
        "n,,r=nonce,n=user",
        "n,,n=user,r=",
        "n,,n=,r=nonce",
        "p=tls-unique,,n=user,r=nonce",   /* channel binding */
        "p=tls-exporter,,n=user,r=nonce", /* likewise */
        "x,,n=user,r=nonce",
        "nn,,n=user,r=nonce",
        "n,a=other,n=user,r=nonce", /* in the name of somebody else */
        "n,a=,n=user,r=nonce",
        "n,b=user,n=user,r=nonce",
        "n,,m=must,n=user,r=nonce", /* a mandatory extension */
        "n,,n=us=er,r=nonce",
        "n,,n=user=2c,r=nonce",
        "n,,n=user=,r=nonce",
        "n,,n=user=3,r=nonce",
        "n,,n=us\ner,r=nonce",
        "n,,n=us\x7f"
        "er,r=nonce",
        "n,,n=us\xc2\x85"
        "er,r=nonce", /* a control character beyond ASCII */
        "n,,n=us\xff"
        "er,r=nonce",
        "n,,n=us\xc0\xaf"
        "er,r=nonce", /* overlong */
        "n,,n=us\xed\xa0\x80"
        "er,r=nonce",
        "n,,n=user,r=no nce",
        "n,,n=user,r=nonc\xc3\xa9",
        "n,,n=user,r=nonce,",
        "n,,n=user,r=nonce,1=x",
        "n,,n=user,r=nonce,x=",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct scram_exchange exchange = {0};
        const char *why = NULL;
        if (scram_read_first(&exchange, SCRAM_SHA_256, slice(messages[i]), &why) != -EINVAL)
            fail_msg("accepted: %s", messages[i]);
        assert_non_null(why);
    }
}

static void long_messages_are_refused(void **state)
{
    struct scram_exchange exchange = {0};
    char message[SCRAM_CLIENT_FIRST_MAX + 2] = "n,,n=";
    const char *why = NULL;

    (void)state;
    memset(message + 5, 'u', SCRAM_USER_NAME_MAX + 1);
    strcpy(message + 5 + SCRAM_USER_NAME_MAX, ",r=nonce");
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), 0);
    assert_int_equal(scram_user_name(&exchange).len, SCRAM_USER_NAME_MAX);
    exchange = (struct scram_exchange){0};
    memset(message + 5, 'u', SCRAM_USER_NAME_MAX + 1);
    strcpy(message + 5 + SCRAM_USER_NAME_MAX + 1, ",r=nonce");
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), -EINVAL);
    strcpy(message, "n,,n=u,r=");
    memset(message + 9, 'n', SCRAM_CLIENT_NONCE_MAX + 1);
    message[9 + SCRAM_CLIENT_NONCE_MAX + 1] = '\0';
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), -EINVAL);
    message[9 + SCRAM_CLIENT_NONCE_MAX] = '\0';
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), 0);
    exchange = (struct scram_exchange){0};
    strcpy(message, "n,,n=u,r=n,x=");
    memset(message + 13, 'x', SCRAM_CLIENT_FIRST_MAX - 13 + 1);
    message[SCRAM_CLIENT_FIRST_MAX + 1] = '\0';
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), -EINVAL);
    message[SCRAM_CLIENT_FIRST_MAX] = '\0';
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(message), &why), 0);
}

static void final_messages_as_they_must_not_be(void **state)
{
    static const char *const messages[] = {
        "",
        WITHOUT_PROOF,
        WITHOUT_PROOF ",",
        WITHOUT_PROOF ",p=",
        WITHOUT_PROOF ",p=AAAA",
        WITHOUT_PROOF ",p=" PROOF_512,
        WITHOUT_PROOF ",p=" PROOF_256 "=",
        WITHOUT_PROOF ",p=" PROOF_256 ",x=y",
        WITHOUT_PROOF ",m=must,p=" PROOF_256,
        WITHOUT_PROOF ",,p=" PROOF_256,
        "r=" CLIENT_NONCE SERVER_NONCE ",c=biws,p=" PROOF_256,
        "c=biws,r=" CLIENT_NONCE ",p=" PROOF_256,
        "c=biws,r=" CLIENT_NONCE SERVER_NONCE "x,p=" PROOF_256,
        "c=eSws,r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF_256, /* y,, instead of n,, */
        "c=,r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF_256,
        "c=biw,r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF_256,
    };
    struct scram_credentials credentials = derive(SCRAM_SHA_256, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);

    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        char server_final[SCRAM_SERVER_FINAL_MAX];
        if (run(SCRAM_SHA_256, &credentials, true, CLIENT_FIRST, SERVER_NONCE, SERVER_FIRST, messages[i],
                server_final) != -EINVAL)
            fail_msg("accepted: %s", messages[i]);
    }
}

static void steps_have_their_order(void **state)
{
    struct scram_credentials credentials = derive(SCRAM_SHA_256, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096);
    struct scram_exchange exchange = {0};
    char server_final[SCRAM_SERVER_FINAL_MAX];
    const char *why = NULL, *last = WITHOUT_PROOF ",p=" PROOF_256;

    (void)state;
    assert_null(scram_challenge(&exchange, &credentials, true, slice(SERVER_NONCE)).data);
    assert_int_equal(scram_finish(&exchange, slice(last), server_final, &why), -EINVAL);
    exchange = (struct scram_exchange){0};
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(CLIENT_FIRST), &why), 0);
    assert_int_equal(scram_read_first(&exchange, SCRAM_SHA_256, slice(CLIENT_FIRST), &why), -EINVAL);
    assert_non_null(scram_challenge(&exchange, &credentials, true, slice(SERVER_NONCE)).data);
    assert_int_equal(scram_finish(&exchange, slice(last), server_final, &why), 0);
    assert_int_equal(scram_finish(&exchange, slice(last), server_final, &why), -EINVAL); /* no proof twice */
}

static void a_user_who_is_not_known_looks_like_one(void **state)
{
    static const uint8_t secret[SCRAM_SECRET_BYTES] = "a secret of thirty-two bytes ...", other[SCRAM_SECRET_BYTES];
    struct scram_credentials one, again, two, else_secret, else_mechanism;

    (void)state;
    assert_int_equal(scram_fake(SCRAM_SHA_256, secret, slice("one"), 10000, &one), 0);
    assert_int_equal(scram_fake(SCRAM_SHA_256, secret, slice("one"), 10000, &again), 0);
    assert_int_equal(scram_fake(SCRAM_SHA_256, secret, slice("two"), 10000, &two), 0);
    assert_int_equal(scram_fake(SCRAM_SHA_256, other, slice("one"), 10000, &else_secret), 0);
    assert_int_equal(scram_fake(SCRAM_SHA_512, secret, slice("one"), 10000, &else_mechanism), 0);
    assert_int_equal(one.iterations, 10000);
    assert_int_equal(one.salt_len, SCRAM_SALT_BYTES);
    assert_memory_equal(one.salt, again.salt, SCRAM_SALT_BYTES);
    assert_memory_not_equal(one.salt, two.salt, SCRAM_SALT_BYTES);
    assert_memory_not_equal(one.salt, else_secret.salt, SCRAM_SALT_BYTES);
    assert_memory_not_equal(one.salt, else_mechanism.salt, SCRAM_SALT_BYTES);
}

static void credentials_have_limits(void **state)
{
    struct scram_credentials credentials;
    struct emqc_slice salt = slice("0123456789abcdef");
    char password[SCRAM_PASSWORD_MAX + 2];

    (void)state;
    memset(password, 'p', sizeof(password));
    password[SCRAM_PASSWORD_MAX + 1] = '\0';
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice(password), salt, 4096, &credentials), -EINVAL);
    password[SCRAM_PASSWORD_MAX] = '\0';
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice(password), salt, 4096, &credentials), 0);
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice(""), salt, 4096, &credentials), -EINVAL);
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice("a\tb"), salt, 4096, &credentials), -EINVAL);
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice("p"), salt, 4095, &credentials), -EINVAL);
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice("p"), salt, 10000001, &credentials), -EINVAL);
    assert_int_equal(scram_derive(SCRAM_SHA_256, slice("p"), slice(""), 4096, &credentials), -EINVAL);
}

static void mechanisms_have_names(void **state)
{
    enum scram_mechanism mechanism;

    (void)state;
    assert_true(scram_find(slice("SCRAM-SHA-256"), &mechanism) && mechanism == SCRAM_SHA_256);
    assert_true(scram_find(slice("SCRAM-SHA-512"), &mechanism) && mechanism == SCRAM_SHA_512);
    assert_false(scram_find(slice("SCRAM-SHA-1"), &mechanism));
    assert_false(scram_find(slice("SCRAM-SHA-256-PLUS"), &mechanism));
    assert_false(scram_find(slice(""), &mechanism));
}

/* RFC 4648, section 10, and texts that are not what an encoder makes. */
static void base64_is_strict(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const wrong[] = {
        "Zg=", "Zg", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "=", "Zm 9v", "Zm9v\n", "Zm-_"};
    uint8_t bytes[8];
    char text[16];

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_equal(scram_base64_encode(slice(pairs[i][0]), text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(scram_base64_decode(slice(pairs[i][1]), bytes, sizeof(bytes)), strlen(pairs[i][0]));
        assert_memory_equal(bytes, pairs[i][0], strlen(pairs[i][0]));
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(scram_base64_decode(slice(wrong[i]), bytes, sizeof(bytes)), -1);
    assert_int_equal(scram_base64_decode(slice("Zm9vYmFy"), bytes, 5), -1); /* too long */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exchange_of_rfc_7677),
        cmocka_unit_test(the_same_with_sha_512),
        cmocka_unit_test(all_that_messages_may_have),
        cmocka_unit_test(the_user_name_has_no_escapes),
        cmocka_unit_test(who_does_not_know_the_password_is_refused),
        cmocka_unit_test(first_messages_as_they_must_not_be),
        cmocka_unit_test(long_messages_are_refused),
        cmocka_unit_test(final_messages_as_they_must_not_be),
        cmocka_unit_test(steps_have_their_order),
        cmocka_unit_test(a_user_who_is_not_known_looks_like_one),
        cmocka_unit_test(credentials_have_limits),
        cmocka_unit_test(mechanisms_have_names),
        cmocka_unit_test(base64_is_strict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
