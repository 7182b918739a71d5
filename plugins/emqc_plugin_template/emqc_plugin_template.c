/*
 * emqc_plugin_template: where a plugin of your own begins.
 *
 * It attaches to every hook point and writes a line to the log for each event (level info); it changes nothing, and shows no password. With a user
 * name and a password in its settings it also lets that user in, and shows how an answer is given that takes time: in a job, while only this client waits.
 *
 * Threads: callbacks of hook points run on several workers at once, so what they share is atomic or never changes after load().
 */
#include <emqc/plugin.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Everything of this plugin; made by load(), gone with unload(). */
struct plugin {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct emqc_metric *events;
    atomic_uint_fast64_t event_count;
    const char *user_name; /* NULL: nobody is authenticated here */
    const char *password;
};

static const struct emqc_key keys[] = {
    {"emqc_plugin_template.user_name", EMQC_STRING, NULL, NULL, "alice", NULL, 0, 0, false, false,
     "The user that is let in with the password below. Without it the plugin only watches."},
    {"emqc_plugin_template.password", EMQC_STRING, NULL, NULL, "secret", NULL, 0, 0, false, true,
     "That user's password."},
};

/* Two arguments for "%.*s". */
#define TEXT(slice) (int)(slice).len, (slice).data == NULL ? "" : (slice).data

static void count(struct plugin *plugin)
{
    plugin->host->metric_add(plugin->events, 1);
    atomic_fetch_add(&plugin->event_count, 1);
}

/* Each callback counts and says what it is told. Text is not terminated by a zero and lent until the callback returns. */
#define SAY(plugin, ...) (plugin)->host->log((plugin)->self, EMQC_LOG_INFO, __VA_ARGS__)

/* ---- clients ---- */

static enum emqc_verdict on_client_connected(void *context, struct emqc_event *event)
{
    const struct emqc_connected *connected = (struct emqc_connected *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Client(%.*s) connected, connack: %d", TEXT(connected->client->client_id), connected->code);
    return EMQC_NEXT;
}

static enum emqc_verdict on_client_disconnected(void *context, struct emqc_event *event)
{
    const struct emqc_disconnected *disconnected = (struct emqc_disconnected *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Client(%.*s) disconnected, reason: %s", TEXT(disconnected->client->client_id), disconnected->reason);
    return EMQC_NEXT;
}

static enum emqc_verdict on_client_check_acl(void *context, struct emqc_event *event)
{
    const struct emqc_check_acl *check = (struct emqc_check_acl *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Client(%.*s) wants to %s %.*s", TEXT(check->client->client_id),
        check->access == EMQC_PUBLISH_ACCESS ? "publish to" : "subscribe to", TEXT(check->topic));
    return EMQC_NEXT; /* or set is_allowed and return EMQC_STOP */
}

static enum emqc_verdict on_client_subscribe(void *context, struct emqc_event *event)
{
    const struct emqc_subscribe *subscribe = (struct emqc_subscribe *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Client(%.*s) will subscribe: %.*s", TEXT(subscribe->client->client_id), TEXT(subscribe->filter));
    return EMQC_NEXT;
}

static enum emqc_verdict on_client_unsubscribe(void *context, struct emqc_event *event)
{
    const struct emqc_unsubscribe *unsubscribe = (struct emqc_unsubscribe *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Client(%.*s) unsubscribe: %.*s", TEXT(unsubscribe->client->client_id), TEXT(unsubscribe->filter));
    return EMQC_NEXT;
}

/* ---- sessions ---- */

static enum emqc_verdict on_session_begin(void *context, struct emqc_event *event)
{
    const struct emqc_session *session = (struct emqc_session *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Session(%.*s) %s", TEXT(session->client->client_id),
        event->point == EMQC_SESSION_CREATED ? "created" : "resumed");
    return EMQC_NEXT;
}

static enum emqc_verdict on_session_filter(void *context, struct emqc_event *event)
{
    const struct emqc_session_filter *filter = (struct emqc_session_filter *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Session(%.*s) %s %.*s", TEXT(filter->client->client_id),
        event->point == EMQC_SESSION_SUBSCRIBED ? "subscribe" : "unsubscribe", TEXT(filter->filter));
    return EMQC_NEXT;
}

static enum emqc_verdict on_session_terminated(void *context, struct emqc_event *event)
{
    const struct emqc_session_terminated *terminated = (struct emqc_session_terminated *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Session(%.*s) terminated: %s", TEXT(terminated->client_id), terminated->reason);
    return EMQC_NEXT;
}

/* ---- messages ---- */

static int is_system_topic(struct emqc_slice topic)
{
    return topic.len >= 5 && memcmp(topic.data, "$SYS/", 5) == 0;
}

static enum emqc_verdict on_message_publish(void *context, struct emqc_event *event)
{
    const struct emqc_publish *publish = (struct emqc_publish *)event;
    struct plugin *plugin = context;

