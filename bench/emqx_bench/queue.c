/*
 * queue: the steps of a run, one after the other; see queue.h.
 */
#include "queue.h"

#include "stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define DESCRIPTORS_RESERVED 64u
#define OPEN_MAX 10000u /* sessions connected at a time: the broker's descriptors are as scarce as ours */

/* The line of counters each second, and what has to be done that often. */
struct ticker {
    uint64_t start_ns;
    uint64_t next_ns;
    uint64_t acknowledged;
    uint64_t received;
};

void queue_fail(struct queue *queue, const char *who, uint32_t index, const char *why)
{
    if (queue->failure[0] == '\0')
        (void)snprintf(queue->failure, sizeof(queue->failure), "%s %u: %s", who, index, why);
}

static bool failed(const struct queue *queue)
{
    return queue->failure[0] != '\0';
}

static bool ended(const struct queue *queue)
{
    return failed(queue) || stop_requested();
}

static void tick(struct queue *queue, struct ticker *ticker, const char *step)
{
    uint64_t now_ns = queue->loop.now_ns;

    if (now_ns < ticker->next_ns)
        return;
    ticker->next_ns += NS_PER_S;
    if (!queue->options->quiet) {
        (void)printf("%3.0fs %-10s done=%u acknowledged=%llu (%llu/s) received=%llu (%llu/s)\n",
                     (double)(now_ns - ticker->start_ns) / 1e9, step, queue->done,
                     (unsigned long long)queue->acknowledged,
                     (unsigned long long)(queue->acknowledged - ticker->acknowledged),
                     (unsigned long long)queue->received, (unsigned long long)(queue->received - ticker->received));
        (void)fflush(stdout);
    }
    ticker->acknowledged = queue->acknowledged;
    ticker->received = queue->received;
    for (uint32_t i = 0; i < queue->publisher_count; i++)
        client_keep_alive(&queue->publishers[i].client, now_ns);
    for (uint32_t i = 0; queue->open > 0 && i < queue->session_count; i++)
        client_keep_alive(&queue->sessions[i].client, now_ns);
}

static struct process_memory broker_memory(const struct queue *queue)
{
    struct process_memory memory = {0};

    if (queue->options->broker_pid > 0)
        (void)process_memory((pid_t)queue->options->broker_pid, &memory);
    return memory;
}

static struct queue_sample take_sample(const struct queue *queue)
{
    struct process_cpu own = process_own_cpu();
    struct queue_sample sample = {
        .time_ns = clock_ns(),
        .acknowledged = queue->acknowledged,
        .received = queue->received,
        .own_cpu_ns = own.user_ns + own.system_ns,
    };

    if (queue->options->broker_pid > 0)
        (void)process_cpu_ns((pid_t)queue->options->broker_pid, &sample.broker_cpu_ns);
    return sample;
}

/* The next client of the step is opened as long as few enough are being opened, and are open. */
static void launch(struct queue *queue, uint32_t count)
{
    bool publishers = queue->step == QUEUE_PUBLISH;

    while (!failed(queue) && queue->opened < count && queue->opening < queue->options->concurrency &&
           (publishers || queue->open < queue->open_max)) {
        int err = client_open(publishers ? &queue->publishers[queue->opened].client
                                         : &queue->sessions[queue->opened].client);
        if (err < 0) {
            queue_fail(queue, publishers ? "publisher" : "session", queue->opened, strerror(-err));
            return;
        }
        queue->opened++;
        queue->opening++;
        queue->open += publishers ? 0 : 1;
    }
}

/* Drain: nothing comes any more to those that are open. They go, so that the next may try. False: there are no more. */
static bool give_up_open(struct queue *queue)
{
    if (queue->step != QUEUE_DRAIN || queue->opened == queue->session_count)
        return false;
    for (uint32_t i = 0; i < queue->opened; i++) {
        struct queue_session *session = &queue->sessions[i];
        if (session->done)
            continue;
        client_disconnect(&session->client);
        session->done = true;
        queue->done++;
    }
    queue->open = queue->opening = 0;
    return true;
}

