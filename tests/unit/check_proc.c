/* SPDX-License-Identifier: Apache-2.0
 *
 * Real processes under run/proc: how they start, end, and are ended.
 */
#include "config.h"
#include "node/proc.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "node/limit.h"

#define MIB (1024 * 1024)

static char top[128]; /* what attempts share is here */
static char dir[192]; /* of an attempt, in it */
static uv_loop_t loop;

struct outcome {
    struct proc *p;
    int done;
    struct proc_exit exit;
    char *tail;
    json_t *reports;
    void (*on_report)(struct outcome *o);
};

static void setup(void)
{
    strcpy(top, "/tmp/raywf-proc-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(dir, sizeof(dir), "%s/first", top);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static void teardown(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    rwf_redact_clear();
    node__limit_force_watch(false);
    rwf_fs_rmtree(top, NULL);
}

static void on_report(void *ctx, const json_t *line)
{
    struct outcome *o = ctx;
    json_array_append_new(o->reports, json_deep_copy(line));
    if (o->on_report)
        o->on_report(o);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct outcome *o = ctx;
    o->exit = *result;
    o->tail = result->tail ? rwf_xstrdup(result->tail) : NULL;
    o->exit.tail = NULL;
    o->done++;
    proc_free(o->p);
}

/* Several of these programs may run on one machine: each sweeps only its own. */
static char own_run[32];

static struct proc_spec spec_for(json_t *argv)
{
    return (struct proc_spec){.argv = argv,
                              .cwd = dir,
                              .dir = dir,
                              .run_id = own_run,
                              .address = "tasks.a",
                              .grace = 10 * 1000000000LL,
                              .log_limit = MIB,
                              .gpu_count = -1};
}

static json_t *shell(const char *text)
{
    return json_pack("[s, s, s]", "sh", "-c", text);
}

static void begin(struct outcome *o, const struct proc_spec *spec)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct proc_handler h = { .ctx = o, .report = on_report, .exited = on_exited };
    o->reports = json_array();
    o->p = proc_start(&loop, spec, &h, &err);
    ck_assert_msg(o->p != NULL, "%s", err.text);
}

static void end(struct outcome *o)
{
    free(o->tail);
    json_decref(o->reports);
}

static void run_spec(struct outcome *o, const struct proc_spec *spec)
{
    begin(o, spec);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(o->done, 1);
}

static void run_shell(struct outcome *o, const char *text)
{
    json_t *argv = shell(text);
    struct proc_spec spec = spec_for(argv);
    run_spec(o, &spec);
    json_decref(argv);
}

static char *slurp(const char *name)
{
    char *path = rwf_fs_join(dir, name);
    struct rwf_err err = RWF_ERR_INIT;
    char *text = rwf_fs_read(path, 64 * MIB, NULL, &err);
    ck_assert_msg(text != NULL, "%s", err.text);
    free(path);
    return text;
}

/* Where an attempt says that what it inherited is. */
static char *inherited_name(void)
{
    char *text = slurp("raywf-cmd.sh"), *at = strstr(text, "../env-");
    ck_assert_msg(at != NULL, "%s", text);
    char *name = rwf_xstrndup(at, strcspn(at, "\n"));
    free(text);
    return name;
}

static char *slurp_inherited(void)
{
    char *name = inherited_name(), *text = slurp(name);
    free(name);
    return text;
}

static void put_file(const char *name, const char *text, mode_t mode)
{
    char *path = rwf_fs_join(dir, name);
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    free(path);
}

static void assert_file(const char *name, const char *want)
{
    char *text = slurp(name);
    ck_assert_str_eq(text, want);
    free(text);
}

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text);
}

