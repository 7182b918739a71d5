/*
 * tls_records: see tls_records.h.
 *
 * The nonce of a record is the sequence number combined with the IV (TLS 1.3, ChaCha20) or stands behind four bytes of the IV and
 * goes with the record (AES-GCM of 1.2). OpenSSL begins those eight bytes at random and counts on from there; so do we, from the
 * last record that it wrote. A number is never used twice with a key.
 */
#include "net/tls_records.h"

#include "base/bytes.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define IV_BYTES 12u
#define FIXED_IV_BYTES 4u /* AES-GCM in TLS 1.2 */
#define EXPLICIT_BYTES 8u
#define TAG_BYTES 16u
#define KEY_MAX 32u
#define SECRET_MAX 48u
#define MASTER_BYTES 48u
#define CIPHER_TEXT_MAX_13 (RECORD_PLAIN_MAX + 256u)
#define CIPHER_TEXT_MAX_12 (RECORD_PLAIN_MAX + 2048u)

/* What one key protects before the next one (RFC 8446, 5.5: 2^24.5 full records of AES-GCM). TLS 1.2 has no next one and gets four
 * times as much: forging is still a matter of 2^-57. A record counts as its blocks of plaintext and two more. */
#define KEY_BLOCKS_MAX (UINT64_C(1) << 34)
#define KEY_BLOCKS_FACTOR_12 4u
#define BLOCK_BYTES 16u

struct direction {
    EVP_CIPHER_CTX *cipher;
    uint64_t sequence;      /* of the next record; during the handshake the records since ChangeCipherSpec */
    uint64_t next_explicit; /* the eight bytes that go with our next record, where there are such */
    uint64_t blocks;        /* protected with this key */
    uint8_t iv[IV_BYTES];
    uint8_t secret[SECRET_MAX]; /* TLS 1.3 */
    uint8_t secret_len;         /* 0: the key log has not told it */
    bool unclear;               /* during the handshake something else than whole records was seen */
};

struct tls_records {
    struct direction in, out;
    uint64_t key_blocks_max;
    uint16_t fragment_max;
    uint8_t key_len;
    bool tls13;
    bool explicit_nonce;
};

struct tls_records *tls_records_new(void)
{
    struct tls_records *records = calloc(1, sizeof(*records));

    if (records != NULL)
        records->key_blocks_max = KEY_BLOCKS_MAX;
    return records;
}

void tls_records_free(struct tls_records *records)
{
    if (records == NULL)
        return;
    EVP_CIPHER_CTX_free(records->in.cipher);
    EVP_CIPHER_CTX_free(records->out.cipher);
    OPENSSL_cleanse(records, sizeof(*records));
    free(records);
}

size_t tls_records_fragment_max(const struct tls_records *records)
{
    return records->fragment_max;
}

bool tls_records_is_tls13(const struct tls_records *records)
{
    return records->tls13;
}

void tls_records_set_key_limit(struct tls_records *records, uint64_t blocks)
{
    records->key_blocks_max = blocks;
}

bool tls_records_key_is_used_up(const struct tls_records *records, bool reading)
{
    return (reading ? records->in.blocks : records->out.blocks) >= records->key_blocks_max;
}

/* ---- During the handshake */

uint64_t tls_records_watch(struct tls_records *records, const uint8_t *bytes, size_t len, bool reading)
{
    struct direction *direction = reading ? &records->in : &records->out;
    uint64_t count = 0;
    size_t record_len;

    for (size_t at = 0; at < len; at += record_len, count++) {
        const uint8_t *record = bytes + at;

        record_len = len - at < RECORD_HEADER ? 0 : RECORD_HEADER + ((size_t)record[3] << 8 | record[4]);
        if (record_len == 0 || record_len > len - at) {
            direction->unclear = true;
            return count;
        }
        direction->sequence = record[0] == SSL3_RT_CHANGE_CIPHER_SPEC ? 0 : direction->sequence + 1;
        if (record_len >= RECORD_HEADER + EXPLICIT_BYTES)
            direction->next_explicit = bytes_get_big(record + RECORD_HEADER, 8) + 1;
    }
    return count;
}

/* ---- Keys */

static void secret_from_hex(struct direction *direction, const char *line)
{
    const char *hex = strrchr(line, ' ');
    size_t len = 0;

    if (hex == NULL || OPENSSL_hexstr2buf_ex(direction->secret, SECRET_MAX, &len, hex + 1, '\0') != 1)
        len = 0;
    direction->secret_len = (uint8_t)len;
}

void tls_records_log_line(struct tls_records *records, const char *line)
{
    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
        secret_from_hex(&records->in, line);
    else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
        secret_from_hex(&records->out, line);
}

