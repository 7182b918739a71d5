/*
 * delayed_topic: takes $delayed/SECONDS/TOPIC apart. Pure.
 */
#include "broker/delayed.h"

#include "mqtt/topic.h"

#define PREFIX SLICE_LITERAL("$delayed/")
#define NUMBER_MAX UINT64_C(10000000000000) /* seconds: no time that anybody means, and far from any overflow */

/* Digits up to a slash. False: anything else, or too large a number. `*rest` is what follows the slash. */
static bool take_number(struct slice *rest, uint64_t *out_number)
{
    uint64_t number = 0;
    size_t at = 0;

    for (; at < rest->len && rest->data[at] >= '0' && rest->data[at] <= '9'; at++) {
        number = number * 10 + (uint64_t)(rest->data[at] - '0');
        if (number > NUMBER_MAX)
            return false;
    }
    if (at == 0 || at == rest->len || rest->data[at] != '/')
        return false;
    *rest = slice_skip(*rest, at + 1);
    *out_number = number;
    return true;
}

enum delayed_result delayed_parse(struct slice topic, uint64_t wall_ms, uint64_t *out_delay_ms, struct slice *out_topic)
{
    uint64_t number = 0, delay_ms;

    if (!delayed_is(topic))
        return DELAYED_NOT;
    struct slice rest = slice_skip(topic, PREFIX.len);
    if (!take_number(&rest, &number) || !mqtt_topic_valid(rest) || slice_starts_with(rest, PREFIX))
        return DELAYED_MALFORMED;
    delay_ms = number * 1000;
    if (number >= DELAYED_SECONDS_MAX)
        delay_ms = delay_ms > wall_ms ? delay_ms - wall_ms : 0;
    if (delay_ms > (uint64_t)DELAYED_SECONDS_MAX * 1000)
        return DELAYED_MALFORMED;
    *out_delay_ms = delay_ms;
    *out_topic = rest;
    return DELAYED_FINE;
}
