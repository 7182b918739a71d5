/*
 * share_group: see share_group.h.
 *
 * The members stand in an array in the order in which they joined: one that joins is appended, one that leaves makes
 * a hole, and when there is no room or more holes than members a new array is published. So joining and leaving
 * need no copy of a large group each time. Picking loads the array once. A strategy names a first choice; when that
 * member is offline (or refused), the choice is made again among those that are online, so that the load of an
 * absent member spreads over all others.
 *
 * Sticky: a group remembers up to STICKY_SLOTS publishers, each with its member, in a direct-mapped array made at
 * the first sticky pick. A publisher that has no note there, or whose member left or went offline, gets a member by
 * rendezvous hashing: the online member with the highest hash of (publisher, member). So two publishers that
 * push each other out of one slot still get the same members as long as nobody joins or leaves.
 */
#include "broker/router/share_group.h"

#include "base/rcu.h"
#include "broker/router/share_group_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STICKY_SLOTS 256u /* 2 KiB for a group */
#define STICKY_POINTER_BITS 48

struct member_list {
    uint32_t capacity;
    uint32_t count;                 /* slots in use; grows only, readers take it with an acquire */
    uint32_t live;                  /* slots that are not holes; readers may see it a moment late */
    struct share_member *members[]; /* NULL: a hole */
};

struct sticky_notes {
    uint64_t words[STICKY_SLOTS]; /* 48 bits of pointer, 16 bits of the publisher's hash; 0: empty */
};

struct share_group {
    struct member_list *list;    /* NULL: no members; snapshot */
    struct sticky_notes *sticky; /* NULL until the first sticky pick */
    uint32_t round_robin;        /* counts picks */
    bool closed;                 /* under the lock */
    pthread_mutex_t lock;        /* of changes */
    uint16_t filter_len;
    uint16_t name_len;
    uint8_t text[]; /* filter, then name */
};

struct share_group *share_group_new(struct slice filter, struct slice name)
{
    struct share_group *group = malloc(sizeof(*group) + filter.len + name.len);

    if (group == NULL)
        return NULL;
    *group = (struct share_group){.filter_len = (uint16_t)filter.len, .name_len = (uint16_t)name.len};
    pthread_mutex_init(&group->lock, NULL);
    memcpy(group->text, filter.data, filter.len);
    if (name.len > 0)
        memcpy(group->text + filter.len, name.data, name.len);
    return group;
}

void share_group_free(struct share_group *group)
{
    if (group == NULL)
        return;
    pthread_mutex_destroy(&group->lock);
    free(group->list);
    free(group->sticky);
    free(group);
}

bool share_group_close_if_empty(struct share_group *group)
{
    bool closed = false;

    pthread_mutex_lock(&group->lock);
    if (group->list == NULL && !group->closed)
        closed = group->closed = true;
    pthread_mutex_unlock(&group->lock);
    return closed;
}

static void free_retired_group(void *group)
{
    share_group_free(group);
}

void share_group_retire(struct share_group *group)
{
    rcu_retire(group, free_retired_group);
}

size_t share_group_bytes(const struct share_group *group)
{
    return sizeof(*group) + group->filter_len + group->name_len;
}

static struct share_member *list_get(const struct member_list *list, uint32_t index)
{
    return RCU_READ(list->members[index]);
}

static uint32_t list_count(const struct member_list *list)
{
    return list == NULL ? 0 : __atomic_load_n(&list->count, __ATOMIC_ACQUIRE);
}

static uint32_t list_live(const struct member_list *list)
{
    return list == NULL ? 0 : __atomic_load_n(&list->live, __ATOMIC_RELAXED);
}

static void list_append(struct member_list *list, struct share_member *member)
{
    list->members[list->count] = member;
    __atomic_store_n(&list->live, list->live + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&list->count, list->count + 1, __ATOMIC_RELEASE);
}

static void group_publish(struct share_group *group, struct member_list *list)
{
    struct member_list *old = group->list;

    RCU_PUBLISH(group->list, list);
    if (old != NULL)
        rcu_retire(old, free);
}