static bool pid_alive(pid_t pid)
{
    char path[64], buf[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    const char *end_of_name = n > 0 ? strrchr(buf, ')') : NULL;
    return end_of_name && end_of_name[2] != 'Z' && end_of_name[2] != 'X';
}

static pid_t pid_in(const char *file)
{
    char *text = slurp(file);
    pid_t pid = (pid_t)atoi(text);
    free(text);
    ck_assert_int_gt(pid, 1);
    return pid;
}

static bool alive(const char *pid_file)
{
    return pid_alive(pid_in(pid_file));
}

/* A killed process closes its pipes a moment before it is gone. */
static bool dies(const char *pid_file)
{
    pid_t pid = pid_in(pid_file);
    for (int i = 0; i < 100000 && pid_alive(pid); i++)
        usleep(1000);
    return !pid_alive(pid);
}

/* --- how it ends of itself --- */

static const struct {
    const char *text;
    enum plan_cause cause;
    int code, signal;
    const char *message;
} ends[] = {
    {"exit 0", PLAN_CAUSE_NONE, 0, 0, ""},
    {"exit 3", PLAN_CAUSE_EXIT, 3, 0, "exit code 3"},
    {"no-such-program-x", PLAN_CAUSE_EXIT, 127, 0,
     "exit code 127 (a command in it was not found: "
     "look at its name and at PATH; a file beside the recipe is ${recipe.dir}/NAME)"},
    {"exec /", PLAN_CAUSE_EXIT, 126, 0,
     "exit code 126 (a command in it is not executable, or no "
     "program)"},
    {"kill -SEGV $$", PLAN_CAUSE_SIGNAL, -1, SIGSEGV, "killed by signal 11 (SIGSEGV)"},
    {"sh -c 'kill -9 $$'; exit $?", PLAN_CAUSE_EXIT, 137, 0,
     "exit code 137 (128 + 9: a command in it was killed by SIGKILL)"},
};

START_TEST(test_ends)
{
    struct outcome o = { 0 };
    run_shell(&o, ends[_i].text);
    ck_assert_int_eq(o.exit.cause, ends[_i].cause);
    ck_assert_int_eq(o.exit.exit_code, ends[_i].code);
    ck_assert_int_eq(o.exit.signal, ends[_i].signal);
    ck_assert_int_eq(
        strncmp(o.exit.message, ends[_i].message, strlen(ends[_i].message)), 0);
    char *text = slurp("exit.json");
    json_t *json = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "code")), ends[_i].code);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "signal")),
                     ends[_i].signal);
    ck_assert_str_eq(json_string_value(json_object_get(json, "message")),
                     o.exit.message);
    json_decref(json);
    free(text);
    end(&o);
}
END_TEST

START_TEST(test_output)
{
    struct outcome o = { 0 };
    run_shell(&o, "echo to out; echo to err >&2");
    assert_file("stdout", "to out\n");
    assert_file("stderr", "to err\n");
    ck_assert_str_eq(o.tail, "to err");
    end(&o);
}
END_TEST

START_TEST(test_tail_is_last_lines)
{
    struct outcome o = { 0 };
    run_shell(&o, "seq 100; printf 'bad \\377 byte\\n'");
    ck_assert_int_eq(strncmp(o.tail, "82\n", 3), 0);
    assert_has(o.tail, "100\nbad \xEF\xBF\xBD byte");
    end(&o);
}
END_TEST

/* Its own session, no stdin, no descriptors of ours, default signals, dies with us. */
START_TEST(test_surroundings)
{
    struct outcome o = { 0 };
    int leak = dup(1); /* not close-on-exec */
    signal(SIGPIPE, SIG_IGN);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    run_shell(
        &o,
        "read x; echo $?; ls /proc/self/fd | wc -l; ls -l /proc/$$/fd >fds; grep -c pipe fds;"
        "cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo leads;"
        "grep -E '^(SigBlk|NoNewPrivs)' /proc/$$/status | sort;"
        /* Signals 32 and 33 are libc's own: nobody can set them. */
        "echo ignored $((0x$(sed -n 's/^SigIgn:.//p' /proc/$$/status) & 0x7fffffff));"
        "pwd -P");
    char *text = slurp("stdout");
    char *here = realpath(dir, NULL);
    char *want = rwf_xasprintf("1\n5\n3\nleads\nNoNewPrivs:\t1\n"
                               "SigBlk:\t0000000000000000\nignored 0\n%s\n", here);
    ck_assert_str_eq(text, want);
    close(leak);
    free(want);
    free(here);
    free(text);
    end(&o);
}
END_TEST

