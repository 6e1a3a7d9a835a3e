/* SPDX-License-Identifier: Apache-2.0
 *
 * history_check [--cut] FILE...: whether what was asked, what came of it, and what was
 * run fit together. Lines, in any order and over all files, but for results after
 * accepted:
 *
 *   submit ID, accepted ID                a task, and that the runtime has taken it
 *   result ID NONCE …, error ID CODE …    its one outcome
 *   again ID NONCE …                      the same, read again or by another task
 *   ran ID NONCE …                        an attempt at it (by who ran it)
 *   call, accepted, answer ID NONCE … or unanswered ID …, did ID NONCE …    of an actor
 *   rank GANG ATTEMPT RANK SIZE begin|end …   (by that rank)
 *   gang GANG ATTEMPT                     that attempt counts as done
 *   wrong ID                              a value that is not what was made
 *   end                                   the driver's last word
 *
 * Rules: what was accepted has one outcome, and a task's is no error; a result is of an
 * attempt that was run, and every reader sees the same; a call is run at most once, and
 * was when it was answered; an attempt at a gang that counts has all its ranks, each
 * once, from begin to end, and no rank is in two attempts that count. --cut: the driver
 * was killed, so outcomes may be missing.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX 1000000
#define RUNS_MAX 2000000
#define RANKS_MAX 100000

struct task {
    uint64_t nonce;
    unsigned submits, accepts, results, errors, dids;
    bool call, again_seen, ran;
    uint64_t again;
};

struct run {
    uint64_t id, nonce;
};

struct rank {
    char gang[64];
    unsigned attempt, rank, size;
    unsigned begins, ends;
};

static struct task *tasks;
static struct run *runs;
static struct rank *ranks, *done;
static size_t run_count, rank_count, done_count, task_most;
static unsigned long failures, results, calls;
static bool cut, ended;

static void fail(const char *what, uint64_t id)
{
    if (++failures <= 20)
        printf("FAILED: %s: %" PRIu64 "\n", what, id);
}

static struct rank *find(struct rank *all, size_t *count, const struct rank *r)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(all[i].gang, r->gang) == 0 && all[i].attempt == r->attempt &&
            all[i].rank == r->rank)
            return &all[i];
    if (*count == RANKS_MAX)
        abort();
    all[*count] = *r;
    return &all[(*count)++];
}

/* --- reading --- */

static void take_rank(const char *line)
{
    struct rank r = {0};
    char what[8];
    if (sscanf(line, "rank %63s %u %u %u %7s", r.gang, &r.attempt, &r.rank, &r.size,
               what) == 5) {
        struct rank *known = find(ranks, &rank_count, &r);
        if (known->size != r.size)
            fail("a gang of two sizes in one attempt", r.attempt);
        known->begins += strcmp(what, "begin") == 0;
        known->ends += strcmp(what, "end") == 0;
    } else if (sscanf(line, "gang %63s %u", r.gang, &r.attempt) == 2) {
        find(done, &done_count, &r)->begins++;
    }
}

static void take_task(const char *what, uint64_t id, uint64_t nonce)
{
    struct task *t = &tasks[id];
    if (id >= task_most)
        task_most = id + 1;
    if (strcmp(what, "submit") == 0 || strcmp(what, "call") == 0) {
        t->submits++;
        t->call = what[0] == 'c';
    } else if (strcmp(what, "accepted") == 0) {
        t->accepts++;
    } else if (strcmp(what, "result") == 0 || strcmp(what, "answer") == 0) {
        t->results++;
        t->nonce = nonce;
    } else if (strcmp(what, "error") == 0 || strcmp(what, "unanswered") == 0) {
        t->errors++;
    } else if (strcmp(what, "again") == 0) {
        if (t->again_seen && t->again != nonce)
            fail("two readers see two values", id);
        t->again_seen = true;
        t->again = nonce;
    } else if (strcmp(what, "ran") == 0 || strcmp(what, "did") == 0) {
        if (run_count == RUNS_MAX)
            abort();
        runs[run_count++] = (struct run){id, nonce};
        t->dids++;
    } else if (strcmp(what, "wrong") == 0) {
        fail("a wrong value", id);
    }
}

