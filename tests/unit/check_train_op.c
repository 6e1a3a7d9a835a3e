/* SPDX-License-Identifier: Apache-2.0
 *
 * Training's op without training: rules and defaults of a spec, lengths in steps, a
 * gang of one that ends in every way, the lines of a rank. (Gangs of several: t4020,
 * t4030.)
 */
#include "config.h"
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "gang/gang.h"
#include "train/spec.h"
#include "train/spec_job.h"
#include "gang/stable.h"

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *json = json_loads(text, 0, &why);
    ck_assert_msg(json != NULL, "%s: %s", text, why.text);
    return json;
}

/* --- rules --- */

struct said {
    int count;
    char path[80], text[400], hint[400];
};

static void say(void *ctx, const struct spec_finding *f)
{
    struct said *s = ctx;
    if (s->count++ > 0)
        return;
    snprintf(s->path, sizeof(s->path), "%s", f->path);
    snprintf(s->text, sizeof(s->text), "%s", f->text);
    snprintf(s->hint, sizeof(s->hint), "%s", f->hint == NULL ? "" : f->hint);
}

#define MLP                                                                            \
    "\"dataset\":{\"train\":\"a\",\"val\":\"b\"},\"model\":{\"type\":\"mlp\","         \
    "\"target\":\"y\"}"

static const struct {
    const char *body, *path, *text;
} rules[] = {
    {"{" MLP "}", NULL, NULL},
    /* what is a reference, or of the wrong type, is passed over */
    {"{" MLP ",\"workers\":\"${params.n}\",\"global_batch_size\":7}", NULL, NULL},
    {"{" MLP ",\"optimizer\":{\"type\":\"${params.o}\",\"momentum\":0.5}}", NULL, NULL},
    {"{" MLP ",\"early_stopping\":{\"metric\":\"${params.m}\"}}", NULL, NULL},
    {"{" MLP ",\"global_batch_size\":[],\"micro_batch_size\":\"x\",\"resources\":4}",
     NULL, NULL},
    {"{\"model\":3}", "", "a model needs a dataset"},
    {"{" MLP ",\"workers\":3}", "workers",
     "3 workers do not divide the global batch of 64"},
    {"{" MLP ",\"workers\":3,\"global_batch_size\":10}", "global_batch_size",
     "do not divide"},
    {"{" MLP ",\"micro_batch_size\":60}", "micro_batch_size", "micro batches of 60"},
    {"{" MLP ",\"shard\":\"full\"}", "shard", "one worker"},
    {"{" MLP ",\"checkpoint\":{\"metric\":\"val_loss\",\"mode\":\"max\"}}",
     "checkpoint.mode", "the smaller is the better one"},
    {"{" MLP ",\"checkpoint\":{\"metric\":\"val_accuracy\",\"mode\":\"min\"}}",
     "checkpoint.mode", "the larger is the better one"},
    {"{" MLP ",\"resources\":{\"gpu\":1},\"device\":\"cpu\"}", "device",
     "would train on the CPU"},
};

START_TEST(rules_say)
{
    struct said s = {0};
    json_t *body = parse(rules[_i].body);

    spec_check(body, say, &s);
    json_decref(body);
    if (rules[_i].path == NULL) {
        ck_assert_msg(s.count == 0, "%s: %s", s.path, s.text);
        return;
    }
    ck_assert_int_eq(s.count, 1);
    ck_assert_str_eq(s.path, rules[_i].path);
    ck_assert_msg(strstr(s.text, rules[_i].text) != NULL, "%s", s.text);
}
END_TEST

/* --- defaults --- */

