/* SPDX-License-Identifier: Apache-2.0
 *
 * What differs between two runs: configuration, steps, metrics and machine.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/change.h"
#include "cmd/cmd.h"
#include "cmd/history.h"
#include "cmd/opened.h"
#include "plan/key.h"
#include "view/style.h"

struct pair {
    struct cmd_opened a, b;
    json_t *record_a, *record_b;
};

static void add_change(json_t *list, const char *what, const json_t *was,
                       const json_t *now)
{
    json_array_append_new(
        list, json_pack("{s:s, s:O?, s:O?}", "what", what, "was", was, "now", now));
}

/* Members of two objects that differ, named PREFIX.NAME. */
static void diff_objects(json_t *list, const char *prefix, json_t *was, json_t *now)
{
    struct rwf_str name = {0};
    const char *key;
    json_t *value;

    json_object_foreach(was, key, value) {
        json_t *other = json_object_get(now, key);
        rwf_str_clear(&name);
        rwf_str_addf(&name, "%s.%s", prefix, key);
        if (json_is_object(value) && json_is_object(other))
            diff_objects(list, name.data, value, other);
        else if (!json_equal(value, other))
            add_change(list, name.data, value, other);
    }
    json_object_foreach(now, key, value)
        if (!json_object_get(was, key)) {
            rwf_str_clear(&name);
            rwf_str_addf(&name, "%s.%s", prefix, key);
            add_change(list, name.data, NULL, value);
        }
    rwf_str_free(&name);
}

/* Files of a snapshot hold whole texts: only that they differ is told. */
static void diff_snapshots(json_t *list, json_t *was, json_t *now)
{
    const char *key;
    json_t *value;

    json_object_foreach(was, key, value) {
        json_t *other = json_object_get(now, key);
        if (json_equal(value, other))
            continue;
        if (strcmp(key, "files") == 0)
            add_change(list, "recipe text", NULL, NULL);
        else if (json_is_object(value) && json_is_object(other))
            diff_objects(list, key, value, other);
        else
            add_change(list, key, value, other);
    }
}

static const char *state_name(const struct run_step_state *s)
{
    return s ? schedule_state_name(s->state) : "absent";
}

static void diff_step(const struct pair *p, const char *address, json_t *list)
{
    const struct run_step_state *a = run_state_step(p->a.state, address);
    const struct run_step_state *b = run_state_step(p->b.state, address);
    bool same_state = strcmp(state_name(a), state_name(b)) == 0;
    /* cached and succeeded are two ways to the same result */
    bool both_good =
        a && b && schedule_state_good(a->state) && schedule_state_good(b->state);
    bool same_key = !a || !b || !a->key || !b->key || strcmp(a->key, b->key) == 0;
    json_t *item = json_pack("{s:s, s:s, s:s}", "step", address, "was", state_name(a),
                             "now", state_name(b));

    if (!same_key) {
        json_t *was = cmd_parts(&p->a, address), *now = cmd_parts(&p->b, address);
        if (was && now)
            json_object_set_new(item, "changes", plan_key_diff(was, now));
        json_decref(was);
        json_decref(now);
    }
    if ((!same_state && !both_good) || !same_key)
        json_array_append(list, item);
    json_decref(item);
}

static json_t *diff_steps(const struct pair *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < run_state_step_count(p->a.state); i++)
        diff_step(p, run_state_step_at(p->a.state, i)->address, list);
    for (size_t i = 0; i < run_state_step_count(p->b.state); i++) {
        const char *address = run_state_step_at(p->b.state, i)->address;
        if (!run_state_step(p->a.state, address))
            diff_step(p, address, list);
    }
    return list;
}

static json_t *diff_metrics(const struct pair *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < run_state_step_count(p->b.state); i++) {
        const struct run_step_state *b = run_state_step_at(p->b.state, i);
        const struct run_step_state *a = run_state_step(p->a.state, b->address);
        if (a && (a->metrics || b->metrics))
            diff_objects(list, b->address, (json_t *)a->metrics, (json_t *)b->metrics);
    }
    return list;
}

