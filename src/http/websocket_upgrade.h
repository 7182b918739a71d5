/*
 * websocket_upgrade: the HTTP request that opens a WebSocket (RFC 6455, section 4.2) and the answer to it. Pure but for memory: bytes
 * in, a verdict and the bytes of the answer out. Freed once the verdict is there. Thread: owner.
 */
#ifndef HTTP_WEBSOCKET_UPGRADE_H
#define HTTP_WEBSOCKET_UPGRADE_H

#include "base/compiler.h"
#include "base/slice.h"
#include "http/websocket_deflate.h"
#include "net/websocket_options.h"

#define WEBSOCKET_REQUEST_MAX 8192u /* bytes of a request; a longer one is refused with 431 */
#define WEBSOCKET_HEADERS_MAX 100u  /* headers of a request; more are refused with 431 */
#define WEBSOCKET_PROTOCOL_MAX 64u  /* bytes of a subprotocol's name; longer ones are not ours */
#define WEBSOCKET_FORWARDED_MAX 64u /* bytes of an address or port that a proxy names; longer ones are none */
#define WEBSOCKET_ANSWER_MAX 640u   /* bytes of an answer */

struct websocket_upgrade;

enum websocket_verdict {
    WEBSOCKET_UPGRADE_MORE,     /* all bytes were taken, the request goes on */
    WEBSOCKET_UPGRADE_ACCEPTED, /* send the answer, frames follow */
    WEBSOCKET_UPGRADE_REFUSED,  /* send the answer and end the connection; websocket_upgrade_error() says why */
    WEBSOCKET_UPGRADE_NO_MEMORY,
};

/* NULL when memory is short. `options` must outlive it. */
struct websocket_upgrade *websocket_upgrade_new(const struct websocket_options *options);
/* NULL is fine. */
void websocket_upgrade_free(struct websocket_upgrade *upgrade);

/* Takes the next bytes of the request. `*out_used`: how many belong to it; behind them frames begin. Not after a verdict. */
enum websocket_verdict websocket_upgrade_feed(struct websocket_upgrade *upgrade, const uint8_t *in, size_t len,
                                              size_t *out_used);

/* After a verdict: what to send; valid until websocket_upgrade_free(). */
struct slice websocket_upgrade_answer(const struct websocket_upgrade *upgrade);
/* Why it was refused: static, for the log. */
const char *websocket_upgrade_error(const struct websocket_upgrade *upgrade);
/* The terms of permessage-deflate; NULL: none were agreed on. */
const struct websocket_deflate_terms *websocket_upgrade_deflate(const struct websocket_upgrade *upgrade);
/* What the headers of a proxy said; data NULL: nothing. Valid until websocket_upgrade_free(). */
struct slice websocket_upgrade_address(const struct websocket_upgrade *upgrade);
struct slice websocket_upgrade_port(const struct websocket_upgrade *upgrade);

#endif
