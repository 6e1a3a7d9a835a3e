/* SPDX-License-Identifier: Apache-2.0
 * Clusters that are brought up and taken down: sections that make no sense, nodes on
 * this machine, hosts behind a program that stands in for ssh (tests/t/ssh.sh), and
 * what a process that was killed has left.
 */
#include "config.h"

#include "cluster/cluster.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cluster/address.h"
#include "cluster/ask.h"
#include "cluster/child.h"

static char dir[64];
static struct rwf_str said;

static void hear(void *ctx, const char *line)
{
    (void)ctx;
    rwf_str_addf(&said, "%s\n", line);
}

static struct cluster_options options(void)
{
    return (struct cluster_options){.root = dir,
                                    .program = getenv("RAYWF"),
                                    .timeout = 300 * RWF_NS_PER_S,
                                    .say = hear};
}

static void set_up(void)
{
    strcpy(dir, "/tmp/check-cluster-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *ssh = rwf_xasprintf("%s/tests/t/ssh.sh", getenv("abs_top_srcdir"));
    setenv("RAYWF_SSH", ssh, 1);
    setenv("RAYWF_TEST_SSH", dir, 1);
    unsetenv("SLURM_JOB_ID");
    free(ssh);
}

static void tear_down(void)
{
    struct cluster_options o = options();
    cluster_sweep(&o);
    rwf_fs_rmtree(dir, NULL);
    rwf_str_free(&said);
}

static json_t *spec_of(const char *text)
{
    json_error_t e;
    json_t *j = json_loads(text, 0, &e);
    ck_assert_msg(j != NULL, "%s: %s", text, e.text);
    return j;
}

static struct cluster *up(const char *text, struct rwf_err *err)
{
    struct cluster_options o = options();
    json_t *spec = spec_of(text);
    struct cluster *c = cluster_up(spec, &o, err);
    json_decref(spec);
    return c;
}

static json_t *nodes_of(const struct cluster *c)
{
    struct cluster_at at;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(cluster_at_open(&at, cluster_address(c), cluster_key(c), &err), 0);
    json_t *nodes = cluster_ask_list(&at, "nodes", "", 60 * RWF_NS_PER_S, &err);
    ck_assert_msg(nodes != NULL, "%s", err.text);
    cluster_at_close(&at);
    return nodes;
}

static double cpu_of(const json_t *nodes, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)nodes, i, row)
        if (strcmp(json_string_value(json_object_get(row, "node")), name) == 0)
            return json_number_value(json_object_get(row, "cpu"));
    return -1;
}

static size_t left_below(const char *name)
{
    char *path = rwf_xasprintf("ls %s/%s 2>/dev/null | wc -l", dir, name);
    FILE *f = popen(path, "r");
    size_t n = 99;
    ck_assert_int_eq(fscanf(f, "%zu", &n), 1);
    pclose(f);
    free(path);
    return n;
}

/* --- sections --- */

static const struct {
    const char *spec, *says;
} wrong[] = {
    {"{}", "exactly one of"},
    {"{\"size\": 1, \"address\": \"a:1\"}", "exactly one of"},
    {"{\"size\": 0}", "from 1 to"},
    {"{\"size\": \"many\"}", "from 1 to"},
    {"{\"address\": \"nowhere\"}", "HOST:PORT"},
    {"{\"address\": \"a:70000\"}", "HOST:PORT"},
    {"{\"hosts\": []}", "hosts are expected"},
    {"{\"hosts\": [\"a\", {\"host\": \"a\"}]}", "two nodes are named 'a'"},
    {"{\"hosts\": [\"-oProxyCommand=touch x\"]}", "is no host"},
    {"{\"hosts\": [{\"host\": \"a b\"}]}", "is no host"},
    {"{\"hosts\": [{\"host\": \"a\", \"user\": \"-x\"}]}", "is no user"},
    {"{\"hosts\": [{\"host\": \"a\", \"name\": \"../b\"}]}", "is no plain name"},
    {"{\"size\": 1, \"env\": {\"A\": \"one\\ntwo\"}}", "more than one line"},
};

