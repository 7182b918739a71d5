/*
 * ctl_banned: `banned list|add|del`: clients that are not let in, by client id, user name, address or network.
 *
 * A change is answered when it is on disk. A list is printed slice by slice, as fast as the caller's terminal takes it.
 */
#include "auth/banned.h"
#include "base/clock.h"
#include "conf/conf_number.h"
#include "mgmt/ctl_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BANNED_SLICE_ROWS 256u
#define PROBLEM_BYTES 512

static struct banned *banned_of(struct ctl_request *request)
{
    const struct broker_view *view = ctl_context(request);

    return view->banned;
}

/* ---- list ---- */

/* One running `banned list`. */
struct banned_list {
    struct ctl_request *request;
    uint64_t cursor;
    uint64_t left; /* rows that may still be printed */
};

/* "2026-11-23 10:30:00" */
static const char *time_text(int64_t time_s, char text[CLOCK_LOCAL_TEXT_BYTES])
{
    clock_format_local((uint64_t)(time_s < 0 ? 0 : time_s) * 1000, text);
    text[19] = '\0';
    return text;
}

static void print_member(struct ctl_request *request, const char *name, struct slice text)
{
    if (text.data == NULL)
        return;
    ctl_print(request, ", %s=", name);
    ctl_print_slice(request, text);
}

static void print_ban(void *context, const struct ban *ban)
{
    struct banned_list *list = context;
    char text[CLOCK_LOCAL_TEXT_BYTES];

    if (list->left == 0)
        return;
    list->left--;
    ctl_print(list->request, "Banned(%s, ", ban_kind_name(ban->key.kind));
    ctl_print_slice(list->request, ban->who);
    ctl_print(list->request, ", at=%s", time_text(ban->at_s, text));
    ctl_print(list->request, ", until=%s", ban->until_s == 0 ? "forever" : time_text(ban->until_s, text));
    print_member(list->request, "by", ban->by);
    print_member(list->request, "reason", ban->reason);
    print_member(list->request, "desc", ban->desc);
    ctl_print(list->request, ")\n");
}

static void list_go_on(struct ctl_request *request, void *context)
{
    struct banned_list *list = context;
    uint32_t limit = list->left < BANNED_SLICE_ROWS ? (uint32_t)list->left : BANNED_SLICE_ROWS;
    bool at_end = false;

    if (!ctl_abandoned(request)) {
        banned_visit(banned_of(request), &list->cursor, limit, print_ban, list);
        at_end = list->cursor == 0 || list->left == 0;
        if (!at_end) {
            ctl_when_writable(request, list_go_on, list);
            return;
        }
    }
    free(list);
    ctl_finish(request, at_end ? CTL_OK : CTL_BROKEN);
}

