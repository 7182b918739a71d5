/*
 * conf_error: the errors of a load, collected up to a bound, and how they are printed.
 */
#include "conf/conf_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct conf_errors {
    size_t count;
    size_t dropped; /* beyond CONF_ERRORS_MAX */
    struct conf_error items[CONF_ERRORS_MAX];
};

struct conf_errors *conf_errors_new(void)
{
    return calloc(1, sizeof(struct conf_errors));
}

bool conf_errors_any(const struct conf_errors *errors)
{
    return errors->count > 0;
}

size_t conf_errors_count(const struct conf_errors *errors)
{
    return errors->count;
}

const struct conf_error *conf_errors_get(const struct conf_errors *errors, size_t index)
{
    return index < errors->count ? &errors->items[index] : NULL;
}

static void error_fini(struct conf_error *error)
{
    free((void *)(uintptr_t)error->file);
    free((void *)(uintptr_t)error->key);
    free((void *)(uintptr_t)error->text);
}

void conf_errors_free(struct conf_errors *errors)
{
    if (errors == NULL)
        return;
    for (size_t i = 0; i < errors->count; i++)
        error_fini(&errors->items[i]);
    free(errors);
}

void conf_error_add(struct loader *loader, enum conf_phase phase, struct conf_place place, const char *format, ...)
{
    struct conf_errors *errors = loader->errors;
    struct conf_error error = {.phase = phase, .line = place.line};
    char *text = NULL;
    va_list arguments;

    if (errors->count == CONF_ERRORS_MAX) {
        errors->dropped++;
        return;
    }
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    error.text = text;
    error.file = strdup(place.file);
    error.key = place.key == NULL ? NULL : strdup(place.key);
    if (error.text == NULL || error.file == NULL || (place.key != NULL && error.key == NULL)) {
        error_fini(&error);
        loader->out_of_memory = true;
        return;
    }
    errors->items[errors->count++] = error;
}

static const char *const phase_names[] = {
    [CONF_PARSE] = NULL, /* the original prints no header for these */
    [CONF_ADD_DEFAULTS] = "add_defaults",
    [CONF_RHS_SUBS] = "rhs_subs",
    [CONF_TRANSFORM_DATATYPES] = "transform_datatypes",
    [CONF_VALIDATION] = "validation",
    [CONF_APPLY_TRANSLATIONS] = "apply_translations",
};

static void error_print(const struct conf_error *error, FILE *out)
{
    if (error->line > 0)
        fprintf(out, "%s:%u: ", error->file, error->line);
    else if (error->file[0] != '\0')
        fprintf(out, "%s: ", error->file);
    fprintf(out, "%s\n", error->text);
}

void conf_errors_print(const struct conf_errors *errors, FILE *out)
{
    for (size_t phase = 0; phase < ARRAY_COUNT(phase_names); phase++) {
        bool has_header = phase_names[phase] == NULL;

        for (size_t i = 0; i < errors->count; i++) {
            if (errors->items[i].phase != phase)
                continue;
            if (!has_header)
                fprintf(out, "Error generating configuration in phase %s\n", phase_names[phase]);
            has_header = true;
            error_print(&errors->items[i], out);
        }
    }
    if (errors->dropped > 0)
        fprintf(out, "... and %zu more errors\n", errors->dropped);
}
