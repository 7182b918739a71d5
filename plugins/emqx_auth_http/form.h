/*
 * form: the parameters of a request, as auth.http.*.params has them: clientid=%c,username=%u,key=x.
 *
 * They are parsed and encoded (application/x-www-form-urlencoded) once; a request has the client's facts put in. Pure.
 */
#ifndef EMQX_AUTH_HTTP_FORM_H
#define EMQX_AUTH_HTTP_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include <emqc/plugin.h>

/* What a parameter can stand for. */
enum form_fact {
    FORM_USER_NAME,   /* %u */
    FORM_CLIENT_ID,   /* %c */
    FORM_PEER,        /* %a */
    FORM_PASSWORD,    /* %P */
    FORM_COMMON_NAME, /* %C */
    FORM_SUBJECT,     /* %d */
    FORM_LOCAL_PORT,  /* %l */
    FORM_MOUNTPOINT,  /* %m */
    FORM_ACCESS,      /* %A; of ACL requests, as the next: elsewhere the two are plain text */
    FORM_TOPIC,       /* %t */
    FORM_FACT_COUNT
};

/* What a client has not is empty. */
struct form_facts {
    struct emqc_slice values[FORM_FACT_COUNT];
};

struct form; /* opaque; constant once it is made */

/* Parses `text`: parameters with commas between, each NAME=VALUE. A value that is a placeholder and nothing else stands for the client's fact; all
 * else is sent as it is. A backslash before , = % or \ takes its meaning away. Returns NULL and a form, or what is wrong, as half a sentence (static). */
const char *form_parse(const char *text, bool is_acl, struct form **out_form);
/* NULL is fine. */
void form_free(struct form *form);

/* Bytes of form_write(). */
size_t form_bytes(const struct form *form, const struct form_facts *facts);
/* Writes the parameters, encoded: letters, digits, - . _ as they are, a blank as +, other bytes as %XX. Not terminated. Returns the end. */
char *form_write(const struct form *form, const struct form_facts *facts, char *out);

#endif
