/*
 * tls_peer: who the client is by its certificate, as a user name.
 */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

static struct slice bio_content(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);

    return slice_make(data, len < 0 ? 0 : (size_t)len);
}

/* All common names, joined with commas, as UTF-8. */
static bool write_common_names(BIO *bio, const X509_NAME *subject)
{
    int at = -1;
    bool first = true;

    while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
        unsigned char *text = NULL;
        int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        bool good = len >= 0 && (first || BIO_write(bio, ",", 1) == 1) &&
                    (len == 0 || BIO_write(bio, text, len) == len);

        OPENSSL_free(text);
        if (!good)
            return false;
        first = false;
    }
    return !first;
}

/* RFC 4514: the most specific part first, everything that is not printable ASCII as \XX. */
static bool write_subject(BIO *bio, const X509_NAME *subject)
{
    return X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253) > 0;
}

bool tls_layer_peer_name(const struct stream_layer *layer, enum tls_name kind, struct buffer *out)
{
    X509 *certificate;
    BIO *bio;
    bool good;

    while (layer != NULL && layer->ops != &tls_layer_ops)
        layer = layer->below;
    certificate = layer == NULL ? NULL : tls_layer_peer(layer);
    bio = certificate == NULL ? NULL : BIO_new(BIO_s_mem());
    if (bio == NULL) {
        X509_free(certificate);
        return false;
    }
    if (kind == TLS_NAME_CN)
        good = write_common_names(bio, X509_get_subject_name(certificate));
    else if (kind == TLS_NAME_DN)
        good = write_subject(bio, X509_get_subject_name(certificate));
    else
        good = i2d_X509_bio(bio, certificate) == 1;
    struct slice name = bio_content(bio);
    /* No MQTT text holds U+0000; a name cut there would be somebody else's. */
    if (good && kind != TLS_NAME_CRT)
        good = name.len > 0 && memchr(name.data, '\0', name.len) == NULL;
    good = good && buffer_append(out, name) == 0;
    BIO_free(bio);
    X509_free(certificate);
    ERR_clear_error();
    return good;
}
