/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread that carries TLS for those who have no loop, or one with other things to do. It
 * lives as long as the process. What was written before a process ends still goes out: who
 * calls exit() waits for that, a little.
 */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/tls_impl.h"

#define LINGER (3 * RWF_NS_PER_S) /* at the end of the process */

LIST_HEAD(links, wire__tls_link);

static struct {
    pthread_mutex_t lock;
    pid_t pid; /* whose thread it is; 0: there is none */
    pthread_t thread;
    struct links given;
    bool ending;
    uv_async_t async;
    /* The thread's. */
    uv_loop_t loop;
    uv_timer_t look; /* whether all is sent, once it ends */
    int64_t until;
    struct links all;
} carrier = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_look(uv_timer_t *timer)
{
    const struct wire__tls_link *l;
    bool sent = true;
    (void)timer;
    LIST_FOREACH(l, &carrier.all, all)
    sent = sent && wire__tls_is_sent(l);
    if (sent || rwf_clock_mono() >= carrier.until)
        uv_stop(&carrier.loop);
}

static void on_async(uv_async_t *async)
{
    struct wire__tls_link *l;
    (void)async;
    pthread_mutex_lock(&carrier.lock);
    while ((l = LIST_FIRST(&carrier.given))) {
        LIST_REMOVE(l, all);
        LIST_INSERT_HEAD(&carrier.all, l, all);
        l->listed = true;
        wire__tls_resume(l, &carrier.loop);
    }
    bool ending = carrier.ending;
    pthread_mutex_unlock(&carrier.lock);
    carrier.until = rwf_clock_mono() + LINGER;
    if (ending)
        uv_timer_start(&carrier.look, on_look, 0, 2);
}

static void *carry(void *arg)
{
    (void)arg;
    uv_run(&carrier.loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Also, OpenSSL tidies up in the same way, and nobody may use it then. */
void wire_tls_settle(void)
{
    pthread_mutex_lock(&carrier.lock);
    bool mine = carrier.pid == getpid() && !carrier.ending;
    carrier.ending = carrier.ending || mine;
    if (mine)
        uv_async_send(&carrier.async);
    pthread_mutex_unlock(&carrier.lock);
    if (mine)
        pthread_join(carrier.thread, NULL);
}

/* With the lock. A child of fork() has none of its parent's threads. */
static void start(void)
{
    sigset_t all, old;
    if (carrier.pid == 0)
        atexit(wire_tls_settle);
    carrier.pid = getpid();
    LIST_INIT(&carrier.given);
    LIST_INIT(&carrier.all);
    uv_loop_init(&carrier.loop);
    uv_async_init(&carrier.loop, &carrier.async, on_async);
    uv_timer_init(&carrier.loop, &carrier.look);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&carrier.thread, NULL, carry, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    rwf_assert(rc == 0);
}

void wire__tls_give(struct wire__tls_link *l)
{
    pthread_mutex_lock(&carrier.lock);
    if (carrier.pid != getpid())
        start();
    LIST_INSERT_HEAD(&carrier.given, l, all);
    uv_async_send(&carrier.async);
    pthread_mutex_unlock(&carrier.lock);
}

void wire__tls_gone(struct wire__tls_link *l)
{
    if (l->listed)
        LIST_REMOVE(l, all);
}
