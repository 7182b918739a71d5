/*
 * emqc/plugin.h: all that a plugin of emqc sees of the broker. C, usable from C++.
 *
 * A plugin is a shared object, lib/NAME.so, with its settings in etc/plugins/NAME.conf. It exports one symbol, its descriptor:
 *
 *     EMQC_PLUGIN = {
 *         EMQC_PLUGIN_HEAD, "my_plugin", "1.0.0", "What it does", EMQC_FEATURE, NULL, my_keys, 2, my_load, my_unload,
 *     };
 *
 * `emqx_ctl plugins load my_plugin` checks the descriptor and the settings, then calls my_load(), which attaches callbacks to hook points, adds
 * commands and so on through the functions of `struct emqc_host`. `plugins unload` takes all of that off again, waits until nothing of the
 * plugin runs, calls my_unload() and closes the object. All of it while clients are served. docs/plugins.md walks through it.
 *
 * Threads. Each function says on which threads it may be called, each callback on which it runs:
 *   control  one thread: load, unload, commands, timers, what jobs have done
 *   worker   several threads; each client lives on one. Callbacks of hook points run here: they must never block, for all clients of that
 *            worker would wait. What takes longer answers later: emqc_host.defer().
 *   job      threads of the plugins' own pool, for what takes long or blocks
 *   any      those and threads that the plugin has started itself. These must have ended when unload() returns.
 *
 * Memory. Text comes and goes as slices; what a slice points at is lent: until the callback returns when the broker calls, until the function
 * returns when the plugin calls, unless a comment says otherwise.
 *
 * Versions. EMQC_PLUGIN_ABI changes when old plugins cannot run any more; the broker refuses those that differ. Within one ABI structs only
 * grow at their end: each begins with its size, and who reads a newer member of one that the other side made looks at the size first
 * (EMQC_HAS).
 */
#ifndef EMQC_PLUGIN_H
#define EMQC_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMQC_PLUGIN_ABI 1u

#if defined(__GNUC__) || defined(__clang__)
#define EMQC_PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define EMQC_EXPORT __attribute__((visibility("default")))
#else
#define EMQC_PRINTF_LIKE(text, first)
#define EMQC_EXPORT
#endif

/* Does the struct that `pointer` points at have this member, or is it of an older broker (or plugin)? */
#define EMQC_HAS(pointer, type, member) ((pointer)->size >= offsetof(type, member) + sizeof((pointer)->member))

/* Bytes. An absent text is {NULL, 0}; an empty one has a pointer. Not terminated by a zero. */
struct emqc_slice {
    const char *data;
    size_t len;
};

/* Made by the broker; opaque. */
struct emqc_plugin_instance; /* this plugin, as loaded: the first argument of most functions */
struct emqc_ticket;          /* an answer that is owed */
struct emqc_request;         /* a command that runs */
struct emqc_table;
struct emqc_table_row;
struct emqc_metric;
struct emqc_timer;

/* ---- Hook points: names and meanings of EMQ X 3 (docs/hooks.md) ---- */

enum emqc_point {
    EMQC_CLIENT_AUTHENTICATE = 0, /* struct emqc_authenticate */
    EMQC_CLIENT_CHECK_ACL = 1,    /* struct emqc_check_acl */
    EMQC_CLIENT_CONNECTED = 2,    /* struct emqc_connected */
    EMQC_CLIENT_DISCONNECTED = 3, /* struct emqc_disconnected */
    EMQC_CLIENT_SUBSCRIBE = 4,    /* struct emqc_subscribe */
    EMQC_CLIENT_UNSUBSCRIBE = 5,  /* struct emqc_unsubscribe */
    EMQC_SESSION_CREATED = 6,     /* struct emqc_session */
    EMQC_SESSION_RESUMED = 7,     /* struct emqc_session */
    EMQC_SESSION_SUBSCRIBED = 8,  /* struct emqc_session_filter */
    EMQC_SESSION_UNSUBSCRIBED = 9,
    EMQC_SESSION_TERMINATED = 10,           /* struct emqc_session_terminated */
    EMQC_MESSAGE_PUBLISH = 11,              /* struct emqc_publish */
    EMQC_MESSAGE_DELIVER = 12,              /* struct emqc_deliver */
    EMQC_MESSAGE_ACKED = 13,                /* struct emqc_acked */
    EMQC_MESSAGE_DROPPED = 14,              /* struct emqc_dropped */
    EMQC_TLS_PSK_LOOKUP = 15,               /* struct emqc_psk_lookup */
    EMQC_CLIENT_ENHANCED_AUTHENTICATE = 16, /* struct emqc_enhanced_authenticate; ours */
    EMQC_POINT_COUNT
};

