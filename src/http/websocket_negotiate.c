/*
 * websocket_negotiate: which offer of permessage-deflate is taken, and on what terms (RFC 7692, sections 5 and 7.1).
 */
#include "http/http_token_internal.h"
#include "http/websocket_deflate.h"

#include <stdio.h>

#define WINDOW_BITS_MAX 15u
#define WINDOW_BITS_MIN 8u

enum parameter { SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER, SERVER_BITS, CLIENT_BITS, PARAMETER_COUNT };

static const char *const parameter_names[PARAMETER_COUNT] = {
    [SERVER_NO_TAKEOVER] = "server_no_context_takeover",
    [CLIENT_NO_TAKEOVER] = "client_no_context_takeover",
    [SERVER_BITS] = "server_max_window_bits",
    [CLIENT_BITS] = "client_max_window_bits",
};

struct offer {
    bool has[PARAMETER_COUNT];
    uint8_t bits[PARAMETER_COUNT]; /* 0: no value */
};

/* "8" to "15", perhaps in quotes. 0: anything else. */
static uint8_t bits_value(struct slice value)
{
    unsigned bits = 0;

    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
        value = slice_make(value.data + 1, value.len - 2);
    if (value.len < 1 || value.len > 2 || value.data[0] == '0')
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return 0;
        bits = bits * 10 + (value.data[i] - '0');
    }
    return bits < WINDOW_BITS_MIN || bits > WINDOW_BITS_MAX ? 0 : (uint8_t)bits;
}

/* False: the parameter is unknown, comes twice or has a value that it must not have: the offer is declined. */
static bool read_parameter(struct offer *offer, struct slice text)
{
    struct slice rest = text, name = {0}, value = {0};
    bool has_value;
    int parameter = 0;

    if (!http_next(&rest, '=', &name))
        return false;
    has_value = rest.data != NULL;
    value = http_trim(rest);
    while (parameter < PARAMETER_COUNT && !http_same(name, slice_from_string(parameter_names[parameter])))
        parameter++;
    if (parameter == PARAMETER_COUNT || offer->has[parameter])
        return false;
    offer->has[parameter] = true;
    if (!has_value)
        return parameter != SERVER_BITS;
    if (parameter != SERVER_BITS && parameter != CLIENT_BITS)
        return false;
    offer->bits[parameter] = bits_value(value);
    return offer->bits[parameter] != 0;
}

static bool read_offer(struct slice text, struct offer *out_offer)
{
    struct slice name, parameter;

    *out_offer = (struct offer){0};
    if (!http_next(&text, ';', &name) || !http_same(name, SLICE_LITERAL("permessage-deflate")))
        return false;
    while (http_next(&text, ';', &parameter)) {
        if (!read_parameter(out_offer, parameter))
            return false;
    }
    return true;
}

static uint8_t smaller(uint8_t one, uint8_t other)
{
    return one < other ? one : other;
}

static bool accept_offer(const struct websocket_options *options, const struct offer *offer,
                         struct websocket_deflate_terms *out_terms)
{
    struct websocket_deflate_terms terms = {
        .server_window_bits = options->server_window_bits,
        .client_window_bits = WINDOW_BITS_MAX,
        .server_takeover = options->server_context_takeover && !offer->has[SERVER_NO_TAKEOVER],
        .client_takeover = options->client_context_takeover && !offer->has[CLIENT_NO_TAKEOVER],
    };

    if (offer->has[SERVER_BITS]) {
        if (offer->bits[SERVER_BITS] < WEBSOCKET_ZLIB_BITS_MIN)
            return false;
        terms.server_window_bits = smaller(terms.server_window_bits, offer->bits[SERVER_BITS]);
    }
    terms.answer_server_bits = offer->has[SERVER_BITS] || terms.server_window_bits < WINDOW_BITS_MAX;
    if (offer->has[CLIENT_BITS]) {
        terms.client_window_bits = options->client_window_bits;
        if (offer->bits[CLIENT_BITS] != 0)
            terms.client_window_bits = smaller(terms.client_window_bits, offer->bits[CLIENT_BITS]);
        terms.answer_client_bits = true;
    } else if (options->client_window_bits < WINDOW_BITS_MAX) {
        return false; /* the client cannot be told to keep to the memory that the key allows */
    }
    *out_terms = terms;
    return true;
}

bool websocket_deflate_negotiate(const struct websocket_options *options, struct slice offers,
                                 struct websocket_deflate_terms *out_terms)
{
    struct slice text;
    struct offer offer;

    if (!options->compress)
        return false;
    while (http_next(&offers, ',', &text)) {
        if (read_offer(text, &offer) && accept_offer(options, &offer, out_terms))
            return true;
    }
    return false;
}

void websocket_deflate_answer(const struct websocket_deflate_terms *terms, char out[WEBSOCKET_EXTENSION_MAX])
{
    char server_bits[40] = "", client_bits[40] = "";

    if (terms->answer_server_bits)
        snprintf(server_bits, sizeof(server_bits), "; server_max_window_bits=%u", terms->server_window_bits);
    if (terms->answer_client_bits)
        snprintf(client_bits, sizeof(client_bits), "; client_max_window_bits=%u", terms->client_window_bits);
    snprintf(out, WEBSOCKET_EXTENSION_MAX, "permessage-deflate%s%s%s%s",
             terms->server_takeover ? "" : "; server_no_context_takeover",
             terms->client_takeover ? "" : "; client_no_context_takeover", server_bits, client_bits);
}
