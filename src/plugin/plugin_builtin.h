/*
 * plugin_builtin: plugins of EMQ X 3 whose feature is a part of this broker. Each has a descriptor as any other, linked into the broker, and no object
 * file. They are loaded at every start unless loaded_plugins says {NAME, false}.
 *
 * What they attach through the host comes and goes as with others. The feature itself is switched on by their load(); it is switched off
 * not by unload() but by plugin_builtin_off(): it goes on through a reload, and to the end when the node stops.
 * Thread: control.
 */
#ifndef PLUGIN_PLUGIN_BUILTIN_H
#define PLUGIN_PLUGIN_BUILTIN_H

#include <emqc/plugin.h>

struct broker;

struct plugin_builtin {
    const struct emqc_plugin *plugin;
    void (*off)(struct broker *broker); /* the feature, when the plugin is not loaded */
};

/* All of them, by name; ends with a NULL plugin. */
extern const struct plugin_builtin plugin_builtins[];

/* NULL: none has that name. Thread: any. */
const struct plugin_builtin *plugin_builtin_find(const char *name);
/* Of another name: nothing. */
void plugin_builtin_off(struct broker *broker, const char *name);

/* plugin_retainer.c */
extern const struct emqc_plugin plugin_retainer;
void plugin_retainer_off(struct broker *broker);

/* plugin_delayed.c */
extern const struct emqc_plugin plugin_delayed;
void plugin_delayed_off(struct broker *broker);

#endif
