/*
 * plugin_services: the table of functions that plugins get, and the smaller ones of them.
 */
#include "plugin/plugin_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/version.h"
#include "broker/broker.h"
#include "broker/channel/channel.h"
#include "broker/session/session.h"
#include "event/mailbox.h"
#include "hook/acl_generation.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOG_LINE_BYTES 4096 /* longer lines of plugins are cut */

static const char *node_name(const struct emqc_plugin_instance *self)
{
    return self->host->options.node_name;
}

static const char *data_dir(const struct emqc_plugin_instance *self)
{
    return self->host->data_dir;
}

static const char *etc_dir(const struct emqc_plugin_instance *self)
{
    return self->host->etc_dir;
}

static int fail(struct emqc_plugin_instance *self, const char *format, ...) PRINTF_LIKE(2, 3);

static int fail(struct emqc_plugin_instance *self, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(self->error, sizeof(self->error), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static void write_log(const struct emqc_plugin_instance *self, enum emqc_log_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void write_log(const struct emqc_plugin_instance *self, enum emqc_log_level level, const char *format, ...)
{
    static const enum log_level levels[] = {
        [EMQC_LOG_DEBUG] = LOG_LEVEL_DEBUG,   [EMQC_LOG_INFO] = LOG_LEVEL_INFO,
        [EMQC_LOG_NOTICE] = LOG_LEVEL_NOTICE, [EMQC_LOG_WARNING] = LOG_LEVEL_WARNING,
        [EMQC_LOG_ERROR] = LOG_LEVEL_ERROR,
    };
    enum log_level own = (size_t)level < ARRAY_COUNT(levels) ? levels[level] : LOG_LEVEL_ERROR;
    char text[LOG_LINE_BYTES];
    va_list arguments;

    if (!log_enabled(own))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_write_line(own, "[%s] %s", self->name, text);
}

static void address_text(const uint8_t address[16], char out_text[46])
{
    struct in6_addr ipv6;

    memcpy(&ipv6, address, sizeof(ipv6));
    if (IN6_IS_ADDR_V4MAPPED(&ipv6))
        inet_ntop(AF_INET, address + 12, out_text, 46);
    else
        inet_ntop(AF_INET6, address, out_text, 46);
}

static void acl_changed(struct emqc_plugin_instance *self)
{
    (void)self;
    acl_generation_bump();
}

/* ---- commands ---- */

static void print(struct emqc_request *request, const char *format, ...) PRINTF_LIKE(2, 3);
static void print_error(struct emqc_request *request, const char *format, ...) PRINTF_LIKE(2, 3);

/* The text of `format`, which the caller frees; NULL: memory is short. */
static char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;

    return vasprintf(&text, format, arguments) < 0 ? NULL : text;
}

static void print(struct emqc_request *request, const char *format, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    text = format_text(format, arguments);
    va_end(arguments);
    if (text != NULL)
        ctl_print((struct ctl_request *)request, "%s", text);
    free(text);
}

static void print_error(struct emqc_request *request, const char *format, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    text = format_text(format, arguments);
    va_end(arguments);
    if (text != NULL)
        ctl_printerr((struct ctl_request *)request, "%s", text);
    free(text);
}

static void print_slice(struct emqc_request *request, struct emqc_slice text)
{
    ctl_print_slice((struct ctl_request *)request, plugin_slice_in(text));
}

struct resumption {
    void (*resume)(struct emqc_request *request, void *context);
    void *context;
};

static void resume_request(struct ctl_request *request, void *context)
{
    struct resumption resumption = *(struct resumption *)context;

    free(context);
    resumption.resume((struct emqc_request *)request, resumption.context);
}

/* When memory is short it does not wait: the output grows by what is printed next. */
static void when_writable(struct emqc_request *request, void (*resume)(struct emqc_request *request, void *context),
                          void *context)
{
    struct resumption *resumption = malloc(sizeof(*resumption));

    if (resumption == NULL) {
        resume(request, context);
        return;
    }
    *resumption = (struct resumption){resume, context};
    ctl_when_writable((struct ctl_request *)request, resume_request, resumption);
}

static bool abandoned(const struct emqc_request *request)
{
    return ctl_abandoned((const struct ctl_request *)request);
}

/* ---- metrics: the handle is the number, by one, so that none is NULL ---- */

static int metric(struct emqc_plugin_instance *self, const char *name, const char *help,
                  struct emqc_metric **out_metric)
{
    uint32_t number = 0;
    int err = metrics_register(name, help, &number);

    (void)self;
    if (err == 0)
        *out_metric = (struct emqc_metric *)((uintptr_t)number + 1);
    return err;
}

static void add_to_metric(struct emqc_metric *handle, uint64_t amount)
{
    metric_add((uint32_t)((uintptr_t)handle - 1), amount);
}

/* ---- messages and clients ---- */

static int publish(struct emqc_plugin_instance *self, const struct emqc_message *message)
{
    struct message_options options = {.client_id = slice_from_string(self->name), .now_ms = clock_mono_ms()};
    struct message *own;

    if (!EMQC_HAS(message, struct emqc_message, retain) || message->qos > 2 ||
        !mqtt_topic_valid(plugin_slice_in(message->topic)))
        return -EINVAL;
    options.topic = plugin_slice_in(message->topic);
    options.payload = plugin_slice_in(message->payload);
    options.qos = message->qos;
    options.retain = message->retain;
    own = message_new(&options);
    if (own == NULL)
        return -ENOMEM;
    broker_publish_post_take(self->host->options.broker, own);
    return 0;
}

/* Goes to some worker, which looks where the client lives, and from there to that one. */
struct kick {
    struct post post;
    struct broker *broker;
    size_t client_id_len;
    uint8_t client_id[];
};

static void do_kick(struct worker *worker, struct post *post)
{
    struct kick *kick = CONTAINER_OF(post, struct kick, post);

    (void)channel_kick(worker, slice_make(kick->client_id, kick->client_id_len));
    free(kick);
}

static void find_and_kick(struct worker *worker, struct post *post)
{
    struct kick *kick = CONTAINER_OF(post, struct kick, post);
    struct session *session = broker_find_session(kick->broker, slice_make(kick->client_id, kick->client_id_len));

    (void)worker;
    if (session == NULL) {
        free(kick);
        return;
    }
    kick->post.run = do_kick;
    worker_post(session->host->worker, &kick->post);
}

static int kick_client(struct emqc_plugin_instance *self, struct emqc_slice client_id)
{
    struct kick *kick = malloc(sizeof(*kick) + client_id.len);

    if (kick == NULL)
        return -ENOMEM;
    kick->post.run = find_and_kick;
    kick->broker = self->host->options.broker;
    kick->client_id_len = client_id.len;
    if (client_id.len > 0)
        memcpy(kick->client_id, client_id.data, client_id.len);
    worker_post(worker_pool_get(kick->broker->pool, 0), &kick->post);
    return 0;
}

const struct emqc_host plugin_host_functions = {
    .size = sizeof(struct emqc_host),
    .abi = EMQC_PLUGIN_ABI,
    .version = EMQC_VERSION,
    .node_name = node_name,
    .data_dir = data_dir,
    .etc_dir = etc_dir,
    .config_string = plugin_config_string,
    .config_integer = plugin_config_integer,
    .config_float = plugin_config_float,
    .config_bool = plugin_config_bool,
    .config_names = plugin_config_names,
    .config_wrong = plugin_config_wrong,
    .fail = fail,
    .log = write_log,
    .address_text = address_text,
    .hook_add = plugin_hook_add,
    .keep = plugin_keep,
    .defer = plugin_defer,
    .complete = plugin_complete,
    .acl_changed = acl_changed,
    .command_add = plugin_command_add,
    .print = print,
    .print_error = print_error,
    .print_slice = print_slice,
    .finish = plugin_request_finish,
    .when_writable = when_writable,
    .abandoned = abandoned,
    .metric = metric,
    .metric_add = add_to_metric,
    .timer_start = plugin_timer_start,
    .timer_stop = plugin_timer_stop,
    .job_run = plugin_job_run,
    .table_open = plugin_table_open,
    .table_get = plugin_table_get,
    .table_put = plugin_table_put,
    .table_delete = plugin_table_delete,
    .table_visit = plugin_table_visit,
    .table_count = plugin_table_count,
    .publish = publish,
    .kick = kick_client,
};