    if (is_system_topic(publish->topic))
        return EMQC_NEXT;
    count(plugin);
    SAY(plugin, "Publish %.*s by %.*s, %zu bytes", TEXT(publish->topic), TEXT(publish->client_id),
        publish->payload.len);
    return EMQC_NEXT;
}

static enum emqc_verdict on_message_deliver(void *context, struct emqc_event *event)
{
    const struct emqc_deliver *deliver = (struct emqc_deliver *)event;
    struct plugin *plugin = context;

    if (is_system_topic(deliver->topic))
        return EMQC_NEXT;
    count(plugin);
    SAY(plugin, "Deliver message to client(%.*s): %.*s", TEXT(deliver->client->client_id), TEXT(deliver->topic));
    return EMQC_NEXT;
}

static enum emqc_verdict on_message_acked(void *context, struct emqc_event *event)
{
    const struct emqc_acked *acked = (struct emqc_acked *)event;
    struct plugin *plugin = context;

    count(plugin);
    SAY(plugin, "Session(%.*s) acked message: %.*s", TEXT(acked->client->client_id), TEXT(acked->message->topic));
    return EMQC_NEXT;
}

static enum emqc_verdict on_message_dropped(void *context, struct emqc_event *event)
{
    const struct emqc_dropped *dropped = (struct emqc_dropped *)event;
    struct plugin *plugin = context;

    if (is_system_topic(dropped->message->topic))
        return EMQC_NEXT;
    count(plugin);
    SAY(plugin, "Message dropped (%s): %.*s", dropped->reason, TEXT(dropped->message->topic));
    return EMQC_NEXT;
}

/* ---- TLS and enhanced authentication: watched, not answered ---- */

static enum emqc_verdict on_psk_lookup(void *context, struct emqc_event *event)
{
    (void)event;
    count(context);
    return EMQC_NEXT;
}

static enum emqc_verdict on_enhanced_authenticate(void *context, struct emqc_event *event)
{
    (void)event;
    count(context);
    return EMQC_NEXT;
}

/* ---- authentication with an answer that comes later ---- */

/* A login that waits. What the event points at is gone when the callback returns, so that what is needed is copied. */
struct login {
    struct plugin *plugin;
    struct emqc_ticket *ticket;
    int is_right;
    size_t password_len;
    char password[];
};

/* On the client's worker: the answer into the event. `event` NULL: the client has gone meanwhile. */
static enum emqc_verdict apply_login(void *answer, struct emqc_event *event)
{
    struct emqc_authenticate *authenticate = (struct emqc_authenticate *)event;
    struct login *login = answer;

    if (event != NULL) {
        authenticate->result = login->is_right ? EMQC_SUCCESS : EMQC_BAD_USER_NAME_OR_PASSWORD;
        authenticate->reason = login->is_right ? NULL : "bad_username_or_password";
        authenticate->is_anonymous = false;
    }
    memset(login->password, 0, login->password_len);
    free(login);
    return EMQC_STOP;
}

/* On a job thread, which may take its time: a real plugin would ask a database. Takes as long for a wrong password as for the right one. */
static void check_login(void *context)
{
    struct login *login = context;
    const char *right = login->plugin->password;
    size_t right_len = strlen(right);
    unsigned difference = login->password_len != right_len;

    for (size_t i = 0; i < login->password_len && right_len > 0; i++)
        difference |= (unsigned char)login->password[i] ^ (unsigned char)right[i % right_len];
    login->is_right = difference == 0;
    login->plugin->host->complete(login->ticket, apply_login, login);
}

static enum emqc_verdict on_client_authenticate(void *context, struct emqc_event *event)
{
    struct emqc_authenticate *authenticate = (struct emqc_authenticate *)event;
    struct emqc_slice user_name = authenticate->client->user_name, password = authenticate->client->password;
    struct plugin *plugin = context;
    struct login *login;