/* Turns until `count` clients are done. False: nothing moved for the stall time, or the run has ended. */
static bool run_clients(struct queue *queue, struct ticker *ticker, const char *step, uint32_t count)
{
    uint64_t stall_ns = queue->options->stall_s * NS_PER_S;
    uint64_t seen = queue->progress;
    uint64_t moved_ns = clock_ns();

    queue->opened = queue->opening = queue->open = queue->done = 0;
    while (!ended(queue) && queue->done < count) {
        launch(queue, count);
        queue_turn(queue, ticker->next_ns);
        tick(queue, ticker, step);
        if (queue->progress != seen) {
            seen = queue->progress;
            moved_ns = queue->loop.now_ns;
        } else if (queue->loop.now_ns > moved_ns + stall_ns) {
            if (!give_up_open(queue))
                return false;
            moved_ns = queue->loop.now_ns;
        }
    }
    return !ended(queue);
}

static void subscribe_all(struct queue *queue, struct ticker *ticker)
{
    queue->step = QUEUE_SUBSCRIBE;
    queue->subscribe.start = take_sample(queue);
    if (!run_clients(queue, ticker, "subscribe", queue->session_count))
        queue_fail(queue, "session", queue->done, "the broker does not answer any more");
    queue->subscribe.end = take_sample(queue);
    queue->memory_subscribed = broker_memory(queue);
}

/* Has every message been sent that --messages asks for, and been answered? */
static bool all_answered(const struct queue *queue)
{
    for (uint32_t i = 0; i < queue->publisher_count; i++) {
        const struct queue_publisher *publisher = &queue->publishers[i];
        uint64_t limit = (uint64_t)queue->options->messages * publisher->sessions;
        if (publisher->answered < publisher->sent || (queue->publishing && publisher->sent < limit))
            return false;
    }
    return true;
}

/* Until the time has come, 0: there is none; or until all is answered, which `publishing` with a limit ends too. */
static void publish_until(struct queue *queue, struct ticker *ticker, uint64_t deadline_ns)
{
    uint64_t stall_ns = queue->options->stall_s * NS_PER_S;
    uint64_t seen = queue->progress;
    uint64_t moved_ns = clock_ns();

    while (!ended(queue) && (deadline_ns == 0 ? !all_answered(queue) : queue->loop.now_ns < deadline_ns)) {
        queue_turn(queue, deadline_ns != 0 && deadline_ns < ticker->next_ns ? deadline_ns : ticker->next_ns);
        tick(queue, ticker, "publish");
        if (queue->progress != seen) {
            seen = queue->progress;
            moved_ns = queue->loop.now_ns;
        } else if (queue->loop.now_ns > moved_ns + stall_ns) {
            queue_fail(queue, "publishers", queue->publisher_count, "no acknowledgement comes any more");
        }
    }
}

static void publish_all(struct queue *queue, struct ticker *ticker)
{
    const struct options *options = queue->options;

    queue->step = QUEUE_PUBLISH;
    if (!run_clients(queue, ticker, "connect", queue->publisher_count)) {
        queue_fail(queue, "publisher", queue->done, "the broker does not answer any more");
        return;
    }
    queue->measuring = options->messages > 0;
    queue->publish.start = take_sample(queue);
    queue_start_publishing(queue);
    if (options->messages == 0) {
        publish_until(queue, ticker, clock_ns() + options->warm_up_ms * NS_PER_MS);
        queue->measuring = true;
        queue->publish.start = take_sample(queue);
        publish_until(queue, ticker, queue->publish.start.time_ns + options->duration_s * NS_PER_S);
        queue->publish.end = take_sample(queue);
        queue->measuring = false;
        queue->publishing = false;
        publish_until(queue, ticker, 0);
    } else {
        publish_until(queue, ticker, 0);
        queue->publish.end = take_sample(queue);
        queue->publishing = false;
    }
    for (uint32_t i = 0; i < queue->publisher_count; i++)
        client_disconnect(&queue->publishers[i].client);
    queue->memory_published = broker_memory(queue);
}