START_TEST(test_environment)
{
    struct outcome o = { 0 };
    setenv("INHERITED", "yes", 1);
    setenv("CHANGED", "old", 1);
    setenv("MY_TOKEN", "hush-hush", 1);
    const int gpus[] = { 1, 3 };
    json_t *argv =
        shell("echo $INHERITED $CHANGED $NEW $RAYWF_RUN_ID $RAYWF_STEP $RAYWF_REPORT "
              "$CUDA_VISIBLE_DEVICES");
    json_t *env = json_pack("{s:s, s:s, s:s}", "CHANGED", "new", "NEW", "a 'b",
                            "RAYWF_RUN_ID", "not mine to set");
    struct proc_spec spec = spec_for(argv);
    spec.env = env;
    spec.gpus = gpus;
    spec.gpu_count = 2;
    run_spec(&o, &spec);
    char *want = rwf_xasprintf("yes new a 'b %s tasks.a 3 1,3\n", own_run);
    assert_file("stdout", want);
    free(want);
    char *text = slurp("raywf-cmd.sh");
    assert_has(text, "export CHANGED=new\n");
    free(text);
    text = slurp_inherited();
    assert_has(text, "INHERITED=yes\n");
    assert_has(text, "MY_TOKEN=[hidden]\n");
    ck_assert_ptr_null(strstr(text, "hush-hush"));
    free(text);
    json_decref(argv);
    json_decref(env);
    end(&o);
}
END_TEST

START_TEST(test_cmd_sh_replays)
{
    struct outcome o = { 0 };
    json_t *argv = json_pack("[s, s, s, s]", "sh", "-c", "echo \"$A|$1\"; pwd", "it's");
    json_array_append_new(argv, json_string("x $y \"z\"\n'"));
    json_t *env = json_pack("{s:s}", "A", "one 'two' $three\n");
    struct proc_spec spec = spec_for(argv);
    spec.env = env;
    run_spec(&o, &spec);
    char *first = slurp("stdout");
    char *command = rwf_xasprintf("cd / && %s/raywf-cmd.sh > %s/again", dir, dir);
    ck_assert_int_eq(system(command), 0);
    assert_file("again", first);
    free(command);
    free(first);
    json_decref(argv);
    json_decref(env);
    end(&o);
}
END_TEST

/* --- starting --- */

static void assert_no_start(json_t *argv, int code, const char *part)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct outcome o = { 0 };
    struct proc_handler h = { .ctx = &o, .report = on_report, .exited = on_exited };
    struct proc_spec spec = spec_for(argv);
    ck_assert_ptr_null(proc_start(&loop, &spec, &h, &err));
    ck_assert_int_eq(err.code, code);
    assert_has(err.text, part);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(o.done, 0);
    char *text = slurp("exit.json");
    assert_has(text, "\"cause\":\"start\"");
    free(text);
    json_decref(argv);
}

START_TEST(test_missing_program)
{
    setenv("PATH", "/usr/bin:/bin:", 1);
    assert_no_start(json_pack("[s]", "no-such-program-x"), ENOENT,
                    "program 'no-such-program-x' is not in PATH (/usr/bin:/bin:)");
    assert_no_start(json_pack("[s]", "./train.sh"), ENOENT,
                    "there is no program './train.sh'");
    assert_no_start(json_array(), EINVAL, "argv is empty");
    assert_no_start(json_pack("[s]", "/"), EACCES, "is a folder");
}
END_TEST

START_TEST(test_not_executable)
{
    put_file("train.sh", "#!/bin/sh\n", 0644);
    assert_no_start(json_pack("[s]", "./train.sh"), EACCES,
                    "train.sh' is not executable: chmod +x");
    put_file("orphan", "#!/no/such/interp -x\n", 0755);
    assert_no_start(json_pack("[s]", "./orphan"), ENOENT,
                    "'/no/such/interp' in its #! line");
    put_file("dos", "#!/bin/sh\r\ntrue\r\n", 0755);
    assert_no_start(json_pack("[s]", "./dos"), ENOENT, "DOS line ends");
    put_file("data", "just text\n", 0755);
    assert_no_start(json_pack("[s]", "./data"), ENOEXEC,
                    "neither a program nor a script");
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_no_start(json_pack("[s]", "orphan"), ENOENT, "write './orphan'");
}
END_TEST