static const EVP_MD *hash_of(size_t secret_len)
{
    return secret_len == 32 ? EVP_sha256() : EVP_sha384();
}

/* HKDF-Expand-Label without a context (RFC 8446, 7.1); nothing here is longer than one hash. */
static bool expand_label(const uint8_t *secret, size_t secret_len, const char *label, uint8_t *out, size_t out_len)
{
    uint8_t info[64], full[EVP_MAX_MD_SIZE];
    size_t label_len = strlen(label), at = 0;
    bool good;

    info[at++] = (uint8_t)(out_len >> 8);
    info[at++] = (uint8_t)out_len;
    info[at++] = (uint8_t)(6 + label_len);
    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, label_len);
    at += 6 + label_len;
    info[at++] = 0; /* no context */
    info[at++] = 1; /* the first and only block of HKDF-Expand */
    good = HMAC(hash_of(secret_len), secret, (int)secret_len, info, at, full, NULL) != NULL;
    if (good)
        memcpy(out, full, out_len);
    OPENSSL_cleanse(full, sizeof(full));
    return good;
}

/* P_hash (RFC 5246, section 5). `seed` begins with room for one hash, `seed_len` counts what follows it. */
static bool expand_12(const EVP_MD *hash, const uint8_t *master, uint8_t *seed, size_t seed_len, uint8_t *out,
                      size_t out_len)
{
    size_t hash_len = (size_t)EVP_MD_get_size(hash);
    uint8_t *text = seed + EVP_MAX_MD_SIZE, *chained = text - hash_len, full[EVP_MAX_MD_SIZE];
    bool good = HMAC(hash, master, (int)MASTER_BYTES, text, seed_len, chained, NULL) != NULL;

    for (size_t done = 0; good && done < out_len; done += hash_len) {
        size_t step = out_len - done < hash_len ? out_len - done : hash_len;

        good = HMAC(hash, master, (int)MASTER_BYTES, chained, hash_len + seed_len, full, NULL) != NULL;
        memcpy(out + done, full, step);
        good = good && HMAC(hash, master, (int)MASTER_BYTES, chained, hash_len, full, NULL) != NULL;
        memcpy(chained, full, hash_len);
    }
    OPENSSL_cleanse(full, sizeof(full));
    return good;
}

static bool rekey_13(struct tls_records *records, struct direction *direction, const EVP_CIPHER *cipher, bool reading)
{
    uint8_t key[KEY_MAX];
    bool good = expand_label(direction->secret, direction->secret_len, "key", key, records->key_len) &&
                expand_label(direction->secret, direction->secret_len, "iv", direction->iv, IV_BYTES) &&
                EVP_CipherInit_ex(direction->cipher, cipher, NULL, key, NULL, reading ? 0 : 1) == 1;

    direction->sequence = direction->blocks = 0;
    OPENSSL_cleanse(key, sizeof(key));
    return good;
}

bool tls_records_update(struct tls_records *records, bool reading)
{
    struct direction *direction = reading ? &records->in : &records->out;

    return expand_label(direction->secret, direction->secret_len, "traffic upd", direction->secret,
                        direction->secret_len) &&
           rekey_13(records, direction, NULL, reading);
}

/* The key block (RFC 5246, 6.3): the client's key, ours, the client's IV, ours. */
static bool begin_12(struct tls_records *records, SSL *ssl, const EVP_CIPHER *cipher)
{
    static const char label[] = "key expansion";
    size_t key_len = records->key_len, iv_len = records->explicit_nonce ? FIXED_IV_BYTES : IV_BYTES;
    uint8_t seed[EVP_MAX_MD_SIZE + sizeof(label) - 1 + 2 * SSL3_RANDOM_SIZE], *text = seed + EVP_MAX_MD_SIZE;
    uint8_t block[2 * (KEY_MAX + IV_BYTES)], master[MASTER_BYTES];
    const EVP_MD *hash = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    bool good = hash != NULL && !records->in.unclear && !records->out.unclear && records->in.sequence > 0 &&
                records->out.sequence > 0 &&
                SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master)) == sizeof(master);

    memcpy(text, label, sizeof(label) - 1);
    SSL_get_server_random(ssl, text + sizeof(label) - 1, SSL3_RANDOM_SIZE);
    SSL_get_client_random(ssl, text + sizeof(label) - 1 + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
    good = good &&
           expand_12(hash, master, seed, sizeof(label) - 1 + 2 * SSL3_RANDOM_SIZE, block, 2 * (key_len + iv_len));
    if (good) {
        memcpy(records->in.iv, block + 2 * key_len, iv_len);
        memcpy(records->out.iv, block + 2 * key_len + iv_len, iv_len);
        good = EVP_CipherInit_ex(records->in.cipher, cipher, NULL, block, NULL, 0) == 1 &&
               EVP_CipherInit_ex(records->out.cipher, cipher, NULL, block + key_len, NULL, 1) == 1;
    }
    records->key_blocks_max *= KEY_BLOCKS_FACTOR_12;
    OPENSSL_cleanse(seed, sizeof(seed));
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(master, sizeof(master));
    return good;
}

