/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a gang, for people and for the engine.
 */
#include "config.h"
#include "gang/gang.h"

#include <signal.h>
#include <string.h>
#include "base/clock.h"
#include "base/str.h"
#include "gang/places.h"

static void add_rank(const struct gang *g, const struct gang_result *r,
                     struct rwf_str *out)
{
    const struct gang_node *node = gang_places_node(g->places, r->rank);

    if (g->workers > 1)
        rwf_str_addf(out, "rank %d of %d", r->rank, g->workers);
    else
        rwf_str_add(out, g->shim ? "the program" : "the worker");
    if (node != NULL)
        rwf_str_addf(out, " on node %s", node->name);
}

/* "node gpu2, of ranks 2 and 3 of 4, was lost" */
static void add_lost(const struct gang *g, const struct gang_result *r,
                     struct rwf_str *out)
{
    const struct gang_node *node = gang_places_node(g->places, r->rank);

    rwf_str_addf(out, "node %s, with rank%s %d", node->name, node->count > 1 ? "s" : "",
                 node->first);
    if (node->count > 1)
        rwf_str_addf(out, " to %d", node->first + node->count - 1);
    rwf_str_addf(out, " of %d, was lost", g->workers);
}

/* Whether what is said begins with the rank. */
static bool is_of_rank(enum gang_end end)
{
    return end == GANG_EXIT || end == GANG_SIGNAL || end == GANG_HUNG ||
           end == GANG_GONE;
}

void gang_explain(const struct gang *g, const struct gang_result *r, bool quote,
                  struct rwf_err *err)
{
    struct rwf_str text = {0};
    const char *name = sigabbrev_np(r->signal);

    if (is_of_rank(r->end))
        add_rank(g, r, &text);
    switch (r->end) {
    case GANG_EXIT:
        rwf_str_addf(&text, " ended with exit code %d", r->exit_code);
        break;
    case GANG_SIGNAL:
        rwf_str_addf(&text, " was killed by signal %d (SIG%s)", r->signal,
                     name == NULL ? "?" : name);
        if (r->signal == SIGBUS)
            rwf_str_add(&text, ": a file it reads was cut short, or its disk failed");
        break;
    case GANG_HUNG:
        rwf_str_addf(&text, " gave no sign of life for %lld s (heartbeat)",
                     (long long)(g->heartbeat_limit / RWF_NS_PER_S));
        break;
    case GANG_GONE:
        rwf_str_add(&text, " is gone: the connection to it has ended");
        break;
    case GANG_NODE:
        break;
    case GANG_NODE_LOST:
        add_lost(g, r, &text);
        break;
    case GANG_STOPPED:
        rwf_str_add(&text, "stopped");
        break;
    default:
        rwf_str_addf(&text, "mpirun could not run %d workers (see mpirun.log in %s)",
                     g->workers, g->dir);
    }
    if (quote && r->last[0] != '\0')
        rwf_str_addf(&text, "%s%s", text.len > 0 ? ": " : "", r->last);
    bool environment = r->end == GANG_LOST || r->end == GANG_NODE;
    rwf_fail(err, environment ? RWF_E_ENV : RWF_E_FAILED, "%s", text.data);
    rwf_str_free(&text);
}

int gang_exit_code(const struct gang_result *r)
{
    switch (r->end) {
    case GANG_SIGNAL:
        return 128 + r->signal;
    case GANG_STOPPED:
        return 128 + SIGTERM;
    case GANG_HUNG:
        return 124;
    case GANG_GONE:
    case GANG_NODE_LOST:
        return 123;
    default:
        return 0;
    }
}