START_TEST(defaults_are_filled_in)
{
    json_t *spec = parse("{" MLP ",\"workers\":2,\"gradient_clipping\":1}");

    spec_fill(spec);
    ck_assert_str_eq(spec_text(spec, "optimizer.type"), "adamw");
    ck_assert_int_eq(spec_int(spec, "global_batch_size", 0), 64);
    ck_assert_int_eq(spec_int(spec, "micro_batch_size", 0), 32);
    ck_assert_str_eq(spec_text(spec, "device"), "cpu");
    ck_assert_str_eq(spec_text(spec, "checkpoint.metric"), "val_loss");
    ck_assert_str_eq(spec_text(spec, "checkpoint.mode"), "min");
    ck_assert(spec_at(spec, "early_stopping") == NULL);
    ck_assert(json_is_real(spec_at(spec, "gradient_clipping")));
    ck_assert_int_eq(spec_int(spec, "heartbeat", 0), 60 * RWF_NS_PER_S);
    ck_assert_int_eq(json_array_size(spec_at(spec, "model.hidden")), 2);
    json_decref(spec);
    spec = parse(
        "{\"dataset\":{\"train\":\"a\"},\"model\":{\"type\":\"transformer\",\"family\":"
        "\"gpt2\",\"adapter\":{\"rank\":4}},\"tokenizer\":{\"type\":\"bpe\"},"
        "\"resources\":{\"gpu\":1},\"sample\":{\"prompts\":[]},\"early_stopping\":"
        "{\"metric\":\"loss\"}}");
    spec_fill(spec);
    ck_assert_str_eq(spec_text(spec, "device"), "cuda");
    ck_assert_str_eq(spec_text(spec, "checkpoint.metric"), "loss");
    ck_assert_int_eq(spec_int(spec, "model.context", 0), 1024);
    ck_assert_double_eq(spec_number(spec, "model.adapter.alpha", 0), 8);
    ck_assert_int_eq(spec_int(spec, "tokenizer.vocab_size", 0), 4096);
    ck_assert_int_eq(spec_int(spec, "early_stopping.patience", 0), 3);
    json_decref(spec);
}
END_TEST

/* --- lengths --- */

static const struct {
    const char *more, *info;
    int64_t steps, per_epoch, warmup, evaluate, save;
} lengths[] = {
    {"",
     "{\"kind\":\"rows\",\"splits\":{\"train\":{\"rows\":130},\"val\":{\"rows\":9}}}",
     3, 3, 0, 3, 3},
    {",\"max_length\":{\"epochs\":2.5}",
     "{\"kind\":\"rows\",\"splits\":{\"train\":{\"rows\":128}}}", 5, 2, 0, 0, 2},
    {",\"max_length\":{\"steps\":100},\"schedule\":{\"warmup\":{\"fraction\":0.1}},"
     "\"evaluate\":{\"every\":{\"steps\":7}},\"checkpoint\":{\"every\":{\"epochs\":0.5}"
     "}",
     "{\"kind\":\"rows\",\"splits\":{\"train\":{\"rows\":640},\"val\":{\"rows\":1}}}",
     100, 10, 10, 7, 5},
    {",\"max_length\":{\"tokens\":10000},\"sequence_length\":16,\"global_batch_size\":"
     "4",
     "{\"kind\":\"tokens\",\"splits\":{\"train\":{\"tokens\":1000}}}", 157, 15, 0, 0,
     15},
    {",\"max_length\":{\"epochs\":0.001}",
     "{\"kind\":\"rows\",\"splits\":{\"train\":{\"rows\":1}}}", 1, 1, 0, 0, 1},
};

START_TEST(lengths_become_steps)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *text = rwf_xasprintf("{" MLP "%s}", lengths[_i].more);
    json_t *spec = parse(text), *info = parse(lengths[_i].info), *job;

    spec_fill(spec);
    job = spec_job(spec, info, &err);
    ck_assert_msg(job != NULL, "%s", err.text);
    ck_assert_int_eq(spec_int(job, "steps", -1), lengths[_i].steps);
    ck_assert_int_eq(spec_int(job, "steps_per_epoch", -1), lengths[_i].per_epoch);
    ck_assert_int_eq(spec_int(job, "schedule.warmup_steps", -1), lengths[_i].warmup);
    ck_assert_int_eq(spec_int(job, "evaluate.every", -1), lengths[_i].evaluate);
    ck_assert_int_eq(spec_int(job, "checkpoint.every", -1), lengths[_i].save);
    ck_assert_int_eq(spec_int(job, "log_every", -1), 1);
    ck_assert(json_is_null(spec_at(job, "sample")));
    json_decref(job);
    json_decref(info);
    json_decref(spec);
    free(text);
}
END_TEST