enum emqc_verdict {
    EMQC_NEXT = 0, /* the next callback is asked; what was changed in the event stays */
    EMQC_STOP = 1, /* the event as it is now is the result */
    EMQC_PENDING =
        2, /* the answer follows: emqc_host.defer(). Of client.authenticate, client.check_acl, message.publish and
                         client.enhanced_authenticate only */
};

/* Begins every event. */
struct emqc_event {
    size_t size;
    enum emqc_point point;
    void *broker; /* the broker's own */
};

/* Reason codes of MQTT 5 that callbacks give; any other of the standard (section 2.4) may be given as well. */
enum emqc_reason {
    EMQC_SUCCESS = 0x00,
    EMQC_CONTINUE_AUTHENTICATION = 0x18,
    EMQC_UNSPECIFIED_ERROR = 0x80,
    EMQC_CLIENT_ID_NOT_VALID = 0x85,
    EMQC_BAD_USER_NAME_OR_PASSWORD = 0x86,
    EMQC_NOT_AUTHORIZED = 0x87,
    EMQC_SERVER_UNAVAILABLE = 0x88,
    EMQC_SERVER_BUSY = 0x89,
    EMQC_BANNED = 0x8A,
    EMQC_BAD_AUTHENTICATION_METHOD = 0x8C,
    EMQC_TOPIC_FILTER_INVALID = 0x8F,
    EMQC_TOPIC_NAME_INVALID = 0x90,
    EMQC_QUOTA_EXCEEDED = 0x97
};

/* A client. Texts that it does not have are absent. */
struct emqc_client {
    size_t size;
    struct emqc_slice zone;
    struct emqc_slice client_id; /* generated ones as well */
    struct emqc_slice user_name;
    struct emqc_slice password; /* client.authenticate only. Never log it. */
    struct emqc_slice mountpoint;
    struct emqc_slice common_name; /* of its certificate; client.authenticate only */
    struct emqc_slice subject;     /* likewise */
    uint8_t peer_address[16];      /* network order; an IPv4 address as IPv4-mapped. Text: emqc_host.address_text() */
    uint8_t local_address[16];
    uint16_t peer_port; /* host order */
    uint16_t local_port;
    uint8_t protocol_version; /* 3, 4, 5 */
    bool is_superuser;        /* not asked about topics */
    bool is_anonymous;        /* let in by allow_anonymous */
};

/* client.authenticate: once for each CONNECT. Starts with what allow_anonymous says: EMQC_SUCCESS and is_anonymous, or EMQC_NOT_AUTHORIZED.
 * Who knows the client decides with EMQC_STOP, who does not says EMQC_NEXT and changes nothing. May be pending. */
struct emqc_authenticate {
    struct emqc_event event;
    const struct emqc_client *client;
    int result;                   /* may be changed: enum emqc_reason, what CONNACK says */
    const char *reason;           /* may be set: why not, for the log; static text */
    bool is_superuser;            /* may be changed */
    bool is_anonymous;            /* may be changed: false when you know the client */
    struct emqc_slice mountpoint; /* may be changed, to static or kept text (emqc_host.keep()) */
};

/* %A of the original's settings. */
enum emqc_access { EMQC_SUBSCRIBE_ACCESS = 1, EMQC_PUBLISH_ACCESS = 2 };

/* client.check_acl: what a client's cache does not know; not for superusers. Starts with acl_nomatch. May be pending. Whoever would now say
 * something else than before calls emqc_host.acl_changed(). */
struct emqc_check_acl {
    struct emqc_event event;
    const struct emqc_client *client;
    enum emqc_access access;
    struct emqc_slice topic; /* or filter; without mountpoint and share prefix */
    bool is_allowed;         /* may be changed */
};

/* client.connected: CONNACK with EMQC_SUCCESS was handed to the socket; or a refusal was, with its code of MQTT 5. */
struct emqc_connected {
    struct emqc_event event;
    const struct emqc_client *client;
    int code;
    /* The rest with EMQC_SUCCESS only. */
    uint64_t connected_at_ms; /* since 1970 */
    uint16_t keep_alive_s;    /* 0: off */
    bool clean_start;
    bool is_bridge;
};

