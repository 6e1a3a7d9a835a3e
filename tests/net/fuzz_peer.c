/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_peer ADDRESS:PORT KEYFILE head|node SEED COUNT: a peer that has the key and has
 * lost its mind: messages of every type, each field of each set to something that it
 * may be as far as the format goes. Against a head it is a node, against a node another
 * node. What would do as it says (start a program, end or drain nodes) is left out.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/link.h"

#define DEPTH 3

struct fuzz {
    uv_loop_t loop;
    struct wire_link *link;
    bool to_head;
    long left, links;
    const char *host;
    int port;
    uint8_t key[WIRE_KEY_LEN];
    uint64_t known[16]; /* numbers that the other side has said */
};

static const enum wire_type left_out[] = {WIRE_HELLO,     WIRE_STEP_START,
                                          WIRE_JOB,       WIRE_NODE_DRAIN,
                                          WIRE_NODE_JOIN, WIRE_PEER_HELLO};

/* --- values --- */

static uint64_t number(const struct fuzz *f)
{
    static const uint64_t odd[] = {0,         1,          2,          255,  UINT32_MAX,
                                   INT64_MAX, UINT64_MAX, 1ull << 62, 4096, 1ull << 40};
    return random() % 3 ? f->known[random() % 16] : odd[random() % RWF_COUNT(odd)];
}

static double real(void)
{
    static const double odd[] = {0, 1, -1, 0.5, 1e300, -1e-300, NAN, INFINITY, 64};
    return odd[random() % RWF_COUNT(odd)];
}

static char *text(void)
{
    static const char *const odd[] = {"",    "x",        "fuzz", "h2",  "../../x",
                                      "/",   "\xff\xfe", "{}",   "[1]", "nodes",
                                      "why", "alive",    "dead", "%s%n"};
    if (random() % 20)
        return rwf_xstrdup(odd[random() % (long)RWF_COUNT(odd)]);
    size_t len = (size_t)random() % 5000;
    char *t = rwf_xmalloc(len + 1);
    memset(t, 'y', len);
    t[len] = '\0';
    return t;
}

static void *message(const struct fuzz *f, const ProtobufCMessageDescriptor *d,
                     int depth);

static void set_one(const struct fuzz *f, const ProtobufCFieldDescriptor *field,
                    void *at, int depth)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = real();
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = text();
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        char *t = text();
        *(ProtobufCBinaryData *)at = (ProtobufCBinaryData){strlen(t), (uint8_t *)t};
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        *(void **)at = message(f, field->descriptor, depth + 1);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = random() % 2;
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)at = number(f);
        break;
    default:
        *(uint32_t *)at = (uint32_t)number(f);
    }
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    default:
        return 8;
    }
}

static void set_field(const struct fuzz *f, char *m,
                      const ProtobufCFieldDescriptor *field, int depth)
{
    bool deep = field->type == PROTOBUF_C_TYPE_MESSAGE && depth >= DEPTH;
    if (deep || random() % 5 == 0)
        return; /* as it is when it is not there */
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        set_one(f, field, m + field->offset, depth);
        return;
    }
    size_t count = (size_t)random() % 4;
    char *rows = rwf_xcalloc(count + 1, size_of(field));
    for (size_t i = 0; i < count; i++)
        set_one(f, field, rows + i * size_of(field), depth);
    *(size_t *)(m + field->quantifier_offset) = count;
    *(void **)(m + field->offset) = rows;
}

static void *message(const struct fuzz *f, const ProtobufCMessageDescriptor *d,
                     int depth)
{
    char *m = rwf_xcalloc(1, d->sizeof_message);
    protobuf_c_message_init(d, m);
    for (unsigned i = 0; i < d->n_fields; i++)
        set_field(f, m, &d->fields[i], depth);
    return m;
}

/* --- the links --- */

static bool is_left_out(enum wire_type type)
{
    for (size_t i = 0; i < RWF_COUNT(left_out); i++)
        if (left_out[i] == type)
            return true;
    return false;
}

static void send_one(struct fuzz *f)
{
    enum wire_type type;
    do
        type = (enum wire_type)(1 + random() % (WIRE_TYPE_COUNT - 1));
    while (is_left_out(type));
    ProtobufCMessage *m = message(f, wire_descriptor(type), 0);
    wire_link_send(f->link, type, m, NULL, 0);
    protobuf_c_message_free_unpacked(m, NULL);
    f->left--;
}

static void greet(struct fuzz *f)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    Wire__PeerHello h = WIRE__PEER_HELLO__INIT;
    j.name = h.name = (char *)"fuzz";
    j.session = h.session = 77;
    j.cpu = 2;
    j.memory = 1 << 30;
    if (f->to_head)
        wire_link_send(f->link, WIRE_NODE_JOIN, &j.base, NULL, 0);
    else
        wire_link_send(f->link, WIRE_PEER_HELLO, &h.base, NULL, 0);
}

/* The first number in each message is worth knowing. */
static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct fuzz *f = ctx;
    (void)link;
    for (unsigned i = 0; i < m->body->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &m->body->descriptor->fields[i];
        if (field->type == PROTOBUF_C_TYPE_UINT64 &&
            field->label != PROTOBUF_C_LABEL_REPEATED)
            f->known[random() % 16] =
                *(const uint64_t *)((const char *)m->body + field->offset);
    }
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct fuzz *f = ctx;
    (void)link;
    (void)err;
    f->link = NULL;
}

static int open_link(struct fuzz *f)
{
    struct rwf_err err = RWF_ERR_INIT;
    f->link = wire_link_connect(&f->loop, f->host, f->port, f->key, &err);
    if (!f->link) {
        printf("%s\n", err.text);
        return -1;
    }
    f->links++;
    wire_link_handle(f->link, &(struct wire_handler){f, on_message, on_closed});
    greet(f);
    return 0;
}

static void woken(uv_timer_t *t)
{
    (void)t;
}

static int run(struct fuzz *f)
{
    uv_timer_t timer;
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, woken, 2, 2);
    for (int i = 0; i < 16; i++)
        f->known[i] = (uint64_t)random() % 100;
    while (f->left > 0) {
        if (!f->link && open_link(f))
            return 1;
        for (int i = 0; i < 8 && f->left > 0 && f->link; i++)
            send_one(f);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    if (f->link)
        wire_link_close(f->link);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    uv_loop_close(&f->loop);
    return 0;
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    static struct fuzz f;
    char host[64];
    if (argc != 6 || sscanf(argv[1], "%63[^:]:%d", host, &f.port) != 2 ||
        wire_key_load(argv[2], false, f.key, &err)) {
        fprintf(stderr,
                "usage: fuzz_peer ADDRESS:PORT KEYFILE head|node SEED COUNT %s\n",
                err.text);
        return 2;
    }
    f.host = host;
    f.to_head = strcmp(argv[3], "head") == 0;
    srandom((unsigned)atoi(argv[4]));
    f.left = atol(argv[5]);
    long count = f.left;
    if (run(&f))
        return 1;
    printf("ok %ld messages over %ld links\n", count, f.links);
    return 0;
}
