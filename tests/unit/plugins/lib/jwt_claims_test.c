/* jwt_claims: times with their types and leeway, comparisons, and payloads that are none. */
#include "token_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define SECRET "a secret of more than thirty-two bytes"
#define NOW 1700000000

static enum jwt_result read_payload(const char *payload, struct jwt_claims **out_claims)
{
    char *token = token_hmac("{\"alg\":\"HS256\"}", payload, 256, SECRET);
    struct jwt jwt;
    enum jwt_result result;

    assert_int_equal(jwt_parse(slice_of(token), &jwt), JWT_OK);
    result = jwt_claims_new(&jwt, out_claims);
    free(token);
    return result;
}

static struct jwt_claims *claims_of(const char *payload)
{
    struct jwt_claims *claims = NULL;

    assert_int_equal(read_payload(payload, &claims), JWT_OK);
    return claims;
}

static enum jwt_result check(const char *payload, int64_t now_s, int64_t leeway_s)
{
    struct jwt_claims *claims = claims_of(payload);
    enum jwt_result result = jwt_claims_check_time(claims, now_s, leeway_s);

    jwt_claims_free(claims);
    return result;
}

static void times_are_exact_without_leeway(void **state)
{
    (void)state;
    assert_int_equal(check("{}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"exp\":1700000001}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"exp\":1700000000}", NOW, 0), JWT_EXPIRED);
    assert_int_equal(check("{\"exp\":1700000000.5}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"exp\":1699999999.5}", NOW, 0), JWT_EXPIRED);
    assert_int_equal(check("{\"nbf\":1700000000}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"nbf\":1700000001}", NOW, 0), JWT_NOT_YET_VALID);
    assert_int_equal(check("{\"iat\":1700000000}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"iat\":1700000001}", NOW, 0), JWT_ISSUED_IN_FUTURE);
    assert_int_equal(check("{\"exp\":-1}", NOW, 0), JWT_EXPIRED);
    assert_int_equal(check("{\"exp\":0}", NOW, 0), JWT_EXPIRED);
    assert_int_equal(check("{\"exp\":9223372036854775807}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"exp\":1e300}", NOW, 0), JWT_OK);
    assert_int_equal(check("{\"nbf\":1e300}", NOW, 0), JWT_NOT_YET_VALID);
}

static void leeway_moves_all_three(void **state)
{
    (void)state;
    assert_int_equal(check("{\"exp\":1699999996}", NOW, 5), JWT_OK);
    assert_int_equal(check("{\"exp\":1699999995}", NOW, 5), JWT_EXPIRED);
    assert_int_equal(check("{\"nbf\":1700000005}", NOW, 5), JWT_OK);
    assert_int_equal(check("{\"nbf\":1700000006}", NOW, 5), JWT_NOT_YET_VALID);
    assert_int_equal(check("{\"iat\":1700000005}", NOW, 5), JWT_OK);
    assert_int_equal(check("{\"iat\":1700000006}", NOW, 5), JWT_ISSUED_IN_FUTURE);
}

static void times_must_be_numbers(void **state)
{
    static const char *const values[] = {"\"1800000000\"", "null", "true", "[]", "{}", "\"never\""};
    static const char *const names[] = {"exp", "nbf", "iat"};
    char payload[64];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        for (size_t name = 0; name < 3; name++) {
            snprintf(payload, sizeof(payload), "{\"%s\":%s}", names[name], values[i]);
            assert_int_equal(check(payload, NOW, 0), JWT_WRONG_TYPE);
        }
}

static void refuses_payloads_that_are_no_objects(void **state)
{
    static const char *const payloads[] = {"",
                                           "[]",
                                           "5",
                                           "\"x\"",
                                           "null",
                                           "{",
                                           "{}x",
                                           "{\"a\":1,\"a\":2}",
                                           "{\"exp\":1e999}",
                                           "{\"exp\":99999999999999999999}",
                                           "{\"a\":\"\\u0000\"}",
                                           "{\"a\":\"\xFF\"}",
                                           "{\"a\":{\"exp\":1,\"exp\":2}}",
                                           "{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}"};
    struct jwt_claims *claims = NULL;
    struct jwt jwt;

    (void)state;
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
        assert_int_equal(read_payload(payloads[i], &claims), JWT_MALFORMED);
    assert_int_equal(jwt_parse(slice_of("eyJhbGciOiJIUzI1NiJ9.e3=0.AAAA"), &jwt), JWT_OK);
    assert_int_equal(jwt_claims_new(&jwt, &claims), JWT_MALFORMED);
    assert_null(claims);
}

