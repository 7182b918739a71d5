/*
 * acl_topic: a topic of an access rule, and whether a request falls under it.
 *
 * The request is walked level by level beside the rule topic; one function for each way of matching says what two levels mean to each
 * other.
 */
#include "auth/acl_topic.h"

#include "auth/acl_memory.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <string.h>

/* ---- taking apart ---- */

static struct acl_level make_level(struct slice text, uint32_t at, uint32_t len)
{
    struct slice level = slice_make(text.data + at, len);
    enum acl_level_kind kind = ACL_LEVEL_TEXT;

    if (slice_equal(level, SLICE_LITERAL("+")))
        kind = ACL_LEVEL_PLUS;
    else if (slice_equal(level, SLICE_LITERAL("#")))
        kind = ACL_LEVEL_HASH;
    else if (slice_equal(level, SLICE_LITERAL("%c")))
        kind = ACL_LEVEL_CLIENT_ID;
    else if (slice_equal(level, SLICE_LITERAL("%u")))
        kind = ACL_LEVEL_USER_NAME;
    return (struct acl_level){kind, at, len};
}

static int split(struct acl_topic *topic, struct acl_memory *memory)
{
    uint32_t at = 0, end, count = 0;
    bool in_head = true;

    topic->levels = acl_memory_get(memory, mqtt_topic_level_count(topic->text), sizeof(*topic->levels));
    if (topic->levels == NULL)
        return -ENOMEM;
    do {
        for (end = at; end < topic->text.len && topic->text.data[end] != '/'; end++)
            ;
        topic->levels[count] = make_level(topic->text, at, end - at);
        in_head = in_head && topic->levels[count].kind == ACL_LEVEL_TEXT;
        count++;
        if (in_head) {
            topic->head_levels = count;
            topic->head_len = end;
        }
        at = end + 1;
    } while (end < topic->text.len);
    topic->level_count = count;
    return 0;
}

/* Why no topic and no filter can be so; NULL: one can. */
static const char *find_problem(struct slice text)
{
    if (text.len == 0)
        return "an empty topic matches nothing";
    if (text.len > MQTT_TOPIC_LEN_MAX)
        return "a topic has at most 65535 bytes";
    if (!mqtt_utf8_valid(text))
        return "this topic is not UTF-8, as all topics are: save the file as UTF-8";
    if (!mqtt_filter_valid(text))
        return "this is no topic filter: + stands alone in its level, # alone in the last one";
    return NULL;
}

int acl_topic_init(struct acl_topic *topic, struct slice text, bool is_literal, struct acl_memory *memory,
                   const char **out_problem)
{
    *topic = (struct acl_topic){.text = text, .is_literal = is_literal};
    *out_problem = find_problem(text);
    if (*out_problem != NULL)
        return -EINVAL;
    topic->is_name = !mqtt_filter_has_wildcard(text);
    return is_literal ? 0 : split(topic, memory);
}

/* ---- matching ---- */

/* What is left of a request; `rest.data` NULL: no level. */
struct cursor {
    struct slice rest;
};

static struct slice take_level(struct cursor *cursor)
{
    const uint8_t *end = memchr(cursor->rest.data, '/', cursor->rest.len);
    struct slice level = slice_make(cursor->rest.data,
                                    end == NULL ? cursor->rest.len : (size_t)(end - cursor->rest.data));

    cursor->rest = end == NULL ? (struct slice){NULL, 0} : slice_skip(cursor->rest, level.len + 1);
    return level;
}

/* One byte long and this one. */
static bool is_mark(struct slice level, char mark)
{
    return level.len == 1 && level.data[0] == (uint8_t)mark;
}

/* What a level of the rule demands; data NULL: nothing can be that. */
static struct slice level_text(const struct acl_topic *topic, const struct acl_level *level,
                               const struct acl_names *names)
{
    if (level->kind == ACL_LEVEL_CLIENT_ID)
        return names->client_id;
    if (level->kind == ACL_LEVEL_USER_NAME)
        return names->user_name;
    return slice_make(topic->text.data + level->at, level->len);
}

/* Is the level of the request, which is no wildcard, what the rule's level demands? An absent name is nothing. */
static bool level_fits(const struct acl_topic *topic, const struct acl_level *level, struct slice request,
                       const struct acl_names *names)
{
    struct slice text;

    if (level->kind == ACL_LEVEL_PLUS)
        return true;
    text = level_text(topic, level, names);
    return text.data != NULL && slice_equal(text, request);
}