START_TEST(test_childs_path_and_folder)
{
    struct outcome o = { 0 };
    char *sub = rwf_fs_join(dir, "bin");
    ck_assert_int_eq(mkdir(sub, 0755), 0);
    put_file("bin/mine", "#!/bin/sh\necho mine\n", 0755);
    json_t *argv = json_pack("[s]", "mine");
    json_t *env =
        json_pack("{s:s}", "PATH", "/usr/bin:/bin:bin"); /* relative to its cwd */
    struct proc_spec spec = spec_for(argv);
    spec.env = env;
    run_spec(&o, &spec);
    assert_file("stdout", "mine\n");
    json_decref(argv);
    json_decref(env);
    free(sub);
    end(&o);
}
END_TEST

START_TEST(test_missing_cwd)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct outcome o = { 0 };
    struct proc_handler h = { .ctx = &o, .report = on_report, .exited = on_exited };
    json_t *argv = json_pack("[s]", "/bin/true");
    struct proc_spec spec = spec_for(argv);
    spec.cwd = "/no/such/folder";
    ck_assert_ptr_null(proc_start(&loop, &spec, &h, &err));
    ck_assert_int_eq(err.code, ENOENT);
    assert_has(err.text, "working folder '/no/such/folder'");
    json_decref(argv);
}
END_TEST

/* --- being ended --- */

START_TEST(test_timeout_of_a_stubborn_one)
{
    struct outcome o = { 0 };
    json_t *argv = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    struct proc_spec spec = spec_for(argv);
    spec.timeout = 300 * 1000000LL;
    spec.grace = 200 * 1000000LL;
    run_spec(&o, &spec);
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_TIMEOUT);
    ck_assert_int_eq(o.exit.signal, SIGKILL);
    ck_assert_str_eq(o.exit.message, "timed out after 300ms");
    assert_file("stdout", "ready\n");
    json_decref(argv);
    end(&o);
}
END_TEST

static void stop_on_report(struct outcome *o)
{
    proc_stop(o->p);
}

/* The shell dies of TERM at once; its child may still save its work. */
START_TEST(test_stop_lets_children_save)
{
    struct outcome o = { .on_report = stop_on_report };
    json_t *argv =
        shell("sh -c 'trap \"sleep 0.3; echo saved; exit 0\" TERM; echo \"{}\" >&3;"
              "while :; do sleep 0.02; done' & wait");
    struct proc_spec spec = spec_for(argv);
    run_spec(&o, &spec);
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_STOPPED);
    assert_file("stdout", "saved\n");
    json_decref(argv);
    end(&o);
}
END_TEST

static void kill_on_report(struct outcome *o)
{
    proc_kill(o->p);
}

START_TEST(test_kill)
{
    struct outcome o = { .on_report = kill_on_report };
    run_shell(&o, "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo '{}' >&3; wait");
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_STOPPED);
    ck_assert_int_eq(o.exit.signal, SIGKILL);
    proc_sweep(own_run);
    end(&o);
}
END_TEST

/* A process left behind must neither hang us nor live on. */
START_TEST(test_background_child)
{
    struct outcome o = { 0 };
    run_shell(&o, "sleep 1000 & echo $! > child; echo done");
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_NONE);
    assert_file("stdout", "done\n");
    ck_assert(dies("child"));
    end(&o);
}
END_TEST

START_TEST(test_child_in_another_group)
{
    struct outcome o = { 0 };
    json_t *argv = json_pack("[s, s, s]", "bash", "-c",
                             "set -m; sleep 1000 & echo $! > child; echo done");
    struct proc_spec spec = spec_for(argv);
    run_spec(&o, &spec);
    ck_assert(dies("child"));
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_fled_child_holds_the_pipes)
{
    struct outcome o = { 0 };
    run_shell(&o, "setsid sh -c 'echo $$ > child; exec sleep 1000' & "
              "until [ -s child ]; do sleep 0.01; done; echo done");
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_NONE);
    assert_file("stdout", "done\n");
    ck_assert(alive("child"));
    ck_assert_int_eq(proc_sweep("another-run"), 0);
    ck_assert_int_eq(proc_sweep(own_run), 1);
    ck_assert(dies("child"));
    end(&o);
}
END_TEST

START_TEST(test_sweep_spares_ancestors)
{
    setenv("RAYWF_RUN_ID", own_run, 1);
    char *self = rwf_fs_self();
    pid_t pid = fork();
    if (pid == 0) {
        /* Its parent, too, has the variable in its environment as /proc shows it. */
        execl("/bin/sh", "sh", "-c", "sleep 1000 & \"$0\" sweep $1; exit $?", self,
              own_run, NULL);
        _exit(99);
    }
    unsetenv("RAYWF_RUN_ID");
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1); /* the sleep, and nobody else */
    free(self);
    ck_assert_int_eq(proc_sweep(own_run), 0);
}
END_TEST