START_TEST(too_little_data_is_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = parse("{\"model\":{\"type\":\"transformer\"}}");
    json_t *info =
        parse("{\"kind\":\"tokens\",\"splits\":{\"train\":{\"tokens\":65536}}}");

    spec_fill(spec); /* 64 sequences of 1024, and one token to predict */
    ck_assert(spec_job(spec, info, &err) == NULL);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert(strstr(err.text, "65536 tokens") != NULL);
    json_object_set_new(spec_at(info, "splits.train"), "tokens", json_integer(65537));
    json_t *job = spec_job(spec, info, &err);
    ck_assert_int_eq(spec_int(job, "steps_per_epoch", 0), 1);
    json_decref(job);
    json_decref(info);
    json_decref(spec);
}
END_TEST

/* --- gangs --- */

static char *dir;

static void setup(void)
{
    char name[] = "/tmp/raywf-gang.XXXXXX";
    ck_assert(mkdtemp(name) != NULL);
    dir = rwf_xstrdup(name);
}

static void teardown(void)
{
    rwf_fs_rmtree(dir, NULL);
    free(dir);
}

static void count_line(void *ctx, const json_t *line)
{
    int *sum = ctx;
    *sum += (int)json_integer_value(json_object_get(line, "add"));
}

static struct gang gang_of(json_t *argv, int *sum)
{
    return (struct gang){.dir = dir,
                         .program = "/bin/false",
                         .workers = 1,
                         .argv = argv,
                         .cpu = 1,
                         .report = count_line,
                         .ctx = sum};
}

static const struct {
    const char *script;
    enum gang_end end;
    int code, signal, exit_code, sum;
    const char *last, *text;
} ends[] = {
    {"true", GANG_WELL, 0, 0, 0, 0, "", NULL},
    {"echo '{\"add\":2}' > report; echo '{\"add\":3}' > report", GANG_WELL, 0, 0, 0, 5,
     "", NULL},
    {"echo 'no JSON' > report; echo '{\"add\":1}' > report", GANG_WELL, 0, 0, 0, 1, "",
     NULL},
    {"echo first >&2; echo last words >&2; exit 3", GANG_EXIT, 3, 0, 0, 0, "last words",
     "the worker ended with exit code 3: last words"},
    {"printf 'no newline' >&2; exit 1", GANG_EXIT, 1, 0, 0, 0, "no newline",
     "no newline"},
    {"kill -SEGV $$", GANG_SIGNAL, 0, SIGSEGV, 128 + SIGSEGV, 0, "",
     "the worker was killed by signal 11 (SIGSEGV)"},
    /* what it leaves behind holds nothing up, else this test would take too long */
    {"sleep 3000 & exit 0", GANG_WELL, 0, 0, 0, 0, "", NULL},
    {"test \"$OMP_NUM_THREADS $OWN\" = '1 yes' || exit 9; test -z \"$RAYWF_REPORT\"",
     GANG_WELL, 0, 0, 0, 0, "", NULL},
};