/* A topic name, a filter as text, or a filter without wildcards (which is the same as that name). */
static bool match_name(const struct acl_topic *topic, struct slice request, bool is_text, const struct acl_names *names)
{
    struct cursor cursor = {request};
    uint32_t at = topic->head_levels;

    if (at > 0) {
        if (request.len < topic->head_len || memcmp(request.data, topic->text.data, topic->head_len) != 0)
            return false;
        if (request.len > topic->head_len && request.data[topic->head_len] != '/')
            return false;
        cursor.rest = request.len == topic->head_len ? (struct slice){NULL, 0}
                                                     : slice_skip(request, topic->head_len + 1);
    }
    for (; at < topic->level_count; at++) {
        const struct acl_level *level = &topic->levels[at];
        struct slice part;
        if (level->kind == ACL_LEVEL_HASH)
            return true;
        if (cursor.rest.data == NULL)
            return false;
        part = take_level(&cursor);
        /* A name that is "+" does not let its client subscribe to everybody's. */
        if (is_text && level->kind >= ACL_LEVEL_CLIENT_ID && (is_mark(part, '+') || is_mark(part, '#')))
            return false;
        if (!level_fits(topic, level, part, names))
            return false;
    }
    return cursor.rest.data == NULL;
}

/* Does the rule topic match all that the filter does? The filter "#" is "+/#": every topic has a level. */
static bool covers(const struct acl_topic *topic, struct slice filter, const struct acl_names *names)
{
    struct cursor cursor = {filter};

    if (is_mark(filter, '#') && topic->levels[0].kind == ACL_LEVEL_PLUS)
        return topic->level_count == 2 && topic->levels[1].kind == ACL_LEVEL_HASH;
    for (uint32_t at = 0; at < topic->level_count; at++) {
        const struct acl_level *level = &topic->levels[at];
        struct slice part;
        if (level->kind == ACL_LEVEL_HASH)
            return true;
        if (cursor.rest.data == NULL)
            return false;
        part = take_level(&cursor);
        if (is_mark(part, '#') || (is_mark(part, '+') && level->kind != ACL_LEVEL_PLUS))
            return false;
        if (!level_fits(topic, level, part, names))
            return false;
    }
    return cursor.rest.data == NULL;
}

/* A filter that begins with a wildcard matches no topic that begins with $. */
static bool is_hidden(const struct acl_topic *topic, struct slice filter, const struct acl_names *names)
{
    struct slice first;

    if ((filter.data[0] != '+' && filter.data[0] != '#') || topic->levels[0].kind == ACL_LEVEL_PLUS ||
        topic->levels[0].kind == ACL_LEVEL_HASH)
        return false;
    first = level_text(topic, &topic->levels[0], names);
    return first.len > 0 && first.data[0] == '$';
}

/* A variable without a value matches nothing, whatever stands opposite. */
static bool has_values(const struct acl_topic *topic, const struct acl_names *names)
{
    for (uint32_t at = topic->head_levels; at < topic->level_count; at++) {
        const struct acl_level *level = &topic->levels[at];
        if (level->kind >= ACL_LEVEL_CLIENT_ID && level_text(topic, level, names).data == NULL)
            return false;
    }
    return true;
}

/* Is there a topic that both match? */
static bool overlaps(const struct acl_topic *topic, struct slice filter, const struct acl_names *names)
{
    struct cursor cursor = {filter};

    if (is_hidden(topic, filter, names) || !has_values(topic, names))
        return false;
    for (uint32_t at = 0; at < topic->level_count; at++) {
        const struct acl_level *level = &topic->levels[at];
        struct slice part;
        if (level->kind == ACL_LEVEL_HASH)
            return true;
        if (cursor.rest.data == NULL)
            return false;
        part = take_level(&cursor);
        if (is_mark(part, '#'))
            return true;
        if (!is_mark(part, '+') && !level_fits(topic, level, part, names))
            return false;
    }
    return cursor.rest.data == NULL || is_mark(cursor.rest, '#');
}

bool acl_topic_matches(const struct acl_topic *topic, struct slice request, bool has_wildcard, enum acl_match match,
                       const struct acl_names *names)
{
    if (topic->is_literal) {
        if (slice_equal(topic->text, request))
            return true;
        return has_wildcard && topic->is_name && match == ACL_MATCH_OVERLAP && mqtt_topic_matches(topic->text, request);
    }
    if (!has_wildcard || match == ACL_MATCH_TEXT)
        return match_name(topic, request, has_wildcard, names);
    return match == ACL_MATCH_COVER ? covers(topic, request, names) : overlaps(topic, request, names);
}
