/*
 * acl_index: finds the rules about a user or a client by name.
 *
 * A rule goes into exactly one list: that of the user or client that it demands (by itself or in an 'and'), else the general one. Tables are
 * open-addressed and at most half full.
 *
 * The general list has an entry for each topic, which fits into half a cache line: whether the topic can match is mostly seen from eight
 * bytes. A topic name has the whole head of a rule topic that matches it, and so has a filter that is covered by it, or equal to it as text:
 * the end of the head is compared, which tells more. A filter that only overlaps with it agrees with the head as far as both go: there the
 * beginning is.
 */
#include "auth/acl_rules_internal.h"

#include "base/hash.h"

#include <errno.h>
#include <string.h>

#define SIGNATURE_BYTES 8u

/* The user or client without whom the condition is false; NULL: it does not depend on one name. */
static const struct acl_who *demanded_name(const struct acl_who *who)
{
    if (who->kind == ACL_WHO_USER || who->kind == ACL_WHO_CLIENT)
        return who;
    for (uint32_t i = 0; who->kind == ACL_WHO_AND && i < who->part_count; i++) {
        const struct acl_who *part = &who->parts[i];
        if (part->kind == ACL_WHO_USER || part->kind == ACL_WHO_CLIENT)
            return part;
    }
    return NULL;
}

/* The slot of the name, or the free one where it belongs. */
static struct name_slot *find_slot(const struct name_table *table, struct slice name)
{
    uint32_t at = (uint32_t)hash_text(name) & table->mask;

    while (table->slots[at].name.data != NULL && !slice_equal(table->slots[at].name, name))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static int make_table(struct name_table *table, uint32_t name_count, struct acl_memory *memory)
{
    uint32_t size = 4;

    if (name_count == 0)
        return 0;
    while (size < name_count * 2)
        size *= 2;
    table->slots = acl_memory_get(memory, size, sizeof(*table->slots));
    table->mask = size - 1;
    return table->slots == NULL ? -ENOMEM : 0;
}

/* The first `count` bytes of a number as it is in memory. */
static inline uint64_t first_bytes_mask(size_t count)
{
    static const uint8_t bytes[2 * SIGNATURE_BYTES] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    uint64_t mask;

    memcpy(&mask, bytes + SIGNATURE_BYTES - (count < SIGNATURE_BYTES ? count : SIGNATURE_BYTES), SIGNATURE_BYTES);
    return mask;
}

/* The first bytes of a text, zeros behind a shorter one. */
static uint64_t first_bytes(struct slice text)
{
    uint64_t bytes = 0;

    if (text.len > 0)
        memcpy(&bytes, text.data, text.len < SIGNATURE_BYTES ? text.len : SIGNATURE_BYTES);
    return bytes;
}

static struct slice head_of(const struct acl_topic *topic)
{
    return topic->is_literal ? topic->text : slice_make(topic->text.data, topic->head_len);
}

static uint32_t general_entry_count(const struct compiled_rule *rule)
{
    return rule->is_any_topic ? 1 : rule->topic_count;
}

static void place_general(struct acl_index *index, const struct compiled_rule *rule, uint32_t number)
{
    for (uint32_t i = 0; i < general_entry_count(rule); i++) {
        struct general_entry *entry = &index->general[index->general_count++];
        struct slice head = rule->is_any_topic ? SLICE_LITERAL("") : head_of(&rule->topics[i]);
        *entry = (struct general_entry){.rule = number,
                                        .is_allow = rule->seen.is_allow,
                                        .head_len = (uint16_t)head.len,
                                        .front = first_bytes(head)};
        entry->tail = head.len < SIGNATURE_BYTES ? entry->front
                                                 : first_bytes(slice_skip(head, head.len - SIGNATURE_BYTES));
    }
}

/* Puts the rule into the list of its name. -ENOMEM. */
static int place_named(struct acl_index *index, const struct acl_who *name, uint32_t number, struct acl_memory *memory)
{
    struct name_slot *slot = find_slot(name->kind == ACL_WHO_USER ? &index->users : &index->clients, name->name);

    if ((slot->count & (slot->count - 1)) == 0) { /* full: 0, 1, 2, 4, ... */
        uint32_t *rules = acl_memory_get(memory, slot->count == 0 ? 1 : (size_t)slot->count * 2, sizeof(*rules));
        if (rules == NULL)
            return -ENOMEM;
        for (uint32_t i = 0; i < slot->count; i++)
            rules[i] = slot->rules[i];
        slot->rules = rules;
    }
    slot->name = name->name;
    slot->rules[slot->count++] = number;
    return 0;
}

int acl_index_make(struct acl_index *index, const struct compiled_rule *rules, uint32_t count, enum acl_access access,
                   struct acl_memory *memory)
{
    uint32_t entry_count = 0, user_count = 0, client_count = 0;
    int err;

