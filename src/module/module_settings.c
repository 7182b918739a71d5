/*
 * module_settings: see module_settings.h.
 */
#include "module/module_settings.h"

#include "conf/conf.h"
#include "module/rewrite_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RULE_KEY "module.rewrite.rule.$id"
#define TOPIC_KEY "module.subscription.$id.topic"
#define QOS_KEY "module.subscription.$id.qos"
#define QOS_DEFAULT 1u /* its fallback */

static const char rule_grammar[] =
    "a topic filter, a regular expression and the new topic, blanks between them, $1 in the "
    "new topic for the first group in parentheses: x/# ^x/y/(.+)$ z/y/$1";
static const char topic_grammar[] = "a topic filter, %c and %u in it for client identifier and user name: $client/%c";

/* All settings of one row, in file order. */
struct rows {
    struct conf_setting *items;
    size_t count;
};

static const char *id_of(const struct conf_setting *setting)
{
    return setting->key + strcspn(setting->row->name, "$");
}

/* Numbers by value and before other words, as people read them: 1, 2, 10, a. */
static int compare_ids(const void *left_setting, const void *right_setting)
{
    const char *left = id_of(left_setting), *right = id_of(right_setting);
    size_t left_digits = strspn(left, "0123456789"), right_digits = strspn(right, "0123456789");
    bool left_is_number = left_digits > 0 && (left[left_digits] == '\0' || left[left_digits] == '.');
    bool right_is_number = right_digits > 0 && (right[right_digits] == '\0' || right[right_digits] == '.');

    if (left_is_number != right_is_number)
        return left_is_number ? -1 : 1;
    if (!left_is_number)
        return strcmp(left, right);
    size_t left_zeros = strspn(left, "0"), right_zeros = strspn(right, "0");
    if (left_digits - left_zeros != right_digits - right_zeros)
        return left_digits - left_zeros < right_digits - right_zeros ? -1 : 1;
    int order = strncmp(left + left_zeros, right + right_zeros, left_digits - left_zeros);
    return order != 0 ? order : strcmp(left, right);
}

/* The caller frees the items. -ENOMEM. */
static int find_rows(const struct conf *conf, const char *row, struct rows *out_rows)
{
    struct conf_setting setting;
    struct rows rows = {0};

    for (size_t i = 0; conf_setting_at(conf, i, &setting); i++)
        rows.count += strcmp(setting.row->name, row) == 0;
    rows.items = calloc(rows.count + 1, sizeof(*rows.items));
    if (rows.items == NULL)
        return -ENOMEM;
    rows.count = 0;
    for (size_t i = 0; conf_setting_at(conf, i, &setting); i++) {
        if (strcmp(setting.row->name, row) == 0)
            rows.items[rows.count++] = setting;
    }
    *out_rows = rows;
    return 0;
}

static void sort_by_id(struct rows *rows)
{
    qsort(rows->items, rows->count, sizeof(*rows->items), compare_ids);
}

static void reverse(struct rows *rows)
{
    for (size_t i = 0; i < rows->count / 2; i++) {
        struct conf_setting first = rows->items[i];
        rows->items[i] = rows->items[rows->count - 1 - i];
        rows->items[rows->count - 1 - i] = first;
    }
}

/* `what` is wrong with the setting. Always -EINVAL. */
static int fail(const struct conf_setting *setting, const char *what, const char *right,
                char out_error[MODULE_ERROR_BYTES])
{
    char line[16] = "";

    if (setting->line > 0)
        snprintf(line, sizeof(line), ":%u", setting->line);
    snprintf(out_error, MODULE_ERROR_BYTES,
             "Error generating configuration in phase apply_translations\n%s%s: %s invalid: %s\n  Right would be: %s",
             setting->file, line, setting->key, what, right);
    return -EINVAL;
}

