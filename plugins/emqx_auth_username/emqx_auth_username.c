/*
 * emqx_auth_username: clients with a user name that has an entry are let in with its password only. All of it is lib/auth_users.h.
 */
#include "lib/auth_users.h"

static const struct emqc_key keys[AUTH_USERS_KEY_COUNT] = AUTH_USERS_KEYS("auth.user", "username", "user name",
                                                                          "admin");

/* Behind the lines of EMQ X 3. */
static const char help[] =
    "\n"
    "Instead of a password, add and update take --hash <Entry>: a password that is hashed already, as one of\n"
    "  $argon2id$v=19$m=<KiB>,t=<Passes>,p=<Lanes>$<Salt>$<Hash>  (base64)\n"
    "  $pbkdf2-sha512$i=<Iterations>$<Salt>$<Hash>                (base64; also pbkdf2-sha256)\n"
    "  $sha256$<Salt>$<Hash>                                      (hexadecimal; also sha, md5)\n"
    "\n"
    "Example:\n"
    "  emqx_ctl users add ada --hash '$sha256$01020304$a103cdb4d4621c292a41cc5bc632db0cbe1272a3f04886c5dc24c72194fe555c'\n";

static const struct emqc_usage usage[] = {
    {"users list", "List users"},
    {"users add <Username> <Password>", "Add User"},
    {"users update <Username> <NewPassword>", "Update User"},
    {"users del <Username>", "Delete User"},
    {NULL, help},
};

static struct emqc_slice name_of(const struct emqc_client *client)
{
    return client->user_name;
}

static const struct auth_users_kind kind = {
    .table = "users",
    .command = "users",
    .what = "user",
    .metric = "username",
    .error_exists = "existed",
    .error_unknown = "noexisted",
    .usage = usage,
    .keys = keys,
    .name_of = name_of,
};

static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    return auth_users_load(&kind, host, self, out_state);
}

EMQC_PLUGIN = {
    EMQC_PLUGIN_HEAD,
    "emqx_auth_username",
    "1.0.0",
    "EMQ X Authentication with Username and Password",
    EMQC_AUTH,
    NULL,
    keys,
    AUTH_USERS_KEY_COUNT,
    load,
    auth_users_unload,
};
