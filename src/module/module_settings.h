/*
 * module_settings: what the configuration says of the modules, read and checked before anything is started.
 */
#ifndef MODULE_MODULE_SETTINGS_H
#define MODULE_MODULE_SETTINGS_H

#include "module/auto_subscription.h"

#include <stdbool.h>

struct conf;
struct rewrite_rules;

#define MODULE_ERROR_BYTES 2048

/* Texts are the configuration's. */
struct module_settings {
    bool presence;
    uint8_t presence_qos;
    bool subscription;
    struct auto_filter *filters; /* owned */
    size_t filter_count;
    struct rewrite_rules *rules; /* owned; NULL: module.rewrite is off */
};

/* 0; -EINVAL: `out_error` says where something is wrong, and what would be right, in whole lines; -ENOMEM. Rules and filters of modules that are
 * off are not looked at. Thread: start-up. */
MUST_USE int module_settings_read(const struct conf *conf, struct module_settings *out_settings,
                                  char out_error[MODULE_ERROR_BYTES]);
/* Frees what it owns. All zero is fine. */
void module_settings_fini(struct module_settings *settings);

#endif
