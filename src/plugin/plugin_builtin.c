/*
 * plugin_builtin: see plugin_builtin.h.
 */
#include "plugin/plugin_builtin.h"

#include <string.h>

const struct plugin_builtin plugin_builtins[] = {
    {&plugin_delayed, plugin_delayed_off},
    {&plugin_retainer, plugin_retainer_off},
    {NULL, NULL},
};

const struct plugin_builtin *plugin_builtin_find(const char *name)
{
    const struct plugin_builtin *builtin = plugin_builtins;

    while (builtin->plugin != NULL && strcmp(builtin->plugin->name, name) != 0)
        builtin++;
    return builtin->plugin == NULL ? NULL : builtin;
}

void plugin_builtin_off(struct broker *broker, const char *name)
{
    const struct plugin_builtin *builtin = plugin_builtin_find(name);

    if (builtin != NULL)
        builtin->off(broker);
}