START_TEST(a_gang_of_one_ends)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_result r;
    int sum = 0;
    json_t *argv = json_pack("[s, s, s]", "/bin/sh", "-c", ends[_i].script);
    json_t *env = json_pack("{s:s}", "OWN", "yes");
    struct gang g = gang_of(argv, &sum);

    unsetenv("OMP_NUM_THREADS");
    setenv("RAYWF_REPORT", "77", 1);
    ck_assert_int_eq(chdir(dir), 0);
    g.env = env;
    ck_assert_msg(gang_run(&g, &r, &err) == 0, "%s", err.text);
    ck_assert_int_eq(r.end, ends[_i].end);
    ck_assert_int_eq(r.exit_code, ends[_i].code);
    ck_assert_int_eq(r.signal, ends[_i].signal);
    ck_assert_str_eq(r.last, ends[_i].last);
    ck_assert_int_eq(sum, ends[_i].sum);
    ck_assert_int_eq(gang_exit_code(&r), ends[_i].exit_code);
    if (ends[_i].text != NULL) {
        gang_explain(&g, &r, true, &err);
        ck_assert_msg(strstr(err.text, ends[_i].text) != NULL, "%s", err.text);
    }
    json_decref(argv);
    json_decref(env);
}
END_TEST

START_TEST(a_rank_without_a_heartbeat_is_ended)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_result r;
    int sum = 0;
    json_t *argv = json_pack("[s, s, s]", "/bin/sh", "-c",
                             "trap '' TERM; : > rank.0; while :; do sleep 1; done");
    struct gang g = gang_of(argv, &sum);

    ck_assert_int_eq(chdir(dir), 0);
    g.heartbeat = dir;
    g.heartbeat_limit = RWF_NS_PER_S;
    ck_assert_int_eq(gang_run(&g, &r, &err), 0);
    ck_assert_int_eq(r.end, GANG_HUNG);
    ck_assert_int_eq(gang_exit_code(&r), 124);
    gang_explain(&g, &r, true, &err);
    ck_assert(strstr(err.text, "no sign of life for 1 s") != NULL);
    json_decref(argv);
}
END_TEST

START_TEST(term_is_passed_on)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_result r;
    int sum = 0, status = 0;
    json_t *argv =
        json_pack("[s, s, s]", "/bin/sh", "-c",
                  "trap 'echo {\\\"add\\\":7} > report; exit 0' TERM; kill -TERM $PPID;"
                  "while :; do sleep 0.1; done");
    struct gang g = gang_of(argv, &sum);
    pid_t pid = fork(); /* so that what gets the signal is not the test */

    if (pid == 0) {
        bool good = chdir(dir) == 0 && gang_run(&g, &r, &err) == 0 &&
                    r.end == GANG_STOPPED && sum == 7 &&
                    gang_exit_code(&r) == 128 + SIGTERM;
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    json_decref(argv);
}
END_TEST

START_TEST(what_cannot_start_is_said)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_result r;
    int sum = 0;
    json_t *argv = json_pack("[s]", "/nowhere/program");
    struct gang g = gang_of(argv, &sum);

    ck_assert_int_eq(gang_run(&g, &r, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_ENV);
    ck_assert(strstr(err.text, "/nowhere/program") != NULL);
    g.workers = 2;
    setenv("PATH", dir, 1);
    ck_assert_int_eq(gang_run(&g, &r, &err), -1);
    ck_assert(strstr(err.text, "openmpi-bin") != NULL);
    setenv("RAYWF_RANK", "/nowhere/rank", 1);
    ck_assert(gang_program(&err) == NULL);
    ck_assert(strstr(err.text, "RAYWF_RANK") != NULL);
    json_decref(argv);
}
END_TEST

/* --- lines --- */

static char *pass_through(const char *const *pieces, const char *prefix, char last[400])
{
    int in[2], out[2];
    struct rwf_str got = {0};
    char bytes[4096];
    ssize_t n;

    ck_assert(pipe(in) == 0 && pipe(out) == 0);
    struct gang_lines l = {.from = in[0], .to = out[1], .log = -1, .aside = -1};
    fcntl(in[0], F_SETFL, O_NONBLOCK);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    snprintf(l.prefix, sizeof(l.prefix), "%s", prefix);
    for (; *pieces != NULL; pieces++) {
        ck_assert_int_eq(write(in[1], *pieces, strlen(*pieces)),
                         (ssize_t)strlen(*pieces));
        ck_assert(gang_lines_read(&l));
    }
    close(in[1]);
    ck_assert(!gang_lines_read(&l));
    gang_lines_end(&l);
    while ((n = read(out[0], bytes, sizeof(bytes))) > 0)
        rwf_str_addn(&got, bytes, (size_t)n);
    memcpy(last, l.last, sizeof(l.last));
    close(in[0]);
    close(out[0]);
    close(out[1]);
    return rwf_str_take(&got);
}

