/*
 * plugin_list_fuzz: any text as data/loaded_plugins, and as EMQX_LOADED_PLUGINS.
 *
 * It is refused with an error, or names at most PLUGIN_LIST_MAX plugins, each once and each with a name that a plugin can have.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int err, struct plugin_list *list, const char *error)
{
    ASSERT(err == 0 || (err == -EINVAL && error[0] != '\0'));
    ASSERT(list->count <= PLUGIN_LIST_MAX);
    for (uint32_t i = 0; i < list->count; i++) {
        ASSERT(err == 0 && plugin_name_valid(list->names[i]));
        for (uint32_t j = 0; j < i; j++)
            ASSERT(strcmp(list->names[i], list->names[j]) != 0);
    }
    plugin_list_free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char error[PLUGIN_ERROR_BYTES];
    struct plugin_list list;
    char *text = malloc(size + 1);

    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    error[0] = '\0';
    check(plugin_list_parse_words(text, &list, error), &list, error);
    text = realloc(text, size + (size == 0)); /* a read past the end is seen */
    error[0] = '\0';
    check(plugin_list_parse(text, size, &list, error), &list, error);
    free(text);
    return 0;
}
