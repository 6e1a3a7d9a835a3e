/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "gang/places.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"

#define LONGEST 30 /* prefix */

static const char *text_at(const json_t *place, const char *key)
{
    return json_string_value(json_object_get(place, key));
}

/* The cards of all its ranks, each once: a rank finds its own by LOCAL_RANK, as it does
 * where all ranks are on one machine. */
static char *gpus_of(const json_t *places, const struct gang_node *node)
{
    struct rwf_str out = {NULL, 0, 0};
    json_t *seen = json_object(), *gpu;
    size_t i;
    bool known = false;

    for (int rank = node->first; rank < node->first + node->count; rank++) {
        const json_t *gpus =
            json_object_get(json_array_get(places, (size_t)rank), "gpus");
        known |= json_is_array(gpus);
        json_array_foreach((json_t *)(uintptr_t)gpus, i, gpu) {
            char id[24];
            snprintf(id, sizeof(id), "%lld", (long long)json_integer_value(gpu));
            if (json_object_get(seen, id) == NULL)
                rwf_str_addf(&out, "%s%s", out.len > 0 ? "," : "", id);
            json_object_set_new(seen, id, json_true());
        }
    }
    json_decref(seen);
    if (known && out.data == NULL)
        rwf_str_add(&out, "");
    return known ? rwf_str_take(&out) : NULL;
}

static int add_rank(struct gang_places *p, const json_t *place, size_t *cap,
                    struct rwf_err *err)
{
    const char *name = text_at(place, "node"), *host = text_at(place, "host");
    struct gang_node *last = p->count > 0 ? &p->nodes[p->count - 1] : NULL;

    if (name == NULL || host == NULL)
        return rwf_fail(err, RWF_E_BUG, "the place of rank %d has no node or no host",
                        p->ranks);
    if (last == NULL || strcmp(last->name, name) != 0) {
        for (int i = 0; i < p->count; i++)
            if (strcmp(p->nodes[i].name, name) == 0)
                return rwf_fail(err, RWF_E_BUG,
                                "the ranks on node %s are not neighbours", name);
        size_t count = (size_t)p->count++;
        last = RWF_PUSH(p->nodes, count, *cap);
        *last = (struct gang_node){.name = name,
                                   .host = host,
                                   .interface = text_at(place, "interface"),
                                   .env = json_object_get(place, "env"),
                                   .paths = json_object_get(place, "paths"),
                                   .first = p->ranks};
    }
    last->count++;
    p->ranks++;
    return 0;
}

int gang_places_read(struct gang_places *p, const json_t *places, int ranks,
                     struct rwf_err *err)
{
    size_t cap = 0, i;
    json_t *place;

    *p = (struct gang_places){.ranks = places == NULL ? ranks : 0};
    json_array_foreach((json_t *)(uintptr_t)places, i, place)
        if (add_rank(p, place, &cap, err) != 0) {
            gang_places_free(p);
            return -1;
        }
    for (int n = 0; n < p->count; n++)
        p->nodes[n].gpus = gpus_of(places, &p->nodes[n]);
    return 0;
}

void gang_places_free(struct gang_places *p)
{
    for (int i = 0; i < p->count; i++)
        free(p->nodes[i].gpus);
    free(p->nodes);
    *p = (struct gang_places){NULL, 0, 0};
}

const struct gang_node *gang_places_node(const struct gang_places *p, int rank)
{
    for (int i = 0; p != NULL && i < p->count; i++)
        if (rank < p->nodes[i].first + p->nodes[i].count)
            return &p->nodes[i];
    return NULL;
}

/* --- paths --- */

static json_t *map_text(const struct gang_node *node, const char *text)
{
    const char *best = NULL, *there = NULL;
    size_t longest = 0, i;
    json_t *pair;

    json_array_foreach((json_t *)(uintptr_t)node->paths, i, pair) {
        const char *here = json_string_value(json_array_get(pair, 0));
        size_t len = here == NULL ? 0 : strlen(here);
        if (len <= longest || strncmp(text, here, len) != 0 ||
            (text[len] != '/' && text[len] != '\0'))
            continue;
        best = here;
        longest = len;
        there = json_string_value(json_array_get(pair, 1));
    }
    if (best == NULL || there == NULL)
        return json_string(text);
    char *mapped = rwf_xasprintf("%s%s", there, text + longest);
    json_t *out = json_string(mapped);
    free(mapped);
    return out;
}

json_t *gang_node_paths(const struct gang_node *node, const json_t *value)
{
    const char *key;
    json_t *item, *out;
    size_t i;

    if (json_is_string(value))
        return map_text(node, json_string_value(value));
    if (json_is_array(value)) {
        out = json_array();
        json_array_foreach((json_t *)(uintptr_t)value, i, item)
            json_array_append_new(out, gang_node_paths(node, item));
        return out;
    }
    if (!json_is_object(value))
        return json_deep_copy(value);
    out = json_object();
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        json_object_set_new(out, key, gang_node_paths(node, item));
    return out;
}

/* --- the network --- */

/* The longest prefix that holds all addresses; -1: one of them is not of IPv4. At most
 * LONGEST: Open MPI 4 takes /32 for /0, and then all networks for those that lead to
 * the others. */
static int common_prefix(const struct gang_places *p, uint32_t *ret_network)
{
    uint32_t first = 0, differ = 0;

    for (int i = 0; i < p->count; i++) {
        struct in_addr address;
        if (inet_pton(AF_INET, p->nodes[i].host, &address) != 1)
            return -1;
        uint32_t number = ntohl(address.s_addr);
        first = i == 0 ? number : first;
        differ |= number ^ first;
    }
    int bits = differ == 0 ? LONGEST : __builtin_clz(differ);
    bits = bits > LONGEST ? LONGEST : bits;
    *ret_network = bits == 0 ? 0 : first & (UINT32_MAX << (32 - bits));
    return bits;
}

char *gang_places_network(const struct gang_places *p)
{
    struct rwf_str out = {NULL, 0, 0};
    uint32_t network;
    int bits = common_prefix(p, &network);

    if (bits < 0 || p->count == 0)
        return NULL;
    if (bits >= 8) {
        rwf_str_addf(&out, "%u.%u.%u.%u/%d", network >> 24, network >> 16 & 255,
                     network >> 8 & 255, network & 255, bits);
        return rwf_str_take(&out);
    }
    for (int i = 0; i < p->count; i++)
        rwf_str_addf(&out, "%s%s/%d", i > 0 ? "," : "", p->nodes[i].host, LONGEST);
    return rwf_str_take(&out);
}
