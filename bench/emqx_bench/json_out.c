/*
 * json_out: see json_out.h.
 */
#include "json_out.h"

#include <errno.h>
#include <inttypes.h>

static void put_text(struct json_out *json, const char *text)
{
    (void)fputc('"', json->file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fprintf(json->file, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            (void)fprintf(json->file, "\\u%04x", (unsigned)*text);
        else
            (void)fputc(*text, json->file);
    }
    (void)fputc('"', json->file);
}

static void put_key(struct json_out *json, const char *key)
{
    if (json->need_comma)
        (void)fputs(", ", json->file);
    json->need_comma = true;
    put_text(json, key);
    (void)fputs(": ", json->file);
}

int json_out_open(struct json_out *json, const char *path)
{
    json->need_comma = false;
    json->file = fopen(path, "we");
    if (json->file == NULL)
        return -errno;
    (void)fputc('{', json->file);
    return 0;
}

int json_out_close(struct json_out *json)
{
    bool bad;

    (void)fputs("}\n", json->file);
    bad = ferror(json->file) != 0;
    if (fclose(json->file) != 0 || bad)
        return -EIO;
    return 0;
}

void json_out_begin(struct json_out *json, const char *key)
{
    put_key(json, key);
    (void)fputc('{', json->file);
    json->need_comma = false;
}

void json_out_end(struct json_out *json)
{
    (void)fputc('}', json->file);
    json->need_comma = true;
}

void json_out_number(struct json_out *json, const char *key, uint64_t value)
{
    put_key(json, key);
    (void)fprintf(json->file, "%" PRIu64, value);
}

void json_out_real(struct json_out *json, const char *key, double value)
{
    put_key(json, key);
    (void)fprintf(json->file, "%.3f", value);
}

void json_out_bool(struct json_out *json, const char *key, bool value)
{
    put_key(json, key);
    (void)fputs(value ? "true" : "false", json->file);
}

void json_out_text(struct json_out *json, const char *key, const char *value)
{
    put_key(json, key);
    put_text(json, value);
}