    count(plugin);
    if (plugin->user_name == NULL || user_name.len != strlen(plugin->user_name) ||
        memcmp(user_name.data, plugin->user_name, user_name.len) != 0)
        return EMQC_NEXT; /* not a user of ours: the next plugin is asked, and allow_anonymous decides in the end */
    login = calloc(1, sizeof(*login) + password.len);
    authenticate->result = EMQC_SERVER_BUSY; /* unless an answer says something else */
    if (login == NULL)
        return EMQC_STOP;
    login->plugin = plugin;
    login->password_len = password.len;
    if (password.len > 0)
        memcpy(login->password, password.data, password.len);
    login->ticket = plugin->host->defer(event);
    if (login->ticket == NULL) {
        free(login); /* too many wait: the broker refuses this one */
        return EMQC_PENDING;
    }
    if (plugin->host->job_run(plugin->self, check_login, NULL, login) < 0)
        plugin->host->complete(login->ticket, apply_login, login); /* wrong, as is_right is not set */
    return EMQC_PENDING;
}

/* ---- a command: emqx_ctl emqc_plugin_template ---- */

static void run_command(void *context, struct emqc_request *request, int argc, char **argv)
{
    struct plugin *plugin = context;

    (void)argv;
    if (argc != 1) {
        plugin->host->finish(request, EMQC_COMMAND_USAGE);
        return;
    }
    plugin->host->print(request, "events: %llu\n", (unsigned long long)atomic_load(&plugin->event_count));
    plugin->host->finish(request, EMQC_COMMAND_OK);
}

static const struct emqc_usage usage[] = {
    {"emqc_plugin_template", "Show how many events it has seen"},
    {NULL, "Example:\n  emqx_ctl emqc_plugin_template\n"},
};

/* ---- load and unload ---- */

static const struct {
    enum emqc_point point;
    emqc_hook_fn *run;
} hooks[] = {
    {EMQC_CLIENT_AUTHENTICATE, on_client_authenticate},
    {EMQC_CLIENT_CHECK_ACL, on_client_check_acl},
    {EMQC_CLIENT_CONNECTED, on_client_connected},
    {EMQC_CLIENT_DISCONNECTED, on_client_disconnected},
    {EMQC_CLIENT_SUBSCRIBE, on_client_subscribe},
    {EMQC_CLIENT_UNSUBSCRIBE, on_client_unsubscribe},
    {EMQC_SESSION_CREATED, on_session_begin},
    {EMQC_SESSION_RESUMED, on_session_begin},
    {EMQC_SESSION_SUBSCRIBED, on_session_filter},
    {EMQC_SESSION_UNSUBSCRIBED, on_session_filter},
    {EMQC_SESSION_TERMINATED, on_session_terminated},
    {EMQC_MESSAGE_PUBLISH, on_message_publish},
    {EMQC_MESSAGE_DELIVER, on_message_deliver},
    {EMQC_MESSAGE_ACKED, on_message_acked},
    {EMQC_MESSAGE_DROPPED, on_message_dropped},
    {EMQC_TLS_PSK_LOOKUP, on_psk_lookup},
    {EMQC_CLIENT_ENHANCED_AUTHENTICATE, on_enhanced_authenticate},
};

static int attach(struct plugin *plugin)
{
    struct emqc_command command = {sizeof(command), "emqc_plugin_template", usage, run_command, plugin};
    int err = plugin->host->metric(plugin->self, "emqc_plugin_template.events", "Events that the plugin has seen",
                                   &plugin->events);

    for (size_t i = 0; err == 0 && i < sizeof(hooks) / sizeof(hooks[0]); i++) {
        struct emqc_hook hook = {sizeof(hook), hooks[i].point, 0, hooks[i].run, plugin};
        err = plugin->host->hook_add(plugin->self, &hook);
    }
    if (err == 0)
        err = plugin->host->command_add(plugin->self, &command);
    return err;
}

static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct plugin *plugin = calloc(1, sizeof(*plugin));

    if (plugin == NULL)
        return -ENOMEM;
    *out_state = plugin; /* from now on unload() frees it, also after an error */
    plugin->host = host;
    plugin->self = self;
    plugin->user_name = host->config_string(self, "emqc_plugin_template.user_name", NULL, NULL);
    plugin->password = host->config_string(self, "emqc_plugin_template.password", NULL, NULL);
    if (plugin->user_name != NULL && plugin->password == NULL)
        return host->config_wrong(self, "emqc_plugin_template.user_name", NULL, NULL,
                                  "it needs emqc_plugin_template.password as well");
    return attach(plugin);
}

static void unload(void *state)
{
    free(state);
}

EMQC_PLUGIN = {
    EMQC_PLUGIN_HEAD,
    "emqc_plugin_template",
    "1.0.0",
    "Watches every hook point",
    EMQC_FEATURE,
    NULL,
    keys,
    sizeof(keys) / sizeof(keys[0]),
    load,
    unload,
};
