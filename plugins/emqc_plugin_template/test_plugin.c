/*
 * test_plugin: loads the plugin into a host of its own, which has just what the plugin uses, and looks at what it does.
 *
 *     ./test_plugin ./emqc_plugin_template.so
 */
#include <emqc/plugin.h>

#include <assert.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct emqc_plugin_instance {
    const char *user_name;
    const char *password;
    struct emqc_hook hooks[EMQC_POINT_COUNT];
    struct emqc_command command;
    uint64_t events;
    int wrong_settings;
};

struct emqc_ticket {
    emqc_apply_fn *apply;
    void *answer;
};

static struct emqc_plugin_instance instance;
static struct emqc_ticket ticket;

static const char *config_string(const struct emqc_plugin_instance *self, const char *key, const char *name,
                                 const char *id)
{
    (void)name;
    (void)id;
    return strstr(key, "password") != NULL ? self->password : self->user_name;
}

static int config_wrong(struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        const char *format, ...)
{
    (void)key;
    (void)name;
    (void)id;
    (void)format;
    self->wrong_settings++;
    return -22;
}

static void write_log(const struct emqc_plugin_instance *self, enum emqc_log_level level, const char *format, ...)
{
    va_list arguments;

    (void)self;
    (void)level;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static int hook_add(struct emqc_plugin_instance *self, const struct emqc_hook *hook)
{
    self->hooks[hook->point] = *hook;
    return 0;
}

static int command_add(struct emqc_plugin_instance *self, const struct emqc_command *command)
{
    self->command = *command;
    return 0;
}

static int metric(struct emqc_plugin_instance *self, const char *name, const char *help,
                  struct emqc_metric **out_metric)
{
    (void)name;
    (void)help;
    *out_metric = (struct emqc_metric *)&self->events;
    return 0;
}

static void metric_add(struct emqc_metric *counter, uint64_t amount)
{
    *(uint64_t *)counter += amount;
}

static struct emqc_ticket *defer(struct emqc_event *event)
{
    (void)event;
    return &ticket;
}

static void complete(struct emqc_ticket *done, emqc_apply_fn *apply, void *answer)
{
    done->apply = apply;
    done->answer = answer;
}

static int job_run(struct emqc_plugin_instance *self, void (*work)(void *context), void (*done)(void *context),
                   void *context)
{
    (void)self;
    work(context);
    if (done != NULL)
        done(context);
    return 0;
}

static struct emqc_host host;

static void make_host(void)
{
    host.size = sizeof(host);
    host.abi = EMQC_PLUGIN_ABI;
    host.config_string = config_string;
    host.config_wrong = config_wrong;
    host.log = write_log;
    host.hook_add = hook_add;
    host.command_add = command_add;
    host.metric = metric;
    host.metric_add = metric_add;
    host.defer = defer;
    host.complete = complete;
    host.job_run = job_run;
}

static struct emqc_slice slice(const char *text)
{
    struct emqc_slice out = {text, strlen(text)};
    return out;
}

static enum emqc_verdict fire(struct emqc_event *event)
{
    const struct emqc_hook *hook = &instance.hooks[event->point];

    return hook->run(hook->context, event);
}

static void test_watches_every_point(const struct emqc_plugin *plugin)
{
    struct emqc_client client = {.size = sizeof(client), .client_id = slice("c")};
    struct emqc_connected connected = {.event = {sizeof(connected), EMQC_CLIENT_CONNECTED, NULL}, .client = &client};
    void *state = NULL;

    instance = (struct emqc_plugin_instance){.user_name = NULL};
    assert(plugin->load(&host, &instance, &state) == 0);
    for (int i = 0; i < EMQC_POINT_COUNT; i++)
        assert(instance.hooks[i].run != NULL);
    assert(fire(&connected.event) == EMQC_NEXT);
    assert(instance.events == 1);
    plugin->unload(state);
}

static int login(const char *user_name, const char *password)
{
    struct emqc_client client = {.size = sizeof(client), .user_name = slice(user_name), .password = slice(password)};
    struct emqc_authenticate event = {.event = {sizeof(event), EMQC_CLIENT_AUTHENTICATE, NULL},
                                      .client = &client,
                                      .result = EMQC_SUCCESS,
                                      .is_anonymous = true};
    enum emqc_verdict verdict = fire(&event.event);

    if (verdict == EMQC_PENDING)
        assert(ticket.apply(ticket.answer, &event.event) == EMQC_STOP);
    else
        assert(verdict == EMQC_NEXT && event.is_anonymous);
    return event.result;
}

static void test_lets_its_user_in(const struct emqc_plugin *plugin)
{
    void *state = NULL;

    instance = (struct emqc_plugin_instance){.user_name = "alice", .password = "secret"};
    assert(plugin->load(&host, &instance, &state) == 0);
    assert(login("alice", "secret") == EMQC_SUCCESS);
    assert(login("alice", "secreT") == EMQC_BAD_USER_NAME_OR_PASSWORD);
    assert(login("alice", "") == EMQC_BAD_USER_NAME_OR_PASSWORD);
    assert(login("bob", "secret") == EMQC_SUCCESS); /* not its user */
    plugin->unload(state);
}

static void test_refuses_settings_without_password(const struct emqc_plugin *plugin)
{
    void *state = NULL;

    instance = (struct emqc_plugin_instance){.user_name = "alice"};
    assert(plugin->load(&host, &instance, &state) < 0);
    assert(instance.wrong_settings == 1);
    if (state != NULL)
        plugin->unload(state);
}

int main(int argc, char **argv)
{
    void *object = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    const struct emqc_plugin *plugin = object == NULL ? NULL : dlsym(object, EMQC_PLUGIN_SYMBOL);

    if (plugin == NULL) {
        fprintf(stderr, "usage: test_plugin PLUGIN.so%s%s\n", argc == 2 ? "; " : "", argc == 2 ? dlerror() : "");
        return 2;
    }
    assert(plugin->abi == EMQC_PLUGIN_ABI);
    make_host();
    test_watches_every_point(plugin);
    test_lets_its_user_in(plugin);
    test_refuses_settings_without_password(plugin);
    puts("all tests passed");
    return 0;
}
