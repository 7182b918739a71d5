/*
 * store_clock: a clock that goes on over restarts of the process and of the machine.
 *
 * While the machine runs it follows the boot clock, which nobody can set and which counts time asleep. The last time is kept in the store
 * together with the wall clock, the boot clock and the boot's ID. A start in the same boot adds what the boot clock says has passed; after
 * a reboot only the wall clock can tell, and if that went backwards no time has passed.
 */
#ifndef STORE_STORE_CLOCK_INTERNAL_H
#define STORE_STORE_CLOCK_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#define STORE_BOOT_ID_BYTES 36
#define STORE_CLOCK_RECORD_BYTES (3 * 8 + STORE_BOOT_ID_BYTES)

/* All clocks at one moment, milliseconds. */
struct store_clock_reading {
    uint64_t mono_ms;
    uint64_t boot_ms;
    uint64_t wall_ms;
    uint8_t boot_id[STORE_BOOT_ID_BYTES]; /* zeros: the system has none */
};

struct store_clock {
    uint64_t offset_ms; /* store time minus CLOCK_MONOTONIC, modulo 2^64; atomic */
    uint64_t boot_less_mono_ms;
    uint64_t wall_less_boot_ms; /* as in the record on disk */
};

/* The system's clocks. Thread: any. */
void store_clock_read(struct store_clock_reading *out_reading);
/* Begins a run. `record`: what the last run saved, NULL if there was none. */
void store_clock_start(struct store_clock *clock, const uint8_t *record, const struct store_clock_reading *now);
/* Follows the boot clock; about once a second. True: somebody set the wall clock, so the record should be written soon. */
bool store_clock_follow(struct store_clock *clock, const struct store_clock_reading *now);
/* What to save. */
void store_clock_record(struct store_clock *clock, const struct store_clock_reading *now,
                        uint8_t out_record[STORE_CLOCK_RECORD_BYTES]);
uint64_t store_clock_at(const struct store_clock *clock, uint64_t mono_ms);

#endif