/* Publishes an array without holes and with room for as many members again. 0 or -ENOMEM. */
static int group_rebuild(struct share_group *group)
{
    uint32_t live = list_live(group->list);
    uint32_t capacity = live == 0 ? 2 : live * 2;
    struct member_list *list = calloc(1, sizeof(*list) + capacity * sizeof(list->members[0]));

    if (list == NULL)
        return -ENOMEM;
    list->capacity = capacity;
    for (uint32_t i = 0; i < list_count(group->list); i++) {
        if (group->list->members[i] != NULL)
            list_append(list, group->list->members[i]);
    }
    group_publish(group, list);
    return 0;
}

int share_group_add(struct share_group *group, struct share_member *member)
{
    int err = 0;

    pthread_mutex_lock(&group->lock);
    if (group->closed)
        err = -ESTALE;
    else if (group->list == NULL || group->list->count == group->list->capacity)
        err = group_rebuild(group);
    if (err == 0)
        list_append(group->list, member);
    pthread_mutex_unlock(&group->lock);
    return err;
}

void share_group_remove(struct share_group *group, struct share_member *member)
{
    struct member_list *list;

    pthread_mutex_lock(&group->lock);
    list = group->list;
    for (uint32_t i = 0; i < list_count(list); i++) {
        if (list->members[i] == member) {
            RCU_PUBLISH(list->members[i], (struct share_member *)NULL);
            __atomic_store_n(&list->live, list->live - 1, __ATOMIC_RELAXED);
            break;
        }
    }
    if (list != NULL && list->live == 0)
        group_publish(group, NULL);
    else if (list != NULL && list->live < list->count / 2)
        (void)group_rebuild(group); /* without memory the holes stay, which readers skip */
    pthread_mutex_unlock(&group->lock);
}

/* One pick: what it looks at, and which members may be chosen. */
struct choice {
    const struct member_list *list;
    uint32_t count; /* slots */
    const struct share_member *not_this;
    bool online_only;
};

static bool choice_allows(const struct choice *choice, const struct share_member *member)
{
    return member != NULL && member != choice->not_this &&
           (!choice->online_only || atomic_load_explicit(&member->online, memory_order_relaxed));
}

static uint32_t choice_count(const struct choice *choice)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < choice->count; i++)
        count += choice_allows(choice, list_get(choice->list, i));
    return count;
}

/* The allowed member number `number`, modulo how many there are. NULL: there is none. */
static struct share_member *choice_nth(const struct choice *choice, uint64_t number)
{
    uint32_t allowed = choice_count(choice);
    uint32_t left = allowed == 0 ? 0 : (uint32_t)(number % allowed);
    struct share_member *last = NULL;

    /* Flags may change between the two passes: then the last one that was allowed in this pass serves. */
    for (uint32_t i = 0; i < choice->count; i++) {
        struct share_member *member = list_get(choice->list, i);

        if (!choice_allows(choice, member))
            continue;
        last = member;
        if (left-- == 0)
            break;
    }
    return last;
}

/* The first allowed member from slot `start` on, around the end. NULL: there is none. */
static struct share_member *choice_from(const struct choice *choice, uint32_t start)
{
    for (uint32_t i = 0; i < choice->count; i++) {
        struct share_member *member = list_get(choice->list, (start + i) % choice->count);

        if (choice_allows(choice, member))
            return member;
    }
    return NULL;
}

/* The slot's member if it is allowed, which is the usual case, else number `number` of those that are. */
static struct share_member *choice_slot_or_nth(const struct choice *choice, uint64_t number)
{
    struct share_member *member = list_get(choice->list, (uint32_t)(number % choice->count));

    return choice_allows(choice, member) ? member : choice_nth(choice, number / choice->count);
}

/* Slots that may not be chosen are counted over, so that what follows them gets no more than its turn. */
static struct share_member *choice_round_robin(const struct choice *choice, struct share_group *group)
{
    for (uint32_t i = 0; i < choice->count; i++) {
        uint32_t turn = __atomic_fetch_add(&group->round_robin, 1, __ATOMIC_RELAXED);
        struct share_member *member = list_get(choice->list, turn % choice->count);

        if (choice_allows(choice, member))
            return member;
    }
    return choice_from(choice, 0); /* other pickers took the turns in between */
}

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    value = (value ^ value >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return value ^ value >> 32;
}

