/*
 * access: see access.h.
 */
#include "broker/channel/access.h"

#include "base/metrics.h"
#include "broker/channel/access_cache.h"
#include "broker/channel/authenticate.h"
#include "hook/acl_generation.h"
#include "hook/hook.h"
#include "hook/hook_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void channel_client_info(const struct connection *connection, struct slice client_id, struct client_info *out_info)
{
    *out_info = (struct client_info){
        .zone = slice_from_string(connection_zone(connection)->name),
        .zone_settings = connection_zone(connection),
        .client_id = client_id,
        .user_name = connection_user_name(connection),
        .mountpoint = connection_mountpoint(connection),
        .peer_address = connection->peer.address,
        .peer_port = connection->peer.port,
        .version = connection->version,
        .is_superuser = connection->is_superuser,
        .is_anonymous = connection->is_anonymous,
    };
}

/* What callbacks are asked, in the extras of a connection that waits. */
struct access_question {
    struct hook_run run;
    struct hook_check_acl event;
    struct client_info client;
    struct connection *connection;
    uint8_t *texts;      /* while it waits: copies of topic and client ID; NULL: none */
    uint32_t generation; /* acl_generation_read() when it was asked */
    enum hook_result result;
};

static struct access_question *question_of(const struct connection *connection)
{
    return connection->extras == NULL ? NULL : connection->extras->question;
}

/* The worker's spare one, so that answers given at once cost no memory. NULL when memory is short. */
static struct access_question *question_get(struct channel_worker *host)
{
    struct access_question *question = host->spare_question;

    host->spare_question = NULL;
    return question != NULL ? question : malloc(sizeof(*question));
}

static void question_put(struct channel_worker *host, struct access_question *question)
{
    hook_run_cancel(&question->run);
    free(question->texts);
    question->texts = NULL;
    if (host->spare_question == NULL)
        host->spare_question = question;
    else
        free(question);
}

void channel_free_spare_question(struct channel_worker *host)
{
    free(host->spare_question);
    host->spare_question = NULL;
}

void channel_end_question(struct connection *connection)
{
    struct access_question *question = question_of(connection);

    if (question == NULL)
        return;
    connection->extras->question = NULL;
    question_put(connection_host(connection), question);
}

struct slice channel_asked_client_id(const struct connection *connection)
{
    struct access_question *question = question_of(connection);

    return question == NULL ? slice_make(NULL, 0) : question->client.client_id;
}

static void on_answered(struct hook_run *run, enum hook_result result)
{
    struct access_question *question = CONTAINER_OF(run, struct access_question, run);
    struct connection *connection = question->connection;

    question->result = result;
    if (!channel_go_on_filters(connection))
        connection_unpause(connection, PAUSE_HOOK);
}

/* It waits: what it points at must stay. -ENOMEM. */
static int keep_question(struct connection *connection, struct access_question *question)
{
    struct slice topic = question->event.topic, client_id = question->client.client_id;
    struct connection_extras *extras = connection_extras_get(connection);

    question->texts = malloc(topic.len + client_id.len + 1);
    if (extras == NULL || question->texts == NULL)
        return -ENOMEM;
    channel_end_question(connection); /* an answer that nobody came back for */
    if (topic.len > 0)
        memcpy(question->texts, topic.data, topic.len);
    if (client_id.len > 0)
        memcpy(question->texts + topic.len, client_id.data, client_id.len);
    question->event.topic = slice_make(question->texts, topic.len);
    question->client.client_id = slice_make(question->texts + topic.len, client_id.len);
    extras->question = question;
    return 0;
}

/* Asks the callbacks. The question, kept by the connection when its result is HOOK_WAITS, else the caller's to put back. NULL when memory is short. */
static struct access_question *ask(struct connection *connection, struct slice client_id, enum acl_access access,
                                   struct slice topic)
{
    struct access_question *question = question_get(connection_host(connection));

    if (question == NULL)
        return NULL;
    *question = (struct access_question){
        .run = {.point = HOOK_CLIENT_CHECK_ACL,
                .worker = connection->worker->host.worker,
                .event = &question->event,
                .on_done = on_answered},
        .event = {.client = &question->client,
                  .access = access,
                  .topic = topic,
                  .is_allowed = connection_zone(connection)->acl.nomatch_allows},
        .connection = connection,
        .generation = acl_generation_read(),
    };
    channel_client_info(connection, client_id, &question->client);
    channel_local_address(connection, &question->client);
    question->result = hook_run_start(&question->run);
    if (UNLIKELY(question->result == HOOK_WAITS) && keep_question(connection, question) < 0) {
        hook_run_cancel(&question->run);
        question->result = HOOK_FAILED;
    }
    return question;
}

/* What was found out, not HOOK_WAITS. */
static enum access_answer answer_of(const struct access_question *question)
{
    bool is_allowed = question->result == HOOK_RAN && question->event.is_allowed;

