/*
 * alarms: what is wrong now, and what was: raised and cleared by ID, published under $SYS/brokers/NODE/alarms/, kept over restarts.
 *
 *     watchers (os_mon, store, certificates, ...) ──► alarm_raise / alarm_clear ──► table of present ones ──► store table `alarms`
 *                                                                       └──► $SYS .../alarms/alert | clear, log, metrics, REST, ctl
 *
 * One that is raised again while it is present keeps its time and takes the new description; it is published again at most every five minutes. The
 * history keeps the last ALARM_HISTORY_MAX that were cleared. What was present when the node ended is in the history at the next start, cleared then.
 * Thread: control, for everything here.
 */
#ifndef MONITOR_ALARMS_H
#define MONITOR_ALARMS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct alarms;
struct broker;
struct store;

#define ALARM_HISTORY_MAX 1000u
#define ALARM_PRESENT_MAX 1000u /* one more is logged and counted, not kept */
#define ALARM_ID_BYTES_MAX 255u

enum alarm_severity { ALARM_NOTICE, ALARM_WARNING, ALARM_ERROR, ALARM_CRITICAL };

struct alarms_options {
    struct broker *broker; /* outlives the alarms, as all here */
    struct store *store;   /* NULL: not kept over restarts */
    const char *node_name;
};

struct alarm_row {
    const char *id;
    enum alarm_severity severity;
    const char *text;  /* the original's own alarms: the text of `desc` ("82.6", "[]"); NULL: described by ... */
    const char *title; /* ... these two */
    const char *summary;
    int64_t raised_at_ms;  /* since 1970 */
    int64_t cleared_at_ms; /* 0: it is present */
};

/* -ENOMEM; -EIO: the table is damaged (reported). */
MUST_USE int alarms_open(const struct alarms_options *options, struct alarms **out_alarms);
/* NULL is fine. */
void alarms_close(struct alarms *alarms);

/* Raises `id` with a title and a summary that says what to do; copied. NULL `alarms` is fine, here and below: it is only logged. */
void alarm_raise(struct alarms *alarms, const char *id, enum alarm_severity severity, const char *title,
                 const char *format, ...) PRINTF_LIKE(5, 6);
/* One of the original's own, whose `desc` is a plain text: cpu_high_watermark with "82.6". */
void alarm_raise_plain(struct alarms *alarms, const char *id, enum alarm_severity severity, const char *text);
/* Not present is fine. */
void alarm_clear(struct alarms *alarms, const char *id);
bool alarm_is_present(const struct alarms *alarms, const char *id);

/* Calls `visit` for the present ones, or those of the history, the newest first. Rows are valid during the call. */
void alarms_visit(const struct alarms *alarms, bool history, void (*visit)(void *context, const struct alarm_row *row),
                  void *context);

#endif
