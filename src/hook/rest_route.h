/*
 * rest_route: the calls of the management API (/api/v3). A feature registers its rows; the HTTP servers of mgmt/ run them; both
 * sides meet here. The index of the API, its OpenAPI document and docs/rest-api.md are made from the same rows.
 *
 * Before a handler runs, its request has been authorized, its path variables are decoded and its parameters checked against
 * the row: one that is missing was answered with code 107, one of the wrong type or range with 108, a page that is not a number or
 * over management.max_row_limit likewise. A `:node` that is not this node was answered with 404.
 *
 * A handler may finish at once or later, on the control thread, after answers have come from the workers. It always calls one
 * of the rest_finish functions exactly once. When the caller has gone meanwhile, rest_abandoned() says so, and its output is dropped;
 * the handler then finishes as soon as it can. Lists are handed over row by row and become text at once, so that a page never exists as
 * a tree of JSON values.
 * Thread: control, for everything here, unless a function says otherwise.
 */
#ifndef HOOK_REST_ROUTE_H
#define HOOK_REST_ROUTE_H

#include "base/compiler.h"
#include "base/slice.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rest_registry;
struct rest_request;

#define REST_ROUTES_MAX 512u
/* Variables of a path, and segments of it. */
#define REST_VARIABLES_MAX 4u
#define REST_SEGMENTS_MAX 8u
/* Bytes of a body, as in the original; more is answered with 413. */
#define REST_BODY_BYTES_MAX 8000000u

enum rest_method { REST_GET, REST_POST, REST_PUT, REST_DELETE };

/* Where a call is served: 8080 (applications) and 18083 (users of the dashboard). */
enum rest_port { REST_ON_MANAGEMENT = 1, REST_ON_DASHBOARD = 2, REST_ON_BOTH = 3 };

/* Codes of the answers (`code`), as in the original. */
enum rest_code {
    REST_OK = 0,
    REST_RPC_ERROR = 101,
    REST_UNKNOWN_ERROR = 102,
    REST_WRONG_PASSWORD = 103,
    REST_EMPTY_PASSWORD = 104,
    REST_NO_SUCH_USER = 105,
    REST_LAST_ADMIN = 106,
    REST_PARAM_MISSING = 107,
    REST_PARAM_WRONG = 108,
    REST_NOT_JSON = 109,
    REST_PLUGIN_LOADED = 110,
    REST_PLUGIN_UNLOADED = 111,
    REST_CLIENT_OFFLINE = 112,
    REST_USER_EXISTS = 113,
    REST_WRONG_OLD_PASSWORD = 114,
    REST_BAD_TOPIC = 115,
    REST_BAD_REQUEST = 400, /* the rule engine's, inside an answer with HTTP status 200 */
    REST_NOT_FOUND = 404,
    REST_INTERNAL = 500,
};

enum rest_type { REST_STRING, REST_INTEGER, REST_BOOLEAN, REST_OBJECT, REST_ARRAY, REST_ANY };

/* One parameter, of the query or of the JSON object in the body; where both have it, the query's holds. A list ends with a NULL name. */
struct rest_param {
    const char *name;
    enum rest_type type; /* text of the query is converted: "1", "true" */
    bool is_required;    /* and a string is not empty */
    int64_t min, max;    /* REST_INTEGER: the range; REST_STRING: bytes; both 0: none */
    const char *words;   /* REST_STRING: one of "client_id, username, ip_address"; NULL: any text */
    const char *help;    /* a sentence, for the documentation; with an example where it helps */
};

/* A call. Lives as long as it is registered. */
struct rest_route {
    const char *name; /* "lookup_connections"; several rows may have one name */
    enum rest_method method;
    const char *path;  /* exactly as the index shows it: "/connections/:clientid", "nodes/:node/connections/" */
    const char *descr; /* likewise: "Lookup a connection in the cluster" */
    enum rest_port on; /* 0: REST_ON_BOTH */
    bool is_open;      /* no authorization: POST /auth */
    bool has_pages;    /* takes _page and _limit */
    bool is_raw;       /* missing and wrong parameters are the handler's to answer; the body may be any JSON value */
    bool is_unlisted;  /* not in the index, which has the original's calls; in the OpenAPI document all the same */
    const struct rest_param *params; /* NULL: none */
    const char *help;                /* sentences for the documentation; NULL: `descr` says it all */
    const char *answer; /* a sample of the whole answer, JSON text; tests compare the real answers' fields with it */
    void (*run)(struct rest_request *request);
};

/* NULL when memory is short. */
struct rest_registry *rest_registry_new(void);
/* No request may be running. NULL is fine. */
void rest_registry_free(struct rest_registry *registry);
/* Adds `count` calls of one feature ("emqx_management"); in the index, features follow by name and calls in the order of their addition.
 * `routes` and `feature` live until the feature is unregistered. -EEXIST: method and path are there; -EINVAL: more than REST_VARIABLES_MAX
 * variables or REST_SEGMENTS_MAX segments; -ENOSPC, -ENOMEM. After an error none was added. */
