/*
 * tls_file: the files of a TLS context: reading them, and saying what is wrong with them.
 *
 * A file is read once into memory and parsed from there, so that what is watched (tls_context_files_changed()) is what was used.
 */
#include "net/tls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int tls_fail(struct tls_loader *loader, int err, const char *key, const char *format, ...)
{
    int used = snprintf(loader->error, TLS_ERROR_MAX, "%s.%s: ", loader->options->key_prefix, key);
    va_list arguments;

    if (used < 0 || used >= (int)TLS_ERROR_MAX)
        return err;
    va_start(arguments, format);
    vsnprintf(loader->error + used, TLS_ERROR_MAX - (size_t)used, format, arguments);
    va_end(arguments);
    return err;
}

void tls_note(struct tls_loader *loader, const char *key, const char *format, ...)
{
    char *notes = loader->files->notes;
    size_t used = strlen(notes);
    va_list arguments;

    used += (size_t)snprintf(notes + used, TLS_NOTES_MAX - used, "%s%s.%s: ", used == 0 ? "" : "\n",
                             loader->options->key_prefix, key);
    if (used >= TLS_NOTES_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(notes + used, TLS_NOTES_MAX - used, format, arguments);
    va_end(arguments);
}

const char *tls_openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return reason == NULL ? "unknown reason" : reason;
}

static int watch(struct tls_files *files, const char *path, const struct stat *seen)
{
    struct tls_watched_file *grown = realloc(files->watched, (files->watched_count + 1) * sizeof(*grown));

    if (grown == NULL)
        return -ENOMEM;
    files->watched = grown;
    grown[files->watched_count] = (struct tls_watched_file){.path = strdup(path), .seen = *seen};
    if (grown[files->watched_count].path == NULL)
        return -ENOMEM;
    files->watched_count++;
    return 0;
}

/* Reads `size` bytes; what was added to the file since is not there, what was cut off makes it shorter. */
static int read_all(int fd, size_t size, char **out_text, size_t *out_len)
{
    char *text = OPENSSL_malloc(size + 1);
    size_t len = 0;

    if (text == NULL)
        return -ENOMEM;
    while (len < size) {
        ssize_t got = read(fd, text + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int err = -errno;
            OPENSSL_clear_free(text, size + 1);
            return err;
        }
        if (got == 0)
            break;
        len += (size_t)got;
    }
    memset(text + len, 0, size + 1 - len);
    *out_text = text;
    *out_len = len;
    return 0;
}

static int read_open_file(struct tls_loader *loader, const char *key, const char *path, int fd, char **out_text,
                          size_t *out_len)
{
    struct stat seen;
    int err;

    if (fd < 0 || fstat(fd, &seen) < 0)
        return tls_fail(loader, -errno, key, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(seen.st_mode))
        return tls_fail(loader, -EINVAL, key, "%s is not a file", path);
    if (seen.st_size > (off_t)TLS_FILE_BYTES_MAX)
        return tls_fail(loader, -EINVAL, key, "%s has more than %u bytes", path, TLS_FILE_BYTES_MAX);
    if (watch(loader->files, path, &seen) < 0)
        return tls_fail(loader, -ENOMEM, key, "no memory for %s", path);
    err = read_all(fd, (size_t)seen.st_size, out_text, out_len);
    return err < 0 ? tls_fail(loader, err, key, "cannot read %s: %s", path, strerror(-err)) : 0;
}

static int open_and_read(struct tls_loader *loader, const char *key, const char *path, char **out_text, size_t *out_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not keep us waiting */
    int err = read_open_file(loader, key, path, fd, out_text, out_len);

    if (fd >= 0)
        close(fd);
    return err;
}

int tls_file_read(struct tls_loader *loader, const char *key, const char *path, char **out_text, size_t *out_len)
{
    char *joined = NULL;
    int err;

    if (path[0] == '/' || loader->home == NULL)
        return open_and_read(loader, key, path, out_text, out_len);
    if (asprintf(&joined, "%s/%s", loader->home, path) < 0)
        return tls_fail(loader, -ENOMEM, key, "no memory");
    err = open_and_read(loader, key, joined, out_text, out_len);
    free(joined);
    return err;
}

/* Reads a file and puts a BIO over its content. */
static int bio_open(struct tls_loader *loader, const char *key, const char *path, char **out_text, size_t *out_len,
                    BIO **out_bio)
{
    int err = tls_file_read(loader, key, path, out_text, out_len);

    if (err < 0)
        return err;
    ASSERT(*out_text != NULL);
    ERR_clear_error();
    *out_bio = BIO_new_mem_buf(*out_text, (int)*out_len);
    if (*out_bio != NULL)
        return 0;
    OPENSSL_clear_free(*out_text, *out_len + 1);
    return tls_fail(loader, -ENOMEM, key, "no memory for %s", path);
}

static void bio_close(BIO *bio, char *text, size_t len)
{
    BIO_free(bio);
    OPENSSL_clear_free(text, len + 1);
}

/* Did reading end because no further PEM block is there? */
static bool at_end_of_pem(void)
{
    unsigned long code = ERR_peek_last_error();

    return code == 0 || (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE);
}

