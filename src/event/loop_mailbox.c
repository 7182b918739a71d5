/*
 * loop_mailbox: a list under a mutex and a uv_async_t: rare use, so simple.
 */
#include "event/loop_mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

struct loop_mailbox {
    uv_async_t wake;
    pthread_mutex_t lock; /* of the list; taken last */
    struct loop_post *head;
    struct loop_post **tail;
};

static void run_all(struct loop_mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct loop_post *post = mailbox->head;
    mailbox->head = NULL;
    mailbox->tail = &mailbox->head;
    pthread_mutex_unlock(&mailbox->lock);
    while (post != NULL) {
        struct loop_post *next = post->next;
        post->run(post);
        post = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    run_all(CONTAINER_OF(wake, struct loop_mailbox, wake));
}

int loop_mailbox_open(struct uv_loop_s *loop, struct loop_mailbox **out_mailbox)
{
    struct loop_mailbox *mailbox = calloc(1, sizeof(*mailbox));
    int err;

    if (mailbox == NULL)
        return -ENOMEM;
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->tail = &mailbox->head;
    err = uv_async_init(loop, &mailbox->wake, on_wake);
    if (err < 0) {
        pthread_mutex_destroy(&mailbox->lock);
        free(mailbox);
        return err;
    }
    *out_mailbox = mailbox;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct loop_mailbox *mailbox = CONTAINER_OF((uv_async_t *)handle, struct loop_mailbox, wake);

    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void loop_mailbox_close(struct loop_mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    run_all(mailbox);
    uv_close((uv_handle_t *)&mailbox->wake, on_closed);
}

void loop_mailbox_post(struct loop_mailbox *mailbox, struct loop_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    *mailbox->tail = post;
    mailbox->tail = &post->next;
    pthread_mutex_unlock(&mailbox->lock);
    uv_async_send(&mailbox->wake);
}