    metric_add(is_allowed ? METRIC_CLIENT_ACL_ALLOW : METRIC_CLIENT_ACL_DENY, 1);
    return is_allowed ? ACCESS_YES : ACCESS_NO;
}

/* The connection's cache, without what no longer holds. NULL: there is none yet. */
static struct access_cache *cache_of(struct connection *connection)
{
    struct connection_extras *extras = connection->extras;
    uint32_t generation = acl_generation_read();

    if (extras == NULL || extras->access_cache == NULL)
        return NULL;
    if (UNLIKELY(extras->acl_generation != generation)) {
        access_cache_clear(extras->access_cache);
        extras->acl_generation = generation;
    }
    return extras->access_cache;
}

/* NULL: nothing is to be remembered, or memory is short. `generation` as it was before the verdict was asked for. */
static struct access_cache *cache_for(struct connection *connection, enum acl_access access, uint32_t generation)
{
    struct connection_extras *extras;
    struct access_cache *cache = cache_of(connection);
    bool is_first = access == ACL_SUBSCRIBE && !connection->asked_acl;

    connection->asked_acl = true;
    if (cache != NULL || is_first || connection_zone(connection)->acl.cache.count_max == 0)
        return cache;
    extras = connection_extras_get(connection);
    if (extras == NULL)
        return NULL;
    extras->access_cache = access_cache_new();
    extras->acl_generation = generation;
    return extras->access_cache;
}

/* Remembers the answer, unless there was none. */
static void remember(struct connection *connection, const struct access_question *question, enum access_answer answer)
{
    const struct zone_acl *acl = &connection_zone(connection)->acl;
    struct access_cache *cache;

    if (question->result != HOOK_RAN)
        return;
    cache = cache_for(connection, question->event.access, question->generation);
    if (cache != NULL && question->generation == connection->extras->acl_generation)
        access_cache_put(cache, &acl->cache, question->event.access, question->event.topic, answer == ACCESS_YES,
                         connection_now(connection));
}

static enum access_answer ask_and_remember(struct connection *connection, enum acl_access access, struct slice topic)
{
    struct access_question *question = ask(connection, session_client_id(connection->link.session), access, topic);
    enum access_answer answer;

    if (question == NULL)
        return ACCESS_NO;
    if (question->result == HOOK_WAITS)
        return ACCESS_LATER;
    answer = answer_of(question);
    remember(connection, question, answer);
    question_put(connection_host(connection), question);
    return answer;
}

/* The answer that the connection waited for. ACCESS_LATER: it was to another question. */
static enum access_answer use_answer(struct connection *connection, enum acl_access access, struct slice topic)
{
    struct access_question *question = question_of(connection);
    enum access_answer answer;

    if (question == NULL || question->result == HOOK_WAITS || question->event.access != access ||
        !slice_equal(question->event.topic, topic))
        return ACCESS_LATER;
    answer = answer_of(question);
    if (connection->state == CONNECTION_CONNECTED)
        remember(connection, question, answer);
    channel_end_question(connection);
    return answer;
}

enum access_answer channel_may(struct connection *connection, enum acl_access access, struct slice topic)
{
    const struct zone_acl *acl = &connection_zone(connection)->acl;
    struct access_cache *cache;
    enum access_cached cached = ACCESS_UNKNOWN;

    if (!acl->is_enabled || connection->is_superuser)
        return ACCESS_YES;
    if (UNLIKELY(connection->packet_seen)) {
        enum access_answer answer = use_answer(connection, access, topic);
        connection->packet_seen = false;
        if (answer != ACCESS_LATER)
            return answer;
    }
    if (!hook_any(HOOK_CLIENT_CHECK_ACL))
        return acl->nomatch_allows ? ACCESS_YES : ACCESS_NO;
    cache = cache_of(connection);
    if (cache != NULL)
        cached = access_cache_get(cache, &acl->cache, access, topic, connection_now(connection));
    if (UNLIKELY(cached == ACCESS_UNKNOWN))
        return ask_and_remember(connection, access, topic);
    metric_add(METRIC_CLIENT_ACL_CACHE_HIT, 1);
    return cached == ACCESS_ALLOWED ? ACCESS_YES : ACCESS_NO;
}

enum access_answer channel_may_leave_will(struct connection *connection, struct slice client_id, struct slice topic)
{
    const struct zone_acl *acl = &connection_zone(connection)->acl;
    struct access_question *question;
    enum access_answer answer;

    if (!acl->is_enabled || connection->is_superuser)
        return ACCESS_YES;
    answer = use_answer(connection, ACL_PUBLISH, topic);
    if (answer != ACCESS_LATER)
        return answer;
    if (!hook_any(HOOK_CLIENT_CHECK_ACL))
        return acl->nomatch_allows ? ACCESS_YES : ACCESS_NO;
    question = ask(connection, client_id, ACL_PUBLISH, topic);
    if (question == NULL)
        return ACCESS_NO;
    if (question->result == HOOK_WAITS)
        return ACCESS_LATER;
    answer = answer_of(question);
    question_put(connection_host(connection), question);
    return answer;
}
