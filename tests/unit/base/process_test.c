/*
 * Behaviour of what the system tells about processes, on the test's own process and sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/process.h"

static int bind_any_port(int family, uint16_t *out_port)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in address4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = family == AF_INET ? sizeof(address4) : sizeof(address6);
    void *address = family == AF_INET ? (void *)&address4 : (void *)&address6;

    if (fd < 0)
        return -1;
    if (bind(fd, address, length) < 0 || getsockname(fd, address, &length) < 0) {
        close(fd);
        return -1;
    }
    *out_port = ntohs(family == AF_INET ? address4.sin_port : address6.sin6_port);
    return fd;
}

static void assert_finds_itself(int family)
{
    struct port_holder holder;
    char name[64] = "";
    FILE *file = fopen("/proc/self/comm", "r");
    uint16_t port = 0;
    int fd = bind_any_port(family, &port);

    assert_non_null(file);
    assert_non_null(fgets(name, sizeof(name), file));
    fclose(file);
    name[strcspn(name, "\n")] = '\0';
    if (fd < 0) /* a machine without IPv6 */
        skip();
    /* A port that is bound but not listened on holds nobody up. */
    assert_int_equal(process_find_port_holder(port, &holder), -ENOENT);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(process_find_port_holder(port, &holder), 0);
    assert_int_equal(holder.pid, getpid());
    assert_string_equal(holder.name, name);
    close(fd);
    assert_int_equal(process_find_port_holder(port, &holder), -ENOENT);
}

static void finds_the_holder_of_an_ipv4_port(void **state)
{
    (void)state;
    assert_finds_itself(AF_INET);
}

static void finds_the_holder_of_an_ipv6_port(void **state)
{
    (void)state;
    assert_finds_itself(AF_INET6);
}

static void raises_the_descriptor_limit(void **state)
{
    struct rlimit before;
    struct rlimit lowered;
    uint64_t limit = 0;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    lowered = (struct rlimit){.rlim_cur = 64, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    assert_int_equal(process_raise_descriptor_limit(60, &limit), 0);
    assert_int_equal(limit, 64);
    assert_int_equal(process_raise_descriptor_limit(200, &limit), 0);
    assert_int_equal(limit, 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lowered), 0);
    assert_int_equal(lowered.rlim_cur, 200);
    assert_int_equal(process_raise_descriptor_limit(0, &limit), 0);
    assert_int_equal(limit, before.rlim_max);
    /* More than any kernel allows: what there is stays, and the caller learns it. */
    assert_true(process_raise_descriptor_limit(UINT64_C(1) << 40, &limit) < 0);
    assert_int_equal(limit, before.rlim_max);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void reads_its_own_memory_and_descriptors(void **state)
{
    uint64_t bytes;
    uint32_t before;
    uint32_t after;
    int fd;

    (void)state;
    assert_int_equal(process_resident_bytes(&bytes), 0);
    assert_true(bytes > 100000);
    assert_int_equal(process_open_descriptors(&before), 0);
    fd = dup(0);
    assert_true(fd >= 0);
    assert_int_equal(process_open_descriptors(&after), 0);
    assert_int_equal(after, before + 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_holder_of_an_ipv4_port),
        cmocka_unit_test(finds_the_holder_of_an_ipv6_port),
        cmocka_unit_test(raises_the_descriptor_limit),
        cmocka_unit_test(reads_its_own_memory_and_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