    for (uint32_t i = 0; i < count; i++) {
        const struct acl_who *name = demanded_name(&rules[i].who);
        if (!(rules[i].accesses & access))
            continue;
        if (name == NULL)
            entry_count += general_entry_count(&rules[i]);
        else if (name->kind == ACL_WHO_USER)
            user_count++;
        else
            client_count++;
    }
    index->general = acl_memory_get(memory, entry_count, sizeof(*index->general));
    if (index->general == NULL)
        return -ENOMEM;
    err = make_table(&index->users, user_count, memory);
    if (err == 0)
        err = make_table(&index->clients, client_count, memory);
    for (uint32_t i = 0; i < count && err == 0; i++) {
        const struct acl_who *name = demanded_name(&rules[i].who);
        if (!(rules[i].accesses & access))
            continue;
        if (name == NULL)
            place_general(index, &rules[i], i);
        else
            err = place_named(index, name, i, memory);
    }
    return err;
}

struct rule_list acl_index_find(const struct name_table *table, struct slice name)
{
    const struct name_slot *slot;

    if (table->slots == NULL || name.data == NULL)
        return (struct rule_list){NULL, 0};
    slot = find_slot(table, name);
    return (struct rule_list){slot->rules, slot->count};
}

void acl_probe_init(struct acl_probe *probe, const struct hook_check_acl *request, bool has_wildcard,
                    enum acl_filter_match filter_match)
{
    size_t plain_len = 0;

    while (plain_len < SIGNATURE_BYTES && plain_len < request->topic.len && request->topic.data[plain_len] != '+' &&
           request->topic.data[plain_len] != '#')
        plain_len++;
    *probe = (struct acl_probe){.topic = request->topic,
                                .front = first_bytes(request->topic),
                                .front_mask = first_bytes_mask(plain_len),
                                .deny_overlaps = has_wildcard && filter_match == ACL_FILTER_COVER};
}

/* May the entry's topic fit? */
static inline bool entry_may_fit(const struct general_entry *entry, const struct acl_probe *probe)
{
    uint64_t tail;

    if (probe->deny_overlaps && !entry->is_allow) {
        uint64_t mask = probe->front_mask & first_bytes_mask(entry->head_len);
        return ((entry->front ^ probe->front) & mask) == 0;
    }
    if (entry->head_len > probe->topic.len)
        return false;
    if (entry->head_len < SIGNATURE_BYTES)
        return (probe->front & first_bytes_mask(entry->head_len)) == entry->tail;
    memcpy(&tail, probe->topic.data + entry->head_len - SIGNATURE_BYTES, SIGNATURE_BYTES);
    return tail == entry->tail;
}

uint32_t acl_index_next(const struct acl_index *index, struct acl_probe *probe, uint32_t below)
{
    uint32_t at = probe->at, rule = UINT32_MAX;

    for (; at < index->general_count && index->general[at].rule < below; at++) {
        if (entry_may_fit(&index->general[at], probe)) {
            rule = index->general[at++].rule;
            break;
        }
    }
    probe->at = at;
    return rule;
}
