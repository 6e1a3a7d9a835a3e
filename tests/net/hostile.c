/* SPDX-License-Identifier: Apache-2.0
 *
 * hostile ADDRESS:PORT KEYFILE MODE [ARGUMENT]: a peer as none should be, against a
 * head or a node. Prints one line, "ok …" or what was wrong.
 *
 *   garbage ROUNDS   random bytes, of lengths and beginnings that matter
 *   truncated        a whole conversation (HELLO, HELLO, NODE_JOIN, BEAT), cut after
 * every byte corrupt          the same with one byte changed, for every byte connects
 * COUNT   that many connections that say nothing, a few hundred at once slow COUNT that
 * many connections, each one byte a while: all must be ended version TEXT     the
 * handshake of another version: prints what comes back, and then buggy            with
 * the key: what a broken node might send
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/inbox.h"
#include "wire/link.h"

#define PATIENCE_MS 60000
#define AT_ONCE 300

static struct sockaddr_in to;
static uint8_t key[WIRE_KEY_LEN];
static const char *version = PACKAGE_VERSION;

/* --- a conversation by hand --- */

struct talk {
    int fd;
    struct wire__inbox in;
    uint8_t mine[32], theirs[32];
};

static int connect_to(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    fprintf(stderr, "cannot connect: %s\n", strerror(errno));
    exit(1);
}

static void reset(int fd)
{
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(fd);
}

/* Sends; a peer that has ended is no error. */
static void put(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n < 0)
            return;
        done += (size_t)n;
    }
}

/* The next message: 1, the end: 0, nothing within ms: -1. */
static int hear(struct talk *t, struct wire_message *m, int ms)
{
    struct rwf_err err = RWF_ERR_INIT;
    for (;;) {
        int rc = wire__inbox_take(&t->in, m, &err);
        if (rc)
            return rc > 0;
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        if (poll(&p, 1, ms) <= 0)
            return -1;
        if (wire__inbox_read(&t->in, t->fd, &err) <= 0)
            return 0;
    }
}

static void prove(const struct talk *t, uint8_t ret[32])
{
    uint8_t text[16 + 64] = "raywf connect";
    unsigned len;
    memcpy(text + 16, t->mine, 32);
    memcpy(text + 48, t->theirs, 32);
    HMAC(EVP_sha256(), key, sizeof(key), text, sizeof(text), ret, &len);
}

static void add_hello(struct rwf_str *out, const struct talk *t, bool nonce)
{
    Wire__Hello h = WIRE__HELLO__INIT;
    uint8_t proof[32];
    h.version = (char *)version;
    h.role = (char *)"connect";
    if (nonce) {
        h.nonce = (ProtobufCBinaryData){32, (uint8_t *)t->mine};
    } else {
        prove(t, proof);
        h.proof = (ProtobufCBinaryData){32, proof};
    }
    wire_frame_add(out, WIRE_HELLO, &h.base, 0);
}

static void add_join(struct rwf_str *out, const char *name)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    Wire__Beat b = WIRE__BEAT__INIT;
    j.name = (char *)name;
    j.cpu = 1;
    j.memory = 1 << 20;
    j.session = 4711;
    wire_frame_add(out, WIRE_NODE_JOIN, &j.base, 0);
    wire_frame_add(out, WIRE_BEAT, &b.base, 0);
}

static struct talk talk_begin(void)
{
    struct talk t = {.fd = connect_to()};
    for (size_t i = 0; i < 32; i++)
        t.mine[i] = (uint8_t)random();
    return t;
}

static void talk_end(struct talk *t, bool rst)
{
    if (rst)
        reset(t->fd);
    else
        close(t->fd);
    wire__inbox_free(&t->in);
}

/* Sends out up to byte `to_` of the whole conversation; *at counts on. */
static bool put_until(struct talk *t, struct rwf_str *out, size_t *at, size_t last,
                      int flip)
{
    bool whole = *at + out->len <= last;
    if (flip >= 0 && last >= *at && last < *at + out->len) {
        out->data[last - *at] ^= (char)(1 << flip);
        whole = true;
    }
    put(t->fd, out->data, whole ? out->len : last - *at);
    *at += out->len;
    rwf_str_free(out);
    return whole;
}

/* The whole conversation, up to byte `last` (or with that byte changed in bit flip).
 * Returns how long it is. */