/* --- output --- */

static void next_folder(const char *name)
{
    snprintf(dir, sizeof(dir), "%s/%s", top, name);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
}

/* Files that many steps share by links are never written through one of them. */
START_TEST(test_shared_files)
{
    struct outcome o = { 0 };
    run_shell(&o, "true");
    assert_file("stdout", "");
    end(&o);
    char *known = inherited_name();
    next_folder("second");
    struct outcome second = { 0 };
    run_shell(&second, "true");
    char *command = rwf_xasprintf("cd %s && test stdout -ef ../first/stdout && test "
                                  "$(ls -d ../env-* | wc -l) = 1",
                                  dir);
    ck_assert_int_eq(system(command), 0);
    free(command);
    char *same = inherited_name();
    ck_assert_str_eq(same, known);
    free(same);
    free(known);
    end(&second);
    struct outcome third = { 0 };
    setenv("NEW_ONE", "1", 1);
    run_shell(&third, "echo loud; echo loud >&2");
    assert_file("stdout", "loud\n");
    char *text = slurp_inherited();
    assert_has(text, "NEW_ONE=1\n");
    free(text);
    end(&third);
    snprintf(dir, sizeof(dir), "%s/first", top);
    assert_file("stdout", "");
    assert_file("stderr", "");
    text = slurp_inherited();
    ck_assert_ptr_null(strstr(text, "NEW_ONE"));
    free(text);
}
END_TEST

/* What a step writes into its folder is its own: no record is changed by it, and no
 * file of ours is taken for one of its. */
START_TEST(test_records_are_safe)
{
    struct outcome one = {0}, two = {0};
    setenv("INHERITED", "yes", 1);
    run_shell(&one, "true");
    end(&one);
    next_folder("second");
    run_shell(&two, "test ! -e env.txt && test ! -e cmd.sh && echo mine > env.txt && "
                    "echo mine > cmd.sh");
    ck_assert_int_eq(two.exit.exit_code, 0);
    assert_file("env.txt", "mine\n");
    assert_file("cmd.sh", "mine\n");
    end(&two);
    static const char *const folders[] = {"second", "first"};
    for (size_t i = 0; i < RWF_COUNT(folders); i++) {
        snprintf(dir, sizeof(dir), "%s/%s", top, folders[i]);
        char *env = slurp_inherited(), *command = slurp("raywf-cmd.sh");
        assert_has(env, "INHERITED=yes\n");
        assert_has(command, "\nexec sh -c ");
        free(env);
        free(command);
    }
}
END_TEST

static void on_output(void *ctx, int stream, const void *data, size_t size)
{
    struct rwf_str *told = ctx;
    rwf_str_addn(&told[stream - 1], data, size);
}

START_TEST(test_output_is_told)
{
    struct outcome o = {0};
    struct rwf_str told[2] = {{0}};
    json_t *argv = shell("echo out; echo err >&2; echo 123456789");
    struct proc_spec spec = spec_for(argv);
    spec.log_limit = 6;
    begin(&o, &spec);
    proc_tap(o.p, on_output, told);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_str_eq(told[0].data, "out\n123456789\n"); /* all, whatever is kept */
    ck_assert_str_eq(told[1].data, "err\n");
    rwf_str_free(&told[0]);
    rwf_str_free(&told[1]);
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_held_output_waits)
{
    struct outcome o = {0};
    struct rwf_str told[2] = {{0}};
    json_t *argv = shell("head -c 1000000 /dev/zero | tr '\\0' x");
    struct proc_spec spec = spec_for(argv);
    begin(&o, &spec);
    proc_tap(o.p, on_output, told);
    proc_hold(o.p, true);
    for (int i = 0; i < 50; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 2);
    }
    ck_assert_uint_eq(told[0].len, 0);
    ck_assert_int_eq(o.done, 0); /* it cannot go on */
    proc_hold(o.p, false);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(told[0].len, 1000000);
    rwf_str_free(&told[0]);
    json_decref(argv);
    end(&o);
}
END_TEST

