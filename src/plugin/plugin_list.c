/*
 * plugin_list: data/loaded_plugins, in the original's form: a line "{NAME, true}." or "NAME." for each plugin to be loaded, "{NAME, false}." for one that
 * is not; % begins a comment.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (64u * 1024u) /* a larger file is an error */

static int wrong(char error[PLUGIN_ERROR_BYTES], const char *format, ...) PRINTF_LIKE(2, 3);

static int wrong(char error[PLUGIN_ERROR_BYTES], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, PLUGIN_ERROR_BYTES, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

void plugin_list_free(struct plugin_list *list)
{
    free(list->names);
    free(list->off_names);
    *list = (struct plugin_list){0};
}

static bool has(char (*names)[PLUGIN_NAME_MAX + 1], uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* One that is there already stays where it is. */
static int add(char (**names)[PLUGIN_NAME_MAX + 1], uint32_t *count, const char *name, char error[PLUGIN_ERROR_BYTES])
{
    if (*names == NULL && (*names = calloc(PLUGIN_LIST_MAX, sizeof(**names))) == NULL)
        return -ENOMEM;
    if (has(*names, *count, name))
        return 0;
    if (*count == PLUGIN_LIST_MAX)
        return wrong(error, "at most %u plugins can be listed", PLUGIN_LIST_MAX);
    snprintf((*names)[(*count)++], sizeof(**names), "%s", name);
    return 0;
}

static int list_add(struct plugin_list *list, const char *name, bool is_loaded, char error[PLUGIN_ERROR_BYTES])
{
    return is_loaded ? add(&list->names, &list->count, name, error)
                     : add(&list->off_names, &list->off_count, name, error);
}

bool plugin_list_refuses(const struct plugin_list *list, const char *name)
{
    return has(list->off_names, list->off_count, name) && !has(list->names, list->count, name);
}

/* ---- a line ---- */

struct entry {
    char name[PLUGIN_NAME_MAX + 1]; /* "": a line without entry */
    bool is_loaded;
};

static void skip_blanks(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
        (*at)++;
}

static bool take(const char **at, const char *end, char wanted)
{
    skip_blanks(at, end);
    if (*at == end || **at != wanted)
        return false;
    (*at)++;
    return true;
}

static bool take_word(const char **at, const char *end, char *out, size_t size)
{
    size_t len = 0;

    skip_blanks(at, end);
    while (*at < end && (**at == '_' || (**at >= 'a' && **at <= 'z') || (**at >= '0' && **at <= '9'))) {
        if (len + 1 >= size)
            return false;
        out[len++] = *(*at)++;
    }
    out[len] = '\0';
    return len > 0;
}

/* "{emqx_retainer, true}." or "emqx_retainer." */
static bool parse_line(const char *at, const char *end, struct entry *out)
{
    bool is_tuple;
    char word[8];

    *out = (struct entry){.is_loaded = true};
    skip_blanks(&at, end);
    if (at == end || *at == '%')
        return true;
    is_tuple = take(&at, end, '{');
    if (!take_word(&at, end, out->name, sizeof(out->name)) || !plugin_name_valid(out->name))
        return false;
    if (is_tuple) {
        if (!take(&at, end, ',') || !take_word(&at, end, word, sizeof(word)) || !take(&at, end, '}') ||
            (strcmp(word, "true") != 0 && strcmp(word, "false") != 0))
            return false;
        out->is_loaded = strcmp(word, "true") == 0;
    }
    if (!take(&at, end, '.'))
        return false;
    skip_blanks(&at, end);
    return at == end || *at == '%';
}

int plugin_list_parse(const char *text, size_t len, struct plugin_list *out_list, char error[PLUGIN_ERROR_BYTES])
{
    const char *end = text + len;
    unsigned number = 1;
    struct entry entry;
    int err = 0;

    *out_list = (struct plugin_list){0};
    for (const char *line = text; line < end && err == 0; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));

        if (stop == NULL)
            stop = end;
        if (!parse_line(line, stop, &entry))
            err = wrong(error, "line %u: \"%.*s\" should be {NAME, true}. or {NAME, false}. or NAME.", number,
                        (int)(stop - line < 100 ? stop - line : 100), line);
        else if (entry.name[0] != '\0')
            err = list_add(out_list, entry.name, entry.is_loaded, error);
        line = stop + (stop < end);
    }
    if (err < 0)
        plugin_list_free(out_list);
    return err;
}