static size_t converse(struct talk *t, size_t last, int flip)
{
    struct rwf_str out = {0};
    struct wire_message m;
    size_t at = 0;
    add_hello(&out, t, true);
    if (!put_until(t, &out, &at, last, flip))
        return at;
    int rc = hear(t, &m, flip >= 0 ? 200 : PATIENCE_MS);
    if (rc == 1) {
        const Wire__Hello *h = (const Wire__Hello *)m.body;
        if (h->nonce.len == 32)
            memcpy(t->theirs, h->nonce.data, 32);
        wire_message_clear(&m);
    }
    add_hello(&out, t, false);
    if (!put_until(t, &out, &at, last, flip))
        return at;
    add_join(&out, "hostile");
    put_until(t, &out, &at, last, flip);
    return at;
}

static int truncated(int flip)
{
    struct talk t = talk_begin();
    size_t len = converse(&t, SIZE_MAX / 2, -1);
    struct wire_message m;
    int rc = hear(&t, &m, PATIENCE_MS);
    talk_end(&t, false);
    if (rc != 1) {
        printf("the whole conversation was not understood\n");
        return 1;
    }
    wire_message_clear(&m);
    for (size_t i = 0; i < len; i++) {
        t = talk_begin();
        converse(&t, i, flip < 0 ? -1 : (int)(i % 8));
        talk_end(&t, i % 2);
    }
    printf("ok %zu bytes\n", len);
    return 0;
}

/* --- no conversation at all --- */

static int garbage(int rounds)
{
    static uint8_t data[70000];
    for (int i = 0; i < rounds; i++) {
        size_t len = (size_t)random() % (i % 10 ? 300 : sizeof(data));
        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)random();
        uint32_t size = (uint32_t)random() % 2000;
        uint16_t type = (uint16_t)(random() % (WIRE_TYPE_COUNT + 3));
        if (i % 3 && len > 8) { /* a head that may be one */
            memcpy(data, &size, 4);
            memcpy(data + 4, &type, 2);
            memset(data + 6, 0, 2);
        }
        int fd = connect_to();
        put(fd, data, len);
        if (i % 2)
            reset(fd);
        else
            close(fd);
    }
    printf("ok %d connections\n", rounds);
    return 0;
}

static int connects(int count)
{
    int fds[AT_ONCE];
    for (int done = 0; done < count;) {
        int n = count - done < AT_ONCE ? count - done : AT_ONCE;
        for (int i = 0; i < n; i++)
            fds[i] = connect_to();
        for (int i = 0; i < n; i++) {
            if (i % 4) /* or their ports would all wait */
                reset(fds[i]);
            else
                close(fds[i]);
        }
        done += n;
    }
    printf("ok %d connections\n", count);
    return 0;
}

