/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions that only a node can answer ("doctor"): they go on to it, and its answer
 * goes back to who asked. Whoever goes first, the other is told, or forgotten.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "head/inside.h"

struct head__relay {
    uint64_t id;
    struct head__peer *asker;
    uint64_t request; /* the asker's number */
    struct head__node *node;
    LIST_ENTRY(head__relay) all;
};

static void refuse(struct head__peer *p, uint64_t request, const char *text)
{
    Wire__Error e = WIRE__ERROR__INIT;
    e.request = request;
    e.code = RAYWF_E_ARGUMENT;
    e.text = (char *)text;
    wire_link_send(p->link, WIRE_ERROR, &e.base, NULL, 0);
}

/* about: the node's name, and lines that are for it. */
bool head__relay_list(struct head__peer *p, const Wire__List *m)
{
    struct head *h = p->head;
    if (strcmp(m->what, "doctor") != 0)
        return false;
    size_t len = strcspn(m->about, "\n");
    char *name = rwf_xstrndup(m->about, len);
    struct head__node *n = head__node_find(h, name);
    if (!n || !n->peer) {
        char *text = rwf_xasprintf("node '%s' is not there", name);
        refuse(p, m->request, text);
        free(text);
    } else {
        struct head__relay *r = rwf_xcalloc(1, sizeof(*r));
        *r = (struct head__relay){
            .id = head__new_id(h), .asker = p, .request = m->request, .node = n};
        LIST_INSERT_HEAD(&h->relays, r, all);
        Wire__List l = WIRE__LIST__INIT;
        l.request = r->id;
        l.what = m->what;
        l.about = m->about + len + (m->about[len] == '\n');
        HEAD__SEND(n, WIRE_LIST, &l);
    }
    free(name);
    return true;
}

static void forget(struct head__relay *r)
{
    LIST_REMOVE(r, all);
    free(r);
}

void head__relay_answer(struct head__node *n, const struct wire_message *m)
{
    uint64_t *request = m->type == WIRE_LISTED ? &((Wire__Listed *)m->body)->request
                                               : &((Wire__Error *)m->body)->request;
    struct head__relay *r;
    LIST_FOREACH(r, &n->head->relays, all)
    if (r->id == *request && r->node == n)
        break;
    if (!r)
        return;
    *request = r->request;
    wire_link_send(r->asker->link, m->type, m->body, NULL, 0);
    forget(r);
}

bool head__relay_waits(const struct head__peer *p)
{
    const struct head__relay *r;
    LIST_FOREACH(r, &p->head->relays, all)
    if (r->asker == p)
        return true;
    return false;
}

void head__relay_node_gone(struct head__node *n)
{
    struct head__relay *r, *next;
    for (r = LIST_FIRST(&n->head->relays); r; r = next) {
        next = LIST_NEXT(r, all);
        if (r->node != n)
            continue;
        refuse(r->asker, r->request, "the node is gone");
        forget(r);
    }
}

void head__relay_peer_gone(struct head__peer *p)
{
    struct head__relay *r, *next;
    for (r = LIST_FIRST(&p->head->relays); r; r = next) {
        next = LIST_NEXT(r, all);
        if (r->asker == p)
            forget(r);
    }
}
