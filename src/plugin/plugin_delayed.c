/*
 * plugin_delayed: the built-in plugin emqx_delayed_publish: switches broker/delayed.h on and off. Its limits are those of etc/emqx.conf (delayed.*).
 */
#include "base/version.h"
#include "broker/broker.h"
#include "broker/delayed.h"
#include "plugin/plugin_builtin.h"
#include "plugin/plugin_internal.h"

static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    (void)host;
    (void)out_state;
    delayed_switch(self->host->options.broker->delayed, true);
    return 0;
}

static void unload(void *state)
{
    (void)state; /* it has none */
}

void plugin_delayed_off(struct broker *broker)
{
    delayed_switch(broker->delayed, false);
}

const struct emqc_plugin plugin_delayed = {
    EMQC_PLUGIN_HEAD,        .name = "emqx_delayed_publish",
    .version = EMQC_VERSION, .description = "EMQ X Delayed Publish",
    .type = EMQC_FEATURE,    .load = load,
    .unload = unload,
};
