/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection of a rank to its gang (gang/frames.h). When it ends, nobody wants the
 * rank any more.
 */
#include "config.h"
#include "rank/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "wire/tls.h"

#define JOIN_WITHIN (30 * RWF_NS_PER_S)
#define RETRY_MS 100
#define SEND_SECONDS 600 /* that the gang may read nothing */

bool rank__is_far(void)
{
    return getenv("RAYWF_GANG") != NULL;
}

/* --- connecting --- */

static int connect_once(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found = NULL;
    int fd = -1, saved = EADDRNOTAVAIL;

    if (getaddrinfo(host, port, &hints, &found) == 0) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
            saved = errno;
            close(fd);
            fd = -1;
        }
        freeaddrinfo(found);
    }
    errno = saved;
    return fd;
}

/* What this machine's node has of TLS, we have, too. */
static int secure(int fd, struct rwf_err *err)
{
    int wanted = wire_tls_wanted(err);
    int clear = wanted > 0 ? wire_tls_carry(fd, false, "the gang", err) : fd;

    if (wanted < 0 || clear < 0) {
        close(fd);
        return -1;
    }
    fcntl(clear, F_SETFL, fcntl(clear, F_GETFL) & ~O_NONBLOCK);
    return clear;
}

static int dial(const char *host, const char *port, struct rwf_err *err)
{
    struct timeval most = {.tv_sec = SEND_SECONDS};
    int64_t until = rwf_clock_mono() + JOIN_WITHIN;
    int fd, on = 1;

    while ((fd = connect_once(host, port)) < 0 && rwf_clock_mono() < until)
        poll(NULL, 0, RETRY_MS);
    if (fd < 0)
        return rwf_fail(err, RWF_E_ENV,
                        "the gang cannot be reached at %s port %s: %s (does a firewall "
                        "stand between the nodes?)",
                        host, port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fd = secure(fd, err);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
    return fd;
}

/* --- frames --- */

void rank__far_leave(void)
{
    gang_signal_descendants(SIGKILL, 0, false);
    _exit(1);
}

void rank__far_send(const struct member *m, enum gang_frame type, const void *data,
                    size_t len)
{
    struct rwf_str out = {NULL, 0, 0};

    gang_frame_add(&out, type, data, len);
    if (rwf_fs_write_all(m->gang_fd, out.data, out.len, NULL) != 0)
        rank__far_leave();
    rwf_str_free(&out);
}

/* More of what comes: 1, 0 nothing now, -1 the end. */
static int read_more(struct member *m, int timeout)
{
    char bytes[65536];
    struct pollfd fd = {m->gang_fd, POLLIN, 0};

    if (poll(&fd, 1, timeout) <= 0)
        return 0;
    ssize_t n = recv(m->gang_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return -1;
    rwf_str_addn(&m->in, bytes, (size_t)n);
    return 1;
}

static void forget(struct member *m, size_t used)
{
    m->in.len -= used;
    memmove(m->in.data, m->in.data + used, m->in.len);
}

/* Waits for one of that type: its body, the caller's to free. */
static char *wait_for(struct member *m, enum gang_frame wanted, struct rwf_err *err)
{
    int64_t until = rwf_clock_mono() + JOIN_WITHIN;
    enum gang_frame type;
    const char *body;
    size_t len, used;
    int got;

    while ((got = gang_frame_take(m->in.data, m->in.len, GANG_FRAME_MAX, &type, &body,
                                  &len, &used)) == 0) {
        if (rwf_clock_mono() > until || read_more(m, 1000) < 0)
            break;
    }
    if (got <= 0 || type != wanted) {
        rwf_fail(err, RWF_E_ENV,
                 "the gang does not answer as one: another program "
                 "listens there, or its key is another one");
        return NULL;
    }
    char *out = rwf_xstrndup(body, len);
    forget(m, used);
    return out;
}

/* --- joining --- */

/* Says hello, and takes the welcome of who knows the key, too. */
static int greet(struct member *m, const char *key, const char *challenge,
                 struct rwf_err *err)
{
    char nonce[RWF_DIGEST_LEN], proof[RWF_DIGEST_LEN], who[32];

    if (gang_nonce(nonce, err) != 0)
        return -1;
    snprintf(who, sizeof(who), "rank %d", m->rank);
    gang_proof(key, who, challenge, nonce, proof);
    char *hello = rwf_xasprintf("{\"rank\":%d,\"nonce\":\"%s\",\"proof\":\"%s\"}",
                                m->rank, nonce, proof);
    rank__far_send(m, GANG_HELLO, hello, strlen(hello));
    free(hello);
    char *text = wait_for(m, GANG_WELCOME, err);
    if (text == NULL)
        return -1;
    m->gang = json_loads(text, 0, NULL);
    free(text);
    gang_proof(key, "gang", challenge, nonce, proof);
    if (!gang_proof_is(proof, json_string_value(json_object_get(m->gang, "proof"))))
        return rwf_fail(err, RWF_E_ENV, "what listens for the gang has another key");
    return 0;
}

static int number(const struct member *m, const char *key)
{
    return (int)json_integer_value(json_object_get(m->gang, key));
}

int rank__far_join(struct member *m, struct rwf_err *err)
{
    char *host = rwf_xstrdup(getenv("RAYWF_GANG")), *port = strchr(host, ' ');
    const char *key = getenv("RAYWF_GANG_KEY");
    char *challenge = NULL;
    int rc = -1;

    if (port == NULL || key == NULL)
        rwf_fail(err, RWF_E_BUG, "RAYWF_GANG says '%s', which is no gang", host);
    else {
        *port++ = '\0';
        m->gang_fd = dial(host, port, err);
        challenge = m->gang_fd < 0 ? NULL : wait_for(m, GANG_CHALLENGE, err);
        rc = challenge == NULL ? -1 : greet(m, key, challenge, err);
    }
    if (rc == 0) {
        m->size = number(m, "workers");
        m->local_rank = number(m, "local_rank");
        m->local_size = number(m, "local_size");
        m->node_rank = number(m, "group");
        m->nodes = number(m, "groups");
        m->limit = json_integer_value(json_object_get(m->gang, "beat"));
    }
    unsetenv("RAYWF_GANG");
    unsetenv("RAYWF_GANG_KEY");
    free(challenge);
    free(host);
    return rc;
}

static void apply(const struct member *m, const char *key, int overwrite)
{
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(m->gang, key), name, value)
        if (json_is_string(value))
            setenv(name, json_string_value(value), overwrite);
}

int rank__far_settle(const struct member *m, struct rwf_err *err)
{
    const char *cwd = json_string_value(json_object_get(m->gang, "cwd"));

    apply(m, "env", 1);
    apply(m, "defaults", 0);
    /* For the trainer of ours, which brings itself the files that are not here. */
    json_t *pairs = json_object_get(m->gang, "paths");
    char *text = json_dumps(pairs == NULL ? json_array() : pairs, JSON_COMPACT);
    if (text != NULL)
        setenv("RAYWF_GANG_PATHS", text, 1);
    free(text);
    if (cwd != NULL && (rwf_fs_mkdirs(cwd, err) != 0 || chdir(cwd) != 0))
        return rwf_fail(err, RWF_E_ENV, "the working folder %s cannot be used: %s", cwd,
                        strerror(errno));
    return 0;
}

/* --- while it runs --- */

static void obey(const char *body, size_t len)
{
    json_t *asked = json_loadb(body, len, 0, NULL);
    int signal = (int)json_integer_value(json_object_get(asked, "signal"));

    if (signal > 0)
        gang_signal_descendants(signal, 0, false);
    json_decref(asked);
}

bool rank__far_read(struct member *m)
{
    enum gang_frame type;
    const char *body;
    size_t len, used;
    int more, got;

    while ((more = read_more(m, 0)) > 0)
        continue;
    while ((got = gang_frame_take(m->in.data, m->in.len, GANG_FRAME_MAX, &type, &body,
                                  &len, &used)) > 0) {
        if (type == GANG_KILL)
            obey(body, len);
        forget(m, used);
    }
    return more == 0 && got == 0;
}