START_TEST(lines_stay_whole)
{
    static const char *const pieces[] = {"a", "b\nc", "\n\n", "end", NULL};
    char last[400], *got = pass_through(pieces, "[1] ", last);

    ck_assert_str_eq(got, "[1] ab\n[1] c\n[1] \n[1] end\n");
    ck_assert_str_eq(last, "end");
    free(got);
    static const char *const blank[] = {"why\n  \n", NULL};
    got = pass_through(blank, "", last);
    ck_assert_str_eq(got, "why\n  \n");
    ck_assert_str_eq(last, "why");
    free(got);
}
END_TEST

/* --- what attempts share --- */

/* The folder of a step of a run, with a file in it if that is not there; in a process of its
 * own, which ends and so lets go of it (or holds it until it is killed). 'n'ew, 'g'oes on, or
 * 'e'rror. */
static pid_t holder;

static char share(const char *root, const char *run, int workers, bool hold)
{
    char *place = rwf_xasprintf("%s/%s/steps/train.a", root, run), said = '?';
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rwf_err err = RWF_ERR_INIT;
        json_t *spec = json_pack("{s:i, s:i}", "seed", 1, "workers", workers);
        struct op_run r = {.address = "train.a", .spec = spec, .dir = place};
        char *folder = stable_folder(&r, true, &err);
        char *mark = folder != NULL ? rwf_fs_join(folder, "mark") : NULL;
        said = mark == NULL ? 'e' : rwf_fs_exists(mark) ? 'g' : 'n';
        if (said == 'n')
            rwf_fs_write(mark, "", 0, false, NULL);
        ck_assert_int_eq((int)write(fds[1], &said, 1), 1);
        while (hold)
            pause();
        _exit(0);
    }
    ck_assert_int_eq((int)read(fds[0], &said, 1), 1);
    close(fds[0]);
    close(fds[1]);
    free(place);
    if (hold)
        holder = pid;
    else
        waitpid(pid, NULL, 0);
    return said;
}

START_TEST(a_later_run_goes_on)
{
    char root[] = "/tmp/raywf-stable.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(share(root, "1", 1, false), 'n');
    ck_assert_int_eq(share(root, "1", 2, false), 'g'); /* an attempt of the same run */
    ck_assert_int_eq(share(root, "2", 4, false), 'g'); /* another run, other workers */
    ck_assert_int_eq(share(root, "1", 1, true), 'g');  /* taken back, and held */
    ck_assert_int_eq(share(root, "3", 1, false), 'n'); /* not what somebody works with */
    ck_assert_int_eq(share(root, "1", 1, false), 'e');
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    rwf_fs_rmtree(root, NULL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("train_op");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, rules_say, 0, RWF_COUNT(rules));
    tcase_add_test(tc, defaults_are_filled_in);
    tcase_add_loop_test(tc, lengths_become_steps, 0, RWF_COUNT(lengths));
    tcase_add_test(tc, too_little_data_is_refused);
    tcase_add_loop_test(tc, a_gang_of_one_ends, 0, RWF_COUNT(ends));
    tcase_add_test(tc, a_rank_without_a_heartbeat_is_ended);
    tcase_add_test(tc, term_is_passed_on);
    tcase_add_test(tc, what_cannot_start_is_said);
    tcase_add_test(tc, lines_stay_whole);
    tcase_add_test(tc, a_later_run_goes_on);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
