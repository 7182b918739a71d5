/*
 * conf_render: the shipped configuration file.
 *
 * A section is a table of rows, for wildcard rows with one name: zone.$name.* is written once for "external" and
 * once for "internal". The lines of a wildcard row's `shipped` and `example` are "NAME: value", or "NAME.ID: value"
 * with two wildcards.
 */
#include "conf/conf_render.h"

#include "conf/conf_render_internal.h"

#include <inttypes.h>
#include <string.h>

enum { TEXT_COLUMNS = 100 };

static const struct conf_section sections[] = {
    {"Cluster", &conf_cluster_table, NULL},
    {"Node", &conf_node_table, NULL},
    {"Messages between nodes", &conf_rpc_table, NULL},
    {"Log", &conf_log_table, NULL},
    {"Authentication and access rules", &conf_auth_table, NULL},
    {"MQTT: limits of all zones", &conf_mqtt_table, NULL},
    {"Zones", &conf_zone_table, "external"},
    {"Zones", &conf_zone_table, "internal"},
    {"Listeners: MQTT over TCP", &conf_tcp_table, "external"},
    {"Listeners: MQTT over TCP", &conf_tcp_table, "internal"},
    {"Listeners: MQTT over TLS", &conf_ssl_table, "external"},
    {"Listeners: MQTT over WebSocket", &conf_ws_table, "external"},
    {"Listeners: MQTT over WebSocket over TLS", &conf_wss_table, "external"},
    {"Listeners: MQTT on a Unix socket", &conf_unix_table, "local"},
    {"Modules", &conf_module_table, NULL},
    {"Plugins", &conf_plugins_table, NULL},
    {"Broker", &conf_broker_table, NULL},
    {"Durable store", &conf_store_table, NULL},
    {"Monitors", &conf_sysmon_table, NULL},
};

const struct conf_section *conf_sections(size_t *out_count)
{
    *out_count = ARRAY_COUNT(sections);
    return sections;
}

/* Writes comment lines of at most TEXT_COLUMNS. */
static void write_wrapped(FILE *out, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (column > 0 && column + 1 + len > TEXT_COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            column = (size_t)fprintf(out, "##");
        column += (size_t)fprintf(out, " %.*s", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

void conf_write_range(FILE *out, const struct conf_key *key)
{
    const char *unit = key->type == CONF_DURATION_MS  ? " ms"
                       : key->type == CONF_DURATION_S ? " s"
                       : key->type == CONF_BYTESIZE   ? " bytes"
                                                      : "";

    if (key->min == 0 && key->max == 0)
        return;
    if (key->type == CONF_FLOAT)
        fprintf(out, ", %g to %g", (double)key->min / 100, (double)key->max / 100);
    else if (key->max == INT64_MAX)
        fprintf(out, ", at least %" PRId64 "%s", key->min, unit);
    else
        fprintf(out, ", %" PRId64 " to %" PRId64 "%s", key->min, key->max, unit);
}

/* "## Value: on or off. Default: off" */
static void write_facts(FILE *out, const struct conf_key *key)
{
    fprintf(out, "##\n## Value: %s", key->type == CONF_ENUM ? key->enum_words : conf_type_name(key->type));
    conf_write_range(out, key);
    fputc('\n', out);
    if (key->fallback != NULL)
        fprintf(out, "## Default: %s\n", key->fallback);
    if (key->effect == CONF_NOT_YET)
        fputs("## Not yet in effect.\n", out);
    else if (key->effect == CONF_NO_EFFECT)
        fputs("## No effect: accepted for compatibility.\n", out);
}

/* A row's name with its wildcards replaced by "NAME" or "NAME.ID", which ends at ": ". */
static void write_key(FILE *out, const char *row_name, const char *names, size_t names_len)
{
    for (const char *at = row_name; *at != '\0';) {
        size_t len = strcspn(at, "$");

        fprintf(out, "%.*s", (int)len, at);
        at += len;
        if (*at == '\0')
            break;
        len = strcspn(names, ".");
        if (len > names_len)
            len = names_len;
        fprintf(out, "%.*s", (int)len, names);
        names += len < names_len ? len + 1 : len;
        names_len -= len < names_len ? len + 1 : len;
        at += strcspn(at, ".");
    }
}

/* Does the line "NAME: value" or "NAME.ID: value" belong to the section? */
static bool line_is_of(const char *line, const char *section_name)
{
    size_t len = strcspn(line, ".:");

    return section_name == NULL || (strlen(section_name) == len && memcmp(line, section_name, len) == 0);
}

/* Writes the settings of one text, or, without `out`, only counts them. */
static size_t write_settings(FILE *out, const struct conf_key *key, const char *text, const char *section_name,
                             const char *prefix)
{
    bool is_wildcard = strchr(key->name, '$') != NULL;
    size_t count = 0;

    if (text == NULL)
        return 0;
    if (!is_wildcard) {
        if (out != NULL)
            fprintf(out, "%s%s = %s\n", prefix, key->name, text);
        return 1;
    }
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n"), names_len = strcspn(line, ":");

        if (line_is_of(line, section_name)) {
            count++;
            if (out != NULL) {
                fputs(prefix, out);
                write_key(out, key->name, line, names_len);
                fprintf(out, " = %.*s\n", (int)(len - names_len - 2), line + names_len + 2);
            }
        }
        line += len;
        line += *line == '\n';
    }
    return count;
}

static void write_row(FILE *out, const struct conf_key *key, const char *section_name)
{
    if (write_settings(NULL, key, key->shipped, section_name, "") +
            write_settings(NULL, key, key->example, section_name, "") ==
        0)
        return;
    write_wrapped(out, key->help);
    write_facts(out, key);
    write_settings(out, key, key->shipped, section_name, "");
    write_settings(out, key, key->example, section_name, "# ");
    fputc('\n', out);
}

static void write_banner(FILE *out, const struct conf_section *section)
{
    static const char bar[] = "##--------------------------------------------------------------------";

    fprintf(out, "%s\n## %s%s%s\n%s\n\n", bar, section->title, section->name == NULL ? "" : ": ",
            section->name == NULL ? "" : section->name, bar);
}

void conf_render_table(FILE *out, const char *title, const struct conf_table *table)
{
    const struct conf_section section = {title, table, NULL};

    write_banner(out, &section);
    for (size_t i = 0; i < table->count; i++)
        write_row(out, &table->keys[i], NULL);
}

void conf_render_file(FILE *out)
{
    fputs("## Configuration of the broker. It is read at each start.\n"
          "##\n"
          "## A line is: key = value. The value goes to the end of the line, so a comment has a line of its own.\n"
          "## A line that begins with one # and a key shows a setting that is not set here.\n"
          "## docs/configuration.md explains all keys and the forms of their values.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        write_banner(out, &sections[i]);
        for (size_t j = 0; j < sections[i].table->count; j++)
            write_row(out, &sections[i].table->keys[j], sections[i].name);
    }
}
