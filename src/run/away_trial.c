/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials on nodes that do not see the files here: the trial's folder, with its
 * checkpoints, goes there before each attempt and comes back after it; so a trial that
 * was held, or whose node was lost, goes on elsewhere from what the last attempt that
 * ended had left.
 */
#include "config.h"
#include "run/away.h"

#include <stdlib.h>
#include "base/fs.h"
#include "base/mem.h"

/* NULL: there is nothing to carry. */
static const char *folder_of(const struct engine__attempt *a)
{
    const char *dir = engine__away_env(a, "RAYWF_TRIAL_DIR");
    return dir == NULL || engine__away_is_shared(a) ? NULL : dir;
}

void engine__away_trial_put(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    const char *dir = folder_of(a);
    if (dir == NULL || !rwf_fs_exists(dir)) {
        done(ctx, NULL);
        return;
    }
    char *there = engine__away_path(a, dir);
    far_tree_put(engine__away_node(a->engine), engine__away_where(a), dir, there,
                 false, done, ctx);
    free(there);
}

void engine__away_trial_get(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    const char *dir = folder_of(a);
    if (dir == NULL) {
        done(ctx, NULL);
        return;
    }
    char *there = engine__away_path(a, dir);
    far_tree_get(engine__away_node(a->engine), engine__away_where(a), there, NULL, 0,
                 dir, done, ctx);
    free(there);
}

bool engine__away_trial_mark(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    char *mark = rwf_fs_join(a->dir, "stop");
    bool marked = folder_of(a) != NULL && rwf_fs_exists(mark);
    char *there = marked ? engine__away_path(a, mark) : NULL;
    if (marked)
        far_tree_put(engine__away_node(a->engine), engine__away_where(a), mark, there,
                     false, done, ctx);
    free(there);
    free(mark);
    return marked;
}
