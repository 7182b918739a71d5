/*
 * loop_mailbox: how workers hand work to a thread that runs a plain libuv loop (the control thread).
 *
 * Not bounded: what workers post there are answers to questions that the thread itself asked.
 */
#ifndef EVENT_LOOP_MAILBOX_H
#define EVENT_LOOP_MAILBOX_H

#include "base/compiler.h"

struct uv_loop_s;
struct loop_mailbox;

/* Embedded in what is handed over; `run` runs on the loop's thread and owns the object from then on. */
struct loop_post {
    struct loop_post *next;
    void (*run)(struct loop_post *post);
};

/* -ENOMEM, -errno. Thread: the loop's. */
MUST_USE int loop_mailbox_open(struct uv_loop_s *loop, struct loop_mailbox **out_mailbox);
/* Runs what still waits and closes; the memory goes in a later turn of the loop. Nobody may post any more. NULL is
 * fine. Thread: the loop's. */
void loop_mailbox_close(struct loop_mailbox *mailbox);
/* Thread: any. */
void loop_mailbox_post(struct loop_mailbox *mailbox, struct loop_post *post);

#endif
