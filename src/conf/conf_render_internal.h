/*
 * conf_render_internal: what the writers of the shipped file and of the reference share.
 */
#ifndef CONF_CONF_RENDER_INTERNAL_H
#define CONF_CONF_RENDER_INTERNAL_H

#include "conf/conf_internal.h"
#include "conf/keys_internal.h"

/* Neighbors with the same table are one section of the reference. */
struct conf_section {
    const char *title;
    const struct conf_table *table;
    const char *name; /* the wildcard's word; NULL: all */
};

const struct conf_section *conf_sections(size_t *out_count);

/* ", 0 to 2", or nothing for a key without a range. */
void conf_write_range(FILE *out, const struct conf_key *key);

#endif
