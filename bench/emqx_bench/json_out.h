/*
 * json_out: writes one JSON document of objects, numbers and texts to a file. Thread: owner.
 */
#ifndef BENCH_JSON_OUT_H
#define BENCH_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_out {
    FILE *file;
    bool need_comma;
};

/* Opens the file and the outermost object. Returns 0 or -errno. */
int json_out_open(struct json_out *json, const char *path);
/* Ends it. Returns 0 or -errno when something could not be written. */
int json_out_close(struct json_out *json);

void json_out_begin(struct json_out *json, const char *key);
void json_out_end(struct json_out *json);
void json_out_number(struct json_out *json, const char *key, uint64_t value);
/* Three decimals. */
void json_out_real(struct json_out *json, const char *key, double value);
void json_out_bool(struct json_out *json, const char *key, bool value);
void json_out_text(struct json_out *json, const char *key, const char *value);

#endif
