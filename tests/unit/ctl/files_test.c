/*
 * Behaviour of the commands' files: paths, settings, the lock of a running broker, in a directory of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../temporary_dir.h"
#include "ctl/instance.h"
#include "ctl/settings.h"

struct fixture {
    char dir[32];
    struct paths paths;
    struct settings settings;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    strcpy(fixture->dir, "/tmp/emqc-files-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    setenv("EMQX_ROOT", fixture->dir, 1);
    unsetenv("EMQX_NODE_NAME");
    assert_int_equal(paths_find(&fixture->paths), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    temporary_dir_remove(fixture->dir);
    free(fixture);
    return 0;
}

static void write_config(struct fixture *fixture, const char *text)
{
    FILE *file;

    assert_int_equal(paths_make_dir(fixture->paths.etc), 0);
    file = fopen(fixture->paths.config, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void read_settings(struct fixture *fixture)
{
    assert_int_equal(settings_read(&fixture->paths, &fixture->settings), 0);
}

static char *below(struct fixture *fixture, const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", fixture->dir, name);
    return path;
}

static void the_root_holds_etc_data_and_log(void **state)
{
    struct fixture *fixture = *state;

    assert_false(fixture->paths.installed);
    assert_string_equal(fixture->paths.root, fixture->dir);
    assert_string_equal(fixture->paths.config, below(fixture, "etc/emqx.conf"));
    assert_string_equal(fixture->paths.data, below(fixture, "data"));
    assert_string_equal(fixture->paths.log, below(fixture, "log"));
}

static void a_program_outside_a_tree_uses_the_places_of_a_package(void **state)
{
    struct fixture *fixture = *state;
    struct paths paths;

    (void)fixture;
    unsetenv("EMQX_ROOT");
    assert_int_equal(paths_find(&paths), 0);
    assert_true(paths.installed);
    assert_string_equal(paths.config, "/etc/emqx/emqx.conf");
    assert_string_equal(paths.data, "/var/lib/emqx");
    assert_string_equal(paths.log, "/var/log/emqx");
}

static void a_root_that_does_not_exist_is_refused(void **state)
{
    struct paths paths;

    (void)state;
    setenv("EMQX_ROOT", "/nonexistent/root", 1);
    assert_int_equal(paths_find(&paths), -ENOENT);
}

static void the_last_line_of_a_setting_wins(void **state)
{
    struct fixture *fixture = *state;

    write_config(fixture, "## node.name = a@b\nnode.name = first@host\r\n\tnode.name=second@host  \nnode.name2 = x\n"
                          "node.data_dir = /srv/emqx\nnode.data_dirs = no\n");
    read_settings(fixture);
    assert_string_equal(fixture->settings.node_name, "second@host");
    assert_string_equal(fixture->settings.data_dir, "/srv/emqx");
}

static void without_settings_there_are_defaults(void **state)
{
    struct fixture *fixture = *state;

    read_settings(fixture);
    assert_string_equal(fixture->settings.node_name, "emqx@127.0.0.1");
    assert_string_equal(fixture->settings.data_dir, below(fixture, "data"));
}

static void a_relative_data_directory_lies_below_the_root(void **state)
{
    struct fixture *fixture = *state;

    write_config(fixture, "node.data_dir = other/data\n");
    read_settings(fixture);
    assert_string_equal(fixture->settings.data_dir, below(fixture, "other/data"));
}

static void the_environment_names_the_node_and_a_host_is_added(void **state)
{
    struct fixture *fixture = *state;

    write_config(fixture, "node.name = a@b\n");
    setenv("EMQX_NODE_NAME", "alone", 1);
    setenv("EMQX_NODE__NAME", "second@host", 1);
    setenv("EMQX_NODE__DATA_DIR", "/srv/elsewhere", 1);
    read_settings(fixture);
    assert_memory_equal(fixture->settings.node_name, "alone@", 6);
    assert_true(strlen(fixture->settings.node_name) > 6);
    assert_string_equal(fixture->settings.data_dir, "/srv/elsewhere");
    unsetenv("EMQX_NODE_NAME");
    read_settings(fixture);
    assert_string_equal(fixture->settings.node_name, "second@host");
    unsetenv("EMQX_NODE__NAME");
    unsetenv("EMQX_NODE__DATA_DIR");
}

static void a_lock_is_found_with_its_process_and_only_once(void **state)
{
    struct fixture *fixture = *state;
    struct instance_lock *lock;
    struct instance_lock *second;
    struct instance instance;

    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), -ESRCH);
    assert_int_equal(instance_lock_take(&fixture->paths, fixture->paths.data, &lock), 0);
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), 0);
    assert_int_equal(instance.pid, getpid());
    assert_string_equal(instance.socket_path, below(fixture, "data/emqx.sock"));
    assert_string_equal(instance_lock_socket(lock), instance.socket_path);
    assert_int_equal(instance_lock_take(&fixture->paths, fixture->paths.data, &second), -EBUSY);
    instance_lock_release(lock);
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), -ESRCH);
}

static void a_broker_elsewhere_is_found_after_the_setting_changed(void **state)
{
    struct fixture *fixture = *state;
    struct instance_lock *lock;
    struct instance instance;
    char elsewhere[128];

    strcpy(elsewhere, below(fixture, "elsewhere/deep"));
    assert_int_equal(instance_lock_take(&fixture->paths, elsewhere, &lock), 0);
    assert_int_equal(instance_find(&fixture->paths, elsewhere, &instance), 0);
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), 0);
    assert_string_equal(instance.data_dir, elsewhere);
    assert_int_equal(instance_find(&fixture->paths, below(fixture, "third"), &instance), 0);
    instance_lock_release(lock);
    assert_int_equal(access(below(fixture, "data/emqx.run"), F_OK), -1);
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), -ESRCH);
}

static void a_killed_holder_leaves_no_lock(void **state)
{
    struct fixture *fixture = *state;
    struct instance instance;
    int fds[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        struct instance_lock *lock;
        bool taken = instance_lock_take(&fixture->paths, fixture->paths.data, &lock) == 0;

        if (write(fds[1], taken ? "1" : "0", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(byte, '1');
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), 0);
    assert_int_equal(instance.pid, pid);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(instance_find(&fixture->paths, fixture->paths.data, &instance), -ESRCH);
    close(fds[0]);
    close(fds[1]);
}

static void a_data_directory_that_cannot_be_made_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct instance_lock *lock;

    assert_int_equal(instance_lock_take(&fixture->paths, "/dev/null/data", &lock), -ENOTDIR);
}

#define FILES_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(the_root_holds_etc_data_and_log),
        FILES_TEST(a_program_outside_a_tree_uses_the_places_of_a_package),
        FILES_TEST(a_root_that_does_not_exist_is_refused),
        FILES_TEST(the_last_line_of_a_setting_wins),
        FILES_TEST(without_settings_there_are_defaults),
        FILES_TEST(a_relative_data_directory_lies_below_the_root),
        FILES_TEST(the_environment_names_the_node_and_a_host_is_added),
        FILES_TEST(a_lock_is_found_with_its_process_and_only_once),
        FILES_TEST(a_broker_elsewhere_is_found_after_the_setting_changed),
        FILES_TEST(a_killed_holder_leaves_no_lock),
        FILES_TEST(a_data_directory_that_cannot_be_made_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