/* Once it has ended, what lies in its pipes is read all the same. */
START_TEST(test_held_output_is_not_lost)
{
    struct outcome o = {0};
    struct rwf_str told[2] = {{0}};
    json_t *argv = shell("echo last words");
    struct proc_spec spec = spec_for(argv);
    begin(&o, &spec);
    proc_tap(o.p, on_output, told);
    proc_hold(o.p, true);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(o.done, 1);
    ck_assert_str_eq(told[0].data, "last words\n");
    rwf_str_free(&told[0]);
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_log_limit)
{
    struct outcome o = { 0 };
    json_t *argv = shell("yes 0123456 | head -c 4194304; echo; echo the end");
    struct proc_spec spec = spec_for(argv);
    spec.log_limit = 10000;
    run_spec(&o, &spec);
    char *text = slurp("stdout");
    size_t total = 4194304 + 1 + 8, left_out = total - 10000 - 65536;
    char *line = rwf_xasprintf("\n[raywf: %zu bytes left out]\n", left_out);
    ck_assert_uint_eq(strlen(text), 10000 + strlen(line) + 65536);
    ck_assert_int_eq(strncmp(text + 10000, line, strlen(line)), 0);
    ck_assert(rwf_ends_with(text, "\nthe end\n"));
    free(line);
    free(text);
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_log_just_over_limit)
{
    struct outcome o = { 0 };
    json_t *argv = shell("yes 0123456 | head -c 20000");
    struct proc_spec spec = spec_for(argv);
    spec.log_limit = 10000;
    run_spec(&o, &spec);
    char *text = slurp("stdout");
    ck_assert_uint_eq(strlen(text), 20000);
    ck_assert_ptr_null(strstr(text, "left out"));
    free(text);
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_secret_cut_in_two)
{
    struct outcome o = { 0 };
    ck_assert_int_eq(rwf_redact_add("token", "s3cr3t'value", NULL), 0);
    json_t *argv = shell("printf 'a s3cr3t'; sleep 0.2; printf \"'value b\"; sleep 0.1;"
                         "echo \"$TOKEN\" >&2; printf 's3cr'");
    json_t *env = json_pack("{s:s}", "TOKEN", "s3cr3t'value");
    struct proc_spec spec = spec_for(argv);
    spec.env = env;
    run_spec(&o, &spec);
    assert_file("stdout", "a [secret:token] bs3cr");
    assert_file("stderr", "[secret:token]\n");
    ck_assert_str_eq(o.tail, "[secret:token]");
    char *command = rwf_xasprintf("grep -rF \"s3cr3t'value\" %s", top);
    ck_assert_int_ne(system(command), 0);
    char *text = slurp("raywf-cmd.sh");
    assert_has(text, "export TOKEN='[secret:token]' # a secret is not kept here");
    free(text);
    free(command);
    json_decref(argv);
    json_decref(env);
    end(&o);
}
END_TEST

/* --- reports --- */

START_TEST(test_reports)
{
    struct outcome o = { 0 };
    run_shell(
        &o, "echo '{\"acc\": 0.5}' >&3; echo not json >&3; echo '[1]' >&3;"
            "echo >&$RAYWF_REPORT; head -c 100000 /dev/zero | tr '\\0' x >&3; echo >&3;"
            "printf '{\"acc\": ' >&3; sleep 0.1; printf '0.75}' >&3");
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_NONE);
    ck_assert_uint_eq(json_array_size(o.reports), 3);
    const json_t *last = json_array_get(o.reports, 1);
    ck_assert(json_real_value(json_object_get(last, "acc")) == 0.75);
    const char *told = json_string_value(json_object_get(json_array_get(o.reports, 2),
                                                         "message"));
    ck_assert_str_eq(told,
                     "3 lines written to RAYWF_REPORT are no JSON object; the first: "
                     "not json");
    end(&o);
}
END_TEST

/* --- memory --- */

static const char eat[] = "x = bytearray(200 << 20)\n";

static void run_eater(struct outcome *o, int64_t memory)
{
    json_t *argv = json_pack("[s, s, s]", "python3", "-c", eat);
    struct proc_spec spec = spec_for(argv);
    spec.memory = memory;
    run_spec(o, &spec);
    json_decref(argv);
}

