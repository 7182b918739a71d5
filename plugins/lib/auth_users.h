/*
 * auth_users: what emqx_auth_username and emqx_auth_clientid do: a table of names with password entries, asked at each CONNECT, and a command
 * to keep it. The two differ in what a name is and in words only.
 *
 * Slow hashes run in jobs; meanwhile the client waits, nobody else. Whose password was right lately is remembered (password_cache.h).
 *
 *   no entry of that name                        the next plugin is asked
 *   the password is right                        let in
 *   it is wrong, or CONNECT has none             0x86
 *   too many wait for a job, or for too long     0x89 (server busy)
 *   the entry cannot be read, memory is short    0x88 (server unavailable)
 */
#ifndef PLUGINS_LIB_AUTH_USERS_H
#define PLUGINS_LIB_AUTH_USERS_H

#include "lib/password_hash.h"

#include <emqc/plugin.h>

/* The order of the rows that AUTH_USERS_KEYS() makes. */
enum auth_users_key {
    AUTH_USERS_HASH,
    AUTH_USERS_ITERATIONS,
    AUTH_USERS_MAX,
    AUTH_USERS_REMEMBERED,
    AUTH_USERS_NAME,
    AUTH_USERS_PASSWORD,
    AUTH_USERS_KEY_COUNT
};

/* The settings: `prefix` "auth.user", `name_word` "username", `noun` "user name", `example` a name. */
#define AUTH_USERS_KEYS(prefix, name_word, noun, example_name)                                                         \
    {                                                                                                                  \
        [AUTH_USERS_HASH] =                                                                                            \
            {.name = prefix ".password_hash",                                                                          \
             .type = EMQC_ENUM,                                                                                        \
             .fallback = "argon2id",                                                                                   \
             .shipped = "argon2id",                                                                                    \
             .enum_words = PASSWORD_KIND_WORDS,                                                                        \
             .help = "How passwords of new entries are hashed. Entries remember how they were made, so "               \
                     "this may change. The first four are those of EMQ X 3: quick to check and quick "                 \
                     "to guess by who steals the table."},                                                             \
        [AUTH_USERS_ITERATIONS] = {.name = prefix ".password_hash.iterations",                                         \
                                   .type = EMQC_INTEGER,                                                               \
                                   .example = "210000",                                                                \
                                   .min = 1,                                                                           \
                                   .max = 10000000,                                                                    \
                                   .help = "Iterations of pbkdf2-sha256 and pbkdf2-sha512 for new entries. Not set: "  \
                                           "600000 and 210000. For random passwords of 16 characters and more, 1000 "  \
                                           "are enough."},                                                             \
        [AUTH_USERS_MAX] = {.name = prefix ".max_entries",                                                             \
                            .type = EMQC_INTEGER,                                                                      \
                            .fallback = "1000000",                                                                     \
                            .example = "1000000",                                                                      \
                            .min = 1,                                                                                  \
                            .max = 100000000,                                                                          \
                            .help = "Most entries; they are in memory, with about 250 bytes each. Another one is "     \
                                    "refused."},                                                                       \
        [AUTH_USERS_REMEMBERED] =                                                                                      \
            {.name = prefix ".remembered_logins",                                                                      \
             .type = EMQC_INTEGER,                                                                                     \
             .fallback = "65536",                                                                                      \
             .example = "65536",                                                                                       \
             .min = 0,                                                                                                 \
             .max = 16777216,                                                                                          \
             .help = "For so many entries it is remembered which password was right, as a keyed "                      \
                     "hash of 16 bytes in memory, so that those who come again need no slow "                          \
                     "hash. 0: none."},                                                                                \
        [AUTH_USERS_NAME] =                                                                                            \
            {.name = prefix ".$id." name_word,                                                                         \
             .type = EMQC_STRING,                                                                                      \
             .example = "1: " example_name,                                                                            \
             .help = "An entry that is made when the plugin is loaded, unless there is one of that " noun "."},        \
        [AUTH_USERS_PASSWORD] = {.name = prefix ".$id.password",                                                       \
                                 .type = EMQC_STRING,                                                                  \
                                 .example = "1: public",                                                               \
                                 .is_secret = true,                                                                    \
                                 .help = "Its password, 1 to 1024 bytes. Later changes here have no effect: the "      \
                                         "command changes it."},                                                       \
    }

/* What one of the two plugins is. All static. */
struct auth_users_kind {
    const char *table;        /* "users" */
    const char *command;      /* likewise */
    const char *what;         /* "user" */
    const char *metric;       /* "username", of auth.username.success */
    const char *error_exists; /* "existed" */
    const char *error_unknown;
    const struct emqc_usage *usage;
    const struct emqc_key *keys; /* AUTH_USERS_KEYS() */
    struct emqc_slice (*name_of)(const struct emqc_client *client);
};

/* For load() and unload() of the plugin. Thread: control. */
int auth_users_load(const struct auth_users_kind *kind, const struct emqc_host *host, struct emqc_plugin_instance *self,
                    void **out_state);
void auth_users_unload(void *state);

#endif
