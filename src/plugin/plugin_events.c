/*
 * plugin_events: events of clients and sessions for plugins.
 *
 * The plugin's form is made on the stack for each call: some pointers are copied, no text. Numbers of points and verdicts are the same on both sides.
 */
#include "plugin/plugin_events_internal.h"

#include <string.h>

_Static_assert(EMQC_CLIENT_AUTHENTICATE == (int)HOOK_CLIENT_AUTHENTICATE &&
                   EMQC_CLIENT_SUBSCRIBE == (int)HOOK_CLIENT_SUBSCRIBE &&
                   EMQC_SESSION_TERMINATED == (int)HOOK_SESSION_TERMINATED &&
                   EMQC_MESSAGE_DROPPED == (int)HOOK_MESSAGE_DROPPED &&
                   EMQC_TLS_PSK_LOOKUP == (int)HOOK_TLS_PSK_LOOKUP &&
                   EMQC_CLIENT_ENHANCED_AUTHENTICATE == (int)HOOK_CLIENT_ENHANCED_AUTHENTICATE &&
                   EMQC_POINT_COUNT == (int)HOOK_POINT_COUNT,
               "points have the same numbers");
_Static_assert(EMQC_NEXT == (int)HOOK_NEXT && EMQC_STOP == (int)HOOK_STOP && EMQC_PENDING == (int)HOOK_PENDING,
               "verdicts have the same numbers");
_Static_assert(EMQC_SUBSCRIBE_ACCESS == (int)ACL_SUBSCRIBE && EMQC_PUBLISH_ACCESS == (int)ACL_PUBLISH,
               "kinds of access have the same numbers");

const struct emqc_client *plugin_client(struct emqc_client *out, const struct client_info *client)
{
    if (client == NULL)
        return NULL;
    *out = (struct emqc_client){
        .size = sizeof(*out),
        .zone = plugin_slice(client->zone),
        .client_id = plugin_slice(client->client_id),
        .user_name = plugin_slice(client->user_name),
        .password = plugin_slice(client->password),
        .mountpoint = plugin_slice(client->mountpoint),
        .common_name = plugin_slice(client->common_name),
        .subject = plugin_slice(client->subject),
        .peer_port = client->peer_port,
        .local_port = client->local_port,
        .protocol_version = client->version,
        .is_superuser = client->is_superuser,
        .is_anonymous = client->is_anonymous,
    };
    memcpy(out->peer_address, &client->peer_address, sizeof(out->peer_address));
    memcpy(out->local_address, &client->local_address, sizeof(out->local_address));
    return out;
}

enum reason_code plugin_reason(int code)
{
    return code < 0 || code > UINT8_MAX ? REASON_UNSPECIFIED_ERROR : (enum reason_code)code;
}

/* A number that is no verdict counts as EMQC_NEXT. */
enum hook_verdict plugin_call_with(const struct plugin_call *call, struct emqc_event *event)
{
    enum emqc_verdict verdict = call->run != NULL ? call->run(call->context, event) : call->apply(call->answer, event);

    return verdict == EMQC_STOP ? HOOK_STOP : verdict == EMQC_PENDING ? HOOK_PENDING : HOOK_NEXT;
}

static enum hook_verdict on_authenticate(const struct plugin_call *call, void *data)
{
    struct hook_authenticate *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_CLIENT_AUTHENTICATE};
    struct emqc_client client;
    struct emqc_authenticate event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .result = (int)from->result,
        .reason = from->reason,
        .is_superuser = from->client->is_superuser,
        .is_anonymous = from->client->is_anonymous,
        .mountpoint = plugin_slice(from->client->mountpoint),
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->result = plugin_reason(event.result);
    from->reason = event.reason;
    from->client->is_superuser = event.is_superuser;
    from->client->is_anonymous = event.is_anonymous;
    from->client->mountpoint = plugin_slice_in(event.mountpoint);
    return verdict;
}

static enum hook_verdict on_check_acl(const struct plugin_call *call, void *data)
{
    struct hook_check_acl *from = data;
    struct plugin_place place = {from, NULL, HOOK_CLIENT_CHECK_ACL};
    struct emqc_client client;
    struct emqc_check_acl event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .access = (enum emqc_access)from->access,
        .topic = plugin_slice(from->topic),
        .is_allowed = from->is_allowed,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->is_allowed = event.is_allowed;
    return verdict;
}

static enum hook_verdict on_connected(const struct plugin_call *call, void *data)
{
    const struct hook_connected *from = data;
    struct plugin_place place = {data, NULL, HOOK_CLIENT_CONNECTED};
    struct emqc_client client;
    struct emqc_connected event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .code = (int)from->code,
        .connected_at_ms = from->connected_at_ms,
        .keep_alive_s = from->keep_alive_s,
        .clean_start = from->clean_start,
        .is_bridge = from->is_bridge,
    };

    return plugin_call_with(call, &event.event);
}

static enum hook_verdict on_disconnected(const struct plugin_call *call, void *data)
{
    const struct hook_disconnected *from = data;
    struct plugin_place place = {data, NULL, HOOK_CLIENT_DISCONNECTED};
    struct emqc_client client;
    struct emqc_disconnected event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .reason = from->reason,
    };

    return plugin_call_with(call, &event.event);
}