static const EVP_CIPHER *cipher_of(const SSL *ssl)
{
    switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
    case NID_aes_128_gcm: return EVP_aes_128_gcm();
    case NID_aes_256_gcm: return EVP_aes_256_gcm();
    case NID_chacha20_poly1305: return EVP_chacha20_poly1305();
    default: return NULL;
    }
}

static bool begin_13(struct tls_records *records, const SSL *ssl, const EVP_CIPHER *cipher, uint64_t records_sent)
{
    const EVP_MD *hash = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    bool good = hash != NULL && !records->out.unclear && records->in.secret_len == EVP_MD_get_size(hash) &&
                records->out.secret_len == EVP_MD_get_size(hash) && rekey_13(records, &records->in, cipher, true) &&
                rekey_13(records, &records->out, cipher, false);

    records->out.sequence = records_sent;
    return good;
}

bool tls_records_begin(struct tls_records *records, SSL *ssl, uint64_t records_sent)
{
    const EVP_CIPHER *cipher = cipher_of(ssl);
    uint8_t fragment = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));

    if (cipher == NULL || SSL_version(ssl) < TLS1_2_VERSION || SSL_has_pending(ssl) == 1)
        return false;
    records->tls13 = SSL_version(ssl) == TLS1_3_VERSION;
    records->explicit_nonce = !records->tls13 && EVP_CIPHER_get_nid(cipher) != NID_chacha20_poly1305;
    records->key_len = (uint8_t)EVP_CIPHER_get_key_length(cipher);
    records->fragment_max = fragment < TLSEXT_max_fragment_length_512 || fragment > TLSEXT_max_fragment_length_4096
                                ? RECORD_PLAIN_MAX
                                : (uint16_t)(256u << fragment);
    records->in.cipher = EVP_CIPHER_CTX_new();
    records->out.cipher = EVP_CIPHER_CTX_new();
    if (records->in.cipher == NULL || records->out.cipher == NULL)
        return false;
    return records->tls13 ? begin_13(records, ssl, cipher, records_sent) : begin_12(records, ssl, cipher);
}

/* ---- Records */

static void put_u64(uint8_t *out, uint64_t number)
{
    for (int i = 7; i >= 0; i--) {
        out[i] = (uint8_t)number;
        number >>= 8;
    }
}

/* `explicit_part`: the eight bytes that go with the record, where there are such. */
static void make_nonce(const struct tls_records *records, const struct direction *direction,
                       const uint8_t *explicit_part, uint8_t nonce[IV_BYTES])
{
    uint8_t number[8];

    memcpy(nonce, direction->iv, IV_BYTES);
    if (records->explicit_nonce) {
        memcpy(nonce + FIXED_IV_BYTES, explicit_part, EXPLICIT_BYTES);
        return;
    }
    put_u64(number, direction->sequence);
    for (size_t i = 0; i < 8; i++)
        nonce[IV_BYTES - 8 + i] ^= number[i];
}

/* What is signed with the record: its header, in 1.2 with number and length of the plaintext. */
static int make_signed(const struct tls_records *records, const struct direction *direction, const uint8_t *header,
                       size_t plain_len, uint8_t text[13])
{
    if (records->tls13) {
        memcpy(text, header, RECORD_HEADER);
        return RECORD_HEADER;
    }
    put_u64(text, direction->sequence);
    memcpy(text + 8, header, 3);
    text[11] = (uint8_t)(plain_len >> 8);
    text[12] = (uint8_t)plain_len;
    return 13;
}