static void list_start(struct ctl_request *request, uint64_t rows_max)
{
    struct banned_list *list = calloc(1, sizeof(*list));

    if (list == NULL) {
        ctl_printerr(request, "memory is short\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    list->request = request;
    list->left = rows_max;
    list_go_on(request, list);
}

/* ---- add and del ---- */

static const char *store_problem_text(struct ctl_request *request, char text[PROBLEM_BYTES])
{
    banned_store_problem(banned_of(request), text, PROBLEM_BYTES);
    return text[0] == '\0' ? "it has failed" : text;
}

static void on_added(void *context, int err)
{
    struct ctl_request *request = context;
    char problem[PROBLEM_BYTES];

    if (err == 0)
        ctl_print(request, "ok\n");
    else
        ctl_printerr(request, "The ban is in force, but not on disk yet, as the store cannot be written: %s\n",
                     store_problem_text(request, problem));
    ctl_finish(request, err == 0 ? CTL_OK : CTL_FAILED);
}

static void say_lifted_only(struct ctl_request *request)
{
    char problem[PROBLEM_BYTES];

    ctl_printerr(request, "The ban is lifted, but a restart may bring it back: the store cannot be written: %s\n",
                 store_problem_text(request, problem));
    ctl_finish(request, CTL_FAILED);
}

static void on_deleted(void *context, int err)
{
    if (err < 0) {
        say_lifted_only(context);
        return;
    }
    ctl_print(context, "ok\n");
    ctl_finish(context, CTL_OK);
}

static void say_refused(struct ctl_request *request, const char *who, int err)
{
    struct banned *banned = banned_of(request);
    char problem[PROBLEM_BYTES];

    switch (err) {
    case -EINVAL:
        if (*who == '\0')
            ctl_printerr(request, "Nothing is named that could be banned\n");
        else
            ctl_printerr(request, "'%s' is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32\n",
                         who);
        break;
    case -EILSEQ: ctl_printerr(request, "A word is not UTF-8\n"); break;
    case -E2BIG:
        ctl_printerr(request, "Too long: at most %u bytes for a client id or user name, %u for the other texts\n",
                     BAN_WHO_MAX, BAN_TEXT_MAX);
        break;
    case -ERANGE: ctl_printerr(request, "That is too far ahead: the last year is 9999\n"); break;
    case -ENOSPC:
        ctl_printerr(request, "There are %" PRIu64 " bans already, as many as banned.max_entries allows\n",
                     banned_count_max(banned));
        break;
    case -EROFS:
        ctl_printerr(request, "Not banned: the store cannot be written: %s\n", store_problem_text(request, problem));
        break;
    case -EAGAIN: ctl_printerr(request, "Not banned: the store cannot keep up now; try again\n"); break;
    default: ctl_printerr(request, "Not banned: %s\n", strerror(-err)); break;
    }
    ctl_finish(request, CTL_FAILED);
}

/* The options behind `banned add KIND WHO`. */
static bool parse_options(char **words, int count, struct ban_options *out, uint64_t *out_for_s)
{
    *out_for_s = 0;
    for (int i = 0; i < count; i += 2) {
        const char *value = words[i + 1]; /* NULL behind the last word */
        if (value == NULL)
            return false;
        if (strcmp(words[i], "--for") == 0) {
            if (!conf_parse_duration(value, strlen(value), 1000, out_for_s) || *out_for_s == 0)
                return false;
        } else if (strcmp(words[i], "--reason") == 0) {
            out->reason = slice_from_string(value);
        } else if (strcmp(words[i], "--by") == 0) {
            out->by = slice_from_string(value);
        } else {
            return false;
        }
    }
    return true;
}

static void add_start(struct ctl_request *request, enum ban_kind kind, char **words, int count)
{
    const struct broker_view *view = ctl_context(request);
    struct ban_options options = {
        .kind = kind,
        .who = slice_from_string(words[0]),
        .by = SLICE_LITERAL("emqx_ctl"),
        .at_s = (int64_t)(clock_wall_ms() / 1000),
    };
    uint64_t for_s;
    int err;

    if (!parse_options(words + 1, count - 1, &options, &for_s)) {
        ctl_finish_usage(request);
        return;
    }
    if (for_s > 0)
        options.until_s = for_s > BAN_UNTIL_MAX ? INT64_MAX : options.at_s + (int64_t)for_s;
    err = banned_add(view->banned, &options, on_added, request);
    if (err < 0) {
        say_refused(request, words[0], err);
        return;
    }
    if (!view->bans_apply)
        ctl_printerr(request, "note: no zone has enable_ban = on, so that nobody is refused\n");
}

static void delete_start(struct ctl_request *request, enum ban_kind kind, const char *who)
{
    int err = banned_delete(banned_of(request), kind, slice_from_string(who), on_deleted, request);

    if (err == 0)
        return;
    if (err == -EROFS) {
        say_lifted_only(request);
    } else if (err == -ENOENT) {
        ctl_print(request, "Not Found.\n");
        ctl_finish(request, CTL_FAILED);
    } else {
        say_refused(request, who, err);
    }
}

static void banned_run(struct ctl_request *request, int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    bool is_add = strcmp(verb, "add") == 0, is_delete = strcmp(verb, "del") == 0;
    uint64_t rows_max = argc == 3 ? ctl_parse_number(argv[2]) : UINT64_MAX;
    enum ban_kind kind = BAN_CLIENT_ID;
    bool names_someone = argc > 3 && ban_kind_parse(slice_from_string(argv[2]), &kind) == 0;

    if (argc > 1 && argc < 4 && ctl_is_help(argv[argc - 1]))
        ctl_finish_help(request);
    else if (strcmp(verb, "list") == 0 && argc <= 3 && rows_max > 0)
        list_start(request, rows_max);
    else if (is_add && names_someone)
        add_start(request, kind, argv + 3, argc - 3);
    else if (is_delete && names_someone && argc == 4)
        delete_start(request, kind, argv[3]);
    else
        ctl_finish_usage(request);
}

static const char banned_help[] =
    "\n"
    "Who is banned cannot connect (MQTT 5: 0x8A, older versions: 5), and is disconnected when the ban is added.\n"
    "This holds in zones with enable_ban = on.\n"
    "\n"
    "Address           10.1.2.3, 10.0.0.0/8, 2001:db8::1, 2001:db8::/32\n"
    "\n"
    "Options:\n"
    "--for <Duration>  30s, 15m, 1h30m, 7d. Without it: for ever\n"
    "--reason <Text>   why, for the list\n"
    "--by <Text>       who says so, for the list (emqx_ctl)\n"
    "\n"
    "A further ban of the same one replaces the first.\n"
    "\n"
    "Examples:\n"
    "  emqx_ctl banned add clientid sensor-17 --for 1h --reason 'sends garbage'\n"
    "  emqx_ctl banned add ip 192.0.2.0/24\n"
    "  emqx_ctl banned del ip 192.0.2.0/24\n";

static const struct ctl_usage banned_usage[] = {{"banned list", "List bans, in no order"},
                                                {"banned list <N>", "List at most N of them"},
                                                {"banned add clientid <ClientId> [<Options>]", "Ban a client id"},
                                                {"banned add username <Username> [<Options>]", "Ban a user name"},
                                                {"banned add ip <Address> [<Options>]", "Ban an address or a network"},
                                                {"banned del clientid|username|ip <Who>", "Lift a ban"},
                                                {NULL, banned_help}};
const struct ctl_command ctl_banned_command = {.name = "banned", .usage = banned_usage, .run = banned_run};
