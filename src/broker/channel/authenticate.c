/*
 * authenticate: see authenticate.h.
 */
#include "broker/channel/authenticate.h"

#include "base/buffer.h"
#include "base/metrics.h"
#include "base/unique_id.h"
#include "broker/channel/access.h"
#include "broker/channel/enhanced.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"
#include "net/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CERTIFICATE_TEXT_MAX 65535u /* bytes of each text of a certificate; what has more is not told */

/* Of a CONNECT that callbacks are asked about; the connection's extras hold it until CONNECT is answered. */
struct authentication {
    struct hook_run run;
    struct hook_authenticate event;
    struct client_info client;
    struct connection *connection;
    struct buffer common_name, subject;
    char generated_id[CLIENT_ID_TEXT_BYTES]; /* "": none; meant only if the client gave none */
    enum hook_result result;
    size_t texts_len;
    uint8_t texts[]; /* copies: client ID, user name, password */
};

static struct authentication *authentication_of(const struct connection *connection)
{
    return connection->extras == NULL ? NULL : connection->extras->authentication;
}

const char *channel_generated_id(const struct connection *connection)
{
    struct authentication *authentication = authentication_of(connection);

    if (authentication == NULL)
        return channel_enhanced_generated_id(connection);
    return authentication->generated_id[0] == '\0' ? NULL : authentication->generated_id;
}

const char *channel_mountpoint_pattern(const struct connection *connection)
{
    return connection->extras != NULL && connection->extras->given_mountpoint != NULL
               ? connection->extras->given_mountpoint
               : connection_zone(connection)->mountpoint;
}

static void authentication_free(struct authentication *authentication)
{
    hook_run_cancel(&authentication->run);
    buffer_fini(&authentication->common_name);
    buffer_fini(&authentication->subject);
    explicit_bzero(authentication->texts, authentication->texts_len);
    hook_memory_free(&authentication->event.memory);
    free(authentication);
}

void channel_end_authentication(struct connection *connection)
{
    struct authentication *authentication = authentication_of(connection);

    if (authentication == NULL)
        return;
    connection->extras->authentication = NULL;
    connection->paused &= (uint8_t)~PAUSE_HOOK;
    authentication_free(authentication);
}

void channel_local_address(const struct connection *connection, struct client_info *client)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(address);

    if (getsockname(connection->stream.watch.fd, (struct sockaddr *)&address, &len) < 0 || address.ss_family == AF_UNIX)
        return;
    struct peer_address local = peer_from(&address);
    client->local_address = local.address;
    client->local_port = local.port;
}

/* What TLS knows of the client, or a load balancer's word. */
static void tell_certificate(struct authentication *authentication)
{
    const struct connection *connection = authentication->connection;
    const struct stream_layer *layer = connection->stream.layer;
    struct client_info *client = &authentication->client;
    bool is_tls = listener_tls_context(connection->listener) != NULL;

    if (is_tls && tls_layer_peer_name(layer, TLS_NAME_CN, &authentication->common_name))
        client->common_name = buffer_slice(&authentication->common_name);
    else if (connection->extras != NULL)
        client->common_name = connection->extras->proxy_common_name;
    if (is_tls && tls_layer_peer_name(layer, TLS_NAME_DN, &authentication->subject))
        client->subject = buffer_slice(&authentication->subject);
}

/* Appends a copy of `text` to the texts. What is absent stays absent. */
static struct slice keep(struct authentication *authentication, struct slice text)
{
    uint8_t *copy = authentication->texts + authentication->texts_len;

    if (text.data == NULL)
        return text;
    memcpy(copy, text.data, text.len);
    authentication->texts_len += text.len;
    return slice_make(copy, text.len);
}

static void on_answered(struct hook_run *run, enum hook_result result)
{
    struct authentication *authentication = CONTAINER_OF(run, struct authentication, run);

    authentication->result = result;
    connection_unpause(authentication->connection, PAUSE_HOOK);
}

/* NULL when memory is short. */
static struct authentication *authentication_new(struct connection *connection, const struct mqtt_connect *connect,
                                                 struct slice client_id)
{
    size_t texts_len = client_id.len + connect->user_name.len + connect->password.len;
    struct authentication *authentication = calloc(1, sizeof(*authentication) + texts_len);
    const struct zone *zone = connection_zone(connection);
    struct client_info *client;

    if (authentication == NULL)
        return NULL;
    authentication->connection = connection;
    buffer_init(&authentication->common_name, CERTIFICATE_TEXT_MAX);
    buffer_init(&authentication->subject, CERTIFICATE_TEXT_MAX);
    if (connect->client_id.len == 0 && client_id.len < sizeof(authentication->generated_id))
        memcpy(authentication->generated_id, client_id.data, client_id.len);
    client = &authentication->client;
    channel_client_info(connection, keep(authentication, client_id), client);
    client->user_name = keep(authentication, connect->user_name);
    client->password = keep(authentication, connect->password);
    client->mountpoint = zone->mountpoint == NULL ? slice_make(NULL, 0) : slice_from_string(zone->mountpoint);
    client->is_anonymous = zone->allow_anonymous;
    channel_local_address(connection, client);
    tell_certificate(authentication);
    authentication->event = (struct hook_authenticate){
        .client = client, .result = zone->allow_anonymous ? REASON_SUCCESS : REASON_NOT_AUTHORIZED};
    authentication->run = (struct hook_run){
        .point = HOOK_CLIENT_AUTHENTICATE,
        .worker = connection->worker->host.worker,
        .event = &authentication->event,
        .on_done = on_answered,
    };
    return authentication;
}

