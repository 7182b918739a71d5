/*
 * zone: the table of all zones. The first entry is the zone for listeners that name none, or one that nobody
 * configured; the others follow in the order of the file.
 */
#include "broker/zone_internal.h"
#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct zone_table {
    size_t count;
    struct zone zones[];
};

static struct zone_table *zone_table_alloc(size_t count)
{
    return calloc(1, sizeof(struct zone_table) + count * sizeof(struct zone));
}

int zone_table_new(const struct conf *conf, struct zone_table **out_zones)
{
    const char **names = NULL;
    size_t name_count = 0;
    struct zone_table *zones = NULL;
    int err = conf_names(conf, "zone.$name", NULL, &names, &name_count);

    if (err < 0)
        return err;
    zones = zone_table_alloc(name_count + 1);
    if (zones == NULL)
        err = -ENOMEM;
    for (size_t i = 0; err == 0 && i <= name_count; i++) {
        zones->count++;
        err = zone_init(&zones->zones[i], conf, i == 0 ? NULL : names[i - 1]);
    }
    free(names);
    if (err < 0) {
        zone_table_free(zones);
        return err;
    }
    *out_zones = zones;
    return 0;
}

void zone_table_free(struct zone_table *zones)
{
    if (zones == NULL)
        return;
    for (size_t i = 0; i < zones->count; i++)
        zone_fini(&zones->zones[i]);
    free(zones);
}

const struct zone *zone_table_find(struct zone_table *zones, const char *name)
{
    for (size_t i = 1; name != NULL && i < zones->count; i++) {
        if (strcmp(zones->zones[i].name, name) == 0)
            return &zones->zones[i];
    }
    return &zones->zones[0];
}
