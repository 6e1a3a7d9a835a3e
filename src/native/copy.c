/* SPDX-License-Identifier: Apache-2.0
 *
 * The pieces are handed out one by one, so that a helper that gets no core (the machine
 * is busy) holds up nothing but the piece it has; and if no thread can be had, the
 * caller copies it all.
 */
#include "config.h"
#include "native/copy.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define LARGE ((size_t)16 << 20)
#define PAGE ((size_t)4096)
#define HELPERS_MAX 3 /* four cores fill the memory's bandwidth on most machines */
#define STACK ((size_t)256 << 10)

struct copy {
    char *to;
    const char *from;
    size_t size, piece;
    atomic_size_t next; /* offset of the next piece */
};

static void *work(void *arg)
{
    struct copy *c = arg;
    size_t at;
    while ((at = atomic_fetch_add(&c->next, c->piece)) < c->size) {
        size_t len = c->size - at < c->piece ? c->size - at : c->piece;
        memcpy(c->to + at, c->from + at, len);
    }
    return NULL;
}

static int helpers_wanted(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 0;
    int n = CPU_COUNT(&set) - 1;
    return n > HELPERS_MAX ? HELPERS_MAX : n;
}

/* Threads that take no signal of the program. How many could be had. */
static int start_helpers(struct copy *c, pthread_t *helpers)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int n = 0, want = helpers_wanted();
    c->piece = (c->size / (2 * ((size_t)want + 1)) + PAGE) & ~(PAGE - 1);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n < want && pthread_create(&helpers[n], &attr, work, c) == 0)
        n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return n;
}

void native__copy(void *to, const void *from, size_t size)
{
    struct copy c = {.to = to, .from = from, .size = size};
    pthread_t helpers[HELPERS_MAX];
    int n = size < LARGE ? 0 : start_helpers(&c, helpers);
    if (n == 0) {
        memcpy(to, from, size);
        return;
    }
    work(&c);
    while (n > 0)
        pthread_join(helpers[--n], NULL);
}
