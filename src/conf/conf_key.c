/*
 * conf_key: which row a key belongs to, and which keys look most like one that no row knows.
 */
#include "conf/conf_internal.h"

#include <stdlib.h>
#include <string.h>

bool conf_is_wildcard(const char *word)
{
    return word[0] == '$';
}

bool conf_words_split(const char *key, struct conf_words *out_words)
{
    char *to = out_words->storage, *end = to + sizeof(out_words->storage) - 1;

    out_words->count = 1;
    out_words->at[0] = to;
    for (; *key != '\0'; key++) {
        if (to == end)
            return false;
        if (*key == '.') {
            if (out_words->count == CONF_WORDS_MAX)
                return false;
            *to++ = '\0';
            out_words->at[out_words->count++] = to;
            continue;
        }
        if (*key == '\\' && key[1] == '.')
            key++;
        *to++ = *key;
    }
    *to = '\0';
    return true;
}

bool conf_row_matches(const struct conf_row *row, const struct conf_words *words)
{
    if (row->words.count != words->count)
        return false;
    for (size_t i = 0; i < words->count; i++) {
        if (!conf_is_wildcard(row->words.at[i]) && strcmp(row->words.at[i], words->at[i]) != 0)
            return false;
    }
    return true;
}

/* A row that names a word goes before one with a wildcard there: log.rotation.size before log.$level.file. */
const struct conf_row *conf_row_for(const struct conf *conf, const struct conf_words *words)
{
    const struct conf_row *found = NULL;

    for (size_t i = 0; i < conf->row_count; i++) {
        const struct conf_row *row = &conf->rows[i];

        if (!conf_row_matches(row, words))
            continue;
        if (strchr(row->key->name, '$') == NULL)
            return row;
        if (found == NULL)
            found = row;
    }
    return found;
}

const struct conf_row *conf_row_named(const struct conf *conf, const char *name)
{
    size_t low = 0, high = conf->row_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, conf->rows_by_name[middle]->key->name);

        if (order == 0)
            return conf->rows_by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Levenshtein's distance with one line of the matrix. */
static unsigned edit_distance(const char *left, const char *right)
{
    unsigned line[CONF_KEY_BYTES_MAX + 1];
    size_t right_len = strlen(right);

    for (size_t j = 0; j <= right_len; j++)
        line[j] = (unsigned)j;
    for (size_t i = 0; left[i] != '\0'; i++) {
        unsigned diagonal = line[0];

        line[0] = (unsigned)i + 1;
        for (size_t j = 0; j < right_len; j++) {
            unsigned best = diagonal + (left[i] != right[j]);

            diagonal = line[j + 1];
            if (line[j] + 1 < best)
                best = line[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            line[j + 1] = best;
        }
    }
    return line[right_len];
}

/* The row's name with the user's own words where the row has wildcards, so that "zone.external.idle_timeot" is
 * told "zone.external.idle_timeout". */
static void row_name_for(const struct conf_row *row, const struct conf_words *words, char *out_name, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < row->words.count && used < size; i++) {
        const char *word = row->words.at[i];

        if (conf_is_wildcard(word) && i < words->count && words->at[i][0] != '\0')
            word = words->at[i];
        used += (size_t)snprintf(out_name + used, size - used, "%s%s", i == 0 ? "" : ".", word);
    }
}

enum { NEAREST_COUNT = 3 };

struct candidate {
    unsigned distance;
    char name[CONF_KEY_BYTES_MAX + 1];
};

static void candidate_insert(struct candidate best[NEAREST_COUNT], const struct candidate *candidate)
{
    size_t at = NEAREST_COUNT;

    while (at > 0 && candidate->distance < best[at - 1].distance)
        at--;
    if (at == NEAREST_COUNT)
        return;
    memmove(&best[at + 1], &best[at], (NEAREST_COUNT - 1 - at) * sizeof(*best));
    best[at] = *candidate;
}

void conf_nearest(const struct conf *conf, const char *key, char *out_text, size_t size)
{
    struct candidate best[NEAREST_COUNT] = {
        {.distance = UINT32_MAX}, {.distance = UINT32_MAX}, {.distance = UINT32_MAX}};
    struct conf_words words;
    size_t used = 0, key_len = strlen(key);

    out_text[0] = '\0';
    if (!conf_words_split(key, &words))
        words.count = 0;
    for (size_t i = 0; i < conf->row_count; i++) {
        struct candidate candidate;

        row_name_for(&conf->rows[i], &words, candidate.name, sizeof(candidate.name));
        if (labs((long)strlen(candidate.name) - (long)key_len) >= (long)best[NEAREST_COUNT - 1].distance)
            continue; /* the lengths alone differ too much */
        candidate.distance = edit_distance(key, candidate.name);
        candidate_insert(best, &candidate);
    }
    for (size_t i = 0; i < NEAREST_COUNT && best[i].distance != UINT32_MAX && used < size; i++)
        used += (size_t)snprintf(out_text + used, size - used, "%s    %s", i == 0 ? "" : "\n", best[i].name);
}