static bool ended(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* A byte of a good HELLO now and then: it is ended after a while (five seconds). */
static int slow(int count)
{
    int *fds = rwf_xcalloc((size_t)count, sizeof(*fds));
    struct rwf_str out = {0};
    struct talk t = {0};
    int left = count;
    add_hello(&out, &t, true);
    for (int i = 0; i < count; i++)
        fds[i] = connect_to();
    int64_t end = rwf_clock_mono() + 200 * RWF_NS_PER_S;
    for (size_t at = 0; left && rwf_clock_mono() < end; at++) {
        for (int i = 0; i < count; i++) {
            if (fds[i] >= 0 && at < out.len - 1)
                put(fds[i], out.data + at, 1);
            if (fds[i] >= 0 && ended(fds[i])) {
                close(fds[i]);
                fds[i] = -1;
                left--;
            }
        }
        usleep(200000);
    }
    rwf_str_free(&out);
    free(fds);
    printf(left ? "%d are still open\n" : "ok all of %d were ended\n",
           left ? left : count);
    return left != 0;
}

/* --- with the key --- */

static int other_version(const char *text)
{
    struct talk t = talk_begin();
    struct wire_message m;
    version = text;
    converse(&t, SIZE_MAX / 2, -1);
    int rc = hear(&t, &m, PATIENCE_MS);
    printf("ok %s\n", rc == 1   ? wire_type_name(m.type)
                      : rc == 0 ? "it was shown the door"
                                : "nothing came");
    if (rc == 1)
        wire_message_clear(&m);
    talk_end(&t, false);
    return 0;
}

static void repeat(char *text, size_t len)
{
    memset(text, 'x', len);
    text[len] = '\0';
}

static void add_bad_join(struct rwf_str *out, int how)
{
    static char text[2000001];
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    Wire__Label label = WIRE__LABEL__INIT,
                **labels = rwf_xcalloc(100000, sizeof(void *));
    Wire__Amount amount = WIRE__AMOUNT__INIT, *amounts[1] = {&amount};
    for (int i = 0; i < 100000; i++)
        labels[i] = &label;
    label.key = (char *)"k";
    repeat(text, sizeof(text) - 1);
    j.name = how == 0 ? text : (char *)"buggy";
    j.cpu = how == 1 ? -1 : how == 2 ? 1e300 : 1;
    j.peer = how == 3 ? text : (char *)"";
    j.labels = labels;
    j.n_labels = how == 4 ? 100000 : 0;
    amount.name = how == 5 ? text : (char *)"";
    j.custom = amounts;
    j.n_custom = how == 5 || how == 6;
    j.interface = how == 7 ? text : (char *)"";
    wire_frame_add(out, WIRE_NODE_JOIN, &j.base, 0);
    free(labels);
}

#define BAD_JOINS 8
#define BAD_WANTS 20000

/* Clients and lanes without end, of a node that is in. */
static void add_bad_wants(struct rwf_str *out)
{
    Wire__Want w = WIRE__WANT__INIT;
    Wire__Shape shape = WIRE__SHAPE__INIT;
    Wire__HeadWant h = WIRE__HEAD_WANT__INIT;
    Wire__Resources r = WIRE__RESOURCES__INIT;
    h.want = &w;
    w.shape = &shape;
    shape.resources = &r;
    r.cpu = 1;
    w.workers = 4000000000u;
    for (uint64_t i = 1; i <= BAD_WANTS; i++) {
        h.client = i % 2 ? i : 1;
        w.lane = i;
        wire_frame_add(out, WIRE_HEAD_WANT, &h.base, 0);
    }
}

static int buggy(void)
{
    struct wire_message m;
    struct rwf_str out = {0};
    int refused = 0;
    for (int how = 0; how <= BAD_JOINS; how++) {
        struct talk t = talk_begin();
        struct rwf_str bad = {0};
        int rc;
        add_hello(&out, &t, true);
        put(t.fd, out.data, out.len);
        rwf_str_free(&out);
        if (hear(&t, &m, PATIENCE_MS) != 1)
            return puts("no handshake"), 1;
        memcpy(t.theirs, ((const Wire__Hello *)m.body)->nonce.data, 32);
        wire_message_clear(&m);
        add_hello(&out, &t, false);
        if (how == BAD_JOINS) {
            add_join(&out, "buggy");
            add_bad_wants(&out);
        } else {
            add_bad_join(&bad, how);
        }
        put(t.fd, out.data, out.len);
        put(t.fd, bad.data, bad.len);
        rwf_str_free(&out);
        rwf_str_free(&bad);
        while ((rc = hear(&t, &m, 1000)) == 1) {
            refused += m.type == WIRE_ERROR || m.type == WIRE_HEAD_REFUSE;
            wire_message_clear(&m);
        }
        talk_end(&t, how % 2);
    }
    printf("ok %d refused\n", refused);
    return 0;
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    char host[64];
    int port;
    to.sin_family = AF_INET;
    if (argc < 4 || sscanf(argv[1], "%63[^:]:%d", host, &port) != 2 ||
        inet_pton(AF_INET, host, &to.sin_addr) != 1 ||
        wire_key_load(argv[2], false, key, &err)) {
        fprintf(stderr, "usage: hostile ADDRESS:PORT KEYFILE MODE [ARGUMENT] %s\n",
                err.text);
        return 2;
    }
    to.sin_port = htons((uint16_t)port);
    srandom(1);
    const char *mode = argv[3], *argument = argc > 4 ? argv[4] : "1000";
    if (strcmp(mode, "garbage") == 0)
        return garbage(atoi(argument));
    if (strcmp(mode, "truncated") == 0 || strcmp(mode, "corrupt") == 0)
        return truncated(mode[0] == 'c' ? 0 : -1);
    if (strcmp(mode, "connects") == 0)
        return connects(atoi(argument));
    if (strcmp(mode, "slow") == 0)
        return slow(atoi(argument));
    if (strcmp(mode, "version") == 0)
        return other_version(argument);
    return strcmp(mode, "buggy") == 0 ? buggy() : 2;
}