static void drain_all(struct queue *queue, struct ticker *ticker)
{
    queue->step = QUEUE_DRAIN;
    for (uint32_t i = 0; i < queue->session_count; i++) {
        queue->sessions[i].done = false;
        if (!queue->steps[QUEUE_PUBLISH])
            queue->sessions[i].sent = queue->options->messages;
    }
    queue->drain.start = take_sample(queue);
    (void)run_clients(queue, ticker, "drain", queue->session_count);
    queue->drain.end = take_sample(queue);
    for (uint32_t i = 0; i < queue->session_count; i++) {
        queue->lost += queue->sessions[i].sent - queue->sessions[i].received;
        client_disconnect(&queue->sessions[i].client);
    }
    queue->memory_drained = broker_memory(queue);
}

static void run_steps(struct queue *queue)
{
    struct ticker ticker = {.start_ns = clock_ns()};

    ticker.next_ns = ticker.start_ns + NS_PER_S;
    queue->memory_before = broker_memory(queue);
    if (queue->steps[QUEUE_SUBSCRIBE])
        subscribe_all(queue, &ticker);
    if (queue->steps[QUEUE_PUBLISH] && !ended(queue))
        publish_all(queue, &ticker);
    if (queue->steps[QUEUE_DRAIN] && !ended(queue))
        drain_all(queue, &ticker);
}

static int refuse(const char *why)
{
    (void)fprintf(stderr, "emqx_bench: %s\n", why);
    return -EINVAL;
}

/* "subscribe,publish,drain" or some of them. */
static int parse_steps(struct queue *queue)
{
    static const char *const names[QUEUE_STEP_COUNT] = {"subscribe", "publish", "drain"};
    const char *at = queue->options->steps;

    while (*at != '\0') {
        size_t len = strcspn(at, ",");
        size_t step = 0;
        while (step < QUEUE_STEP_COUNT && (strlen(names[step]) != len || strncmp(names[step], at, len) != 0))
            step++;
        if (step == QUEUE_STEP_COUNT)
            return refuse("--steps must be of subscribe, publish, drain, with commas between");
        queue->steps[step] = true;
        at += len;
        at += *at == ',' ? 1 : 0;
    }
    if (queue->steps[QUEUE_DRAIN] && !queue->steps[QUEUE_PUBLISH] && queue->options->messages == 0)
        return refuse("a run that only drains needs --messages: how many each session has");
    return 0;
}

static int resolve(struct queue *queue)
{
    const struct options *options = queue->options;
    int len;

    queue->publisher_count = options->publisher_count;
    queue->session_count = options->session_count > 0 ? options->session_count : queue->publisher_count;
    if (queue->session_count < queue->publisher_count)
        return refuse("queue needs at least as many --sessions as --publishers");
    if (options->topic_prefix != NULL)
        len = snprintf(queue->topic_prefix, sizeof(queue->topic_prefix), "%s", options->topic_prefix);
    else
        len = snprintf(queue->topic_prefix, sizeof(queue->topic_prefix), "bench/%u", (unsigned)getpid());
    if (len < 0 || (size_t)len >= sizeof(queue->topic_prefix))
        return refuse("--topic-prefix must be at most 128 bytes");
    queue->topic_number_at = (uint32_t)strlen(queue->topic_prefix) + (uint32_t)strlen("/queue/");
    return parse_steps(queue);
}

/* PREFIX_ROLE_NUMBER; without a prefix the process makes it unique on the broker. */
static char *make_client_id(const struct queue *queue, const char *role, uint32_t index)
{
    char *id = NULL;
    int len;

    if (queue->options->prefix != NULL)
        len = asprintf(&id, "%s_%s_%u", queue->options->prefix, role, index);
    else
        len = asprintf(&id, "bench_%s_%u_%u", role, (unsigned)getpid(), index);
    return len < 0 ? NULL : id;
}

static int init_publisher(struct queue *queue, uint32_t index)
{
    struct queue_publisher *publisher = &queue->publishers[index];
    char topic[QUEUE_TOPIC_MAX];
    char *id = make_client_id(queue, "pub", index);
    struct publish_frame_options frame = {
        .topic = topic,
        .payload_len = queue->options->size,
        .version = queue->publisher_settings.version,
        .qos = (uint8_t)queue->options->qos,
    };

    if (id == NULL)
        return -ENOMEM;
    client_init(&publisher->client, &queue->loop, &queue->publisher_settings, &queue_publisher_handler, id);
    publisher->client.publishes = true;
    publisher->queue = queue;
    publisher->index = index;
    publisher->sessions = (queue->session_count - index + queue->publisher_count - 1) / queue->publisher_count;
    queue_topic(queue, index, topic);
    return publish_frame_init(&publisher->frame, &frame);
}