static int read_rules(const struct conf *conf, struct module_settings *settings, char out_error[MODULE_ERROR_BYTES])
{
    char why[REWRITE_ERROR_BYTES];
    struct rows rows;
    int err = find_rows(conf, RULE_KEY, &rows);

    if (err < 0)
        return err;
    if (conf_get_bool(conf, "module.rewrite.last_rule_first", NULL, false))
        reverse(&rows);
    else
        sort_by_id(&rows);
    settings->rules = rewrite_rules_new();
    if (settings->rules == NULL)
        err = -ENOMEM;
    for (size_t i = 0; err == 0 && i < rows.count; i++) {
        err = rewrite_rules_add(settings->rules, rows.items[i].value->text, why);
        if (err == -EINVAL)
            (void)fail(&rows.items[i], why, rule_grammar, out_error);
    }
    free(rows.items);
    return err;
}

/* Have the topic and the QoS the same ID? */
static bool is_pair(const struct conf_setting *topic, const struct conf_setting *qos)
{
    const char *id = id_of(topic), *other = id_of(qos);
    size_t len = strlen(id) - strlen("topic"); /* with the dot behind it */

    return strlen(other) == len + strlen("qos") && strncmp(id, other, len) == 0;
}

/* NULL: the topic has no QoS of its own. */
static const struct conf_setting *find_qos(const struct conf_setting *topic, const struct rows *qos)
{
    for (size_t i = 0; i < qos->count; i++) {
        if (is_pair(topic, &qos->items[i]))
            return &qos->items[i];
    }
    return NULL;
}

static int read_filter(const struct conf_setting *topic, const struct rows *qos, struct auto_filter *out_filter,
                       char out_error[MODULE_ERROR_BYTES])
{
    const struct conf_setting *found = find_qos(topic, qos);

    *out_filter = (struct auto_filter){topic->value->text,
                                       found == NULL ? QOS_DEFAULT : (uint8_t)found->value->integer};
    return auto_subscription_check(topic->value->text) ? 0
                                                       : fail(topic, "it is no topic filter", topic_grammar, out_error);
}

/* A QoS that belongs to no topic is a mistake, perhaps in the other's ID. */
static int check_pairs(const struct rows *topics, const struct rows *qos, char out_error[MODULE_ERROR_BYTES])
{
    for (size_t i = 0; i < qos->count; i++) {
        bool found = false;
        for (size_t j = 0; j < topics->count && !found; j++)
            found = is_pair(&topics->items[j], &qos->items[i]);
        if (!found)
            return fail(&qos->items[i], "there is no topic with that ID",
                        "a line module.subscription.ID.topic with the same ID, or no QoS", out_error);
    }
    return 0;
}

static int read_filters(const struct conf *conf, struct module_settings *settings, char out_error[MODULE_ERROR_BYTES])
{
    struct rows topics = {0}, qos = {0};
    int err = find_rows(conf, TOPIC_KEY, &topics);

    if (err == 0)
        err = find_rows(conf, QOS_KEY, &qos);
    if (err == 0)
        err = check_pairs(&topics, &qos, out_error);
    if (err == 0 && (settings->filters = calloc(topics.count + 1, sizeof(*settings->filters))) == NULL)
        err = -ENOMEM;
    if (err == 0)
        sort_by_id(&topics);
    for (size_t i = 0; err == 0 && i < topics.count; i++)
        err = read_filter(&topics.items[i], &qos, &settings->filters[i], out_error);
    settings->filter_count = topics.count;
    free(topics.items);
    free(qos.items);
    return err;
}

int module_settings_read(const struct conf *conf, struct module_settings *out_settings,
                         char out_error[MODULE_ERROR_BYTES])
{
    struct module_settings settings = {
        .presence = conf_get_bool(conf, "module.presence", NULL, false),
        .presence_qos = (uint8_t)conf_get_integer(conf, "module.presence.qos", NULL, 1),
        .subscription = conf_get_bool(conf, "module.subscription", NULL, false),
    };
    int err = 0;

    if (settings.subscription)
        err = read_filters(conf, &settings, out_error);
    if (err == 0 && conf_get_bool(conf, "module.rewrite", NULL, false))
        err = read_rules(conf, &settings, out_error);
    if (err < 0)
        module_settings_fini(&settings);
    else
        *out_settings = settings;
    return err;
}

void module_settings_fini(struct module_settings *settings)
{
    free(settings->filters);
    rewrite_rules_free(settings->rules);
    *settings = (struct module_settings){.presence = false};
}
