/*
 * node_listener_tls: certificates while the broker runs: read again when their files change or a command says so, and spoken of
 * before they end. A certificate that cannot be used never replaces one that can.
 */
#include "main/node_listeners.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S 86400
#define WARN_DAYS 30 /* before a certificate ends */

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_ms() / 1000);
}

/* What the load of its files found. The shipped list of ciphers names some that OpenSSL has given up, which is nothing to warn of. */
static void log_notes(struct listener_slot *slot)
{
    const struct tls_context *context = listener_tls_context(slot->listener);
    const char *line = tls_context_notes(context);
    int64_t end_s = tls_context_expires_at_s(context);

    while (*line != '\0') {
        size_t len = strcspn(line, "\n"), key_len = strcspn(line, ":");
        bool of_ciphers = key_len > 7 && strncmp(line + key_len - 7, "ciphers", 7) == 0;
        log_write(of_ciphers ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, "[Listener] %.*s", (int)len, line);
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    if (end_s != 0 && end_s <= now_s())
        slot->warned_day = now_s() / DAY_S; /* a note has said that it has expired */
}

int node_listener_tls_reload(struct listener_slot *slot, char error[LISTENER_ERROR_MAX])
{
    struct tls_context *context = listener_tls_context(slot->listener);
    int err;

    error[0] = '\0';
    err = tls_context_reload(context, error);
    if (err < 0)
        return err;
    free(slot->reload_error);
    slot->reload_error = NULL;
    slot->warned_day = 0;
    log_write(LOG_LEVEL_NOTICE, "[Listener] mqtt:%s:%s uses its TLS files as they are now",
              listener_type_name(slot->type), slot->name);
    log_notes(slot);
    return 0;
}

/* Says a failure once, and again only when it is another one. */
static void log_reload_error(struct listener_slot *slot, const char *error)
{
    if (slot->reload_error != NULL && strcmp(slot->reload_error, error) == 0)
        return;
    free(slot->reload_error);
    slot->reload_error = strdup(error); /* NULL: it is said again next time */
    log_error("[Listener] mqtt:%s:%s has changed TLS files that cannot be used, it keeps the ones it has: %s",
              listener_type_name(slot->type), slot->name, error);
}

static void check_files(struct listener_slot *slot)
{
    char error[LISTENER_ERROR_MAX];
    int err;

    if (!tls_context_files_changed(listener_tls_context(slot->listener)))
        return;
    err = node_listener_tls_reload(slot, error);
    if (err < 0)
        log_reload_error(slot, error[0] == '\0' ? strerror(-err) : error);
}

/* Once a day. */
static void warn_of_end(struct listener_slot *slot)
{
    int64_t now = now_s(), today = now / DAY_S;
    int64_t end_s = tls_context_expires_at_s(listener_tls_context(slot->listener));

    if (end_s == 0 || end_s - now > (int64_t)WARN_DAYS * DAY_S || slot->warned_day == today)
        return;
    slot->warned_day = today;
    if (end_s <= now)
        log_error("[Listener] mqtt:%s:%s: its certificate has expired, clients that check it refuse the broker",
                  listener_type_name(slot->type), slot->name);
    else
        log_warning("[Listener] mqtt:%s:%s: its certificate expires in %" PRId64 " days",
                    listener_type_name(slot->type), slot->name, (end_s - now) / DAY_S);
}

void node_listener_tls_warn(struct node *node, struct listener_slot *slot)
{
    struct tls_context *context = listener_tls_context(slot->listener);
    char text[256];

    if (context == NULL)
        return;
    log_notes(slot);
    warn_of_end(slot);
    if (!tls_context_is_trial(context))
        return;
    snprintf(
        text, sizeof(text),
        "listener.%s.%.64s uses the certificate for trying out: whoever has a copy of its key can read along. Set its "
        "keyfile and certfile to your own",
        listener_type_name(slot->type), slot->name);
    log_warning("[Listener] %s", text);
    if (node->state == BROKER_STARTING && (daemon_report_is_remote(node->options->report) || !node->log_to_console))
        daemon_report_warning(node->options->report, "%s", text);
}

static void free_retired(struct node_listeners *listeners)
{
    struct retired_listener **link = &listeners->retired;

    while (*link != NULL) {
        struct retired_listener *retired = *link;
        if (listener_is_held(retired->listener)) {
            link = &retired->next;
            continue;
        }
        *link = retired->next;
        listener_free(retired->listener);
        free(retired);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct node_listeners *listeners = timer->data;

    free_retired(listeners);
    for (uint32_t i = 0; i < listeners->slot_count; i++) {
        struct listener_slot *slot = listeners->slots[i];
        if (slot->listener == NULL || listener_tls_context(slot->listener) == NULL)
            continue;
        if (listeners->checks_files)
            check_files(slot);
        warn_of_end(slot);
    }
}

int node_listener_tls_start(struct node *node)
{
    struct node_listeners *listeners = node->listeners;
    uint64_t interval_ms = conf_get_duration(node->conf, "node.tls_check_interval", NULL, LISTENER_HOUSEKEEPING_MS);
    int err = uv_timer_init(&node->loop, &listeners->timer);

    if (err < 0)
        return err;
    listeners->timer_open = true;
    listeners->timer.data = listeners;
    listeners->checks_files = interval_ms > 0;
    if (interval_ms == 0)
        interval_ms = LISTENER_HOUSEKEEPING_MS;
    return uv_timer_start(&listeners->timer, on_timer, interval_ms, interval_ms);
}
