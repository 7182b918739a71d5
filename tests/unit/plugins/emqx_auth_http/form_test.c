/*
 * Behaviour of the parameters of a request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "form.h"

static struct emqc_slice text(const char *data)
{
    return (struct emqc_slice){data, strlen(data)};
}

static struct form_facts a_client(void)
{
    struct form_facts facts = {0};

    facts.values[FORM_USER_NAME] = text("anna");
    facts.values[FORM_CLIENT_ID] = text("c 1");
    facts.values[FORM_PEER] = text("::1");
    facts.values[FORM_PASSWORD] = text("p&=%");
    facts.values[FORM_COMMON_NAME] = text("cn");
    facts.values[FORM_SUBJECT] = text("CN=cn");
    facts.values[FORM_LOCAL_PORT] = text("1883");
    facts.values[FORM_MOUNTPOINT] = text("m/");
    facts.values[FORM_ACCESS] = text("2");
    facts.values[FORM_TOPIC] = text("a/+/#");
    return facts;
}

static void becomes(const char *parameters, bool is_acl, const struct form_facts *facts, const char *expected)
{
    struct form *form = NULL;
    char out[512];

    assert_null(form_parse(parameters, is_acl, &form));
    size_t bytes = form_bytes(form, facts);
    assert_true(bytes < sizeof(out));
    assert_ptr_equal(form_write(form, facts, out), out + bytes);
    out[bytes] = '\0';
    assert_string_equal(out, expected);
    form_free(form);
}

static void each_placeholder_stands_for_its_fact(void **state)
{
    struct form_facts facts = a_client();

    (void)state;
    becomes("u=%u,c=%c,a=%a,P=%P,C=%C,d=%d,l=%l,m=%m,A=%A,t=%t", true, &facts,
            "u=anna&c=c+1&a=%3A%3A1&P=p%26%3D%25&C=cn&d=CN%3Dcn&l=1883&m=m%2F&A=2&t=a%2F%2B%2F%23");
}

static void topic_and_access_are_facts_of_acl_requests_only(void **state)
{
    struct form_facts facts = a_client();

    (void)state;
    becomes("A=%A,t=%t,m=%m", false, &facts, "A=%25A&t=%25t&m=m%2F");
}

static void what_the_client_has_not_is_empty(void **state)
{
    struct form_facts nothing = {0};

    (void)state;
    becomes("clientid=%c,username=%u,password=%P", false, &nothing, "clientid=&username=&password=");
}

static void only_a_whole_value_is_a_placeholder(void **state)
{
    struct form_facts facts = a_client();

    (void)state;
    becomes("a=x%u,b=%u%c,c=%r,d=%,e=%%u,f= %u", false, &facts, "a=x%25u&b=%25u%25c&c=%25r&d=%25&e=%25%25u&f=+%25u");
}

static void values_are_encoded_as_forms_are(void **state)
{
    struct form_facts facts = a_client();
    static const char bytes[] = "aZ09-._~ /\0\n\xc3\xa4";

    (void)state;
    facts.values[FORM_USER_NAME] = (struct emqc_slice){bytes, sizeof(bytes) - 1};
    becomes("u=%u,key=a b/c", false, &facts, "u=aZ09-._%7E+%2F%00%0A%C3%A4&key=a+b%2Fc");
    becomes("na me=1,n\xc3\xa4=2", false, &facts, "na+me=1&n%C3%A4=2");
}

static void values_may_hold_commas_and_equals_signs(void **state)
{
    struct form_facts facts = a_client();

    (void)state;
    becomes("a=1\\,2,b=x\\=y,c=x=y,d=\\\\,e=\\%u,f\\=g=1,h=a\\b", false, &facts,
            "a=1%2C2&b=x%3Dy&c=x%3Dy&d=%5C&e=%25u&f%3Dg=1&h=a%5Cb");
    becomes("a=end\\", false, &facts, "a=end%5C");
}

static void blanks_around_names_and_empty_parameters_do_not_count(void **state)
{
    struct form_facts facts = a_client();

    (void)state;
    becomes("a=1, b = 2,,c=%c,", false, &facts, "a=1&b=+2&c=c+1");
    becomes("a=", false, &facts, "a=");
}

static void what_is_no_parameter_is_named(void **state)
{
    struct form *form = NULL;

    (void)state;
    assert_string_equal(form_parse("clientid=%c,username", false, &form), "each parameter should be NAME=VALUE");
    assert_string_equal(form_parse("=%c", false, &form), "a parameter has no name");
    assert_string_equal(form_parse("a=1, =%c", false, &form), "a parameter has no name");
    assert_string_equal(form_parse("", false, &form), "it names no parameter");
    assert_string_equal(form_parse(", ,", false, &form), "it names no parameter");
    assert_null(form);
    form_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_placeholder_stands_for_its_fact),
        cmocka_unit_test(topic_and_access_are_facts_of_acl_requests_only),
        cmocka_unit_test(what_the_client_has_not_is_empty),
        cmocka_unit_test(only_a_whole_value_is_a_placeholder),
        cmocka_unit_test(values_are_encoded_as_forms_are),
        cmocka_unit_test(values_may_hold_commas_and_equals_signs),
        cmocka_unit_test(blanks_around_names_and_empty_parameters_do_not_count),
        cmocka_unit_test(what_is_no_parameter_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
