/* SPDX-License-Identifier: Apache-2.0
 *
 * The machines of a cluster beside each other. Nodes that say the same of a row are
 * shown together; rows that should be the same everywhere, and are not, are marked and
 * say what to do. Nodes are asked one after the other: each measures its links, and
 * must not be disturbed.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "cluster/ask.h"
#include "cmd/doctor.h"

#define LIST_TIMEOUT (10 * RWF_NS_PER_S)
#define ASK_TIMEOUT (90 * RWF_NS_PER_S)
#define OFFSET_MAX (500 * RWF_NS_PER_MS) /* of clocks: logs are still in order */

/* What must be the same everywhere, and what to do when it is not. */
static const struct {
    const char *name, *hint;
    enum doctor_level level;
} alike[] = {
    {"raywf", "install the same version on all", DOCTOR_NOTE},
    {"digest", "these are different builds: install the same on all", DOCTOR_NOTE},
    {"gpu", "not the same GPUs or drivers: gangs need the same on all their nodes",
     DOCTOR_NOTE},
    {"nccl", "gangs with GPUs need the same NCCL on all their nodes", DOCTOR_NOTE},
    {"open mpi", "gangs need the same Open MPI on all their nodes", DOCTOR_NOTE},
    {"limits", "set the same limits in /etc/security/limits.conf on all", DOCTOR_NOTE},
    {"duckdb", "results of datasets may depend on the node: install the same on all",
     DOCTOR_NOTE},
    {"libcurl", "only some nodes can read http(s):// datasets", DOCTOR_NOTE},
    {"system", NULL, DOCTOR_OK},
};

struct report {
    struct cmd_call *call;
    json_t *nodes;       /* answers */
    json_t *differences; /* for --format json */
    bool bad;
};

/* --- asking --- */

static json_t *ask_node(const struct cluster_at *at, const char *name,
                        const char *names)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *about = rwf_xasprintf("%s\n%s", name, names);
    json_t *answer = cluster_ask_list(at, "doctor", about, ASK_TIMEOUT, &err);
    free(about);
    return answer ? answer : json_pack("{s:s, s:s}", "node", name, "problem", err.text);
}

static const char *text_of(const json_t *map, const char *key)
{
    const char *text = json_string_value(json_object_get(map, key));
    return text ? text : "";
}

static const json_t *finding_of(const json_t *node, const char *name)
{
    const json_t *f;
    size_t i;
    json_array_foreach(json_object_get(node, "findings"), i, f)
        if (strcmp(text_of(f, "name"), name) == 0)
            return f;
    return NULL;
}

/* Hosts as they call themselves: "gpu1: 10.0.0.1 …" */
static void add_host(struct rwf_str *names, const json_t *node)
{
    const char *text = text_of(finding_of(node, "host"), "text");
    size_t len = strcspn(text, ":");
    bool known = names->data && memmem(names->data, names->len, text, len);
    if (len > 0 && !known)
        rwf_str_addf(names, "%s%.*s", names->len ? "," : "", (int)len, text);
}

/* Nodes by name; runs' own are none of ours. */
static json_t *sorted_names(const json_t *list)
{
    json_t *names = json_array();
    const json_t *row;
    size_t i, k;
    json_array_foreach((json_t *)list, i, row) {
        if (json_is_true(json_object_get(row, "driver")))
            continue;
        for (k = 0; k < json_array_size(names); k++)
            if (strcmp(json_string_value(json_array_get(names, k)),
                       text_of(row, "node")) > 0)
                break;
        json_array_insert(names, k, json_object_get(row, "node"));
    }
    return names;
}

/* Each looks up the names of the hosts before it: of each pair one. */
static int ask_all(struct report *r, const struct cluster_at *at, struct rwf_err *err)
{
    const json_t *name;
    size_t i;
    struct rwf_str hosts = {0};
    json_t *list = cluster_ask_list(at, "nodes", "", LIST_TIMEOUT, err);
    if (!list)
        return -1;
    json_t *names = sorted_names(list);
    json_array_foreach(names, i, name) {
        json_t *answer =
            ask_node(at, json_string_value(name), hosts.data ? hosts.data : "");
        add_host(&hosts, answer);
        json_array_append_new(r->nodes, answer);
    }
    rwf_str_free(&hosts);
    json_decref(names);
    json_decref(list);
    return 0;
}

/* --- one row --- */

static enum doctor_level level_of(const json_t *finding)
{
    const char *level = text_of(finding, "level");
    return strcmp(level, "bad") == 0    ? DOCTOR_BAD
           : strcmp(level, "note") == 0 ? DOCTOR_NOTE
                                        : DOCTOR_OK;
}

/* text -> [node, …], in the order in which they come. */
static json_t *values_of(const struct report *r, const char *name)
{
    json_t *values = json_object();
    const json_t *node;
    size_t i;
    json_array_foreach(r->nodes, i, node) {
        const json_t *f = finding_of(node, name);
        if (!f)
            continue;
        json_t *who = json_object_get(values, text_of(f, "text"));
        if (!who) {
            who = json_array();
            json_object_set_new(values, text_of(f, "text"), who);
        }
        json_array_append(who, json_object_get(node, "node"));
    }
    return values;
}

static char *names_of(const struct report *r, const json_t *who)
{
    struct rwf_str out = {0};
    const json_t *name;
    size_t i, all = json_array_size(r->nodes);
    if (json_array_size(who) == all && all > 1)
        return rwf_xasprintf("all %zu", all);
    json_array_foreach((json_t *)who, i, name)
        rwf_str_addf(&out, "%s%s", i ? ", " : "", json_string_value(name));
    return rwf_str_take(&out);
}

