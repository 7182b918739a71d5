/*
 * delayed_topic_fuzz: any bytes as the topic of a delayed message. The input begins with the wall clock's milliseconds (8 bytes, little-endian).
 */
#include <stdlib.h>
#include <string.h>

#include "broker/delayed.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice inner = {NULL, 0}, topic;
    uint64_t wall_ms, delay_ms = 0;
    char *copy;

    if (size < sizeof(wall_ms))
        return 0;
    memcpy(&wall_ms, data, sizeof(wall_ms));
    size -= sizeof(wall_ms);
    copy = malloc(size + (size == 0)); /* of its own size, so that a read past the end is seen */
    ASSERT(copy != NULL);
    memcpy(copy, data + sizeof(wall_ms), size);
    topic = slice_make(copy, size);
    switch (delayed_parse(topic, wall_ms, &delay_ms, &inner)) {
    case DELAYED_NOT: ASSERT(!slice_starts_with(topic, SLICE_LITERAL("$delayed/"))); break;
    case DELAYED_FINE:
        ASSERT(delay_ms <= (uint64_t)DELAYED_SECONDS_MAX * 1000);
        ASSERT(mqtt_topic_valid(inner) && inner.data + inner.len == topic.data + topic.len);
        ASSERT(inner.len + strlen("$delayed/0/") <= topic.len && inner.data[-1] == '/');
        ASSERT(!delayed_is(inner));
        break;
    case DELAYED_MALFORMED: ASSERT(delayed_is(topic) && inner.data == NULL && delay_ms == 0); break;
    }
    free(copy);
    return 0;
}
