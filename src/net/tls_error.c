/*
 * tls_error: why a handshake or connection failed, in plain words with OpenSSL's reason behind them.
 */
#include "net/tls_internal.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#define ABOUT_TEXT_MAX 256u /* what is longer is cut */

struct words {
    int code;
    const char *text;
};

static const struct words verify_words[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "the client's certificate has expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "the client's certificate is not valid yet"},
    {X509_V_ERR_CERT_REVOKED, "the client's certificate is revoked"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "the client's certificate is self-signed"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
     "the client's certificate is of an unknown CA (its chain ends in a self-signed "
     "certificate that is not in cacertfile)"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "the client's certificate is of an unknown CA"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "the client's certificate is of an unknown CA"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "the client's certificate is of an unknown CA"},
    {X509_V_ERR_UNABLE_TO_GET_CRL, "crl_file has no CRL of the issuer of the client's certificate"},
    {X509_V_ERR_CRL_HAS_EXPIRED, "the CRL of the issuer of the client's certificate is out of date"},
    {X509_V_ERR_CRL_NOT_YET_VALID, "the CRL of the issuer of the client's certificate is not valid yet"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "the signature of the client's certificate is wrong"},
    {X509_V_ERR_INVALID_PURPOSE, "the client's certificate is not made for clients"},
    {X509_V_ERR_CERT_CHAIN_TOO_LONG, "the chain of the client's certificate is too long"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, "the key of the client's certificate is too short"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, "the key of a CA of the client's certificate is too short"},
    {X509_V_ERR_CA_MD_TOO_WEAK, "the client's certificate is signed with a hash that is too weak"},
};

static const struct words reason_words[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the client sent no certificate"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no cipher or way to sign in common"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "no group for the key exchange in common"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "no version of TLS in common"},
    {SSL_R_VERSION_TOO_LOW, "no version of TLS in common"},
    {SSL_R_INAPPROPRIATE_FALLBACK, "the client fell back to a lower version of TLS although it need not"},
    {SSL_R_HTTP_REQUEST, "not TLS at all (an HTTP request?)"},
    {SSL_R_HTTPS_PROXY_REQUEST, "not TLS at all (a request to an HTTP proxy?)"},
    {SSL_R_PSK_IDENTITY_NOT_FOUND, "the client's PSK identity is unknown"},
    {SSL_R_BINDER_DOES_NOT_VERIFY, "the client has another pre-shared key than the broker"},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, "the client's certificate is not accepted"},
    {SSL_R_BAD_SIGNATURE, "the client does not have the key of its certificate"},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, "the client's message is too long"},
    {SSL_R_CCS_RECEIVED_EARLY, "the client breaks the protocol"},
    {SSL_R_UNEXPECTED_MESSAGE, "the client breaks the protocol"},
    {SSL_R_LENGTH_MISMATCH, "the client breaks the protocol"},
};

static const struct words alert_words[] = {
    {SSL3_AD_BAD_CERTIFICATE, "it does not accept our certificate"},
    {SSL3_AD_UNSUPPORTED_CERTIFICATE, "it cannot use our certificate"},
    {SSL3_AD_CERTIFICATE_REVOKED, "it holds our certificate for revoked"},
    {SSL3_AD_CERTIFICATE_EXPIRED, "it holds our certificate for expired"},
    {SSL3_AD_CERTIFICATE_UNKNOWN, "it does not accept our certificate"},
    {TLS1_AD_UNKNOWN_CA, "it does not know the CA of our certificate"},
    {SSL3_AD_HANDSHAKE_FAILURE, "nothing in common"},
    {TLS1_AD_PROTOCOL_VERSION, "no version of TLS in common"},
    {TLS1_AD_DECRYPT_ERROR, "it has another key than we"},
    {TLS1_AD_USER_CANCELLED, "its user gave up"},
};

static const char *words_of(const struct words *words, size_t count, int code)
{
    for (size_t i = 0; i < count; i++) {
        if (words[i].code == code)
            return words[i].text;
    }
    return NULL;
}

/* What the client said is no record of TLS. */
static const char *describe_other_protocol(uint8_t first_byte)
{
    if (first_byte == 0x10)
        return "not TLS at all (a plain MQTT client?)";
    if (first_byte >= 'A' && first_byte <= 'Z')
        return "not TLS at all (an HTTP request?)";
    if (first_byte < SSL3_RT_CHANGE_CIPHER_SPEC || first_byte > SSL3_RT_APPLICATION_DATA)
        return "not TLS at all";
    return "no version of TLS in common";
}

static void describe_alert(SSL *ssl, int alert, char out_text[TLS_ERROR_MAX])
{
    const char *plain = words_of(alert_words, ARRAY_COUNT(alert_words), alert);

    snprintf(out_text, TLS_ERROR_MAX, "the client ended the %s with the alert \"%s\"%s%s",
             SSL_is_init_finished(ssl) ? "connection" : "handshake", SSL_alert_desc_string_long(alert),
             plain == NULL ? "" : ": ", plain == NULL ? "" : plain);
}

/* Nobody has the identity that the client named; OpenSSL then complains that there is no certificate either (TLS 1.3). */
static bool describe_identity(SSL *ssl, int reason, char out_text[ABOUT_TEXT_MAX])
{
    struct slice identity = tls_psk_unknown(ssl);

    if (identity.data == NULL || (reason != SSL_R_PSK_IDENTITY_NOT_FOUND && reason != SSL_R_NO_SHARED_CIPHER &&
                                  reason != SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM))
        return false;
    snprintf(out_text, ABOUT_TEXT_MAX, "; identity: %.*s", (int)identity.len, (const char *)identity.data);
    return true;
}

void tls_describe_failure(SSL *ssl, uint8_t first_byte, const char *refused, char out_text[TLS_ERROR_MAX])
{
    unsigned long code = ERR_peek_error(); /* the first one is the cause */
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code), *plain = NULL, *detail;
    long verified = SSL_get_verify_result(ssl);
    char about[ABOUT_TEXT_MAX];

    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
        describe_alert(ssl, reason - SSL_AD_REASON_OFFSET, out_text);
        ERR_clear_error();
        return;
    }
    detail = text == NULL ? "unknown reason" : text;
    about[0] = '\0';
    if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
        plain = words_of(reason_words, ARRAY_COUNT(reason_words), reason);
        if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_UNKNOWN_PROTOCOL ||
            reason == SSL_R_BAD_RECORD_TYPE || reason == SSL_R_PACKET_LENGTH_TOO_LONG)
            plain = describe_other_protocol(first_byte);
        if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK) {
            const char *why = words_of(verify_words, ARRAY_COUNT(verify_words), (int)verified);
            plain = why == NULL ? plain : why;
            detail = X509_verify_cert_error_string(verified);
        }
        if (describe_identity(ssl, reason, about))
            plain = "the client's PSK identity is unknown";
        if (reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC && !SSL_is_init_finished(ssl))
            plain = "what the client sent cannot be decrypted (another pre-shared key?)";
    }
    snprintf(out_text, TLS_ERROR_MAX, "%s%s%s (OpenSSL: %s%s)", plain == NULL ? "TLS failed" : plain,
             refused == NULL ? "" : ": ", refused == NULL ? "" : refused, detail, about);
    ERR_clear_error();
}