int plugin_list_parse_words(const char *text, struct plugin_list *out_list, char error[PLUGIN_ERROR_BYTES])
{
    static const char separators[] = ", \t";
    int err = 0;

    *out_list = (struct plugin_list){0};
    for (text += strspn(text, separators); *text != '\0' && err == 0; text += strspn(text, separators)) {
        size_t len = strcspn(text, separators);
        char name[PLUGIN_NAME_MAX + 1];

        snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : sizeof(name)), text);
        if (len > PLUGIN_NAME_MAX || !plugin_name_valid(name))
            err = wrong(error, "\"%.*s\" is no name of a plugin", (int)(len < 100 ? len : 100), text);
        else
            err = list_add(out_list, name, true, error);
        text += len;
    }
    if (err < 0)
        plugin_list_free(out_list);
    return err;
}

/* ---- the file ---- */

/* All of it, with a final zero; NULL with 0: it is not there. */
static int read_file(const char *path, char **out_text, size_t *out_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    ssize_t len;
    int err = 0;

    *out_text = NULL;
    *out_len = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    text = malloc(FILE_BYTES_MAX + 1);
    len = text == NULL ? -1 : read(fd, text, FILE_BYTES_MAX + 1);
    if (text == NULL)
        err = -ENOMEM;
    else if (len < 0)
        err = -errno;
    else if (len > (ssize_t)FILE_BYTES_MAX)
        err = -EFBIG;
    close(fd);
    if (err < 0) {
        free(text);
        return err;
    }
    text[len] = '\0';
    *out_text = text;
    *out_len = (size_t)len;
    return 0;
}

int plugin_list_read(const char *path, struct plugin_list *out_list, char error[PLUGIN_ERROR_BYTES])
{
    char *text;
    size_t len;
    int err = read_file(path, &text, &len);

    *out_list = (struct plugin_list){0};
    if (err < 0)
        return wrong(error, "cannot be read: %s", strerror(-err));
    if (text != NULL)
        err = plugin_list_parse(text, len, out_list, error);
    free(text);
    return err;
}

/* All lines but those of `name`, then its own. */
static void write_lines(FILE *out, const char *text, const char *name, bool is_loaded)
{
    struct entry entry;

    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "\n");

        if (!parse_line(text, text + len, &entry) || strcmp(entry.name, name) != 0)
            fprintf(out, "%.*s\n", (int)len, text);
        text += len;
        text += *text == '\n';
    }
    fprintf(out, "{%s, %s}.\n", name, is_loaded ? "true" : "false");
}

int plugin_list_change(const char *path, const char *name, bool is_loaded)
{
    char beside[PATH_MAX];
    char *text;
    size_t text_len;
    FILE *out;
    int err = read_file(path, &text, &text_len);
    int len = snprintf(beside, sizeof(beside), "%s.tmp", path);

    if (err < 0)
        return err;
    out = len < 0 || (size_t)len >= sizeof(beside) ? NULL : fopen(beside, "we");
    if (out == NULL) {
        err = errno == 0 ? -ENAMETOOLONG : -errno;
        free(text);
        return err;
    }
    write_lines(out, text, name, is_loaded);
    free(text);
    if (fflush(out) != 0 || ferror(out) != 0 || fsync(fileno(out)) < 0)
        err = errno == 0 ? -EIO : -errno;
    if (fclose(out) != 0 && err == 0)
        err = -errno;
    if (err == 0 && rename(beside, path) < 0)
        err = -errno;
    if (err < 0)
        unlink(beside);
    return err;
}
