/*
 * websocket_upgrade_fuzz: any bytes as an upgrade request, whole and in pieces: the verdict is the same, an answer is HTTP and
 * what was agreed on is within the options. The first byte chooses the options.
 */
#include "http/websocket_upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/mqtt", address_header[] = "X-Forwarded-For", port_header[] = "X-Forwarded-Port";
static char origin[] = "https://example.com";
static char *origins[] = {origin};

static struct websocket_upgrade *run(const struct websocket_options *options, const uint8_t *data, size_t size,
                                     size_t step, enum websocket_verdict *out_verdict)
{
    struct websocket_upgrade *upgrade = websocket_upgrade_new(options);

    ASSERT(upgrade != NULL);
    *out_verdict = WEBSOCKET_UPGRADE_MORE;
    for (size_t at = 0; at < size && *out_verdict == WEBSOCKET_UPGRADE_MORE; at += step) {
        size_t part = size - at < step ? size - at : step, used;
        *out_verdict = websocket_upgrade_feed(upgrade, data + at, part, &used);
        ASSERT(used <= part);
    }
    return upgrade;
}

static void check_terms(const struct websocket_options *options, const struct websocket_deflate_terms *terms)
{
    ASSERT(options->compress);
    ASSERT(terms->server_window_bits >= 9 && terms->server_window_bits <= options->server_window_bits);
    ASSERT(terms->client_window_bits >= 8 && terms->client_window_bits <= options->client_window_bits);
    ASSERT(options->server_context_takeover || !terms->server_takeover);
    ASSERT(options->client_context_takeover || !terms->client_takeover);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct websocket_options options = {.path = path, .deflate_mem_level = 8};
    struct websocket_upgrade *whole, *pieces;
    enum websocket_verdict verdict, other;
    struct slice answer;

    if (size == 0)
        return 0;
    options.verify_protocol_header = (data[0] & 1) != 0;
    options.compress = (data[0] & 2) != 0;
    options.server_window_bits = options.client_window_bits = (data[0] & 4) != 0 ? 15 : 10;
    options.server_context_takeover = options.client_context_takeover = (data[0] & 8) != 0;
    options.origins = origins;
    options.origin_count = (data[0] & 16) != 0;
    options.proxy_address_header = (data[0] & 32) != 0 ? address_header : NULL;
    options.proxy_port_header = (data[0] & 32) != 0 ? port_header : NULL;
    whole = run(&options, data + 1, size - 1, size, &verdict);
    pieces = run(&options, data + 1, size - 1, (data[0] >> 6) + 1, &other);
    ASSERT(verdict == other);
    if (verdict != WEBSOCKET_UPGRADE_MORE) {
        answer = websocket_upgrade_answer(whole);
        ASSERT(slice_equal(answer, websocket_upgrade_answer(pieces)));
        ASSERT(slice_starts_with(answer, SLICE_LITERAL("HTTP/1.1 101 ")) == (verdict == WEBSOCKET_UPGRADE_ACCEPTED));
        ASSERT(websocket_upgrade_address(whole).len <= WEBSOCKET_FORWARDED_MAX);
        if (websocket_upgrade_deflate(whole) != NULL)
            check_terms(&options, websocket_upgrade_deflate(whole));
    }
    websocket_upgrade_free(whole);
    websocket_upgrade_free(pieces);
    return 0;
}