MUST_USE int rest_register(struct rest_registry *registry, const char *feature, const struct rest_route *routes,
                           size_t count, void *context);
/* Takes off all calls of the feature. -ENOENT; -EBUSY while requests of it run. */
MUST_USE int rest_unregister(struct rest_registry *registry, const char *feature);
/* Calls `visit` in the order of the index. */
void rest_visit(const struct rest_registry *registry,
                void (*visit)(void *context, const char *feature, const struct rest_route *route), void *context);

/* ---- for handlers ---- */

/* What was given to rest_register(). */
void *rest_context(const struct rest_request *request);
/* A variable of the path by its name without the colon, percent-decoded, valid until the end of the request; a zero follows it. A variable that
 * the row's path does not have is a mistake of ours: an assertion. */
struct slice rest_variable(const struct rest_request *request, const char *name);
/* A parameter of the row: borrowed, of the row's type; NULL: it was not given. JSON null counts as not given. Valid until the end of the request. */
const json_t *rest_param(const struct rest_request *request, const char *name);
/* The same by type, with what holds when it was not given. Texts may contain zeros; absent: {NULL, 0}. */
struct slice rest_param_text(const struct rest_request *request, const char *name);
int64_t rest_param_integer(const struct rest_request *request, const char *name, int64_t otherwise);
bool rest_param_bool(const struct rest_request *request, const char *name, bool otherwise);
/* The body as it came, any JSON value; NULL: there was none. Borrowed. */
const json_t *rest_body(const struct rest_request *request);
/* Rows before the page, and at most how many are on it. */
uint64_t rest_page_offset(const struct rest_request *request);
uint32_t rest_page_limit(const struct rest_request *request);
/* Who asks: application ID or user name; empty: nobody (is_open). Valid until the end of the request. */
struct slice rest_caller(const struct rest_request *request);
/* "192.0.2.1:50000" */
const char *rest_peer(const struct rest_request *request);
/* Is the caller gone? */
bool rest_abandoned(const struct rest_request *request);

/* A JSON string; each byte that is not UTF-8 becomes U+FFFD; an absent text becomes "undefined", as in the original. NULL: short memory. */
MUST_USE json_t *rest_text(struct slice text);
/* "2026-01-15 10:04:52", local time. */
MUST_USE json_t *rest_time(int64_t seconds);

/* {"code":0} */
void rest_finish(struct rest_request *request);
/* {"code":0,"data":...}. Takes the reference; NULL (memory was short when it was made) is answered with 503. */
void rest_finish_data_take(struct rest_request *request, json_t *data);
/* {"code":CODE,"message":"..."} with HTTP status 200, as the original; 107, 108 and 109 with 400. */
void rest_finish_error(struct rest_request *request, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* Any answer: HTTP status, media type (NULL: none) and bytes, copied. */
void rest_finish_raw(struct rest_request *request, unsigned status, const char *media_type, const void *body,
                     size_t len);
/* A list. Rows are taken; NULL makes the whole answer 503. After rest_list_end() the answer is {"code":0,"data":[...]}, of a row that has_pages with
 * "meta":{"page":,"limit":,"count":`count`}. rest_list_add() gives false when more rows are of no use (caller gone, memory short, answer too large):
 * the handler then ends the list. */
bool rest_list_add_take(struct rest_request *request, json_t *row);
void rest_list_end(struct rest_request *request, uint64_t count);

/* ---- for who runs requests ---- */

/* What came in. Everything is borrowed until the request has begun. */
struct rest_call {
    enum rest_port port;
    const char *method; /* "GET" */
    struct slice path;  /* raw, from the first slash: "/api/v3/nodes/" */
    struct slice query; /* raw, without the question mark */
    struct slice body;
    struct slice caller;
    const char *peer;
    const char *node_name;  /* what :node must be; valid as long as the registry */
    uint32_t row_limit_max; /* management.max_row_limit */
};

struct rest_answer {
    unsigned status;
    const char *media_type; /* static; NULL: none */
    char *body;             /* the sink frees it with free() */
    size_t body_len;
};

/* Where answers go. Provided by the caller of rest_run(). */
struct rest_sink {
    /* Called once, perhaps from within rest_run(); the request is gone. */
    void (*finish)(struct rest_sink *sink, const struct rest_answer *answer);
};

/* Does the call need authorization? False for calls that are open. Unknown paths need one. */
bool rest_needs_authorization(const struct rest_registry *registry, const struct rest_call *call);
/* Finds the row and runs it; answers 404, 400 and 405 itself. HEAD runs GET. `*out_request` is set before the handler starts and back to NULL when
 * the request ends; it must live as long as the request or until rest_detach(). -ENOMEM: nothing was run, `sink` is not called. */
MUST_USE int rest_run(struct rest_registry *registry, struct rest_sink *sink, const struct rest_call *call,
                      struct rest_request **out_request);
/* The caller is gone: the sink is not called any more. */
void rest_detach(struct rest_request *request);

#endif
