/*
 * tls_ocsp: OCSP stapling (RFC 6066, section 8) of a response that somebody keeps fresh in a file.
 *
 * A response that is not about our certificate, says anything but good or is not signed by the issuer is refused when it is
 * loaded. One that is out of date is not stapled; the file is read again when it changes.
 */
#include "net/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <string.h>
#include <time.h>

#define CLOCK_SKEW_S 300 /* by how much the responder's clock may be ahead */

static const char *const key_name = "ocsp_file";

int64_t tls_time_s(const ASN1_TIME *time)
{
    struct tm parts;

    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static int on_status_request(SSL *ssl, void *context)
{
    const struct tls_files *files = context;
    uint8_t *copy;

    if (files->ocsp == NULL || time(NULL) >= files->ocsp_until_s)
        return SSL_TLSEXT_ERR_NOACK;
    copy = OPENSSL_memdup(files->ocsp, files->ocsp_len);
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)files->ocsp_len); /* takes the copy */
    return SSL_TLSEXT_ERR_OK;
}

static X509 *issuer_in(STACK_OF(X509) * certificates, X509 *subject)
{
    for (int i = 0; certificates != NULL && i < sk_X509_num(certificates); i++) {
        X509 *candidate = sk_X509_value(certificates, i);
        if (X509_check_issued(candidate, subject) == X509_V_OK)
            return candidate;
    }
    return NULL;
}

static bool signed_by_issuer(OCSP_BASICRESP *basic, STACK_OF(X509) * chain, X509 *issuer)
{
    X509_STORE *store = X509_STORE_new();
    bool good = store != NULL && X509_STORE_add_cert(store, issuer) == 1 &&
                X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
                OCSP_basic_verify(basic, chain, store, 0) == 1;

    X509_STORE_free(store);
    return good;
}

/* Is the response good news about `subject`? Sets until when. */
static int check_basic(struct tls_loader *loader, const char *path, OCSP_BASICRESP *basic, STACK_OF(X509) * chain)
{
    X509 *subject = sk_X509_value(chain, 0);
    X509 *issuer = issuer_in(chain, subject);
    OCSP_CERTID *id;
    int status, reason, found;
    ASN1_GENERALIZEDTIME *revoked_at, *from, *until = NULL;

    if (issuer == NULL)
        issuer = issuer_in(loader->authorities, subject);
    if (issuer == NULL)
        return tls_fail(loader, -EINVAL, key_name,
                        "cannot check %s: the issuer of our certificate is neither in certfile nor in cacertfile",
                        path);
    id = OCSP_cert_to_id(NULL, subject, issuer);
    found = id == NULL ? 0 : OCSP_resp_find_status(basic, id, &status, &reason, &revoked_at, &from, &until);
    OCSP_CERTID_free(id);
    if (found != 1)
        return tls_fail(loader, -EINVAL, key_name, "the response in %s is not about the certificate of certfile", path);
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return tls_fail(loader, -EINVAL, key_name, "%s says about our certificate: %s", path,
                        OCSP_cert_status_str(status));
    if (!signed_by_issuer(basic, chain, issuer))
        return tls_fail(loader, -EINVAL, key_name, "the response in %s is not signed by our certificate's issuer: %s",
                        path, tls_openssl_reason());
    if (OCSP_check_validity(from, NULL, CLOCK_SKEW_S, -1) != 1)
        return tls_fail(loader, -EINVAL, key_name, "the response in %s is not valid yet: %s", path,
                        tls_openssl_reason());
    loader->files->ocsp_until_s = until == NULL ? INT64_MAX : tls_time_s(until);
    if (loader->files->ocsp_until_s <= time(NULL))
        tls_note(loader, key_name, "the response in %s is out of date (nextUpdate) and not stapled", path);
    return 0;
}

static int check(struct tls_loader *loader, const char *path, OCSP_RESPONSE *response, STACK_OF(X509) * chain)
{
    OCSP_BASICRESP *basic;
    int err;

    if (response == NULL)
        return tls_fail(loader, -EINVAL, key_name, "%s holds no OCSP response in DER form: %s", path,
                        tls_openssl_reason());
    if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        return tls_fail(loader, -EINVAL, key_name, "the responder's answer in %s is an error: %s", path,
                        OCSP_response_status_str(OCSP_response_status(response)));
    basic = OCSP_response_get1_basic(response);
    if (basic == NULL)
        return tls_fail(loader, -EINVAL, key_name, "%s: %s", path, tls_openssl_reason());
    err = check_basic(loader, path, basic, chain);
    OCSP_BASICRESP_free(basic);
    return err;
}

int tls_ocsp_load(struct tls_loader *loader, SSL_CTX *ssl, STACK_OF(X509) * chain)
{
    const char *path = loader->options->ocsp_file;
    OCSP_RESPONSE *response;
    const unsigned char *at;
    char *text;
    size_t len;
    int err = tls_file_read(loader, key_name, path, &text, &len);

    if (err < 0)
        return err;
    ERR_clear_error();
    at = (const unsigned char *)text;
    response = d2i_OCSP_RESPONSE(NULL, &at, (long)len);
    err = check(loader, path, response, chain);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    if (err < 0) {
        OPENSSL_free(text);
        return err;
    }
    loader->files->ocsp = (uint8_t *)text;
    loader->files->ocsp_len = len;
    SSL_CTX_set_tlsext_status_cb(ssl, on_status_request);
    SSL_CTX_set_tlsext_status_arg(ssl, loader->files);
    return 0;
}
