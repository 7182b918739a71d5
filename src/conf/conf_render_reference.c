/*
 * conf_render_reference: docs/configuration.md. The prose about the file's form stands here, the rest comes from
 * the rows.
 */
#include "conf/conf_render.h"

#include "conf/conf_render_internal.h"

#include <string.h>

static const char *const form[] = {
    "# Configuration",
    "",
    "This file is written by `tools/confgen.c` from the tables in `src/conf/keys_*.c`; edit those.",
    "",
    "The broker reads `etc/emqx.conf` at each start, then every `etc/plugins/*.conf` in alphabetical order, then",
    "the environment. What comes later wins. The keys are those of EMQX 3.2.8, so a file of that version can be",
    "taken over; keys marked *ours* are new. A mistake stops the start, with exit status 1 and all mistakes (at most",
    "20) listed by file, line and key. Nothing is ignored silently: keys that have no effect are named at the start.",
    "",
    "## The file",
    "",
    "| | |",
    "|---|---|",
    /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): long lines are joined from two literals */
    "| Setting | `key = value`, one on a line. The value goes to the end of the line, without the blanks around it; "
    "there are no quotes, and a `#` in it belongs to it. An empty value is an error: comment the line out instead |",
    "| Key | words joined by dots; letters, digits and `_ - @ / :`. A dot inside a word is written `\\.` |",
    "| Comment | a line that begins with `#` |",
    "| Include | `include PATH` reads another file, relative to the directory of the release. On a duplicate key the "
    "including file wins. An included file cannot include others |",
    "| Duplicates | the last one wins |",
    "| Substitution | `$(other.key)` in a value stands for that key's value |",
    "| Placeholder | a line `{{ name }}` is skipped |",
    "| Encoding | UTF-8. Values keep to the characters of Latin-1, comments need not |",
    "| Wildcards | `$name`, `$id` and `$level` in the tables below stand for one word of your choice |",
    "| Limits | files of 1 MB, lines of 16,384 bytes, keys of 256 bytes and 12 words, 10,000 settings, 256 files, "
    "values of 16,384 bytes after substitution |",
    "",
    "## The environment",
    "",
    "Any key: `EMQX_` and the key in capitals, two underscores for a dot: `EMQX_LISTENER__TCP__EXTERNAL=1884`,",
    "`EMQX_ALLOW_ANONYMOUS=false`. The names `EMQX_NODE_NAME`, `EMQX_NODE_COOKIE`, `EMQX_MAX_PORTS`,",
    "`EMQX_MAX_PACKET_SIZE`, `EMQX_TCP_PORT`, `EMQX_SSL_PORT`, `EMQX_WS_PORT` and `EMQX_WSS_PORT` work too (the ports",
    "are those of the listeners called `external`). An empty variable counts as not set.",
    "",
    "## What differs from EMQX 3.2.8",
    "",
    "- `on`/`off` and `true`/`false` are accepted for each other; durations may be `0` or a bare number in the unit",
    "  named; decimal numbers may be whole; `80` is 80%, not 8%.",
    "- Addresses may also be `[::1]:1883` and `*:1883` (all IPv4 addresses).",
    "- `rate_limit` also takes `size,duration`, as `1MB,5s`.",
    "- Listeners of a type start in the order of the file, and `access.N` rules are looked at in ascending order of N.",
    "  EMQX 3.2.8 went from the last line of the file to the first: files that count on it need their rules renumbered.",
    "- All ranges below are enforced.",
    "- A listener without a zone, or with one that nothing configures, gets a zone of defaults.",
    NULL,
};

static void write_lines(FILE *out, const char *const *lines)
{
    for (; *lines != NULL; lines++)
        fprintf(out, "%s\n", *lines);
}

/* Text for a table's cell: a bar would end it, a line end the row. */
static void write_cell(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputs("\\|", out);
        else if (*text == '\n')
            fputs("`<br>`", out);
        else
            fputc(*text, out);
    }
}

static void write_code(FILE *out, const char *text)
{
    if (text == NULL) {
        fputs("—", out);
        return;
    }
    fputc('`', out);
    write_cell(out, text);
    fputc('`', out);
}

static void write_types(FILE *out)
{
    fputs("\n## Forms of values\n\n| Name | Form |\n|---|---|\n", out);
    for (int type = CONF_STRING; type <= CONF_PRIORITIES; type++) {
        fputs("| ", out);
        write_cell(out, conf_type_name((enum conf_type)type));
        fputs(" | ", out);
        write_cell(out, conf_type_grammar((enum conf_type)type));
        fputs(" |\n", out);
    }
    fputs("\nUnits of time: f (14 days), w, d, h, m, s, ms. Units of size: KB, MB, GB (1024-based).\n", out);
}

static void write_shipped(FILE *out, const struct conf_key *key)
{
    if (key->shipped != NULL)
        write_code(out, key->shipped);
    if (key->shipped != NULL && key->example != NULL)
        fputs("<br>", out);
    if (key->example != NULL) {
        fputs("(#) ", out);
        write_code(out, key->example);
    }
}

static void write_row(FILE *out, const struct conf_key *key)
{
    static const char *const effects[] = {"", "**Not yet in effect.** ", "**No effect.** "};

    fprintf(out, "| `%s` | ", key->name);
    write_cell(out, key->type == CONF_ENUM ? key->enum_words : conf_type_name(key->type));
    conf_write_range(out, key);
    fputs(" | ", out);
    write_code(out, key->fallback);
    fputs(" | ", out);
    write_shipped(out, key);
    fprintf(out, " | %s%s", effects[key->effect], key->ours ? "*Ours.* " : "");
    write_cell(out, key->help);
    fputs(" |\n", out);
}

void conf_render_reference(FILE *out)
{
    size_t count;
    const struct conf_section *sections = conf_sections(&count);

    write_lines(out, form);
    write_types(out);
    fputs("\n## Keys\n\nThe column *Shipped* shows the shipped file; `(#)` marks lines that are commented out there. "
          "A key that is not set has its default.\n",
          out);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && sections[i].table == sections[i - 1].table)
            continue;
        fprintf(out, "\n### %s\n\n| Key | Value | Default | Shipped | Meaning |\n|---|---|---|---|---|\n",
                sections[i].title);
        for (size_t j = 0; j < sections[i].table->count; j++)
            write_row(out, &sections[i].table->keys[j]);
    }
}
