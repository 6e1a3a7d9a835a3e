/* SPDX-License-Identifier: Apache-2.0
 *
 * native_kill PLUGIN tasks|actors|idempotent COUNT KILLS FILE: work goes on while the
 * workers of our session are killed (SIGKILL) one after the other.
 *
 * tasks       every task that was submitted gives one result, and every reader sees
 * that one: each attempt makes another number, the value is read twice by us and once
 * by a task that gets it by reference. actors      FILE has what the actor did. No call
 * is there twice; those that were answered are there; in one incarnation they are in
 * order. idempotent  each call is answered, and there at least once.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "native_result.h"
#include "raywf.h"

#define WINDOW 64

static const char *plugin, *file;
static long count, kills;
static struct raywf_error err;
static FILE *progress; /* of work on a node: FILE gets a byte for each answer */
static _Atomic bool done;
static _Atomic long killed, failures, answered, refused;

static void fail(const char *what, uint64_t id)
{
    atomic_fetch_add(&failures, 1);
    printf("FAILED: %s: %" PRIu64 ": %s\n", what, id, err.text);
}

/* --- who is to be killed --- */

static int parent_of(int pid)
{
    char path[64], text[512], *at;
    int parent = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    at = strrchr(text, ')');
    return at && sscanf(at + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static int children_of(int parent, int *ret, int most)
{
    DIR *proc = opendir("/proc");
    int n = 0;

    if (!proc)
        return 0;
    for (struct dirent *e; (e = readdir(proc)) && n < most;) {
        int pid = atoi(e->d_name);
        if (pid > 0 && parent_of(pid) == parent)
            ret[n++] = pid;
    }
    closedir(proc);
    return n;
}

static long descriptors_of(int pid)
{
    char path[64];
    long n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static bool has_loaded(int pid)
{
    char path[64], line[4400];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof(line), f))
        found = strstr(line, plugin);
    if (f)
        fclose(f);
    return found;
}

/* A worker that has loaded the plugin: a plugin whose workers end three times in a row
 * while they load it is given up, and rightly so. 0: there is none. */
static int victim(int session, unsigned *random)
{
    int workers[64], loaded = 0;
    int n = children_of(session, workers, 64);

    for (int i = 0; i < n; i++)
        if (has_loaded(workers[i]))
            workers[loaded++] = workers[i];
    return loaded ? workers[(unsigned)rand_r(random) % (unsigned)loaded] : 0;
}

static void *killer(void *unused)
{
    int session, pid;
    unsigned random = 1;

    (void)unused;
    while (!atomic_load(&done) && atomic_load(&killed) < kills) {
        struct timespec pause = {.tv_nsec = 1000000 + rand_r(&random) % 30000000};
        pid = children_of(getpid(), &session, 1) == 1 ? victim(session, &random) : 0;
        nanosleep(&pause, NULL);
        if (pid && parent_of(pid) == session && kill(pid, SIGKILL) == 0)
            atomic_fetch_add(&killed, 1);
    }
    return NULL;
}

/* --- tasks --- */

static bool more_to_do(uint64_t sent)
{
    static char stop[4096];

    if (getenv("RAYWF_ADDRESS")) {
        snprintf(stop, sizeof(stop), "%s.stop", file);
        return access(stop, F_OK) != 0;
    }
    return sent < (uint64_t)count || atomic_load(&killed) < kills;
}

static bool whole(const struct result *r, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)(r + 1);

    for (size_t i = 0; i < size - sizeof(*r); i++)
        if (bytes[i] != (r->nonce & 0xff))
            return false;
    return true;
}

static void look(struct raywf_ref ref, uint64_t id, size_t size, struct result *ret)
{
    struct raywf_value v;

    memset(ret, 0, sizeof(*ret));
    if (raywf_get(ref, 300 * RAYWF_S, &v, &err) != 0) {
        fail("no result", id);
        return;
    }
    if (v.size != size || ((const struct result *)v.data)->id != id ||
        !whole(v.data, v.size))
        fail("a wrong result", id);
    else
        *ret = *(const struct result *)v.data;
    raywf_release(&v);
}

static size_t size_of(uint64_t id)
{
    return id % 7 == 0 ? 200000 : sizeof(struct result) + id % 100;
}

struct pending {
    struct raywf_ref ref, echo;
    uint64_t id;
};

static void submit(struct raywf_task *work, struct raywf_task *echo, struct pending *p)
{
    struct job job = {
        .id = p->id, .size = size_of(p->id), .us = p->id % 5 ? 200 : 4000};

    if (raywf_submit(work, RAYWF_ARGS(RAYWF_BYTES(&job, sizeof(job))), &p->ref, &err) ||
        raywf_submit(echo, RAYWF_ARGS(RAYWF_REF(p->ref)), &p->echo, &err))
        fail("not submitted", p->id);
}

static void check(struct pending *p)
{
    struct result first, again, seen;

    look(p->ref, p->id, size_of(p->id), &first);
    look(p->echo, p->id, size_of(p->id), &seen);
    look(p->ref, p->id, size_of(p->id), &again);
    if (first.nonce != again.nonce || first.nonce != seen.nonce)
        fail("two results of one task", p->id);
    if (first.attempt > 1)
        atomic_fetch_add(&refused, 1); /* retried */
    raywf_drop(p->ref);
    raywf_drop(p->echo);
    atomic_fetch_add(&answered, 1);
    if (progress && fputc('.', progress) != EOF)
        fflush(progress);
}