START_TEST(what_makes_no_sense_is_said)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(up(wrong[_i].spec, &err));
    ck_assert_msg(strstr(err.text, wrong[_i].says) != NULL, "%s: %s", wrong[_i].spec,
                  err.text);
    ck_assert_uint_eq(left_below("clusters"), 0);
}
END_TEST

START_TEST(one_that_runs_is_only_joined)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster *c = up("{\"address\": \"[::1]:6379\", \"key\": \"/k\"}", &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    ck_assert_str_eq(cluster_address(c), "[::1]:6379");
    ck_assert_str_eq(cluster_key(c), "/k");
    ck_assert(!cluster_is_ours(c));
    cluster_down(c);
}
END_TEST

/* --- on this machine --- */

START_TEST(nodes_here)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct stat st;
    struct cluster *c =
        up("{\"size\": 3, \"resources\": {\"cpu\": 1.5}, \"env\": {\"A\": "
           "\"b c\"}, \"labels\": {\"zone\": \"a\"}}",
           &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    ck_assert_uint_eq(cluster_size(c), 3);
    ck_assert(cluster_is_ours(c));
    json_t *nodes = nodes_of(c);
    ck_assert_uint_eq(json_array_size(nodes), 3);
    ck_assert_double_eq(cpu_of(nodes, "local-3"), 1.5);
    json_decref(nodes);
    ck_assert_int_eq(stat(cluster_key(c), &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    cluster_down(c);
    ck_assert_uint_eq(left_below("clusters"), 0);
}
END_TEST

/* --- over ssh --- */

START_TEST(hosts)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster *c =
        up("{\"hosts\": [\"one\", {\"host\": \"two\", \"name\": \"second\", \"user\": "
           "\"me\", \"port\": 2222, \"resources\": {\"cpu\": 3, \"memory\": \"1GiB\", "
           "\"custom\": {\"disk\": 1}}, \"env\": {\"SECRET\": \"canary-value\"}, "
           "\"interface\": \"lo\"}], \"interface\": \"lo\"}",
           &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    json_t *nodes = nodes_of(c);
    ck_assert_uint_eq(json_array_size(nodes), 2);
    ck_assert_double_eq(cpu_of(nodes, "second"), 3);
    json_decref(nodes);
    char *path = rwf_fs_join(dir, "log"), *log = rwf_fs_read(path, 65536, NULL, &err);
    char *key = rwf_fs_read(cluster_key(c), 200, NULL, &err);
    key[strcspn(key, "\n")] = '\0';
    ck_assert_ptr_nonnull(strstr(log, "-o BatchMode=yes"));
    ck_assert_ptr_nonnull(strstr(log, "-p 2222 -l me -- two"));
    ck_assert_msg(strstr(log, key) == NULL, "the key is an argument");
    ck_assert_msg(strstr(log, "canary") == NULL, "a variable is an argument");
    free(path), free(log), free(key);
    cluster_down(c);
    ck_assert_uint_eq(left_below("clusters"), 0);
}
END_TEST

static const struct {
    const char *host, *says;
} bad_hosts[] = {
    {"down1",
     "host down1: ssh: connect to host down1 port 22: Connection refused (this must "
     "work without a password: ssh -o BatchMode=yes down1 true)"},
    {"none1", "host none1: raywf does not run there"},
    {"old1", "host old1: it has raywf 0.0.1, here is " PACKAGE_STRING},
};

START_TEST(a_host_that_cannot_be_used_is_named)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *spec = rwf_xasprintf("{\"hosts\": [\"good\", \"%s\"], \"interface\": \"lo\"}",
                               bad_hosts[_i].host);
    ck_assert_ptr_null(up(spec, &err));
    ck_assert_msg(strstr(err.text, bad_hosts[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.text, "host good") == NULL, "%s", err.text);
    ck_assert_int_eq(rwf_exit_code(&err), 7);
    ck_assert_uint_eq(left_below("clusters"), 0);
    free(spec);
}
END_TEST

START_TEST(a_host_that_says_nothing)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster_options o = options();
    o.timeout = RWF_NS_PER_S;
    json_t *spec = spec_of("{\"hosts\": [\"slow1\"], \"interface\": \"lo\"}");
    ck_assert_ptr_null(cluster_up(spec, &o, &err));
    ck_assert_msg(strstr(err.text, "host slow1: it has not answered in time") != NULL,
                  "%s", err.text);
    json_decref(spec);
}
END_TEST

/* --- killed --- */

/* A process that brings one up, says where, and is killed. */
static char *killed(const char *spec)
{
    int fds[2];
    char text[128] = "";
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct cluster *c = up(spec, NULL);
        const char *at = c ? cluster_address(c) : "?";
        _exit(write(fds[1], at, strlen(at)) < 0 || pause());
    }
    ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
    return rwf_xstrdup(text);
}

