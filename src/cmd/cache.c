/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "run/cache.h"
#include "run/layout.h"
#include "view/style.h"

struct work {
    struct cmd_call *call;
    struct run_cache *cache;
    json_t *list;
};

static const char *field(const json_t *item, const char *name)
{
    const char *text = json_string_value(json_object_get(item, name));

    return text ? text : "";
}

static int64_t entry_bytes(const json_t *entry)
{
    const char *name;
    json_t *output;
    int64_t sum = 0;

    json_object_foreach(json_object_get(entry, "outputs"), name, output)
        sum += json_integer_value(json_object_get(output, "size"));
    return sum;
}

static void list_entry(void *ctx, const json_t *entry)
{
    struct work *w = ctx;
    int64_t bytes = entry_bytes(entry);
    char size[RWF_UNITS_LEN];

    if (w->call->json)
        json_array_append_new(w->list, json_pack("{s:s, s:s, s:O?, s:I, s:O?}", "key",
                                                 field(entry, "key"), "origin",
                                                 field(entry, "origin"), "time",
                                                 json_object_get(entry, "time"),
                                                 "bytes", (json_int_t)bytes, "metrics",
                                                 json_object_get(entry, "metrics")));
    else
        printf("%.12s  %9s  %s\n", field(entry, "key"), rwf_size_format(bytes, size),
               field(entry, "origin"));
}

static int do_ls(struct work *w, struct rwf_err *err)
{
    w->list = json_array();
    int status = run_cache_each(w->cache, list_entry, w, err);
    w->call->data = json_pack("{s:o}", "entries", w->list);
    return status;
}

static json_t *stats_json(const struct run_cache_stats *s)
{
    return json_pack("{s:I, s:I, s:I}", "entries", (json_int_t)s->entries, "blobs",
                     (json_int_t)s->blobs, "bytes", (json_int_t)s->bytes);
}

static int do_stats(struct work *w, struct rwf_err *err)
{
    struct run_cache_stats s;
    char size[RWF_UNITS_LEN];

    if (run_cache_stats(w->cache, &s, err) < 0)
        return -1;
    w->call->data = stats_json(&s);
    if (!w->call->json)
        printf("%lld results, %lld files, %s\n", (long long)s.entries,
               (long long)s.blobs, rwf_size_format(s.bytes, size));
    return 0;
}

static int do_gc(struct work *w, struct rwf_err *err)
{
    int64_t age = cmd_duration(w->call, "older-than", 30 * 24 * 3600 * RWF_NS_PER_S);
    struct run_cache_stats s;
    char size[RWF_UNITS_LEN];

    if (run_cache_gc(w->cache, age, &s, err) < 0)
        return -1;
    w->call->data = json_pack("{s:o}", "removed", stats_json(&s));
    if (!w->call->json && !w->call->quiet)
        printf("removed %lld results, %lld files, %s\n", (long long)s.entries,
               (long long)s.blobs, rwf_size_format(s.bytes, size));
    return 0;
}

static void bad_blob(void *ctx, const char *path)
{
    struct work *w = ctx;

    json_array_append_new(w->list, json_string(path));
    if (!w->call->json)
        printf("%s%s%s damaged, dropped: %s\n", view_on(w->call->color, VIEW_ERROR),
               view_mark(STEP_FAILED), view_off(w->call->color), path);
}

static int do_verify(struct work *w, struct rwf_err *err)
{
    w->list = json_array();
    int status = run_cache_verify(w->cache, bad_blob, w, err);
    size_t bad = json_array_size(w->list);
    w->call->data = json_pack("{s:o}", "damaged", w->list);
    if (status < 0)
        return -1;
    if (!w->call->json && !w->call->quiet && bad == 0)
        puts("every file is whole");
    return bad ? RWF_E_INPUT - RWF_E_BASE : 0;
}

static int cache_run(struct cmd_call *call, struct rwf_err *err)
{
    static const struct {
        const char *name;
        int (*run)(struct work *w, struct rwf_err *err);
    } verbs[] = {
        {"ls", do_ls}, {"gc", do_gc}, {"verify", do_verify}, {"stats", do_stats}};
    struct work w = {.call = call};

    if (strcmp(call->operands[0], "gc") != 0 &&
        cmd_refuse(call, "older-than", "here; it belongs to raywf cache gc", err) < 0)
        return -1;
    char *root = run_root_find(".", err);
    w.cache = root ? run_cache_open(root, err) : NULL;
    int code = -1;
    for (size_t i = 0; w.cache && i < RWF_COUNT(verbs); i++)
        if (strcmp(verbs[i].name, call->operands[0]) == 0)
            code = verbs[i].run(&w, err);
    if (w.cache)
        run_cache_close(w.cache);
    free(root);
    return code;
}

static const struct cmd_option options[] = {
    {"older-than", 0, CMD_DURATION, "TIME", false, "30d",
     "gc: remove results not used for this time; 0: all"},
    {0},
};

const struct cmd cmd_cache = {
    .name = "cache",
    .group = CMD_KEEP,
    .summary = "list, count, verify or clean up the kept results",
    .details =
        "ls lists results; stats counts them; verify reads every file, compares it "
        "with its digest and drops what is damaged (exit code 6); gc removes what "
        "was not used for long.",
    .examples = "raywf cache stats\nraywf cache gc --older-than 7d",
    .exits = "0 2 6 7 12",
    .operands = {{"ls|gc|verify|stats", CMD_CHOICE, 1, 1}},
    .options = options,
    .run = cache_run,
};
