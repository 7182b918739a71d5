/*
 * absence: a list in the order of leaving. See absence.h.
 */
#include "broker/session/absence.h"

#include "broker/session/session.h"
#include "broker/session/session_host.h"

#include <errno.h>
#include <stdlib.h>

static void count(const struct session_host *host, int64_t change)
{
    if (host->absent_count != NULL)
        atomic_fetch_add_explicit(host->absent_count, (uint64_t)change, memory_order_relaxed);
}

int absence_begin(struct session *session)
{
    struct session_host *host = session->host;
    struct absence *absence = malloc(sizeof(*absence));

    ASSERT(session->absence == NULL);
    if (absence == NULL)
        return -ENOMEM;
    *absence = (struct absence){
        .older = host->absent_newest,
        .session = session,
        .expires_at_ms = UINT64_MAX,
        .will_at_ms = UINT64_MAX,
    };
    if (absence->older != NULL)
        absence->older->newer = absence;
    else
        host->absent_oldest = absence;
    host->absent_newest = absence;
    session->absence = absence;
    count(host, 1);
    return 0;
}

void absence_end(struct session *session)
{
    struct session_host *host = session->host;
    struct absence *absence = session->absence;

    if (absence == NULL)
        return;
    if (absence->older != NULL)
        absence->older->newer = absence->newer;
    else
        host->absent_oldest = absence->newer;
    if (absence->newer != NULL)
        absence->newer->older = absence->older;
    else
        host->absent_newest = absence->older;
    session->absence = NULL;
    free(absence);
    count(host, -1);
}

struct session *absence_over_limit(const struct session_host *host)
{
    if (host->absent_max == 0 || host->absent_count == NULL || host->absent_oldest == NULL ||
        atomic_load_explicit(host->absent_count, memory_order_relaxed) <= host->absent_max)
        return NULL;
    return host->absent_oldest->session;
}
