/*
 * retainer: the rules of retained messages over retained_index.h, which holds and finds them.
 */
#include "broker/retainer/retainer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/retainer/retained_index.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

struct retainer {
    struct retained_index *index;
    uint64_t payload_max;
};