START_TEST(test_memory_limit)
{
    struct outcome o = { 0 };
    run_eater(&o, 64 * MIB);
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_OOM);
    assert_has(o.exit.message, "over its memory limit of 64 MiB (peak ");
    end(&o);
    struct outcome enough = { 0 };
    run_eater(&enough, 512 * MIB);
    ck_assert_int_eq(enough.exit.cause, PLAN_CAUSE_NONE);
    ck_assert_int_gt(enough.exit.usage.max_rss, 200 * MIB);
    end(&enough);
}
END_TEST

START_TEST(test_memory_watch)
{
    struct outcome o = { 0 };
    node__limit_force_watch(true);
    json_t *argv =
        shell("python3 -c 'x = bytearray(200 << 20); import time; time.sleep(60)' & "
              "wait");
    struct proc_spec spec = spec_for(argv);
    spec.memory = 64 * MIB;
    run_spec(&o, &spec);
    ck_assert_int_eq(o.exit.cause, PLAN_CAUSE_OOM);
    assert_has(o.exit.message, "over its memory limit of 64 MiB (peak ");
    json_decref(argv);
    end(&o);
}
END_TEST

START_TEST(test_no_cgroup_is_left)
{
    struct outcome o = { 0 };
    struct node__limit l;
    node__limit_begin(&l, own_run, 64 * MIB);
    char *path = l.path ? rwf_xstrdup(l.path) : NULL;
    node__limit_free(&l);
    run_eater(&o, 64 * MIB);
    ck_assert(!path || rwf_fs_exists(path));
    proc_sweep(own_run);
    ck_assert(!path || !rwf_fs_exists(path));
    char *parent = path ? rwf_fs_dirname(path) : rwf_xstrdup("/nowhere");
    char *command = rwf_xasprintf("ls %s 2>&1 | grep -q raywf-%s-%d", parent,
                                  own_run, (int)getpid());
    ck_assert_int_ne(system(command), 0);
    free(command);
    free(parent);
    free(path);
    end(&o);
}
END_TEST

/* --- many --- */

START_TEST(test_many_at_once)
{
    enum { N = 40 };
    static struct outcome many[N];
    json_t *argv = shell("echo x; exit 7");
    struct proc_spec spec = spec_for(argv);
    for (int i = 0; i < N; i++)
        begin(&many[i], &spec);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(many[i].done, 1);
        ck_assert_int_eq(many[i].exit.exit_code, 7);
        end(&many[i]);
    }
    char *command =
        rwf_xasprintf("test $(ls /proc/%d/fd | wc -l) -lt %d", (int)getpid(), N);
    ck_assert_int_eq(system(command), 0);
    free(command);
    json_decref(argv);
}
END_TEST

START_TEST(test_head_started_without_descriptors)
{
    struct outcome o = { 0 };
    close(0);
    close(2);
    run_shell(&o, "echo out; echo err >&2; echo '{\"a\": 1}' >&3");
    assert_file("stdout", "out\n");
    assert_file("stderr", "err\n");
    ck_assert_uint_eq(json_array_size(o.reports), 1);
    end(&o);
}
END_TEST

static Suite *suite(void)
{
    const TTest *const tests[] = {
        test_output,
        test_tail_is_last_lines,
        test_surroundings,
        test_environment,
        test_cmd_sh_replays,
        test_missing_program,
        test_not_executable,
        test_childs_path_and_folder,
        test_missing_cwd,
        test_timeout_of_a_stubborn_one,
        test_stop_lets_children_save,
        test_kill,
        test_background_child,
        test_child_in_another_group,
        test_fled_child_holds_the_pipes,
        test_sweep_spares_ancestors,
        test_shared_files,
        test_records_are_safe,
        test_output_is_told,
        test_held_output_waits,
        test_held_output_is_not_lost,
        test_log_limit,
        test_log_just_over_limit,
        test_secret_cut_in_two,
        test_reports,
        test_memory_limit,
        test_memory_watch,
        test_no_cgroup_is_left,
        test_many_at_once,
        test_head_started_without_descriptors,
    };
    Suite *s = suite_create("proc");
    TCase *t = tcase_create("proc");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_ends, 0, (int)RWF_COUNT(ends));
    for (size_t i = 0; i < RWF_COUNT(tests); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "sweep") == 0)
        return proc_sweep(argv[2]);
    snprintf(own_run, sizeof(own_run), "check-run-%d", (int)getpid());
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