START_TEST(what_was_left_is_gone_on_with)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *was = killed("{\"size\": 2}");
    struct cluster *c = up("{\"size\": 2}", &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    ck_assert_str_eq(cluster_address(c), was);
    ck_assert_uint_eq(cluster_size(c), 2);
    ck_assert_uint_eq(left_below("clusters"), 1);
    cluster_down(c);
    ck_assert_uint_eq(left_below("clusters"), 0);
    free(was);
}
END_TEST

START_TEST(what_was_left_is_taken_down)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster_at at = {0};
    char *was = killed("{\"hosts\": [\"one\"], \"interface\": \"lo\"}");
    struct cluster *c = up("{\"size\": 1}", &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    ck_assert_str_ne(cluster_address(c), was);
    ck_assert_uint_eq(left_below("clusters"), 1);
    ck_assert_int_eq(cluster_at_open(&at, was, cluster_key(c), &err), 0);
    ck_assert_ptr_null(cluster_ask_list(&at, "nodes", "", RWF_NS_PER_S, &err));
    cluster_at_close(&at);
    /* Two at once are two: the lock of the first is held. */
    struct cluster *second = up("{\"size\": 1}", &err);
    ck_assert_msg(second != NULL, "%s", err.text);
    ck_assert_str_ne(cluster_address(c), cluster_address(second));
    cluster_down(c);
    cluster_down(second);
    free(was);
}
END_TEST

static int head_pid(void)
{
    char *path = rwf_xasprintf("cat %s/clusters/*/head/pid", dir);
    FILE *f = popen(path, "r");
    int pid = 0;
    ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
    pclose(f);
    free(path);
    return pid;
}

/* While somebody uses the cluster it is started again, where it was; nodes come back.
 */
START_TEST(its_head_is_killed)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster *c = up("{\"size\": 2}", &err);
    struct cluster_at at;
    json_t *nodes = NULL;
    ck_assert_msg(c != NULL, "%s", err.text);
    ck_assert_int_eq(cluster_at_open(&at, cluster_address(c), cluster_key(c), &err), 0);
    ck_assert_int_eq(kill(head_pid(), SIGKILL), 0);
    while (json_array_size(nodes) < 2) {
        json_decref(nodes);
        nodes = cluster_ask_list(&at, "nodes", "", 60 * RWF_NS_PER_S, NULL);
    }
    json_decref(nodes);
    cluster_at_close(&at);
    cluster_down(c);
    ck_assert_uint_eq(left_below("clusters"), 0);
}
END_TEST

START_TEST(its_head_was_killed)
{
    struct rwf_err err = RWF_ERR_INIT;
    free(killed("{\"hosts\": [\"one\"], \"interface\": \"lo\"}"));
    ck_assert_int_eq(kill(head_pid(), SIGKILL), 0);
    struct cluster_options o = options();
    ck_assert_uint_eq(cluster_sweep(&o), 1); /* over ssh */
    ck_assert_uint_eq(left_below("clusters"), 0);
    char *path = rwf_fs_join(dir, "log");
    char *log = rwf_fs_read(path, 65536, NULL, &err);
    ck_assert_ptr_nonnull(strstr(log, "shutdown -q"));
    ck_assert_msg(!said.data || strstr(said.data, "could not be ended") == NULL, "%s",
                  said.data);
    free(path), free(log);
}
END_TEST

