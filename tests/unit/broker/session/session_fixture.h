/*
 * session_fixture: sessions on one worker whose turns the test runs, with connections in memory that write down what
 * they are asked to send, and a host that writes down wills and messages handed on.
 */
#ifndef TESTS_BROKER_SESSION_SESSION_FIXTURE_H
#define TESTS_BROKER_SESSION_SESSION_FIXTURE_H

#include "../message_fixture.h"

#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"

/* The other end of a session. `log` gets one word per packet: `p1:7` PUBLISH with payload "p", QoS 1, packet ID 7,
 * `!` behind it DUP, `r` RETAIN, `#N` subscription identifier N; `rel:7` PUBREL; `close:8e` the order to close. */
struct peer {
    struct session_link link;
    char log[1024];
    size_t log_len;
    bool blocked;              /* not writable */
    enum session_write result; /* of the next writes */
};

struct fixture {
    struct worker_pool *pool;
    struct session_host host;
    struct zone zone;
    uint64_t now_ms;
    char log[1024]; /* of the host: `will:p`, `again:GROUP/FILTER:p`, `next:p:ATTEMPT` */
    size_t log_len;
    uint8_t will_qos; /* of the last one */
};

/* cmocka's set-up and tear-down; the state is a struct fixture. The tear-down ends all sessions that are registered. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* Runs a turn of the worker at now + `ms`. */
void fixture_pass(struct fixture *fixture, uint64_t ms);
/* All that was retired is freed, also what goes through the worker's mailbox. */
void fixture_reclaim(struct fixture *fixture);

struct session *fixture_session(struct fixture *fixture, const char *client_id);
struct subscription *fixture_subscribe(struct session *session, const char *filter, uint8_t qos);

/* Connects with a version 5 client that takes `window` messages at once and whose session outlives the connection. */
void fixture_connect(struct session *session, struct peer *peer, uint16_t window);
/* The same with all there is to choose. */
void fixture_connect_with(struct session *session, struct peer *peer, struct session_attach_options options);

/* Makes a message of `qos` on "t" and delivers it through `subscription`, as the dispatcher does. */
void fixture_deliver(struct fixture *fixture, struct subscription *subscription, const char *payload, uint8_t qos);
/* The same for a message of the caller's, whose reference is taken. */
void fixture_deliver_take(struct fixture *fixture, struct subscription *subscription, struct message *message);

static inline uint32_t in_flight(const struct session *session)
{
    return session->flow == NULL ? 0 : session->flow->inflight.count;
}

static inline uint32_t queued(const struct session *session)
{
    return session->flow == NULL ? 0 : session->flow->mqueue.count;
}

/* Has exactly this been written since the last look? */
#define ASSERT_SENT(peer, text) fixture_assert_log((peer)->log, &(peer)->log_len, text, __FILE__, __LINE__)
#define ASSERT_HOST(fixture, text) fixture_assert_log((fixture)->log, &(fixture)->log_len, text, __FILE__, __LINE__)
void fixture_assert_log(char *log, size_t *log_len, const char *expected, const char *file, int line);

#endif