/* client.disconnected: once for each client that was connected. */
struct emqc_disconnected {
    struct emqc_event event;
    const struct emqc_client *client;
    const char *
        reason; /* "normal", "closed", "keepalive_timeout", "conflict" (taken over), "discard" (by a clean start), "kicked", ... */
};

/* client.subscribe: each filter that access rules and capabilities have let pass. */
struct emqc_subscribe {
    struct emqc_event event;
    const struct emqc_client *client;
    struct emqc_slice filter; /* with share prefix, without mountpoint; may be changed, to static or kept text */
    uint8_t qos;              /* this and the next three may be changed */
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling;
    int code; /* EMQC_SUCCESS; may be set to a refusal (0x80 and above) of this filter alone */
};

/* client.unsubscribe: each filter. */
struct emqc_unsubscribe {
    struct emqc_event event;
    const struct emqc_client *client;
    struct emqc_slice filter; /* with share prefix, without mountpoint; may be changed, to static or kept text */
};

/* session.created, session.resumed: CONNACK follows. */
struct emqc_session {
    struct emqc_event event;
    const struct emqc_client *client;
    uint32_t expiry_interval_s; /* UINT32_MAX: never */
    bool clean_start;
};

/* session.subscribed (also with new options), session.unsubscribed (by UNSUBSCRIBE). */
struct emqc_session_filter {
    struct emqc_event event;
    const struct emqc_client *client;
    struct emqc_slice filter; /* with mountpoint, without share prefix */
    struct emqc_slice group;  /* absent: not shared */
    /* The rest of session.subscribed only. */
    uint8_t qos;
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling;
    uint32_t subscription_id; /* 0: none */
    bool is_new;
};

/* session.terminated: it ended, its client gone or not. */
struct emqc_session_terminated {
    struct emqc_event event;
    struct emqc_slice client_id;
    const char *reason; /* "normal", "expired", "discarded", ... */
};

/* message.publish: each message published on this node, once, before it is retained and routed. May be pending for those of clients. */
struct emqc_publish {
    struct emqc_event event;
    const struct emqc_client *client; /* NULL: a will, a delayed message, $SYS, a part of the broker */
    struct emqc_slice client_id;      /* of the publisher, or the name of a part of the broker */
    struct emqc_slice topic;          /* with mountpoint; may be changed to another topic name, static or kept */
    struct emqc_slice payload;        /* may be changed, likewise */
    bool retain;                      /* may be changed */
    uint8_t qos;
    bool is_allowed; /* true; may be cleared: it is not published, and acknowledged as one that nobody subscribed to */
};

/* A message that is on its way, or was. */
struct emqc_message_info {
    size_t size;
    struct emqc_slice client_id; /* of the publisher, or the name of a part of the broker */
    struct emqc_slice topic;     /* with mountpoint */
    struct emqc_slice payload;
    uint64_t published_at_ms; /* since 1970 */
    uint8_t qos; /* of message.deliver and message.acked: as sent to the client; of message.dropped: as published */
    bool retain; /* likewise */
};

/* message.deliver: each PUBLISH about to be written to a connected client, also when it is sent again, and of retained messages. It cannot be
 * stopped here. What is changed is changed for this client and this time. */
struct emqc_deliver {
    struct emqc_event event;
    const struct emqc_client *client; /* the receiver */
    const struct emqc_message_info *message;
    struct emqc_slice topic;   /* message->topic; may be changed to another topic name, static or kept */
    struct emqc_slice payload; /* message->payload; may be changed, likewise */
    bool dup;                  /* it is sent again */
};

/* message.acked: the client has answered a PUBLISH of QoS 1 with PUBACK or one of QoS 2 with PUBREC, once for each. */
struct emqc_acked {
    struct emqc_event event;
    const struct emqc_client *client;        /* the receiver */
    const struct emqc_message_info *message; /* as it was published */
    int code; /* EMQC_SUCCESS; 0x10 (nobody subscribed); 0x80 and above: it refused the message */
};

/* message.dropped: a message that nobody gets, or that one subscriber does not get; not what expires. What the callback publishes goes out after it. */
struct emqc_dropped {
    struct emqc_event event;
    struct emqc_slice client_id; /* of the subscriber; absent: nobody has subscribed */
    struct emqc_slice user_name; /* of the subscriber; absent: it has none or is not connected */
    const char *
        reason; /* "no_subscriber", "no_local", "queue_full", "slow_consumer", "absent" (QoS 0 for who is not connected), "too_large" */
    const struct emqc_message_info *message; /* topic and payload absent: it was on disk only */
};

