/*
 * properties: the property sections of MQTT 5 (section 2.2.2), for decode*.c and encode.c. Driven by the table in
 * properties.c. Pure. Thread: any.
 */
#ifndef MQTT_PROPERTIES_INTERNAL_H
#define MQTT_PROPERTIES_INTERNAL_H

#include "base/compiler.h"
#include "mqtt/packet.h"
#include "mqtt/reader_internal.h"
#include "mqtt/sink_internal.h"

/* Which properties a packet may carry. */
struct property_set {
    uint32_t allowed;  /* MQTT_PROP_BIT(...) */
    uint32_t repeated; /* those of them that may come more than once */
};

/* The properties of the will in a CONNECT (section 3.1.3.2). */
extern const struct property_set will_property_set;

/* The section without anything in it: what MQTT 3.x and the short forms stand for. */
static inline void properties_clear(struct mqtt_properties *out_properties)
{
    out_properties->present = 0;
    out_properties->raw = (struct slice){NULL, 0};
}

/* Reads a section that is not empty; see properties_decode(). */
MUST_USE enum reason_code properties_decode_some(struct reader *in, const struct property_set *set,
                                                 struct mqtt_properties *out_properties, const char **out_error);

/* Reads a section with its length. REASON_SUCCESS, REASON_MALFORMED_PACKET or REASON_PROTOCOL_ERROR with
 * `*out_error` set. */
MUST_USE static inline enum reason_code properties_decode(struct reader *in, const struct property_set *set,
                                                          struct mqtt_properties *out_properties,
                                                          const char **out_error)
{
    properties_clear(out_properties);
    if (LIKELY(in->at < in->end && *in->at == 0)) {
        out_properties->raw = slice_make(++in->at, 0);
        return REASON_SUCCESS;
    }
    return properties_decode_some(in, set, out_properties, out_error);
}

/* Writes a section with its length: what of `properties` is in `set`. */
void properties_emit(struct sink *out, const struct property_set *set, const struct mqtt_properties *properties);

#endif
