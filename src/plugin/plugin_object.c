/*
 * plugin_object: a shared object is opened and its descriptor looked at before anything of it is called.
 */
#include "plugin/plugin_builtin.h"
#include "plugin/plugin_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPENED_NAME_BYTES 128 /* "/proc/self/fd", two for each bit of a number, a descriptor */

/* Says what is wrong; -EINVAL. */
#define WRONG(error, ...) (snprintf((error), PLUGIN_ERROR_BYTES, __VA_ARGS__), -EINVAL)

bool plugin_name_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len <= PLUGIN_NAME_MAX && name[len] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

int plugin_find(const struct plugin_host *host, const char *name, char out_path[PATH_MAX])
{
    const struct {
        const char *dir, *middle, *between;
    } places[] = {{host->object_dir, "", ""}, {host->expand_dir, "", ""}, {host->expand_dir, name, "/"}};

    if (!plugin_name_valid(name))
        return -EINVAL;
    if (plugin_builtin_find(name) != NULL) {
        snprintf(out_path, PATH_MAX, "%s", name);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        int len = snprintf(out_path, PATH_MAX, "%s/%s%s%s.so", places[i].dir, places[i].middle, places[i].between,
                           name);
        if (len > 0 && len < PATH_MAX && access(out_path, F_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

/* The parts of the descriptor that do not depend on its size. */
static int check_head(const struct emqc_plugin *plugin, const char *path, const char *name,
                      char error[PLUGIN_ERROR_BYTES])
{
    if (plugin->abi != EMQC_PLUGIN_ABI)
        return WRONG(
            error,
            "%s was built for version %u of the plugin interface, and this broker has version %u: build it with "
            "this broker's emqc/plugin.h",
            path, plugin->abi, EMQC_PLUGIN_ABI);
    if (!EMQC_HAS(plugin, struct emqc_plugin, unload))
        return WRONG(error, "%s: its descriptor has %zu bytes, and a whole one %zu", path, plugin->size,
                     sizeof(*plugin));
    if (plugin->name == NULL || !plugin_name_valid(plugin->name))
        return WRONG(
            error,
            "%s: the name in its descriptor should be a small letter, then small letters, digits and _, at most %u "
            "of them",
            path, PLUGIN_NAME_MAX);
    if (name != NULL && strcmp(plugin->name, name) != 0)
        return WRONG(error, "%s calls itself %s: the file should be called %s.so", path, plugin->name, plugin->name);
    return 0;
}

static int check(const struct emqc_plugin *plugin, const char *path, char error[PLUGIN_ERROR_BYTES])
{
    if (plugin->version == NULL || plugin->description == NULL)
        return WRONG(error, "%s: its descriptor has no version or no description", path);
    if ((unsigned)plugin->type > EMQC_FEATURE)
        return WRONG(error, "%s: its descriptor has type %d, which is none", path, (int)plugin->type);
    if (plugin->load == NULL || plugin->unload == NULL)
        return WRONG(error, "%s: its descriptor has no load() or no unload()", path);
    if (plugin->key_count > 0 && plugin->keys == NULL)
        return WRONG(error, "%s: its descriptor has %zu keys but no table of them", path, plugin->key_count);
    return 0;
}

/* What dlopen() says, with the file's name in place of the descriptor's. */
static int cannot_open(char error[PLUGIN_ERROR_BYTES], const char *path, const char *opened)
{
    const char *text = dlerror();
    size_t len = strlen(opened);

    if (text == NULL)
        text = "unknown";
    if (strncmp(text, opened, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        text += len + 2;
    return WRONG(error, "%s cannot be opened: %s", path, text);
}

/*
 * A name for the file of `fd` that no other call gives: slashes and dots, which the kernel skips, spell a number. The descriptor's number alone would
 * come again, while an object that was reloaded from an unchanged file keeps all names by which it was opened.
 */
static void name_object(int fd, char out_opened[OPENED_NAME_BYTES])
{
    static _Atomic uint32_t opened_count;
    char *to = stpcpy(out_opened, "/proc/self/fd");

    for (uint32_t left = opened_count++; left > 0; left /= 2)
        to = stpcpy(to, left % 2 == 1 ? "/." : "/");
    snprintf(to, OPENED_NAME_BYTES - (size_t)(to - out_opened), "/%d", fd);
}

/*
 * Through a descriptor: the dynamic linker takes an object that is loaded already for the same when its name is the same, so that a new version in the
 * place of the old one could not be looked at before the old one is gone.
 */
int plugin_object_open(const char *path, const char *name, struct plugin_object *out_object,
                       char error[PLUGIN_ERROR_BYTES])
{
    const struct plugin_builtin *builtin = plugin_builtin_find(path);
    struct plugin_object object = {.fd = -1};
    char opened[OPENED_NAME_BYTES];
    int err;

    *out_object = (struct plugin_object){0};
    if (builtin != NULL) {
        out_object->plugin = builtin->plugin;
        return 0;
    }
    object.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (object.fd < 0)
        return WRONG(error, "%s cannot be opened: %s", path, strerror(errno));
    name_object(object.fd, opened);
    object.handle = dlopen(opened, RTLD_NOW | RTLD_LOCAL);
    if (object.handle == NULL) {
        err = cannot_open(error, path, opened);
        close(object.fd);
        return err;
    }
    object.plugin = dlsym(object.handle, EMQC_PLUGIN_SYMBOL);
    if (object.plugin == NULL)
        err = WRONG(error, "%s has no symbol %s: a plugin defines it with EMQC_PLUGIN", path, EMQC_PLUGIN_SYMBOL);
    else
        err = check_head(object.plugin, path, name, error);
    if (err == 0)
        err = check(object.plugin, path, error);
    if (err < 0)
        plugin_object_close(&object);
    *out_object = object;
    return err;
}

void plugin_object_close(struct plugin_object *object)
{
    if (object->handle != NULL) {
        dlclose(object->handle);
        close(object->fd);
    }
    *object = (struct plugin_object){0};
}