static enum hook_verdict on_subscribe(const struct plugin_call *call, void *data)
{
    struct hook_subscribe *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_CLIENT_SUBSCRIBE};
    struct emqc_client client;
    struct emqc_subscribe event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .filter = plugin_slice(from->filter),
        .qos = from->options.qos,
        .no_local = from->options.no_local,
        .retain_as_published = from->options.retain_as_published,
        .retain_handling = from->options.retain_handling,
        .code = (int)from->code,
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->filter = plugin_slice_in(event.filter);
    from->options.qos = event.qos > 2 ? 2 : event.qos;
    from->options.no_local = event.no_local;
    from->options.retain_as_published = event.retain_as_published;
    from->options.retain_handling = event.retain_handling > 2 ? 2 : event.retain_handling;
    from->code = plugin_reason(event.code);
    return verdict;
}

static enum hook_verdict on_unsubscribe(const struct plugin_call *call, void *data)
{
    struct hook_unsubscribe *from = data;
    struct plugin_place place = {from, &from->memory, HOOK_CLIENT_UNSUBSCRIBE};
    struct emqc_client client;
    struct emqc_unsubscribe event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .filter = plugin_slice(from->filter),
    };
    enum hook_verdict verdict = plugin_call_with(call, &event.event);

    from->filter = plugin_slice_in(event.filter);
    return verdict;
}

static enum hook_verdict session_event(const struct plugin_call *call, void *data, enum hook_point point)
{
    const struct hook_session *from = data;
    struct plugin_place place = {data, NULL, point};
    struct emqc_client client;
    struct emqc_session event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .expiry_interval_s = from->expiry_interval_s,
        .clean_start = from->clean_start,
    };

    return plugin_call_with(call, &event.event);
}

static enum hook_verdict on_session_created(const struct plugin_call *call, void *data)
{
    return session_event(call, data, HOOK_SESSION_CREATED);
}

static enum hook_verdict on_session_resumed(const struct plugin_call *call, void *data)
{
    return session_event(call, data, HOOK_SESSION_RESUMED);
}

static enum hook_verdict session_filter_event(const struct plugin_call *call, void *data, enum hook_point point)
{
    const struct hook_session_filter *from = data;
    struct plugin_place place = {data, NULL, point};
    struct emqc_client client;
    struct emqc_session_filter event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client = plugin_client(&client, from->client),
        .filter = plugin_slice(from->filter),
        .group = plugin_slice(from->group),
        .qos = from->options.qos,
        .no_local = from->options.no_local,
        .retain_as_published = from->options.retain_as_published,
        .retain_handling = from->options.retain_handling,
        .subscription_id = from->subscription_id,
        .is_new = from->is_new,
    };

    return plugin_call_with(call, &event.event);
}

static enum hook_verdict on_session_subscribed(const struct plugin_call *call, void *data)
{
    return session_filter_event(call, data, HOOK_SESSION_SUBSCRIBED);
}

static enum hook_verdict on_session_unsubscribed(const struct plugin_call *call, void *data)
{
    return session_filter_event(call, data, HOOK_SESSION_UNSUBSCRIBED);
}

static enum hook_verdict on_session_terminated(const struct plugin_call *call, void *data)
{
    const struct hook_session_terminated *from = data;
    struct plugin_place place = {data, NULL, HOOK_SESSION_TERMINATED};
    struct emqc_session_terminated event = {
        .event = plugin_event_head(sizeof(event), &place),
        .client_id = plugin_slice(from->client_id),
        .reason = from->reason,
    };

    return plugin_call_with(call, &event.event);
}

enum hook_verdict plugin_event_call(enum hook_point point, const struct plugin_call *call, void *event)
{
    static plugin_event_fn *const translators[] = {
        [HOOK_CLIENT_AUTHENTICATE] = on_authenticate,
        [HOOK_CLIENT_CHECK_ACL] = on_check_acl,
        [HOOK_CLIENT_CONNECTED] = on_connected,
        [HOOK_CLIENT_DISCONNECTED] = on_disconnected,
        [HOOK_CLIENT_SUBSCRIBE] = on_subscribe,
        [HOOK_CLIENT_UNSUBSCRIBE] = on_unsubscribe,
        [HOOK_SESSION_CREATED] = on_session_created,
        [HOOK_SESSION_RESUMED] = on_session_resumed,
        [HOOK_SESSION_SUBSCRIBED] = on_session_subscribed,
        [HOOK_SESSION_UNSUBSCRIBED] = on_session_unsubscribed,
        [HOOK_SESSION_TERMINATED] = on_session_terminated,
        [HOOK_MESSAGE_PUBLISH] = plugin_on_publish,
        [HOOK_MESSAGE_DELIVER] = plugin_on_deliver,
        [HOOK_MESSAGE_ACKED] = plugin_on_acked,
        [HOOK_MESSAGE_DROPPED] = plugin_on_dropped,
        [HOOK_TLS_PSK_LOOKUP] = plugin_on_psk_lookup,
        [HOOK_CLIENT_ENHANCED_AUTHENTICATE] = plugin_on_enhanced,
    };
    _Static_assert(ARRAY_COUNT(translators) == HOOK_POINT_COUNT, "each point has a translator");

    return translators[point](call, event);
}