static void names_of_clients_are_compared_as_texts(void **state)
{
    struct jwt_claims *claims = claims_of(
        "{\"username\":\"c1\",\"number\":5,\"empty\":\"\",\"yes\":true,\"aud\":[\"c1\"],\"nothing\":null}");

    (void)state;
    assert_true(jwt_claims_match(claims, "username", slice_of("c1"), false));
    assert_false(jwt_claims_match(claims, "username", slice_of("c"), false));
    assert_false(jwt_claims_match(claims, "username", slice_of("c11"), false));
    assert_false(jwt_claims_match(claims, "username", slice_of("C1"), false));
    assert_false(jwt_claims_match(claims, "username", slice_of(""), false));
    assert_true(jwt_claims_match(claims, "empty", slice_of(""), false));
    assert_false(jwt_claims_match(claims, "empty", slice_of(NULL), false));
    assert_false(jwt_claims_match(claims, "number", slice_of("5"), false));
    assert_false(jwt_claims_match(claims, "yes", slice_of("true"), false));
    assert_false(jwt_claims_match(claims, "aud", slice_of("c1"), false));
    assert_false(jwt_claims_match(claims, "nothing", slice_of("null"), false));
    jwt_claims_free(claims);
}

static void an_absent_name_is_equal_to_an_absent_claim_alone(void **state)
{
    struct jwt_claims *claims = claims_of("{\"username\":\"c1\",\"nothing\":null}");

    (void)state;
    assert_true(jwt_claims_match(claims, "other", slice_of(NULL), false));
    assert_false(jwt_claims_match(claims, "username", slice_of(NULL), false));
    assert_false(jwt_claims_match(claims, "nothing", slice_of(NULL), false));
    assert_false(jwt_claims_match(claims, "other", slice_of("c1"), false));
    assert_false(jwt_claims_match(claims, "other", slice_of(""), true));
    jwt_claims_free(claims);
}

static void literals_are_equal_to_numbers_and_truth_values(void **state)
{
    struct jwt_claims *claims = claims_of(
        "{\"number\":-5,\"yes\":true,\"no\":false,\"real\":5.0,\"list\":[\"a\"],\"aud\":[\"x\",5,\"a\"],"
        "\"iss\":\"a\"}");

    (void)state;
    assert_true(jwt_claims_match(claims, "number", slice_of("-5"), true));
    assert_false(jwt_claims_match(claims, "number", slice_of("5"), true));
    assert_true(jwt_claims_match(claims, "yes", slice_of("true"), true));
    assert_false(jwt_claims_match(claims, "yes", slice_of("1"), true));
    assert_true(jwt_claims_match(claims, "no", slice_of("false"), true));
    assert_false(jwt_claims_match(claims, "real", slice_of("5.0"), true));
    assert_false(jwt_claims_match(claims, "list", slice_of("a"), true));
    assert_true(jwt_claims_match(claims, "aud", slice_of("a"), true));
    assert_false(jwt_claims_match(claims, "aud", slice_of("5"), true));
    assert_false(jwt_claims_match(claims, "aud", slice_of("b"), true));
    assert_true(jwt_claims_match(claims, "iss", slice_of("a"), true));
    jwt_claims_free(claims);
    jwt_claims_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_exact_without_leeway),
        cmocka_unit_test(leeway_moves_all_three),
        cmocka_unit_test(times_must_be_numbers),
        cmocka_unit_test(refuses_payloads_that_are_no_objects),
        cmocka_unit_test(names_of_clients_are_compared_as_texts),
        cmocka_unit_test(an_absent_name_is_equal_to_an_absent_claim_alone),
        cmocka_unit_test(literals_are_equal_to_numbers_and_truth_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