#define EMQC_PSK_KEY_MAX 512u

/* tls_handshake.psk_lookup: a client names a key that the listener's own psk_file does not have. Starts with none, which ends the handshake. Who knows
 * the identity writes its key and says EMQC_STOP. The key is wiped afterwards. */
struct emqc_psk_lookup {
    struct emqc_event event;
    struct emqc_slice identity; /* from outside, any bytes but zero; not empty */
    uint8_t *key;               /* room for EMQC_PSK_KEY_MAX bytes */
    size_t key_len;             /* 0: not known */
};

enum emqc_enhanced_step {
    EMQC_ENHANCED_START = 0,    /* CONNECT with an Authentication Method */
    EMQC_ENHANCED_CONTINUE = 1, /* AUTH 0x18, after an answer with EMQC_CONTINUE_AUTHENTICATION */
    EMQC_ENHANCED_AGAIN = 2,    /* AUTH 0x19: a connected client begins to authenticate again */
    EMQC_ENHANCED_ENDED =
        3 /* nothing more will come after such an answer: the client has gone, took too long, broke the protocol */
};

#define EMQC_ENHANCED_STATE_BYTES 2048u

/* client.enhanced_authenticate (ours; MQTT 5, section 4.12). START and AGAIN are asked of all callbacks: who knows the method sets a result and says
 * EMQC_STOP; it alone is asked about what follows, and is told ENDED (which cannot wait) if that does not follow. May be pending. */
struct emqc_enhanced_authenticate {
    struct emqc_event event;
    const struct emqc_client *client; /* user_name is what CONNECT says, or since then an exchange has shown */
    enum emqc_enhanced_step step;
    struct emqc_slice method;
    struct emqc_slice data; /* absent: none came. Never log it. */
    void *
        state; /* EMQC_ENHANCED_STATE_BYTES, aligned for any type: zero at first, kept through the exchange, wiped at its end */
    int result; /* EMQC_BAD_AUTHENTICATION_METHOD; may be set to EMQC_SUCCESS, EMQC_CONTINUE_AUTHENTICATION or a refusal */
    const char *reason;       /* may be set: why not, for the log; static text */
    struct emqc_slice answer; /* may be set with the first two: data for the client, static or kept; absent: none */
    struct emqc_slice
        user_name; /* may be set with EMQC_SUCCESS: who the client is shown to be; likewise; absent: as CONNECT says */
    bool is_superuser; /* may be set with EMQC_SUCCESS */
};

/* ---- The plugin's own side ---- */

typedef enum emqc_verdict emqc_hook_fn(void *context, struct emqc_event *event);

struct emqc_hook {
    size_t size;
    enum emqc_point point;
    int priority; /* higher first, equal ones in the order of loading; 0 is usual. Bans come before all, rules of acl_file have -1 */
    emqc_hook_fn *run; /* thread: worker (control or job for messages that do not come from clients) */
    void *context;
};

/* Applies `answer` to the event and says what the callback would have said, EMQC_NEXT or EMQC_STOP. `event` NULL: nobody wants the answer any
 * more (it came too late, the client has gone, the plugin is being unloaded). Frees `answer`, which is the plugin's. Thread: any. */
typedef enum emqc_verdict emqc_apply_fn(void *answer, struct emqc_event *event);

enum emqc_key_type {
    EMQC_STRING,
    EMQC_INTEGER,
    EMQC_FLOAT,
    EMQC_BOOL,        /* on, off, true, false */
    EMQC_ENUM,        /* one of enum_words */
    EMQC_DURATION_MS, /* 1h30m, 5s, 0; bare integers in ms */
    EMQC_DURATION_S,  /* likewise; bare integers in s */
    EMQC_BYTESIZE,    /* 1MB, 64KB, 4096 */
    EMQC_PERCENT,
    EMQC_ADDRESS /* port or ip:port, as text */
};

