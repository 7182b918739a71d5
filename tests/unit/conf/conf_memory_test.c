/*
 * Short memory: whichever allocation fails, loading says -ENOMEM and leaves nothing behind (the sanitizer build
 * shows the second). The linker puts the functions below in place of the allocator's.
 */
#include "conf_fixture.h"

static size_t allowed = SIZE_MAX; /* allocations until one fails */

static bool may_allocate(void)
{
    if (allowed == 0)
        return false;
    allowed--;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
char *__real_strdup(const char *text);
int __real_vasprintf(char **out_text, const char *format, va_list arguments);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_vasprintf(char **out_text, const char *format, va_list arguments);

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return may_allocate() ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *pointer, size_t size)
{
    return may_allocate() ? __real_realloc(pointer, size) : NULL;
}

char *__wrap_strdup(const char *text)
{
    return may_allocate() ? __real_strdup(text) : NULL;
}

int __wrap_vasprintf(char **out_text, const char *format, va_list arguments)
{
    return may_allocate() ? __real_vasprintf(out_text, format, arguments) : -1;
}

/* Loads with one allocation more at each try, until memory suffices. Gives the last result. */
static int load_with_ever_more_memory(const char *text, size_t *out_tries)
{
    static char *const environment[] = {(char *)(uintptr_t) "EMQX_TCP_PORT=1884", (char *)(uintptr_t) "EMQX_A__B=1",
                                        NULL};
    const struct conf_load_options options = {.file = "test.conf", .environment = environment};
    int err = -ENOMEM;

    for (*out_tries = 0; err == -ENOMEM; (*out_tries)++) {
        struct conf *conf = NULL;
        struct conf_errors *errors = NULL;

        allowed = *out_tries;
        err = conf_load_text(&options, text, strlen(text), &conf, &errors);
        allowed = SIZE_MAX;
        if (err == 0)
            conf_free(conf);
        if (err == -EINVAL)
            conf_errors_free(errors);
    }
    return err;
}

static void a_load_that_succeeds_survives_each_failure(void **state)
{
    size_t tries;

    (void)state;
    assert_int_equal(
        load_with_ever_more_memory("listener.tcp.external = 1883\nlistener.tcp.external.access.1 = deny all\n"
                                   "node.cookie = $(cluster.name)\n"
                                   "listener.ssl.a = 8883\nlistener.ssl.a.ciphers = X\nlog.error.file = e\n",
                                   &tries),
        0);
    assert_in_range(tries, 10, 1000);
}

static void a_load_that_is_refused_survives_each_failure(void **state)
{
    size_t tries;

    (void)state;
    assert_int_equal(
        load_with_ever_more_memory("log.too = off\nlog\nlog.to = disk\nnode.cookie = $(node.foo)\n", &tries), -EINVAL);
    assert_in_range(tries, 10, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_that_succeeds_survives_each_failure),
        cmocka_unit_test(a_load_that_is_refused_survives_each_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