static const json_t *first_with(const struct report *r, const char *name,
                                const char *text)
{
    const json_t *node;
    size_t i;
    json_array_foreach(r->nodes, i, node) {
        const json_t *f = finding_of(node, name);
        if (f && strcmp(text_of(f, "text"), text) == 0)
            return f;
    }
    return NULL;
}

static void mark_difference(struct report *r, const char *name, const json_t *values,
                            const char *hint)
{
    json_array_append_new(r->differences, json_pack("{s:s, s:s?, s:O}", "name", name,
                                                    "hint", hint, "values", values));
    if (!r->call->json && hint)
        doctor_print("", DOCTOR_NOTE, "^ the nodes differ", hint, r->call->color);
}

static void show_row(struct report *r, const char *name)
{
    json_t *values = values_of(r, name);
    const char *text;
    json_t *who;
    json_object_foreach(values, text, who) {
        const json_t *f = first_with(r, name, text);
        const char *hint = text_of(f, "hint");
        char *names = names_of(r, who), *line = rwf_xasprintf("%s: %s", names, text);
        r->bad |= level_of(f) == DOCTOR_BAD;
        if (!r->call->json)
            doctor_print(name, level_of(f), line, *hint ? hint : NULL, r->call->color);
        free(line);
        free(names);
    }
    for (size_t i = 0; i < RWF_COUNT(alike); i++)
        if (strcmp(alike[i].name, name) == 0 && json_object_size(values) > 1)
            mark_difference(r, name, values, alike[i].hint);
    json_decref(values);
}

/* Names of rows in the order in which nodes have them. */
static json_t *row_names(const struct report *r)
{
    json_t *names = json_object();
    const json_t *node, *f;
    size_t i, k;
    json_array_foreach(r->nodes, i, node)
        json_array_foreach(json_object_get(node, "findings"), k, f)
            json_object_set_new(names, text_of(f, "name"), json_true());
    return names;
}

/* --- clocks and links --- */

static void show_clock(struct report *r, const json_t *node)
{
    int64_t offset = json_integer_value(json_object_get(node, "clock_offset_ns"));
    int64_t size = offset < 0 ? -offset : offset;
    char text[RWF_UNITS_LEN], rtt[RWF_UNITS_LEN];
    char *line = rwf_xasprintf(
        "%s: %s%s, %s to the head and back", text_of(node, "node"),
        rwf_duration_format(size, text),
        offset > 0   ? " behind the head"
        : offset < 0 ? " ahead of the head"
                     : "",
        rwf_duration_format(json_integer_value(json_object_get(node, "head_rtt_ns")),
                            rtt));
    bool far = size > OFFSET_MAX;
    if (!r->call->json)
        doctor_print("clock", far ? DOCTOR_NOTE : DOCTOR_OK, line,
                     far ? "set the clocks by NTP (chrony, systemd-timesyncd)" : NULL,
                     r->call->color);
    free(line);
}

static void show_link(struct report *r, const json_t *node, const json_t *link)
{
    const char *problem = text_of(link, "problem");
    char rtt[RWF_UNITS_LEN], size[RWF_UNITS_LEN];
    struct rwf_str line = {0};
    rwf_str_addf(&line, "%s to %s: ", text_of(node, "node"), text_of(link, "to"));
    if (*problem)
        rwf_str_add(&line, problem);
    else
        rwf_str_addf(&line, "%s there and back, %s/s",
                     rwf_duration_format(
                         json_integer_value(json_object_get(link, "rtt_ns")), rtt),
                     rwf_size_format((int64_t)json_number_value(
                                         json_object_get(link, "bytes_per_s")),
                                     size));
    r->bad |= *problem != '\0';
    if (!r->call->json)
        doctor_print("link", *problem ? DOCTOR_BAD : DOCTOR_OK, line.data,
                     *problem
                         ? "a firewall, or the wrong interface: name the right one "
                           "with raywf start --interface, or interface in the recipe"
                         : NULL,
                     r->call->color);
    rwf_str_free(&line);
}

static void show_problem(struct report *r, const json_t *node)
{
    char *line =
        rwf_xasprintf("%s: %s", text_of(node, "node"), text_of(node, "problem"));
    r->bad = true;
    if (!r->call->json)
        doctor_print("node", DOCTOR_BAD, line,
                     "look at its log: raywf start says where", r->call->color);
    free(line);
}

static void show_all(struct report *r)
{
    const json_t *node, *link;
    json_t *names = row_names(r), *unused;
    const char *name;
    size_t i, k;
    json_array_foreach(r->nodes, i, node)
        if (*text_of(node, "problem"))
            show_problem(r, node);
    json_object_foreach(names, name, unused)
        show_row(r, name);
    json_array_foreach(r->nodes, i, node)
        if (finding_of(node, "raywf"))
            show_clock(r, node);
    json_array_foreach(r->nodes, i, node)
        json_array_foreach(json_object_get(node, "links"), k, link)
            show_link(r, node, link);
    json_decref(names);
}

int doctor_nodes(struct cmd_call *call, const char *address, const char *key,
                 struct rwf_err *err)
{
    struct cluster_at at;
    if (cluster_at_open(&at, address, key, err))
        return -1;
    struct report r = {
        .call = call, .nodes = json_array(), .differences = json_array()};
    int rc = ask_all(&r, &at, err);
    cluster_at_close(&at);
    if (rc == 0)
        show_all(&r);
    call->data = json_pack("{s:s, s:o, s:o}", "head", address, "nodes", r.nodes,
                           "differences", r.differences);
    return rc ? -1 : r.bad ? RWF_E_ENV - RWF_E_BASE : 0;
}
