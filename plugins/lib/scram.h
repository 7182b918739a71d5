/*
 * scram: the server's side of SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): the client shows that it knows a password which the server
 * does not keep.
 *
 *   client-first   n,,n=user,r=CNONCE                     scram_read_first(); the caller looks the user up
 *   server-first   r=CNONCE SNONCE,s=SALT,i=4096          scram_challenge()
 *   client-final   c=biws,r=CNONCE SNONCE,p=PROOF         scram_finish()
 *   server-final   v=SIGNATURE
 *
 * An exchange is plain data, without pointers: the caller keeps it where it likes, and wipes it.
 *
 * Without channel binding: the flags n and y are fine, p=… is refused; so is an authorization identity that is not the user name, and any
 * mandatory extension. Of SASLprep (RFC 4013) there is what ASCII needs: control characters are refused; all else counts as it is, byte by byte,
 * and must be UTF-8. Who uses names or passwords beyond ASCII must write them in one normal form.
 *
 * A user that is not known gets a challenge like the others' (scram_fake()), and fails only at the end, after the same computations.
 * Pure: random bytes come from the caller. Thread: any.
 */
#ifndef PLUGINS_LIB_SCRAM_H
#define PLUGINS_LIB_SCRAM_H

#include <emqc/plugin.h>

enum scram_mechanism { SCRAM_SHA_256, SCRAM_SHA_512, SCRAM_MECHANISM_COUNT };

/* Longer ones are malformed, or refused. All in bytes. */
#define SCRAM_USER_NAME_MAX 255u
#define SCRAM_PASSWORD_MAX 1024u
#define SCRAM_CLIENT_FIRST_MAX 896u
#define SCRAM_CLIENT_NONCE_MAX 128u
#define SCRAM_SALT_MAX 32u
#define SCRAM_SERVER_FIRST_MAX 256u
#define SCRAM_SERVER_FINAL_MAX 96u
#define SCRAM_KEY_MAX 64u /* of SHA-512 */

#define SCRAM_SALT_BYTES 16u  /* of new credentials, and of those that are not there */
#define SCRAM_NONCE_BYTES 18u /* of ours: 24 characters */
#define SCRAM_SECRET_BYTES 32u
#define SCRAM_ITERATIONS_MIN 4096u /* RFC 7677, section 4 */
#define SCRAM_ITERATIONS_MAX 10000000u

/* What is kept of a password for one mechanism. */
struct scram_credentials {
    enum scram_mechanism mechanism;
    uint32_t iterations;
    size_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_MAX];
    uint8_t server_key[SCRAM_KEY_MAX];
};

/* Zero at first. Private to scram.c. */
struct scram_exchange {
    struct scram_credentials credentials;
    uint16_t client_first_len, bare_at; /* the message without its GS2 header begins there */
    uint16_t client_nonce_at, client_nonce_len;
    uint16_t server_first_len, user_name_len;
    uint8_t mechanism; /* enum scram_mechanism */
    uint8_t is_known;  /* there is such a user */
    uint8_t phase;     /* 0: nothing has come; 1: client-first; 2: server-first has gone */
    char user_name[SCRAM_USER_NAME_MAX];
    char client_first[SCRAM_CLIENT_FIRST_MAX];
    char server_first[SCRAM_SERVER_FIRST_MAX];
};

/* "SCRAM-SHA-256", ... */
const char *scram_name(enum scram_mechanism mechanism);
/* False: another method. */
bool scram_find(struct emqc_slice name, enum scram_mechanism *out_mechanism);
/* Bytes of its keys. */
size_t scram_key_bytes(enum scram_mechanism mechanism);

/* UTF-8 without control characters, not empty, at most `len_max` bytes? */
bool scram_text_fits(struct emqc_slice text, size_t len_max);
/* Computes credentials, which takes long on purpose: no worker's work. -EINVAL: password, salt or iterations are against the limits; -EIO: OpenSSL
 * cannot. */
int scram_derive(enum scram_mechanism mechanism, struct emqc_slice password, struct emqc_slice salt,
                 uint32_t iterations, struct scram_credentials *out_credentials);
/* Credentials for a name that has none: always the same for the same secret. -EIO. */
int scram_fake(enum scram_mechanism mechanism, const uint8_t secret[SCRAM_SECRET_BYTES], struct emqc_slice user_name,
               uint32_t iterations, struct scram_credentials *out_credentials);

/* Takes client-first. -EINVAL: malformed, or not what this server offers; `*out_why` (static) says what. */
int scram_read_first(struct scram_exchange *exchange, enum scram_mechanism mechanism, struct emqc_slice message,
                     const char **out_why);
/* Of client-first, without its escapes. Valid while the exchange is. */
struct emqc_slice scram_user_name(const struct scram_exchange *exchange);
/* Makes server-first, which is valid while the exchange is, of the user's credentials, or of scram_fake()'s (`is_known` false). */
struct emqc_slice scram_challenge(struct scram_exchange *exchange, const struct scram_credentials *credentials,
                                  bool is_known, struct emqc_slice server_nonce);
/* Looks at client-final and makes server-final, text with its zero. -EINVAL: malformed; -EACCES: the client does not know the password, or the user
 * is not known: which of the two is not to be told; -EIO. `*out_why` as above. */
int scram_finish(struct scram_exchange *exchange, struct emqc_slice message,
                 char out_server_final[SCRAM_SERVER_FINAL_MAX], const char **out_why);

/* Standard base64 (RFC 4648, section 4) with padding. */
/* Writes 4 * ceil(bytes.len / 3) characters and a zero; gives their count. */
size_t scram_base64_encode(struct emqc_slice bytes, char *out_text);
/* Gives the count of bytes, at most `size`; -1: not base64 as it must be, or too long. */
int scram_base64_decode(struct emqc_slice text, uint8_t *out_bytes, size_t size);

#endif
