/*
 * conf_fuzz: any text as a configuration file. It loads or is refused with errors; what loads answers every
 * getter and gives zones, listeners and notices. Nothing is read from the disk.
 */
#include "broker/zone.h"
#include "conf/conf.h"
#include "net/listener_options.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *sink;

static void drop_notice(void *context, const char *text)
{
    (void)context;
    fputs(text, sink);
}

static void use(const struct conf *conf)
{
    struct conf_setting setting;
    struct zone_table *zones = NULL;

    for (size_t i = 0; conf_setting_at(conf, i, &setting); i++)
        ASSERT(setting.row != NULL && setting.value->text != NULL && setting.value->type == setting.row->type);
    for (int type = LISTENER_TCP; type <= LISTENER_WSS; type++) {
        struct listener_options *options = NULL;
        uint32_t count = 0;

        if (listener_options_read(conf, (enum listener_type)type, &options, &count) == 0)
            listener_options_free(options, count);
    }
    if (zone_table_new(conf, &zones) == 0)
        ASSERT(zone_table_find(zones, "external") != NULL);
    zone_table_free(zones);
    ASSERT(conf_notices(conf, drop_notice, NULL) == 0);
}

/* Relative paths begin in a directory that does not exist; absolute ones would read the machine's files. */
static bool includes_absolute_path(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *at = data;

    while (at < end && (at = memmem(at, (size_t)(end - at), "include", 7)) != NULL) {
        for (at += 7; at < end && (*at == ' ' || *at == '\t');)
            at++;
        if (at < end && *at == '/')
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct conf_load_options options = {.root_dir = "/nonexistent", .file = "fuzz.conf"};
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    int err;

    if (sink == NULL)
        sink = fopen("/dev/null", "w");
    ASSERT(sink != NULL);
    if (includes_absolute_path(data, size))
        return 0;
    err = conf_load_text(&options, size == 0 ? "" : (const char *)data, size, &conf, &errors);
    if (err == 0) {
        use(conf);
        conf_free(conf);
    } else if (err == -EINVAL) {
        ASSERT(conf_errors_count(errors) > 0);
        conf_errors_print(errors, sink);
        conf_errors_free(errors);
    }
    return 0;
}