/* Rendezvous hashing: who stays has the same publishers, whoever else comes or goes. */
static struct share_member *choice_rendezvous(const struct choice *choice, uint64_t publisher_hash)
{
    struct share_member *best = NULL;
    uint64_t best_weight = 0;

    for (uint32_t i = 0; i < choice->count; i++) {
        struct share_member *member = list_get(choice->list, i);
        uint64_t weight = mix(publisher_hash ^ mix((uint64_t)(uintptr_t)member));

        if (choice_allows(choice, member) && (best == NULL || weight > best_weight)) {
            best = member;
            best_weight = weight;
        }
    }
    return best;
}

/* NULL when memory is short. */
static struct sticky_notes *group_sticky(struct share_group *group)
{
    struct sticky_notes *notes = RCU_READ(group->sticky);
    struct sticky_notes *expected = NULL;

    if (notes != NULL)
        return notes;
    notes = calloc(1, sizeof(*notes));
    if (notes == NULL ||
        __atomic_compare_exchange_n(&group->sticky, &expected, notes, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return notes;
    free(notes);
    return expected;
}

/* Is it a member now, and may it be chosen? Its memory is not touched before that is known. */
static bool choice_has(const struct choice *choice, const struct share_member *member)
{
    for (uint32_t i = 0; i < choice->count; i++) {
        if (list_get(choice->list, i) == member)
            return choice_allows(choice, member);
    }
    return false;
}

static struct share_member *choice_sticky(const struct choice *choice, struct share_group *group, uint64_t publisher)
{
    const uint64_t pointer_mask = (UINT64_C(1) << STICKY_POINTER_BITS) - 1;
    struct sticky_notes *notes = group_sticky(group);
    uint64_t hash = mix(publisher);
    struct share_member *member;
    uint64_t *note;
    uint64_t word;

    if (notes == NULL)
        return choice_rendezvous(choice, publisher);
    note = &notes->words[hash % STICKY_SLOTS];
    word = __atomic_load_n(note, __ATOMIC_RELAXED);
    member = (struct share_member *)(uintptr_t)(word & pointer_mask);
    if (word != 0 && (word ^ hash) >> STICKY_POINTER_BITS == 0 && choice_has(choice, member))
        return member;
    member = choice_rendezvous(choice, publisher);
    if (member != NULL)
        __atomic_store_n(note, (hash & ~pointer_mask) | (uint64_t)(uintptr_t)member, __ATOMIC_RELAXED);
    return member;
}

/* A further attempt: on from who refused, whatever the strategy. */
static struct share_member *choice_next(const struct choice *choice, const struct share_pick *pick)
{
    for (uint32_t i = 0; i < choice->count; i++) {
        if (pick->not_this != NULL && list_get(choice->list, i) == pick->not_this)
            return choice_from(choice, i + 1);
    }
    return choice_from(choice, (uint32_t)((pick->publisher_hash + pick->attempt) % choice->count));
}

static struct share_member *choice_make(const struct choice *choice, struct share_group *group,
                                        const struct share_pick *pick)
{
    if (pick->attempt > 0)
        return choice_next(choice, pick);
    switch (pick->strategy) {
    case SHARE_ROUND_ROBIN: return choice_round_robin(choice, group);
    case SHARE_STICKY: return choice_sticky(choice, group, pick->publisher_hash);
    case SHARE_HASH: return choice_slot_or_nth(choice, pick->publisher_hash);
    case SHARE_RANDOM: break;
    }
    return choice_slot_or_nth(choice, pick->random);
}

struct share_member *share_group_pick(struct share_group *group, const struct share_pick *pick)
{
    struct choice choice = {.list = RCU_READ(group->list), .not_this = pick->not_this, .online_only = true};
    struct share_member *member;

    choice.count = list_count(choice.list);
    if (choice.count == 0)
        return NULL;
    member = choice_make(&choice, group, pick);
    if (member == NULL) {
        choice.online_only = false;
        member = choice_make(&choice, group, pick);
    }
    return member;
}

uint32_t share_group_member_count(const struct share_group *group)
{
    return list_live(RCU_READ(group->list));
}

struct slice share_group_name(const struct share_group *group)
{
    return slice_make(group->text + group->filter_len, group->name_len);
}

struct slice share_group_filter(const struct share_group *group)
{
    return slice_make(group->text, group->filter_len);
}
