/* SPDX-License-Identifier: Apache-2.0
 *
 * history_driver PLUGIN FILE COUNT [spread]: tasks, and calls of an actor, while the
 * cluster is broken around them. FILE has what was asked and what came of it; FILE.ran
 * has what was run. COUNT 0: until there is FILE.stop. history_check.c says whether
 * both fit.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "history.h"
#include "raywf.h"

#define WINDOW 32
#define WAIT (600 * RAYWF_S)

static struct raywf_error err;
static FILE *history;
static char ran[232], stop[232];

struct pending {
    struct raywf_ref ref, echo;
    uint64_t id, size;
    bool sent, echoed, call;
};

static uint64_t size_of(uint64_t id)
{
    return sizeof(struct history_result) + (id % 11 == 0 ? 200000 : id % 100);
}

static bool whole(const struct history_result *r, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)(r + 1);
    for (size_t i = 0; i < size - sizeof(*r); i++)
        if (bytes[i] != (r->nonce & 0xff))
            return false;
    return true;
}

static void say_error(const struct pending *p)
{
    for (char *c = err.text; *c; c++)
        if (*c == '\n')
            *c = ' ';
    fprintf(history, "%s %" PRIu64 " %d %s\n", p->call ? "unanswered" : "error", p->id,
            err.code, err.text);
}

static void submit(struct raywf_task *work, struct raywf_task *echo,
                   struct raywf_actor *actor, struct pending *p)
{
    struct history_job job = {
        .id = p->id, .size = p->size, .us = p->id % 5 ? 200 : 4000};
    struct raywf_arg arg = RAYWF_BYTES(&job, sizeof(job));
    memcpy(job.ran, ran, sizeof(job.ran));
    fprintf(history, "%s %" PRIu64 "\n", p->call ? "call" : "submit", p->id);
    int rc = p->call ? raywf_actor_call(actor, "note", NULL, &arg, 1, &p->ref, &err)
                     : raywf_submit(work, &arg, 1, &p->ref, &err);
    p->sent = rc == 0;
    if (!p->sent) {
        say_error(p);
        return;
    }
    fprintf(history, "accepted %" PRIu64 "\n", p->id);
    if (!p->call && p->id % 3 == 0)
        p->echoed = !raywf_submit(echo, RAYWF_ARGS(RAYWF_REF(p->ref)), &p->echo, &err);
}

static void look(const struct pending *p, struct raywf_ref ref, const char *what)
{
    struct raywf_value v;
    if (raywf_get(ref, WAIT, &v, &err)) {
        say_error(p);
        return;
    }
    const struct history_result *r = v.data;
    if (v.size != p->size || r->id != p->id || !whole(r, v.size))
        fprintf(history, "wrong %" PRIu64 "\n", p->id);
    else
        fprintf(history, "%s %" PRIu64 " %" PRIx64 " %.47s\n", what, p->id, r->nonce,
                r->where);
    raywf_release(&v);
}

static void settle(struct pending *p)
{
    if (!p->sent)
        return;
    look(p, p->ref, p->call ? "answer" : "result");
    if (!p->call)
        look(p, p->ref, "again");
    if (p->echoed)
        look(p, p->echo, "again");
    raywf_drop(p->ref);
    if (p->echoed)
        raywf_drop(p->echo);
}

static void loop(struct raywf_task *work, struct raywf_task *echo,
                 struct raywf_actor *actor, uint64_t count)
{
    static struct pending window[WINDOW];
    uint64_t sent = 0;
    for (uint64_t got = 0;; got++) {
        bool more = count ? sent < count : access(stop, F_OK) != 0;
        for (; more && sent < got + WINDOW && (!count || sent < count); sent++) {
            struct pending *p = &window[sent % WINDOW];
            *p = (struct pending){
                .id = sent, .size = size_of(sent), .call = sent % 4 == 3};
            submit(work, echo, actor, p);
        }
        if (got == sent)
            return;
        settle(&window[got % WINDOW]);
    }
}

int main(int argc, char **argv)
{
    bool spread = argc > 4;
    struct raywf_task_options o = {
        .resources = {.cpu = 0.5, .placement = spread ? RAYWF_SPREAD : RAYWF_PACK},
        .retry = {.max = 1000, .backoff = 20 * RAYWF_MS}};
    struct raywf_actor_options a = {
        .resources = {.cpu = 0.5}, .max_restarts = -1, .backoff = RAYWF_MS};
    if (argc < 4)
        return 2;
    snprintf(ran, sizeof(ran), "%.220s.ran", argv[2]);
    snprintf(stop, sizeof(stop), "%.220s.stop", argv[2]);
    history = fopen(argv[2], "we");
    if (!history || raywf_init(NULL, &err)) {
        fprintf(stderr, "%s\n", history ? err.text : argv[2]);
        return 1;
    }
    setvbuf(history, NULL, _IOLBF, 0);
    struct raywf_task *work = raywf_task(argv[1], "work", &o, &err);
    struct raywf_task *echo = raywf_task(argv[1], "echo", &o, &err);
    struct raywf_actor *actor =
        raywf_actor_create(argv[1], "log", &a, RAYWF_NO_ARGS, &err);
    if (!work || !echo || !actor) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    loop(work, echo, actor, strtoull(argv[3], NULL, 10));
    raywf_actor_release(actor);
    raywf_shutdown();
    fprintf(history, "end\n");
    return 0;
}