static void tasks(void)
{
    struct raywf_task_options o = {.resources = {.cpu = 0.5},
                                   .retry = {.max = 1000, .backoff = RAYWF_MS}};
    struct raywf_task *work = raywf_task(plugin, "work", &o, &err);
    struct raywf_task *echo = raywf_task(plugin, "echo", &o, &err);
    struct pending window[WINDOW];
    uint64_t sent = 0;

    for (uint64_t got = 0; atomic_load(&failures) == 0; got++) {
        bool more = more_to_do(sent);
        for (; more && sent < got + WINDOW; sent++) {
            window[sent % WINDOW].id = sent;
            submit(work, echo, &window[sent % WINDOW]);
        }
        if (got == sent)
            break;
        check(&window[got % WINDOW]);
    }
}

/* --- actors --- */

struct call {
    struct raywf_ref ref;
    uint64_t id;
};

static unsigned char *acknowledged;
static size_t calls_most;

static void answer(struct call *c, bool idempotent)
{
    struct note n;

    if (raywf_get_copy(c->ref, 300 * RAYWF_S, &n, sizeof(n), &err) == 0) {
        if (n.id != c->id)
            fail("another call's answer", c->id);
        acknowledged[c->id] = 1;
        atomic_fetch_add(&answered, 1);
    } else if (err.code != RAYWF_E_ACTOR || idempotent) {
        fail("not answered", c->id);
    } else {
        atomic_fetch_add(&refused, 1);
    }
    raywf_drop(c->ref);
}

static void actors(bool idempotent)
{
    struct raywf_actor_options o = {
        .resources = {.cpu = 0.5}, .max_restarts = -1, .backoff = RAYWF_MS};
    struct raywf_call_options how = {.idempotent = idempotent, .retries = 1000};
    struct raywf_actor *actor = raywf_actor_create(
        plugin, "log", &o, RAYWF_ARGS(RAYWF_BYTES(file, strlen(file) + 1)), &err);
    struct call window[WINDOW];
    uint64_t sent = 0;

    if (!actor) {
        fail("no actor", 0);
        return;
    }
    for (uint64_t got = 0; atomic_load(&failures) == 0; got++) {
        bool more = more_to_do(sent);
        for (; more && sent < got + WINDOW && sent < calls_most; sent++) {
            struct job job = {.id = sent, .us = sent % 3 ? 0 : 500};
            window[sent % WINDOW].id = sent;
            if (raywf_actor_call(actor, "note", &how,
                                 RAYWF_ARGS(RAYWF_BYTES(&job, sizeof(job))),
                                 &window[sent % WINDOW].ref, &err) != 0)
                fail("not called", sent);
        }
        if (got == sent)
            break;
        answer(&window[got % WINDOW], idempotent);
    }
    raywf_actor_release(actor);
}

static void compare_with_file(bool idempotent)
{
    unsigned char *times = calloc(calls_most, 1);
    struct note n, last = {0};
    FILE *f = fopen(file, "re");

    while (f && fread(&n, sizeof(n), 1, f) == 1) {
        if (n.id >= calls_most || (times[n.id]++ && !idempotent))
            fail("ran twice", n.id);
        if (n.pid == last.pid && n.id <= last.id && !idempotent)
            fail("ran out of order", n.id);
        last = n;
    }
    if (f)
        fclose(f);
    for (uint64_t i = 0; i < calls_most; i++)
        if (acknowledged[i] && !times[i])
            fail("was answered and never ran", i);
    free(times);
}

int main(int argc, char **argv)
{
    struct raywf_options o = {
        .address = getenv("RAYWF_ADDRESS"), .cpu = 2, .store = 64 << 20};
    long before, after;
    pthread_t thread;
    int session = 0;

    if (argc != 6)
        return 2;
    plugin = argv[1], count = atol(argv[3]), kills = atol(argv[4]), file = argv[5];
    calls_most = 10000000;
    acknowledged = calloc(calls_most, 1);
    if (!o.address)
        o.address = "";
    if (raywf_init(&o, &err) != 0) {
        fail("no runtime", 0);
        return 1;
    }
    if (!getenv("RAYWF_ADDRESS"))
        children_of(getpid(), &session, 1);
    else if (strcmp(argv[2], "tasks") == 0)
        progress = fopen(file, "we");
    before = descriptors_of(session);
    if (session)
        pthread_create(&thread, NULL, killer, NULL);
    if (strcmp(argv[2], "tasks") == 0)
        tasks();
    else
        actors(strcmp(argv[2], "idempotent") == 0);
    if (progress)
        fclose(progress);
    atomic_store(&done, true);
    if (session)
        pthread_join(thread, NULL);
    /* A worker's socket, its rings, its logs: of those that live, not of all there
     * were. */
    after = descriptors_of(session);
    if (after > before + 60)
        fail("descriptors leak in the node", (uint64_t)after);
    raywf_shutdown();
    if (strcmp(argv[2], "tasks") != 0)
        compare_with_file(strcmp(argv[2], "idempotent") == 0);
    printf("%s: %ld answered, %ld %s, %ld workers killed, %ld failures, "
           "descriptors %ld -> %ld\n",
           argv[2], answered, refused,
           strcmp(argv[2], "tasks") == 0 ? "of them in a later attempt" : "refused",
           killed, failures, before, after);
    return failures != 0 || (kills && killed < kills);
}
