/*
 * scram_users: the users of emqx_auth_scram: a durable table of user name -> record, `emqx_ctl scram`, and users of the settings.
 *
 *   record = version (1), flags (1: superuser), count, then for each mechanism of the user:
 *            mechanism, iterations (4 bytes, network order), length of the salt, salt, StoredKey, ServerKey
 */
#ifndef PLUGINS_EMQX_AUTH_SCRAM_SCRAM_USERS_H
#define PLUGINS_EMQX_AUTH_SCRAM_SCRAM_USERS_H

#include "lib/scram.h"

#define SCRAM_RECORD_MAX 512u /* bytes */

/* What is known of a user. */
struct scram_user {
    bool is_superuser;
    uint32_t count; /* of what follows */
    struct scram_credentials credentials[SCRAM_MECHANISM_COUNT];
};

/* Gives the record's length, at most SCRAM_RECORD_MAX. Pure. Thread: any. */
size_t scram_record_write(const struct scram_user *user, uint8_t out_record[SCRAM_RECORD_MAX]);
/* -EINVAL: no record. Pure. Thread: any. */
int scram_record_read(const uint8_t *record, size_t len, struct scram_user *out_user);
/* NULL: the user has none for this mechanism. Valid while `user` is. */
const struct scram_credentials *scram_user_credentials(const struct scram_user *user, enum scram_mechanism mechanism);
/* Makes credentials of `password` for every mechanism, with a new salt each: takes long. -EINVAL: not a password that SCRAM can have; -EIO: OpenSSL
 * cannot. Thread: job, or load(). */
int scram_user_make(struct emqc_slice password, uint32_t iterations, bool is_superuser, struct scram_user *out_user);

/* The table with its commands. Embedded by the plugin. */
struct scram_users {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct emqc_table *table;
    uint32_t iterations; /* of new credentials */
};

/* Opens the table, adds the users of the settings that are not there yet, and the command `scram`. After an error why has been said. Thread: load(). */
int scram_users_open(struct scram_users *users);
/* False: no such user. Thread: worker, control. */
bool scram_users_find(const struct scram_users *users, struct emqc_slice user_name, struct scram_user *out_user);

#endif
