/*
 * topic_pattern: configured topics in which %c and %u stand for client ID and user name where they are a whole level. Pure. Thread: any.
 */
#ifndef MQTT_TOPIC_PATTERN_H
#define MQTT_TOPIC_PATTERN_H

#include "base/compiler.h"
#include "base/slice.h"

/* `pattern` for one client. An absent user name leaves %u. The caller frees the text with slice_free(). -ENOMEM. */
MUST_USE int topic_pattern_expand(struct slice pattern, struct slice client_id, struct slice user_name,
                                  struct slice *out_text);

/* Does a whole level of it consist of % and this letter? */
bool topic_pattern_has(struct slice pattern, char letter);

/* May this stand in the place of %c or %u? What goes into topics must not bring wildcards along: `+` as a client ID would open everybody's
 * branch. */
bool topic_pattern_value_fits(struct slice value);

#endif