static json_t *build(const struct pair *p)
{
    json_t *config = json_array(), *machine = json_array();

    diff_snapshots(config, json_object_get(p->a.plan, "recipe"),
                   json_object_get(p->b.plan, "recipe"));
    diff_objects(machine, "machine", json_object_get(p->record_a, "machine"),
                 json_object_get(p->record_b, "machine"));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "a", cmd_run_json(&p->a), "b",
                     cmd_run_json(&p->b), "config", config, "steps", diff_steps(p),
                     "metrics", diff_metrics(p), "machine", machine);
}

/* --- text --- */

static void print_change(const json_t *change, const char *name_key)
{
    const char *name = json_string_value(json_object_get(change, name_key));
    const json_t *before = json_object_get(change, "was");
    const json_t *after = json_object_get(change, "now");
    char *was, *now;

    if (json_equal(before, after)) {
        printf("  %s differs\n", name);
        return;
    }
    cmd_change_words(json_is_null(before) ? NULL : before,
                     json_is_null(after) ? NULL : after, &was, &now);
    printf("  %s: %s -> %s\n", name, was, now);
    free(was);
    free(now);
}

static void print_section(const char *title, const json_t *list, const char *name_key,
                          bool color)
{
    const json_t *one, *change;
    size_t i, k;

    if (json_array_size(list) == 0)
        return;
    printf("%s%s%s\n", view_on(color, VIEW_BOLD), title, view_off(color));
    json_array_foreach((json_t *)list, i, one) {
        print_change(one, name_key);
        json_array_foreach(json_object_get(one, "changes"), k, change) {
            fputs("  ", stdout);
            print_change(change, "part");
        }
    }
}

static size_t print_diff(const struct cmd_call *call, const json_t *data)
{
    static const struct {
        const char *member, *title, *name_key;
    } sections[] = {{"config", "configuration", "what"},
                    {"steps", "steps", "step"},
                    {"metrics", "metrics", "what"},
                    {"machine", "machine", "what"}};
    size_t total = 0;

    for (size_t i = 0; i < 4; i++) {
        const json_t *list = json_object_get(data, sections[i].member);
        total += json_array_size(list);
        if (!call->json)
            print_section(sections[i].title, list, sections[i].name_key, call->color);
    }
    if (total == 0 && !call->json && !call->quiet)
        puts("no differences");
    return total;
}

static int open_pair(struct cmd_call *call, struct pair *p, struct rwf_err *err)
{
    int code = cmd_open_run(call, call->operands[0], true, &p->a, err);

    if (code == 0)
        code = cmd_open_run(call, call->operands[1], true, &p->b, err);
    if (code != 0)
        return code;
    p->record_a = view_record(p->a.log, err);
    p->record_b = p->record_a ? view_record(p->b.log, err) : NULL;
    return p->record_b ? 0 : -1;
}

static int diff_run(struct cmd_call *call, struct rwf_err *err)
{
    struct pair p = {0};
    int code = open_pair(call, &p, err);

    if (code == 0) {
        call->data = build(&p);
        size_t total = print_diff(call, call->data);
        if (total && cmd_given(call, "exit-code"))
            code = RWF_E_DIFF - RWF_E_BASE;
    }
    json_decref(p.record_a);
    json_decref(p.record_b);
    cmd_opened_free(&p.a);
    cmd_opened_free(&p.b);
    return code;
}

static const struct cmd_option options[] = {
    {"exit-code", 0, CMD_FLAG, NULL, false, NULL, "exit 10 when there are differences"},
    {0},
};

const struct cmd cmd_diff = {
    .name = "diff",
    .group = CMD_OBSERVE,
    .summary = "compare two runs: configuration, steps, metrics, machine",
    .examples = "raywf diff 3f9a1c last",
    .exits = "0 2 10 12",
    .operands = {{"RUN", CMD_RUN, 2, 2}},
    .options = options,
    .run = diff_run,
};