/* The last line of who was killed may be half there. */
static void take(const char *line)
{
    char what[16];
    uint64_t id, nonce = 0;
    if (!strchr(line, '\n'))
        return;
    if (strcmp(line, "end\n") == 0)
        ended = true;
    else if (strncmp(line, "rank ", 5) == 0 || strncmp(line, "gang ", 5) == 0)
        take_rank(line);
    else if (sscanf(line, "%15s %" SCNu64 " %" SCNx64, what, &id, &nonce) >= 2 &&
             id < TASKS_MAX)
        take_task(what, id, nonce);
    else
        fail("a line that is none", 0);
}

static void read_file(const char *path)
{
    char line[4096];
    FILE *f = fopen(path, "re");
    if (!f) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof(line), f))
        take(line);
    fclose(f);
}

/* --- the rules --- */

static void match_runs(void)
{
    for (size_t i = 0; i < run_count; i++)
        if (tasks[runs[i].id].nonce == runs[i].nonce)
            tasks[runs[i].id].ran = true;
}

static void check_task(const struct task *t, uint64_t id)
{
    if (!t->submits && (t->results || t->errors || t->accepts || t->dids))
        fail("what was never asked for", id);
    if (t->submits > 1 || t->accepts > 1)
        fail("asked for twice: the driver is wrong", id);
    if (t->results > 1 || (t->results && t->errors))
        fail("two outcomes", id);
    if (t->accepts && !t->results && !t->errors && !cut)
        fail("accepted, and lost", id);
    if (t->errors && !t->call)
        fail("a task that may always run again has failed", id);
    if (t->results && !t->ran)
        fail("a result that nobody made", id);
    if (t->results && t->again_seen && t->again != t->nonce)
        fail("two readers see two values", id);
    if (t->call && t->dids > 1)
        fail("a call that was run twice", id);
    results += t->results;
    calls += t->call;
}

static void check_gang(const struct rank *g)
{
    unsigned size = 0, here = 0;
    for (size_t i = 0; i < rank_count; i++) {
        const struct rank *r = &ranks[i];
        if (strcmp(r->gang, g->gang) != 0 || r->attempt != g->attempt)
            continue;
        size = r->size;
        here++;
        if (r->rank >= r->size)
            fail("a rank beyond the size of its gang", r->rank);
        if (r->begins != 1 || r->ends != 1)
            fail("a rank of a gang that is done, and it is not, or began twice",
                 r->rank);
    }
    if (!size || here != size)
        fail("half a gang counts as done", g->attempt);
    for (size_t i = 0; i < done_count; i++)
        if (&done[i] != g && strcmp(done[i].gang, g->gang) == 0)
            fail("two attempts at a gang count", g->attempt);
    if (g->begins > 1)
        fail("an attempt at a gang counts twice", g->attempt);
}

int main(int argc, char **argv)
{
    int first = 1;
    tasks = calloc(TASKS_MAX, sizeof(*tasks));
    runs = calloc(RUNS_MAX, sizeof(*runs));
    ranks = calloc(RANKS_MAX, sizeof(*ranks));
    done = calloc(RANKS_MAX, sizeof(*done));
    if (!tasks || !runs || !ranks || !done)
        return 2;
    if (argc > 1 && strcmp(argv[1], "--cut") == 0) {
        cut = true;
        first = 2;
    }
    if (argc <= first) {
        fprintf(stderr, "usage: history_check [--cut] FILE...\n");
        return 2;
    }
    for (int i = first; i < argc; i++)
        read_file(argv[i]);
    match_runs();
    for (uint64_t id = 0; id < task_most; id++)
        check_task(&tasks[id], id);
    for (size_t i = 0; i < done_count; i++)
        check_gang(&done[i]);
    if (!cut && task_most && !ended)
        fail("the driver did not come to its end", 0);
    if (!results && !done_count)
        fail("nothing was done at all", 0);
    printf("%lu results, %lu calls, %zu attempts, %zu gangs, %lu failures\n", results,
           calls, run_count, done_count, failures);
    return failures != 0;
}
