/*
 * keys: all tables of the core, in the order of the shipped file.
 */
#include "conf/keys_internal.h"

static const struct conf_table *const core_tables[] = {
    &conf_cluster_table, &conf_node_table,   &conf_rpc_table,    &conf_log_table,     &conf_auth_table,
    &conf_mqtt_table,    &conf_zone_table,   &conf_tcp_table,    &conf_ssl_table,     &conf_ws_table,
    &conf_wss_table,     &conf_unix_table,   &conf_module_table, &conf_plugins_table, &conf_broker_table,
    &conf_store_table,   &conf_sysmon_table,
};

const struct conf_table *const *conf_core_tables(size_t *out_count)
{
    *out_count = ARRAY_COUNT(core_tables);
    return core_tables;
}
