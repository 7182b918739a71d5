/*
 * store_clock: see store_clock_internal.h. Record: store time (8), wall clock (8), boot clock (8), boot ID (36).
 */
#include "store/store_clock_internal.h"

#include "base/clock.h"
#include "store/store_internal.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The boot clock and the monotonic clock are read one after the other: less difference than this is no sleep of the machine. */
#define SLEEP_MIN_MS 50
/* A change of the wall clock that is worth a write. */
#define WALL_STEP_MS 1000

static uint64_t boot_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void read_boot_id(uint8_t out_id[STORE_BOOT_ID_BYTES])
{
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(out_id, 0, STORE_BOOT_ID_BYTES);
    if (file < 0)
        return;
    if (read(file, out_id, STORE_BOOT_ID_BYTES) != STORE_BOOT_ID_BYTES)
        memset(out_id, 0, STORE_BOOT_ID_BYTES);
    close(file);
}

void store_clock_read(struct store_clock_reading *out_reading)
{
    static _Thread_local uint8_t boot_id[STORE_BOOT_ID_BYTES]; /* does not change while the process lives */
    static _Thread_local bool known;

    if (!known)
        read_boot_id(boot_id);
    known = true;
    out_reading->mono_ms = clock_mono_ms();
    out_reading->boot_ms = boot_ms();
    out_reading->wall_ms = clock_wall_ms();
    memcpy(out_reading->boot_id, boot_id, STORE_BOOT_ID_BYTES);
}

static bool same_boot(const uint8_t *record, const struct store_clock_reading *now)
{
    return now->boot_id[0] != 0 && memcmp(record + 24, now->boot_id, STORE_BOOT_ID_BYTES) == 0 &&
           now->boot_ms >= bytes_get_big(record + 16, 8);
}

void store_clock_start(struct store_clock *clock, const uint8_t *record, const struct store_clock_reading *now)
{
    uint64_t time_ms = now->wall_ms == 0 ? 1 : now->wall_ms; /* the first run: any number would do */

    if (record != NULL) {
        uint64_t wall_ms = bytes_get_big(record + 8, 8);

        time_ms = bytes_get_big(record, 8);
        if (same_boot(record, now))
            time_ms += now->boot_ms - bytes_get_big(record + 16, 8);
        else if (now->wall_ms > wall_ms)
            time_ms += now->wall_ms - wall_ms;
    }
    clock->boot_less_mono_ms = now->boot_ms - now->mono_ms;
    clock->wall_less_boot_ms = now->wall_ms - now->boot_ms;
    __atomic_store_n(&clock->offset_ms, time_ms - now->mono_ms, __ATOMIC_RELAXED);
}

bool store_clock_follow(struct store_clock *clock, const struct store_clock_reading *now)
{
    uint64_t boot_less_mono_ms = now->boot_ms - now->mono_ms;
    int64_t slept_ms = (int64_t)(boot_less_mono_ms - clock->boot_less_mono_ms);
    int64_t step_ms = (int64_t)(now->wall_ms - now->boot_ms - clock->wall_less_boot_ms);

    if (slept_ms >= SLEEP_MIN_MS) {
        clock->boot_less_mono_ms = boot_less_mono_ms;
        __atomic_store_n(&clock->offset_ms, clock->offset_ms + (uint64_t)slept_ms, __ATOMIC_RELAXED);
    }
    return step_ms >= WALL_STEP_MS || step_ms <= -WALL_STEP_MS;
}

void store_clock_record(struct store_clock *clock, const struct store_clock_reading *now,
                        uint8_t out_record[STORE_CLOCK_RECORD_BYTES])
{
    clock->wall_less_boot_ms = now->wall_ms - now->boot_ms;
    bytes_put_big(out_record, store_clock_at(clock, now->mono_ms), 8);
    bytes_put_big(out_record + 8, now->wall_ms, 8);
    bytes_put_big(out_record + 16, now->boot_ms, 8);
    memcpy(out_record + 24, now->boot_id, STORE_BOOT_ID_BYTES);
}

uint64_t store_clock_at(const struct store_clock *clock, uint64_t mono_ms)
{
    return mono_ms + __atomic_load_n(&clock->offset_ms, __ATOMIC_RELAXED);
}
