/*
 * plugin_jobs: threads for what plugins do that takes long or blocks.
 *
 *   any thread                  job thread                 control
 *   plugin_job_run() ──queue──► work() ──done list──post──► done()
 *
 * Bounded: job_queue jobs wait; one more is refused. A job that has begun is not interrupted.
 */
#include "plugin/plugin_internal.h"

#include "base/compiler.h"
#include "event/loop_mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct plugin_job {
    struct plugin_job *next;
    struct emqc_plugin_instance *instance;
    void (*work)(void *context);
    void (*done)(void *context);
    void *context;
};

struct job_list {
    struct plugin_job *first;
    struct plugin_job **end;
};

struct plugin_jobs {
    pthread_mutex_t lock; /* of all that follows but `threads` */
    pthread_cond_t wanted;
    pthread_cond_t finished;
    struct job_list waiting;
    struct job_list done; /* for the control thread */
    uint32_t waiting_count;
    uint32_t waiting_max;
    bool is_ending;
    bool is_posted;
    struct loop_post post;
    struct loop_mailbox *mailbox;
    struct running { /* what each thread does; NULL: nothing */
        struct emqc_plugin_instance *instance;
        struct plugin_jobs *jobs;
        pthread_t thread;
    } * threads;
    uint32_t thread_count;
};

static void list_clear(struct job_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_push(struct job_list *list, struct plugin_job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
}

static struct plugin_job *list_pop(struct job_list *list)
{
    struct plugin_job *job = list->first;

    if (job != NULL && (list->first = job->next) == NULL)
        list->end = &list->first;
    return job;
}

/* On the control thread: calls what is to be called when jobs are done. */
static void call_done(struct plugin_jobs *jobs)
{
    struct plugin_job *job;

    for (;;) {
        pthread_mutex_lock(&jobs->lock);
        job = list_pop(&jobs->done);
        pthread_mutex_unlock(&jobs->lock);
        if (job == NULL)
            return;
        if (job->done != NULL)
            job->done(job->context);
        free(job);
    }
}

static void on_post(struct loop_post *post)
{
    struct plugin_jobs *jobs = CONTAINER_OF(post, struct plugin_jobs, post);

    pthread_mutex_lock(&jobs->lock);
    jobs->is_posted = false;
    pthread_mutex_unlock(&jobs->lock);
    call_done(jobs);
}

/* Under the lock. */
static void finish_job(struct plugin_jobs *jobs, struct plugin_job *job)
{
    list_push(&jobs->done, job);
    if (!jobs->is_posted) {
        jobs->is_posted = true;
        jobs->post.run = on_post;
        loop_mailbox_post(jobs->mailbox, &jobs->post);
    }
    pthread_cond_broadcast(&jobs->finished);
}

static void *thread_main(void *argument)
{
    struct running *me = argument;
    struct plugin_jobs *jobs = me->jobs;
    struct plugin_job *job;

    pthread_setname_np(pthread_self(), "emqx-job");
    pthread_mutex_lock(&jobs->lock);
    while (!jobs->is_ending || jobs->waiting.first != NULL) {
        job = list_pop(&jobs->waiting);
        if (job == NULL) {
            pthread_cond_wait(&jobs->wanted, &jobs->lock);
            continue;
        }
        jobs->waiting_count--;
        me->instance = job->instance;
        pthread_mutex_unlock(&jobs->lock);
        job->work(job->context);
        pthread_mutex_lock(&jobs->lock);
        me->instance = NULL;
        finish_job(jobs, job);
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

int plugin_jobs_open(const struct plugin_host_options *options, struct loop_mailbox *mailbox,
                     struct plugin_jobs **out_jobs)
{
    struct plugin_jobs *jobs = calloc(1, sizeof(*jobs));
    int err = 0;

    if (jobs == NULL || (jobs->threads = calloc(options->job_threads, sizeof(*jobs->threads))) == NULL) {
        free(jobs);
        return -ENOMEM;
    }
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->wanted, NULL);
    pthread_cond_init(&jobs->finished, NULL);
    list_clear(&jobs->waiting);
    list_clear(&jobs->done);
    jobs->waiting_max = options->job_queue;
    jobs->mailbox = mailbox;
    while (err == 0 && jobs->thread_count < options->job_threads) {
        struct running *thread = &jobs->threads[jobs->thread_count];
        thread->jobs = jobs;
        err = -pthread_create(&thread->thread, NULL, thread_main, thread);
        if (err == 0)
            jobs->thread_count++;
    }
    *out_jobs = jobs;
    if (err < 0) {
        plugin_jobs_stop(jobs);
        plugin_jobs_free(jobs);
        *out_jobs = NULL;
    }
    return err;
}

void plugin_jobs_stop(struct plugin_jobs *jobs)
{
    if (jobs == NULL)
        return;
    pthread_mutex_lock(&jobs->lock);
    jobs->is_ending = true;
    pthread_cond_broadcast(&jobs->wanted);
    pthread_mutex_unlock(&jobs->lock);
    for (uint32_t i = 0; i < jobs->thread_count; i++)
        pthread_join(jobs->threads[i].thread, NULL);
    jobs->thread_count = 0;
}

void plugin_jobs_free(struct plugin_jobs *jobs)
{
    if (jobs == NULL)
        return;
    ASSERT(jobs->done.first == NULL && jobs->waiting.first == NULL);
    pthread_cond_destroy(&jobs->wanted);
    pthread_cond_destroy(&jobs->finished);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs->threads);
    free(jobs);
}

int plugin_job_run(struct emqc_plugin_instance *self, void (*work)(void *context), void (*done)(void *context),
                   void *context)
{
    struct plugin_jobs *jobs = self->host->jobs;
    struct plugin_job *job = calloc(1, sizeof(*job));
    int err = 0;

    if (job == NULL)
        return -ENOMEM;
    *job = (struct plugin_job){.instance = self, .work = work, .done = done, .context = context};
    pthread_mutex_lock(&jobs->lock);
    if (jobs->waiting_count >= jobs->waiting_max) {
        err = -EAGAIN;
    } else {
        list_push(&jobs->waiting, job);
        jobs->waiting_count++;
        pthread_cond_signal(&jobs->wanted);
    }
    pthread_mutex_unlock(&jobs->lock);
    if (err < 0)
        free(job);
    return err;
}

/* Under the lock. */
static bool has_job(const struct plugin_jobs *jobs, const struct emqc_plugin_instance *self)
{
    for (const struct plugin_job *job = jobs->waiting.first; job != NULL; job = job->next) {
        if (job->instance == self)
            return true;
    }
    for (uint32_t i = 0; i < jobs->thread_count; i++) {
        if (jobs->threads[i].instance == self)
            return true;
    }
    return false;
}

void plugin_jobs_finish(struct emqc_plugin_instance *self)
{
    struct plugin_jobs *jobs = self->host->jobs;
    bool is_left = true;

    while (is_left) {
        pthread_mutex_lock(&jobs->lock);
        while (has_job(jobs, self))
            pthread_cond_wait(&jobs->finished, &jobs->lock);
        pthread_mutex_unlock(&jobs->lock);
        call_done(jobs); /* which may have begun another one */
        pthread_mutex_lock(&jobs->lock);
        is_left = has_job(jobs, self);
        pthread_mutex_unlock(&jobs->lock);
    }
}