size_t tls_records_seal(struct tls_records *records, enum tls_record_type type, const uint8_t *plain, size_t len,
                        uint8_t *out)
{
    struct direction *direction = &records->out;
    size_t prefix = records->explicit_nonce ? EXPLICIT_BYTES : 0;
    size_t body = prefix + len + (records->tls13 ? 1 : 0) + TAG_BYTES;
    uint8_t *at = out + RECORD_HEADER + prefix, nonce[IV_BYTES], text[13];
    const uint8_t inner_type = (uint8_t)type;
    int count, text_len;
    bool good;

    if (!records->tls13 && tls_records_key_is_used_up(records, false))
        return 0; /* 1.3 changes it before; one with a few blocks more is no harm */
    out[0] = records->tls13 ? TLS_RECORD_DATA : inner_type;
    out[1] = out[2] = 3;
    out[3] = (uint8_t)(body >> 8);
    out[4] = (uint8_t)body;
    if (records->explicit_nonce)
        put_u64(out + RECORD_HEADER, direction->next_explicit++);
    make_nonce(records, direction, out + RECORD_HEADER, nonce);
    text_len = make_signed(records, direction, out, len, text);
    good = EVP_EncryptInit_ex(direction->cipher, NULL, NULL, NULL, nonce) == 1 &&
           EVP_EncryptUpdate(direction->cipher, NULL, &count, text, text_len) == 1 &&
           EVP_EncryptUpdate(direction->cipher, at, &count, plain, (int)len) == 1;
    at += len;
    if (good && records->tls13)
        good = EVP_EncryptUpdate(direction->cipher, at++, &count, &inner_type, 1) == 1;
    good = good && EVP_EncryptFinal_ex(direction->cipher, at, &count) == 1 &&
           EVP_CIPHER_CTX_ctrl(direction->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at) == 1;
    direction->sequence++;
    direction->blocks += len / BLOCK_BYTES + 2;
    return good ? RECORD_HEADER + body : 0;
}

static bool decrypt(struct direction *direction, const uint8_t *nonce, const uint8_t *text, int text_len,
                    const uint8_t *cipher_text, size_t len, uint8_t *out)
{
    uint8_t tag[TAG_BYTES];
    int count;

    memcpy(tag, cipher_text + len, TAG_BYTES);
    return EVP_DecryptInit_ex(direction->cipher, NULL, NULL, NULL, nonce) == 1 &&
           EVP_CIPHER_CTX_ctrl(direction->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
           EVP_DecryptUpdate(direction->cipher, NULL, &count, text, text_len) == 1 &&
           (len == 0 || EVP_DecryptUpdate(direction->cipher, out, &count, cipher_text, (int)len) == 1) &&
           EVP_DecryptFinal_ex(direction->cipher, out + len, &count) == 1;
}

int tls_records_open(struct tls_records *records, uint8_t *record, size_t record_len, uint8_t *out,
                     enum tls_record_type *out_type, uint8_t **out_plain, size_t *out_len)
{
    struct direction *direction = &records->in;
    uint8_t *body = record + RECORD_HEADER;
    size_t body_len = record_len - RECORD_HEADER, prefix = records->explicit_nonce ? EXPLICIT_BYTES : 0, len;
    uint8_t nonce[IV_BYTES], text[13], type = record[0];
    int text_len;

    if (body_len > (records->tls13 ? CIPHER_TEXT_MAX_13 : CIPHER_TEXT_MAX_12))
        return SSL_AD_RECORD_OVERFLOW;
    if (records->tls13 && type != TLS_RECORD_DATA)
        return SSL_AD_UNEXPECTED_MESSAGE;
    if (!records->tls13 && record[2] != 3) /* 1.3 does not look */
        return SSL_AD_PROTOCOL_VERSION;
    if (body_len < prefix + TAG_BYTES)
        return SSL_AD_BAD_RECORD_MAC;
    len = body_len - prefix - TAG_BYTES;
    out = out == NULL ? body + prefix : out;
    make_nonce(records, direction, body, nonce);
    text_len = make_signed(records, direction, record, len, text);
    if (!decrypt(direction, nonce, text, text_len, body + prefix, len, out))
        return SSL_AD_BAD_RECORD_MAC;
    direction->sequence++;
    direction->blocks += len / BLOCK_BYTES + 2;
    if (len > RECORD_PLAIN_MAX + (records->tls13 ? 1 : 0)) /* with its padding [RFC 8446, 5.4] */
        return SSL_AD_RECORD_OVERFLOW;
    if (records->tls13) {
        while (len > 0 && out[len - 1] == 0) /* padding */
            len--;
        if (len == 0)
            return SSL_AD_UNEXPECTED_MESSAGE; /* no type [RFC 8446, 5.4] */
        type = out[--len];
    }
    if (len > records->fragment_max) /* also what was agreed on [RFC 6066, section 4] */
        return SSL_AD_RECORD_OVERFLOW;
    if (type < TLS_RECORD_ALERT || type > TLS_RECORD_DATA || (len == 0 && type != TLS_RECORD_DATA))
        return SSL_AD_UNEXPECTED_MESSAGE;
    *out_type = (enum tls_record_type)type;
    *out_plain = out;
    *out_len = len;
    return 0;
}
