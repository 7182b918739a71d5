/*
 * jwt_bench: what a token costs: its header, its signature by algorithm and size of key, its claims.
 *
 * The signatures are random numbers: to find out that one is wrong takes as long as to find out that it is right.
 */
#include "lib/jwt.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS_PER_ROW 0.5
#define TOKEN_BYTES_MAX 4096

static const char secret[] = "a secret of more than thirty-two bytes";
static const char payload[] =
    "{\"iss\":\"https://auth.example.com/\",\"sub\":\"device-000001\",\"username\":\"ada\",\"aud\":[\"web\",\"mqtt\"],"
    "\"iat\":1700000000,\"nbf\":1700000000,\"exp\":1900000000}";

struct row {
    const char *algorithm;
    const char *kind; /* NULL: the secret */
    size_t signature_len;
};

static const struct row rows[] = {
    {"HS256", NULL, 32},     {"HS512", NULL, 64},    {"RS256", "2048", 256}, {"RS256", "4096", 512},
    {"RS256", "8192", 1024}, {"ES256", "P-256", 64}, {"ES384", "P-384", 96}, {"ES512", "P-521", 132},
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* base64url behind what is there. */
static void text_add(char *text, const void *data, size_t len)
{
    char *at = text + strlen(text);

    EVP_EncodeBlock((unsigned char *)at, data, (int)len);
    for (char *c = at; *c != '\0'; c++)
        *c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c);
    at[strcspn(at, "=")] = '\0';
}

static void token_make(const struct row *row, char text[TOKEN_BYTES_MAX])
{
    unsigned char signature[1024];
    char header[64];

    (void)snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", row->algorithm);
    (void)RAND_bytes(signature, (int)row->signature_len);
    signature[0] = 0; /* below the modulus and the order of the curve */
    if (row->signature_len % 66 == 0)
        signature[66] = 0;
    text[0] = '\0';
    text_add(text, header, strlen(header));
    strcat(text, ".");
    text_add(text, payload, strlen(payload));
    strcat(text, ".");
    text_add(text, signature, row->signature_len);
}

static struct jwt_keys *keys_make(const char *kind)
{
    struct jwt_keys *keys = jwt_keys_new();
    EVP_PKEY *pkey = kind[0] == 'P' ? EVP_EC_gen(kind) : EVP_RSA_gen((unsigned)atoi(kind));
    BIO *bio = BIO_new(BIO_s_mem());
    const char *why;
    char *text;
    long len;

    if (PEM_write_bio_PUBKEY(bio, pkey) != 1)
        abort();
    len = BIO_get_mem_data(bio, &text);
    if (jwt_keys_add_pem(keys, (struct emqc_slice){text, (size_t)len}, &why) < 0)
        abort();
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return keys;
}

static void report(const char *name, const char *kind, double seconds, unsigned long count)
{
    printf("%-8s %-6s %9.2f us\n", name, kind, seconds * 1e6 / (double)count);
}

static void run_row(const struct row *row)
{
    struct jwt_trust trust = {.secret = {secret, sizeof(secret) - 1}};
    struct jwt_keys *keys = row->kind == NULL ? NULL : keys_make(row->kind);
    char text[TOKEN_BYTES_MAX];
    unsigned long count = 0;
    double start_s;
    struct jwt jwt;

    token_make(row, text);
    trust.keys[0] = keys;
    start_s = now_s();
    for (; count % 16 != 0 || now_s() - start_s < SECONDS_PER_ROW; count++) {
        if (jwt_parse((struct emqc_slice){text, strlen(text)}, &jwt) != JWT_OK ||
            jwt_verify(&jwt, &trust) != JWT_BAD_SIGNATURE)
            abort();
    }
    report(row->algorithm, row->kind == NULL ? "" : row->kind, now_s() - start_s, count);
    jwt_keys_unref(keys);
}

static void run_claims(void)
{
    struct emqc_slice user_name = {"ada", 3};
    char text[TOKEN_BYTES_MAX];
    unsigned long count = 0;
    double start_s = now_s();
    struct jwt jwt;

    token_make(&rows[0], text);
    if (jwt_parse((struct emqc_slice){text, strlen(text)}, &jwt) != JWT_OK)
        abort();
    for (; count % 16 != 0 || now_s() - start_s < SECONDS_PER_ROW; count++) {
        struct jwt_claims *claims = NULL;
        if (jwt_claims_new(&jwt, &claims) != JWT_OK || jwt_claims_check_time(claims, 1800000000, 0) != JWT_OK ||
            !jwt_claims_match(claims, "username", user_name, false))
            abort();
        jwt_claims_free(claims);
    }
    report("claims", "", now_s() - start_s, count);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        run_row(&rows[i]);
    run_claims();
    return 0;
}