/* --- parts --- */

START_TEST(children)
{
    struct cluster__child list[4] = {0};
    cluster__child_arg(&list[0], "sh");
    cluster__child_arg(&list[0], "-c");
    cluster__child_arg(&list[0], "cat; echo problem >&2; exit 3");
    list[0].input = rwf_xstrdup("from stdin");
    cluster__child_arg(&list[1], "/no/such/program");
    cluster__child_arg(&list[2], "sh");
    cluster__child_arg(&list[2], "-c");
    cluster__child_arg(&list[2], "kill -9 $$");
    cluster__child_arg(&list[3], "sleep");
    cluster__child_arg(&list[3], "100");
    cluster__children_run(list, 3, 300 * RWF_NS_PER_S, NULL);
    cluster__children_run(list + 3, 1, RWF_NS_PER_S / 10, NULL);
    ck_assert_int_eq(list[0].status, 3);
    ck_assert_str_eq(list[0].out.data, "from stdin");
    char *why = cluster__child_why(&list[0]);
    ck_assert_str_eq(why, "problem");
    free(why);
    ck_assert_int_eq(list[1].status, 127);
    ck_assert_int_eq(list[2].status, 128 + 9);
    ck_assert(list[3].timed_out);
    for (int i = 0; i < 4; i++)
        cluster__child_free(&list[i]);
}
END_TEST

START_TEST(addresses)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct cluster_interface i;
    char *host;
    int port;
    ck_assert_int_eq(cluster_address_split("[fe80::1]:80", &host, &port, &err), 0);
    ck_assert_str_eq(host, "fe80::1");
    ck_assert_int_eq(port, 80);
    char *text = cluster_address_join(host, port);
    ck_assert_str_eq(text, "[fe80::1]:80");
    free(host), free(text);
    ck_assert_int_eq(cluster_interface_to("127.0.0.1", &i, &err), 0);
    ck_assert_str_eq(i.name, "lo");
    ck_assert_str_eq(i.address, "127.0.0.1");
    ck_assert_int_eq(cluster_interface_named("lo", &i, &err), 0);
    ck_assert_str_eq(i.address, "127.0.0.1");
    ck_assert_int_eq(cluster_interface_named("nix0", &i, &err), -1);
    ck_assert_msg(strstr(err.text, "there are: ") && strstr(err.text, "lo"), "%s",
                  err.text);
    ck_assert_int_eq(cluster_interface_to("no-such-host.invalid", &i, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "'no-such-host.invalid' is not known here"));
    ck_assert(cluster_address_is_any("0.0.0.0") && cluster_address_is_any("::"));
    ck_assert(!cluster_address_is_any("127.0.0.1") && !cluster_address_is_any("::1"));
    cluster_interface_default(&i);
    ck_assert(*i.address && *i.name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bring up");
    TCase *tc = tcase_create("bring up");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, children);
    tcase_add_test(tc, addresses);
    tcase_add_loop_test(tc, what_makes_no_sense_is_said, 0, (int)RWF_COUNT(wrong));
    tcase_add_test(tc, one_that_runs_is_only_joined);
    tcase_add_test(tc, nodes_here);
    tcase_add_test(tc, hosts);
    tcase_add_loop_test(tc, a_host_that_cannot_be_used_is_named, 0,
                        (int)RWF_COUNT(bad_hosts));
    tcase_add_test(tc, a_host_that_says_nothing);
    tcase_add_test(tc, what_was_left_is_gone_on_with);
    tcase_add_test(tc, what_was_left_is_taken_down);
    tcase_add_test(tc, its_head_is_killed);
    tcase_add_test(tc, its_head_was_killed);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