/* A setting: all that is known of it. Words of `name` that begin with $ stand for any word: auth.user.$id.username. */
struct emqc_key {
    const char *name;
    enum emqc_key_type type;
    const char *fallback; /* the value when it is not set, as text; NULL: none */
    /* The value in the shipped file; NULL: it is commented out there, with `example` (NULL: not there). With a $ in the name these are lines "WORD: value", with
     * two of them "WORD.WORD: value", such as "1: ada\n2: bob". */
    const char *shipped;
    const char *example;
    const char *enum_words; /* "get, post" */
    int64_t min, max;       /* in the unit of the type, EMQC_FLOAT in hundredths; both 0: no range */
    bool is_mandatory;      /* the plugin is not loaded without it */
    bool is_secret;         /* its value is not shown to anybody */
    const char *help;       /* whole sentences */
};

/* One line of a command's usage. A list ends with a NULL syntax; that row's description, if it has one, is whole lines that follow: explanations,
 * examples. */
struct emqc_usage {
    const char *syntax;      /* "users add <Username> <Password>" */
    const char *description; /* "Add a user" */
};

struct emqc_command {
    size_t size;
    const char *name; /* "users" */
    const struct emqc_usage *usage;
    /* argv[0] is the name, argv[argc] NULL. Finishes the request, now or later, exactly once. Thread: control. */
    void (*run)(void *context, struct emqc_request *request, int argc, char **argv);
    void *context;
};

enum emqc_command_result {
    EMQC_COMMAND_OK,
    EMQC_COMMAND_FAILED, /* refused or nothing found; what was printed says why */
    EMQC_COMMAND_USAGE,  /* wrong words; the usage is printed */
    EMQC_COMMAND_HELP /* help was asked for; usage and help are printed. `NAME --help` is answered by the broker itself */
};

enum emqc_log_level { EMQC_LOG_DEBUG, EMQC_LOG_INFO, EMQC_LOG_NOTICE, EMQC_LOG_WARNING, EMQC_LOG_ERROR };

struct emqc_message {
    size_t size;
    struct emqc_slice topic;
    struct emqc_slice payload;
    uint8_t qos; /* 0, 1, 2 */
    bool retain;
};

/* A table of rows that survive: key -> value, both bytes. All of it is in memory as well. */
struct emqc_table_options {
    size_t size;
    const char *name;  /* of the plugin's own choice: [a-z0-9_]{1,32}. Each plugin has its own names */
    uint64_t rows_max; /* over 0; one more is refused with -ENOSPC */
};
#define EMQC_TABLE_KEY_MAX 65535u
#define EMQC_TABLE_VALUE_MAX 65535u

/* 0: it is on disk. -EIO: it is in effect, but the store fails meanwhile. -ECANCELED: the plugin is unloaded meanwhile. Never called from within the call that asked. Thread: control. */
typedef void emqc_table_done_fn(void *context, int err);

/* What the broker does for plugins. Functions that return int give 0 or a negative errno. */
struct emqc_host {
    size_t size;
    uint32_t abi;
    const char *version; /* of emqc: "0.1.0" */

    /* -- texts and settings. Thread: any -- */

    /* "emqx@127.0.0.1"; directories, absolute, without final slash. Valid while the plugin is loaded. */
    const char *(*node_name)(const struct emqc_plugin_instance *self);
    const char *(*data_dir)(const struct emqc_plugin_instance *self);
    const char *(*etc_dir)(const struct emqc_plugin_instance *self);

    /* Settings of etc/plugins/NAME.conf and the environment by a row's name, `name` and `id` in the place of its first and second wildcard word
     * (else NULL): as configured, else the row's fallback, else `otherwise`. A name that no row has, or another type than the row's, is a mistake
     * of the plugin: it ends the process with a message. Texts are valid while the plugin is loaded; NULL: not set. */
    const char *(*config_string)(const struct emqc_plugin_instance *self, const char *key, const char *name,
                                 const char *id);
    int64_t (*config_integer)(
        const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
        int64_t otherwise); /* EMQC_INTEGER, PERCENT, ENUM (index of the word), DURATION, BYTESIZE */
    double (*config_float)(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                           double otherwise);
    bool (*config_bool)(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        bool otherwise);
    /* The words in the place of the first wildcard of `key`, in file order; `*out_count` of them in an array that ends with the plugin. -ENOMEM.
     * Thread: control. */
    int (*config_names)(struct emqc_plugin_instance *self, const char *key, const char *const **out_names,
                        size_t *out_count);
    /* For load(): a value is well-formed but wrong. The load fails with file, line, key, value and this text: what would be right. Always gives
     * -EINVAL, for load() to return. Thread: control. */
    int (*config_wrong)(struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        const char *format, ...) EMQC_PRINTF_LIKE(5, 6);
    /* For load(): why it fails, if not for a setting; shown by `plugins load` and logged. Gives -EINVAL. Thread: control. */
    int (*fail)(struct emqc_plugin_instance *self, const char *format, ...) EMQC_PRINTF_LIKE(2, 3);