int tls_certificates_read(struct tls_loader *loader, const char *key, const char *path,
                          STACK_OF(X509) * *out_certificates)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    char *text = NULL;
    size_t len = 0;
    BIO *bio;
    X509 *certificate;
    int err = bio_open(loader, key, path, &text, &len, &bio);

    if (err < 0) {
        sk_X509_free(certificates);
        return err;
    }
    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (certificates == NULL || sk_X509_push(certificates, certificate) == 0) {
            X509_free(certificate);
            err = tls_fail(loader, -ENOMEM, key, "no memory");
            break;
        }
    }
    if (err == 0 && !at_end_of_pem())
        err = tls_fail(loader, -EINVAL, key, "certificate %d of %s is broken: %s", sk_X509_num(certificates) + 1, path,
                       tls_openssl_reason());
    else if (err == 0 && sk_X509_num(certificates) <= 0)
        err = tls_fail(loader, -EINVAL, key,
                       "%s holds no certificate: it must be PEM, with a line -----BEGIN CERTIFICATE-----", path);
    bio_close(bio, text, len);
    ERR_clear_error();
    if (err < 0)
        sk_X509_pop_free(certificates, X509_free);
    else
        *out_certificates = certificates;
    return err;
}

/* Whoever is asked for a passphrase has an encrypted key before him. */
static int on_passphrase(char *out, int size, int writing, void *was_asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)was_asked = true;
    return -1;
}

int tls_key_read(struct tls_loader *loader, const char *key, const char *path, EVP_PKEY **out_key)
{
    bool encrypted = false;
    char *text = NULL;
    size_t len = 0;
    BIO *bio;
    EVP_PKEY *read_key;
    int err = bio_open(loader, key, path, &text, &len, &bio);

    if (err < 0)
        return err;
    read_key = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &encrypted);
    if (read_key == NULL && encrypted)
        err = tls_fail(loader, -EINVAL, key,
                       "the key in %s is encrypted: a key without a passphrase is needed (openssl pkey -in %s -out …)",
                       path, path);
    else if (read_key == NULL && strstr(text, "PRIVATE KEY-----") == NULL)
        err = tls_fail(loader, -EINVAL, key,
                       "%s holds no private key: it must be PEM, with a line -----BEGIN PRIVATE KEY-----", path);
    else if (read_key == NULL)
        err = tls_fail(loader, -EINVAL, key, "the key in %s is broken: %s", path, tls_openssl_reason());
    bio_close(bio, text, len);
    ERR_clear_error();
    if (err == 0)
        *out_key = read_key;
    return err;
}

int tls_crls_read(struct tls_loader *loader, const char *key, const char *path)
{
    int count = 0;
    char *text = NULL;
    size_t len = 0;
    BIO *bio;
    X509_CRL *crl;
    int err = bio_open(loader, key, path, &text, &len, &bio);

    if (err < 0)
        return err;
    while (err == 0 && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        const ASN1_TIME *until = X509_CRL_get0_nextUpdate(crl);
        if (until != NULL && X509_cmp_current_time(until) < 0)
            tls_note(loader, key, "CRL %d of %s is out of date (nextUpdate): its clients will be refused", count + 1,
                     path);
        if (X509_STORE_add_crl(loader->store, crl) != 1)
            err = tls_fail(loader, -EINVAL, key, "cannot use CRL %d of %s: %s", count + 1, path, tls_openssl_reason());
        X509_CRL_free(crl);
        count++;
    }
    if (err == 0 && !at_end_of_pem())
        err = tls_fail(loader, -EINVAL, key, "CRL %d of %s is broken: %s", count + 1, path, tls_openssl_reason());
    else if (err == 0 && count == 0)
        err = tls_fail(loader, -EINVAL, key, "%s holds no CRL: it must be PEM, with a line -----BEGIN X509 CRL-----",
                       path);
    bio_close(bio, text, len);
    ERR_clear_error();
    return err;
}

int tls_dh_read(struct tls_loader *loader, const char *key, const char *path, SSL_CTX *ssl)
{
    char *text = NULL;
    size_t len = 0;
    BIO *bio;
    EVP_PKEY *parameters;
    int err = bio_open(loader, key, path, &text, &len, &bio);

    if (err < 0)
        return err;
    parameters = PEM_read_bio_Parameters(bio, NULL);
    if (parameters == NULL || !EVP_PKEY_is_a(parameters, "DH"))
        err = tls_fail(
            loader, -EINVAL, key,
            "%s holds no Diffie-Hellman parameters: it must be PEM, with a line -----BEGIN DH PARAMETERS-----", path);
    else if (SSL_CTX_set0_tmp_dh_pkey(ssl, parameters) == 1)
        parameters = NULL; /* the SSL_CTX's now */
    else
        err = tls_fail(loader, -EINVAL, key, "cannot use the parameters in %s: %s", path, tls_openssl_reason());
    EVP_PKEY_free(parameters);
    bio_close(bio, text, len);
    ERR_clear_error();
    return err;
}
