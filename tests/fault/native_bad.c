/* SPDX-License-Identifier: Apache-2.0
 *
 * native_bad GOOD BAD FUNCTION: calls a function of a plugin that is wrong somehow,
 * with a time-out; prints "CODE: TEXT". The runtime must have survived: a good task
 * still gives its result, and a large object that was there before is whole.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "native_result.h"
#include "raywf.h"

static struct raywf_error err;

static int die(const char *what)
{
    printf("FAILED: %s: %s\n", what, err.text);
    return 1;
}

static const struct raywf_task_options good_options = {.resources = {.cpu = 0.5}};

static int run_good(const char *plugin)
{
    struct raywf_task *work = raywf_task(plugin, "work", &good_options, &err);
    struct job job = {.id = 7, .size = 100000};
    struct raywf_value v;
    struct raywf_ref ref;
    int rc;

    if (!work ||
        raywf_submit(work, RAYWF_ARGS(RAYWF_BYTES(&job, sizeof(job))), &ref, &err) != 0)
        return -1;
    rc = raywf_get(ref, 300 * RAYWF_S, &v, &err);
    if (rc == 0) {
        rc = v.size == 100000 && ((const struct result *)v.data)->id == 7 ? 0 : -1;
        raywf_release(&v);
    }
    raywf_drop(ref);
    return rc;
}

static void run_bad(const char *plugin, const char *function)
{
    /* Only what never returns may need its time-out: others may be slow here. */
    bool endless = strcmp(function, "never_returns") == 0;
    struct raywf_task_options o = {.resources = {.cpu = 0.5},
                                   .retry = {.max = -1},
                                   .timeout = (endless ? 2 : 600) * RAYWF_S};
    struct raywf_task *task = raywf_task(plugin, function, &o, &err);
    struct raywf_value v;
    struct raywf_ref ref;

    if (!task || raywf_submit(task, RAYWF_NO_ARGS, &ref, &err) != 0) {
        printf("%d: %s\n", err.code, err.text);
        return;
    }
    if (raywf_get(ref, 600 * RAYWF_S, &v, &err) == 0) {
        printf("0: a value of %zu bytes\n", v.size);
        raywf_release(&v);
    } else {
        printf("%d: %s\n", err.code, err.text);
    }
    raywf_drop(ref);
}

int main(int argc, char **argv)
{
    struct raywf_options o = {.address = "", .cpu = 2, .store = 64 << 20};
    static char bytes[300000];
    struct raywf_value v;
    struct raywf_ref kept;

    if (argc != 4)
        return 2;
    if (raywf_init(&o, &err) != 0)
        return die("no runtime");
    memset(bytes, 5, sizeof(bytes));
    if (raywf_put(bytes, sizeof(bytes), &kept, &err) != 0)
        return die("put");
    run_bad(argv[2], argv[3]);
    if (run_good(argv[1]) != 0)
        return die("a good task fails afterwards");
    if (raywf_get(kept, 0, &v, &err) != 0)
        return die("an object of before is gone");
    if (v.size != sizeof(bytes) || memcmp(v.data, bytes, sizeof(bytes)) != 0)
        return die("an object of before has changed");
    raywf_release(&v);
    raywf_drop(kept);
    raywf_shutdown();
    return 0;
}