static enum authentication_state let_in(struct connection *connection, bool is_anonymous)
{
    connection->is_authenticated = true;
    connection->is_anonymous = is_anonymous;
    metric_add(METRIC_AUTH_MQTT_ANONYMOUS, is_anonymous);
    return AUTHENTICATION_ACCEPTED;
}

/* Nobody is asked. */
static enum authentication_state decide_alone(struct connection *connection, enum reason_code *out_code,
                                              const char **out_why)
{
    if (connection_zone(connection)->allow_anonymous)
        return let_in(connection, true);
    *out_why = "allow_anonymous is off and no authentication is loaded";
    *out_code = REASON_NOT_AUTHORIZED;
    return AUTHENTICATION_REFUSED;
}

/* Keeps another mountpoint than the zone's. -ENOMEM. */
static int take_mountpoint(struct authentication *authentication)
{
    struct connection *connection = authentication->connection;
    struct slice given = authentication->client.mountpoint;
    const char *own = connection_zone(connection)->mountpoint;
    struct connection_extras *extras;

    if (slice_equal(given, own == NULL ? slice_make(NULL, 0) : slice_from_string(own)))
        return 0;
    extras = connection_extras_get(connection);
    if (extras == NULL)
        return -ENOMEM;
    free(extras->given_mountpoint);
    extras->given_mountpoint = malloc(given.len + 1);
    if (extras->given_mountpoint == NULL)
        return -ENOMEM;
    if (given.len > 0)
        memcpy(extras->given_mountpoint, given.data, given.len);
    extras->given_mountpoint[given.len] = '\0';
    return 0;
}

static enum authentication_state decide(struct authentication *authentication, enum reason_code *out_code,
                                        const char **out_why)
{
    const struct hook_authenticate *event = &authentication->event;
    const struct client_info *client = &authentication->client;

    *out_code = REASON_SERVER_UNAVAILABLE;
    switch (authentication->result) {
    case HOOK_RAN: break;
    case HOOK_BUSY:
        *out_code = REASON_SERVER_BUSY;
        *out_why = "too many clients wait for authentication (hook.pending_max)";
        return AUTHENTICATION_REFUSED;
    case HOOK_WAITS:
    case HOOK_FAILED: *out_why = "authentication gave no answer"; return AUTHENTICATION_REFUSED;
    }
    if (event->result == REASON_SUCCESS) {
        *out_why = "short of memory";
        if (take_mountpoint(authentication) < 0)
            return AUTHENTICATION_REFUSED;
        authentication->connection->is_superuser = client->is_superuser;
        return let_in(authentication->connection, client->is_anonymous);
    }
    *out_code = event->result >= REASON_UNSPECIFIED_ERROR ? event->result : REASON_NOT_AUTHORIZED;
    *out_why = event->reason != NULL ? event->reason : reason_code_text(*out_code);
    return AUTHENTICATION_REFUSED;
}

/* Until CONNECT is answered: also for its client ID, which a second decoding on another worker would generate anew. */
static bool keep_authentication(struct connection *connection, struct authentication *authentication)
{
    struct connection_extras *extras = connection_extras_get(connection);

    if (extras == NULL) {
        authentication_free(authentication);
        return false;
    }
    extras->authentication = authentication;
    return true;
}

enum authentication_state channel_authenticate(struct connection *connection, const struct mqtt_connect *connect,
                                               struct slice client_id, enum reason_code *out_code, const char **out_why)
{
    struct authentication *authentication = authentication_of(connection);
    enum authentication_state state;

    if (connection->is_authenticated)
        return AUTHENTICATION_ACCEPTED;
    if (authentication != NULL)
        return decide(authentication, out_code, out_why);
    if (!hook_any(HOOK_CLIENT_AUTHENTICATE))
        return decide_alone(connection, out_code, out_why);
    authentication = authentication_new(connection, connect, client_id);
    *out_code = REASON_SERVER_UNAVAILABLE;
    *out_why = "short of memory";
    if (authentication == NULL)
        return AUTHENTICATION_REFUSED;
    authentication->result = hook_run_start(&authentication->run);
    if (authentication->result == HOOK_WAITS || authentication->generated_id[0] != '\0') {
        if (!keep_authentication(connection, authentication))
            return AUTHENTICATION_REFUSED;
        if (authentication->result != HOOK_WAITS)
            return decide(authentication, out_code, out_why);
        connection->paused |= PAUSE_HOOK;
        return AUTHENTICATION_WAITS;
    }
    /* Most are answered at once, and cost no memory any more. */
    state = decide(authentication, out_code, out_why);
    authentication_free(authentication);
    return state;
}
