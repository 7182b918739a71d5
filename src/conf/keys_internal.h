/*
 * keys_internal: the tables of keys, one for each section of the shipped file or of docs/configuration.md.
 */
#ifndef CONF_KEYS_INTERNAL_H
#define CONF_KEYS_INTERNAL_H

#include "conf/conf.h"

extern const struct conf_table conf_cluster_table, conf_node_table, conf_rpc_table, conf_log_table, conf_auth_table,
    conf_mqtt_table, conf_zone_table, conf_tcp_table, conf_ssl_table, conf_ws_table, conf_wss_table, conf_unix_table,
    conf_module_table, conf_plugins_table, conf_broker_table, conf_store_table, conf_sysmon_table;

#endif