    /* A line in the log, which names the plugin. A repeated one per event belongs behind a limit of your own. Thread: any. */
    void (*log)(const struct emqc_plugin_instance *self, enum emqc_log_level level, const char *format, ...)
        EMQC_PRINTF_LIKE(3, 4);
    /* "192.0.2.1", "2001:db8::1", at most 46 bytes with the final zero. Thread: any. */
    void (*address_text)(const uint8_t address[16], char out_text[46]);

    /* -- hook points -- */

    /* Attached until the plugin is unloaded. -EEXIST: the same callback with the same context is there; -ENOSPC: 64 of a point. Thread: control. */
    int (*hook_add)(struct emqc_plugin_instance *self, const struct emqc_hook *hook);
    /* A copy that lives as long as the event, for its members that may be changed. Absent: memory is short. Thread: the event's. */
    struct emqc_slice (*keep)(struct emqc_event *event, struct emqc_slice text);
    /* The answer will follow by complete(), and the callback returns EMQC_PENDING. NULL: none may follow (too many are owed, memory is short);
     * the callback returns EMQC_PENDING all the same and the broker refuses. What the event points at is not valid any more once the callback
     * has returned: copy what is needed. Thread: the event's. */
    struct emqc_ticket *(*defer)(struct emqc_event *event);
    /* The answer, exactly once for each ticket, however late; also when the plugin is unloaded (from within unload() at the latest). `apply` may be
     * called before this returns. Thread: any. */
    void (*complete)(struct emqc_ticket *ticket, emqc_apply_fn *apply, void *answer);
    /* Verdicts of client.check_acl that clients remember are forgotten. Thread: any. */
    void (*acl_changed)(struct emqc_plugin_instance *self);

    /* -- commands of emqx_ctl. Thread: control -- */

    /* There until the plugin is unloaded. -EEXIST: a command of that name is there. */
    int (*command_add)(struct emqc_plugin_instance *self, const struct emqc_command *command);
    void (*print)(struct emqc_request *request, const char *format, ...) EMQC_PRINTF_LIKE(2, 3);
    void (*print_error)(struct emqc_request *request, const char *format, ...) EMQC_PRINTF_LIKE(2, 3);
    /* Text from outside: control characters appear as \xHH. */
    void (*print_slice)(struct emqc_request *request, struct emqc_slice text);
    void (*finish)(struct emqc_request *request, enum emqc_command_result result);
    /* Calls `resume` once there is room for more output, possibly from within: for long lists, printed in parts of some hundred lines. */
    void (*when_writable)(struct emqc_request *request, void (*resume)(struct emqc_request *request, void *context),
                          void *context);
    /* Is the caller gone? Then finish soon. */
    bool (*abandoned)(const struct emqc_request *request);

    /* -- metrics -- */

    /* A counter under its name ("auth.http.success") in all lists of metrics. It stays, with its value, when the plugin is unloaded; one of that name
     * that is there already is given again. -EINVAL (over 63 bytes), -ENOSPC, -ENOMEM. Thread: control. */
    int (*metric)(struct emqc_plugin_instance *self, const char *name, const char *help,
                  struct emqc_metric **out_metric);
    void (*metric_add)(struct emqc_metric *metric, uint64_t amount); /* Thread: any. Takes no lock. */

    /* -- time and work -- */

    /* Calls `run` on the control thread after `delay_ms` and then every `repeat_ms` (0: once). Ends with the plugin. -ENOMEM. Thread: control. */
    int (*timer_start)(struct emqc_plugin_instance *self, uint64_t delay_ms, uint64_t repeat_ms,
                       void (*run)(void *context), void *context, struct emqc_timer **out_timer);
    void (*timer_stop)(struct emqc_timer *timer); /* It is gone. Thread: control. */
    /* `work` runs on a job thread (it may take long and block), then `done` (may be NULL) on the control thread. Jobs of a plugin that is unloaded
     * are waited for. -EAGAIN: plugins.job_queue of them wait already; -ENOMEM; then nothing is called. Thread: any. */
    int (*job_run)(struct emqc_plugin_instance *self, void (*work)(void *context), void (*done)(void *context),
                   void *context);

