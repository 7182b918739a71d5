/*
 * What answers of the server mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "verdict.h"

static struct http_answer answer(int status, const char *body)
{
    return (struct http_answer){.status = status, .body = body, .body_bytes = strlen(body), .error_text = ""};
}

static void reads(struct http_answer from, enum verdict_kind kind, const char *mountpoint)
{
    struct verdict verdict;

    verdict_read_auth(&from, &verdict);
    assert_int_equal(verdict.kind, kind);
    assert_false(verdict.is_superuser);
    if (mountpoint == NULL)
        assert_null(verdict.mountpoint);
    else
        assert_string_equal(verdict.mountpoint, mountpoint);
    verdict_fini(&verdict);
    assert_int_equal(verdict_read(&from), kind == VERDICT_FAIL && from.err == 0 ? VERDICT_ALLOW : kind);
}

static void status_and_the_word_ignore_decide(void **state)
{
    (void)state;
    reads(answer(200, ""), VERDICT_ALLOW, NULL);
    reads(answer(200, "anything"), VERDICT_ALLOW, NULL);
    reads(answer(200, "ignore"), VERDICT_IGNORE, NULL);
    reads(answer(200, "ignore\n"), VERDICT_ALLOW, NULL);
    reads(answer(200, "Ignore"), VERDICT_ALLOW, NULL);
    for (int status = 100; status < 600; status++) {
        if (status != 200)
            reads(answer(status, "ignore"), VERDICT_REFUSE, NULL);
    }
}

static void without_an_answer_it_failed(void **state)
{
    (void)state;
    reads((struct http_answer){.err = -ETIMEDOUT, .status = 200, .body = ""}, VERDICT_FAIL, NULL);
    reads((struct http_answer){.err = -ECANCELED, .body = ""}, VERDICT_FAIL, NULL);
    reads((struct http_answer){.err = -EAGAIN, .body = ""}, VERDICT_BUSY, NULL);
}

static void a_json_object_may_have_a_mountpoint(void **state)
{
    (void)state;
    reads(answer(200, "{\"mountpoint\": \"devices/\\u00e4/\"}"), VERDICT_ALLOW, "devices/\xc3\xa4/");
    reads(answer(200, " {\"a\": [1], \"mountpoint\": \"\"}\n"), VERDICT_ALLOW, "");
    reads(answer(200, "{\"mountpoint\": 1}"), VERDICT_ALLOW, NULL);
    reads(answer(200, "{\"mountpoint\": null}"), VERDICT_ALLOW, NULL);
    reads(answer(200, "{\"other\": \"m/\"}"), VERDICT_ALLOW, NULL);
    reads(answer(200, "{\"mountpoint\": \"m/\""), VERDICT_ALLOW, NULL);
    reads(answer(200, "[{\"mountpoint\": \"m/\"}]"), VERDICT_ALLOW, NULL);
    reads(answer(403, "{\"mountpoint\": \"m/\"}"), VERDICT_REFUSE, NULL);
}

static void a_mountpoint_with_wildcards_is_not_obeyed(void **state)
{
    (void)state;
    reads(answer(200, "{\"mountpoint\": \"+/\"}"), VERDICT_FAIL, NULL);
    reads(answer(200, "{\"mountpoint\": \"a/#\"}"), VERDICT_FAIL, NULL);
}

static void copies_have_a_mountpoint_of_their_own(void **state)
{
    struct http_answer from = answer(200, "{\"mountpoint\": \"m/\"}");
    struct verdict verdict, copy;

    (void)state;
    verdict_read_auth(&from, &verdict);
    verdict.is_superuser = true;
    assert_true(verdict_dup(&verdict, &copy));
    verdict_fini(&verdict);
    assert_int_equal(copy.kind, VERDICT_ALLOW);
    assert_true(copy.is_superuser);
    assert_string_equal(copy.mountpoint, "m/");
    verdict_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_the_word_ignore_decide),
        cmocka_unit_test(without_an_answer_it_failed),
        cmocka_unit_test(a_json_object_may_have_a_mountpoint),
        cmocka_unit_test(a_mountpoint_with_wildcards_is_not_obeyed),
        cmocka_unit_test(copies_have_a_mountpoint_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
