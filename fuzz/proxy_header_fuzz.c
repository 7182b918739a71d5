/*
 * proxy_header_fuzz: any bytes before a connection's first. Each beginning of them gets the same answer as the whole or
 * "more", in one change at most; what is found lies inside the header.
 */
#include <string.h>

#include "base/compiler.h"
#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS_MAX 256u /* each beginning is parsed anew: longer ones are looked at in steps */

static void check_parsed(const uint8_t *data, size_t size, const struct proxy_header *header)
{
    ASSERT(header->len > 0 && header->len <= PROXY_HEADER_MAX && header->len <= size);
    if (header->has_addresses) {
        ASSERT(header->source.ss_family == AF_INET || header->source.ss_family == AF_INET6);
        ASSERT(header->source.ss_family == header->destination.ss_family);
    }
    if (header->common_name.data != NULL) {
        ASSERT(header->common_name.len > 0);
        ASSERT(header->common_name.data > data && header->common_name.len < header->len);
        ASSERT(header->common_name.data + header->common_name.len <= data + header->len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole = {0};
    const char *error = NULL;
    enum proxy_parse result = proxy_header_parse(data, size, &whole, &error);
    size_t step = size / CUTS_MAX + 1;

    if (result == PROXY_PARSED)
        check_parsed(data, size, &whole);
    ASSERT((result == PROXY_BAD) == (error != NULL));
    ASSERT(result != PROXY_MORE || size < PROXY_HEADER_MAX);
    for (size_t cut = 0, settled = false; cut < size; cut += step) {
        struct proxy_header part = {0};
        const char *part_error = NULL;
        enum proxy_parse part_result = proxy_header_parse(data, cut, &part, &part_error);

        ASSERT(part_result == result || (part_result == PROXY_MORE && !settled));
        settled = part_result != PROXY_MORE;
        ASSERT(part_result != PROXY_PARSED || (part.len == whole.len && cut >= part.len));
        ASSERT(part_result != PROXY_BAD || strcmp(part_error, error) == 0);
    }
    return 0;
}