    /* -- tables -- */

    /* The plugin's table of that name, with what earlier runs left in it; closed with the plugin, its rows stay. -EINVAL (a name against the rules),
     * -EEXIST (it is open), -EIO (damaged: reported), -ENOMEM. Blocks while it is read. Thread: control, load(). */
    int (*table_open)(struct emqc_plugin_instance *self, const struct emqc_table_options *options,
                      struct emqc_table **out_table);
    /* Copies the value, at most `size` bytes, and gives its whole length; -ENOENT. Takes no lock. Thread: worker, control. */
    int (*table_get)(const struct emqc_table *table, struct emqc_slice key, void *out_value, size_t size);
    /* In effect at once; `done` (may be NULL) tells when it is on disk. `only_new`: -EEXIST when the key is there. -ENOSPC: rows_max; -EINVAL: empty or too
     * long; -EROFS: the store cannot be written; -EAGAIN: too much waits to be written; -ENOMEM. After an error nothing has changed. Thread: control. */
    int (*table_put)(struct emqc_table *table, struct emqc_slice key, struct emqc_slice value, bool only_new,
                     emqc_table_done_fn *done, void *context);
    /* -ENOENT and the errors of table_put(). Thread: control. */
    int (*table_delete)(struct emqc_table *table, struct emqc_slice key, emqc_table_done_fn *done, void *context);
    /* Visits at least `limit` rows (while there are some) from `*cursor` (0: the first) in no special order and moves it, to 0 at the end. A row that is there
     * all the time is visited exactly once. Thread: control. */
    void (*table_visit)(const struct emqc_table *table, uint64_t *cursor, uint32_t limit,
                        void (*visit)(void *context, struct emqc_slice key, struct emqc_slice value), void *context);
    uint64_t (*table_count)(const struct emqc_table *table); /* Thread: any; of the moment. */

    /* -- messages and clients. Thread: any -- */

    /* Publishes as this plugin: message.publish is called, access rules are not. Copied. -EINVAL: not a topic name, or QoS over 2; -ENOMEM. */
    int (*publish)(struct emqc_plugin_instance *self, const struct emqc_message *message);
    /* Ends the client's connection with 0x98 (administrative action); its session stays if it is to stay. -ENOMEM. */
    int (*kick)(struct emqc_plugin_instance *self, struct emqc_slice client_id);
};

enum emqc_plugin_type { EMQC_AUTH, EMQC_PROTOCOL, EMQC_BACKEND, EMQC_BRIDGE, EMQC_FEATURE };

/* The descriptor: what the broker looks at before it calls anything. All static. */
struct emqc_plugin {
    size_t size;
    uint32_t abi;            /* EMQC_PLUGIN_ABI */
    const char *name;        /* that of the file without .so: [a-z][a-z0-9_]{0,63} */
    const char *version;     /* "1.0.0" */
    const char *description; /* a line */
    enum emqc_plugin_type type;
    const char *const *depends; /* names of plugins that must be loaded before, ends with NULL; NULL: none */
    const struct emqc_key *keys;
    size_t key_count;
    /* Attaches what the plugin does. Gives 0, or a negative errno after emqc_host.config_wrong() or fail() have said why: everything attached through
     * the host is taken off again then, unload() is called if `*out_state` (NULL before) was set, and the object is closed. Callbacks may run as soon as
     * they are attached: what they use is ready by then, and freed in unload() only. Thread: control. */
    int (*load)(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state);
    /* Hooks, commands, timers are off already and jobs done. All tickets are completed, all threads ended and all memory freed when this returns. May
     * block for a moment. Thread: control. */
    void (*unload)(void *state);
};

#define EMQC_PLUGIN_SYMBOL "emqc_plugin"
#define EMQC_PLUGIN_HEAD sizeof(struct emqc_plugin), EMQC_PLUGIN_ABI
#ifdef __cplusplus
#define EMQC_PLUGIN extern "C" EMQC_EXPORT const struct emqc_plugin emqc_plugin
#else
#define EMQC_PLUGIN                                                                                                    \
    EMQC_EXPORT extern const struct emqc_plugin emqc_plugin;                                                           \
    const struct emqc_plugin emqc_plugin
#endif

#ifdef __cplusplus
}
#endif

#endif