static int init_session(struct queue *queue, uint32_t index)
{
    struct queue_session *session = &queue->sessions[index];
    char *id = make_client_id(queue, "session", index);

    if (id == NULL)
        return -ENOMEM;
    client_init(&session->client, &queue->loop, &queue->session_settings, &queue_session_handler, id);
    session->queue = queue;
    session->index = index;
    return 0;
}

/* xorshift64: always the same, and nothing that compresses. */
static int make_noise(struct queue *queue)
{
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    size_t size = QUEUE_NOISE_BYTES + (size_t)queue->options->size;

    queue->noise = malloc(size);
    if (queue->noise == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        queue->noise[i] = (uint8_t)(state >> 32);
    }
    return 0;
}

static int init(struct queue *queue)
{
    int err = resolve(queue);

    if (err < 0)
        return err;
    queue->publisher_settings = queue->session_settings;
    queue->publisher_settings.clean = true;
    queue->publisher_settings.expiry_s = 0;
    queue->session_settings.clean = false;
    queue->sessions = calloc(queue->session_count, sizeof(*queue->sessions));
    queue->publishers = calloc(queue->publisher_count, sizeof(*queue->publishers));
    if (queue->sessions == NULL || queue->publishers == NULL || make_noise(queue) < 0)
        return refuse("no memory for the clients");
    for (uint32_t i = 0; i < queue->publisher_count && err == 0; i++)
        err = init_publisher(queue, i);
    for (uint32_t i = 0; i < queue->session_count && err == 0; i++)
        err = init_session(queue, i);
    return err < 0 ? refuse("no memory for the clients, or a payload over 256 MiB") : 0;
}

static void fini(struct queue *queue)
{
    for (uint32_t i = 0; queue->publishers != NULL && i < queue->publisher_count; i++) {
        if (queue->publishers[i].queue == NULL)
            break;
        client_fini(&queue->publishers[i].client);
        publish_frame_fini(&queue->publishers[i].frame);
    }
    for (uint32_t i = 0; queue->sessions != NULL && i < queue->session_count; i++) {
        if (queue->sessions[i].queue == NULL)
            break;
        client_fini(&queue->sessions[i].client);
    }
    free(queue->publishers);
    free(queue->sessions);
    free(queue->noise);
}

static int finish(struct queue *queue)
{
    if (failed(queue)) {
        (void)fprintf(stderr, "emqx_bench: %s\n", queue->failure);
        return 1;
    }
    queue_print_report(queue);
    if (queue->options->json_path != NULL) {
        int err = queue_write_json(queue);
        if (err < 0) {
            (void)fprintf(stderr, "emqx_bench: cannot write %s: %s\n", queue->options->json_path, strerror(-err));
            return 1;
        }
    }
    return queue_is_clean(queue) ? 0 : 3;
}

/* As many descriptors as the system lets us have. */
static void set_open_max(struct queue *queue)
{
    struct rlimit limit;

    queue->open_max = 1000;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max > 2 * DESCRIPTORS_RESERVED)
        queue->open_max = limit.rlim_max > OPEN_MAX + DESCRIPTORS_RESERVED
                              ? OPEN_MAX
                              : (uint32_t)limit.rlim_max - DESCRIPTORS_RESERVED;
}

int queue_main(const struct options *options)
{
    struct queue *queue = calloc(1, sizeof(*queue));
    int code = 1;

    if (queue == NULL)
        return 1;
    queue->options = options;
    stop_catch_signals();
    set_open_max(queue);
    if (loop_init(&queue->loop) == 0 && options_client_settings(options, &queue->session_settings) == 0 &&
        init(queue) == 0) {
        run_steps(queue);
        code = finish(queue);
    }
    fini(queue);
    options_client_settings_fini(&queue->session_settings);
    loop_fini(&queue->loop);
    free(queue);
    return code;
}
