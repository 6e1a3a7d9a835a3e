/* SPDX-License-Identifier: Apache-2.0
 *
 * The op of serve: specs in all modes, addresses as references, contents that decide
 * versions, and deploying to a control socket that a thread of the test plays.
 */
#include "config.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "plan_support.h"
#include "plan/key.h"
#include "serve/op_serve.h"
#include "serve/spec.h"

static const struct op *const ops[] = {&plan_task_op, &op_serve, NULL};

static json_t *spec_of(struct fixture *f, const char *address, enum plan_mode mode)
{
    static const struct plan_results none;

    plan_graph_resolve_as(f->graph, mode, &none);
    json_t *spec = plan_step_spec(f->graph, step_at(f, address), &f->err);
    ck_assert_msg(spec != NULL, "%s", f->err.text);
    return spec;
}

static const char *text_at(const json_t *json, const char *path)
{
    char key[100];

    while (*path != '\0') {
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof(key), "%.*s", (int)len, path);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key))
                                   : json_object_get(json, key);
        path += len + (path[len] == '.');
    }
    return json_is_string(json) ? json_string_value(json) : "(none)";
}

/* --- specs --- */

static const char several[] =
    "env: {A: recipe, B: recipe}\n"
    "defaults: {timeout: 5m, resources: {cpu: 7}}\n"
    "params: {port: 8100}\n"
    "serve:\n"
    "  x:\n"
    "    help: text\n"
    "    env: {B: entry, C: entry}\n"
    "    http: {port: \"${params.port}\", tls: {cert: c.pem, key: /k.pem}}\n"
    "    deployments:\n"
    "      n: {native: {plugin: sub/p.so, function: f}, env: {C: own}}\n"
    "      m: {model: ckpt}\n"
    "      p: {command: [server, \"--uds=${replica.socket}\", \"${replica.port}\"]}\n"
    "      q: {run: server, dir: sub}\n"
    "      l: {model: qwen, api: openai}\n"
    "    graph: {sequence: [n, m, p, q, l]}\n";

START_TEST(specs)
{
    struct fixture f;
    char want[200];

    fixture_open(&f);
    fixture_build(&f, several, ops, NULL);
    assert_built(&f);
    json_t *spec = spec_of(&f, "serve.x", PLAN_RUN);
    static const struct {
        const char *path, *want; /* "@": beneath the recipe's folder */
    } rows[] = {
        {"name", "x"},
        {"prefix", "/x"},
        {"help", "(none)"},
        {"http.tls.cert", "@c.pem"},
        {"http.tls.key", "/k.pem"},
        {"deployments.n.plugin", "@sub/p.so"},
        {"deployments.n.env.A", "recipe"},
        {"deployments.n.env.B", "entry"},
        {"deployments.n.env.C", "own"},
        {"deployments.m.model", "@ckpt"},
        {"deployments.m.env.C", "entry"},
        {"deployments.p.argv.1", "--uds=${replica.socket}"},
        {"deployments.p.argv.2", "${replica.port}"},
        {"deployments.p.dir", "@."},
        {"deployments.q.dir", "@sub"},
        {"deployments.q.argv.2", "server"},
        {"deployments.l.argv.2", "@qwen"},
    };
    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        snprintf(want, sizeof(want), "%s/%s", f.dir, rows[i].want + 1);
        ck_assert_str_eq(text_at(spec, rows[i].path),
                         rows[i].want[0] == '@' ? want : rows[i].want);
    }
    struct serve_app *a = serve_app_read(spec, &f.err);
    ck_assert_msg(a != NULL, "%s", f.err.text);
    ck_assert_int_eq(a->http.port, 8100);
    ck_assert_int_eq(a->deployments[0].timeout, INT64_C(30000000000)); /* not 5m */
    ck_assert_uint_eq(json_object_size(a->deployments[0].resources), 0);
    serve_app_free(a);
    json_decref(spec);
    fixture_close(&f);
}
END_TEST

START_TEST(keys)
{
    struct fixture f;

    fixture_open(&f);
    fixture_build(&f, several, ops, NULL);
    assert_built(&f);
    json_t *spec = spec_of(&f, "serve.x", PLAN_KEY), *files = json_object();
    ck_assert_str_eq(text_at(spec, "deployments.n.plugin"), "sub/p.so");
    ck_assert_str_eq(text_at(spec, "deployments.p.dir"), "(none)");
    ck_assert_int_eq(
        op_serve.inputs(f.graph, step_at(&f, "serve.x"), spec, files, &f.err), 0);
    ck_assert(json_is_true(json_object_get(files, "sub/p.so")));
    json_decref(files);
    json_decref(spec);
    fixture_close(&f);
}
END_TEST

START_TEST(described)
{
    struct fixture f;

    fixture_open(&f);
    fixture_build(
        &f,
        "serve:\n  one: {url: \"http://h\", route_prefix: /, http: {port: 81}}\n"
        "  two:\n    deployments:\n"
        "      a: {run: x, autoscaling: {min_replicas: 0, max_replicas: 3}}\n"
        "      b: {model: m, replicas: 2}\n"
        "    graph: {sequence: [a, b]}\n",
        ops, NULL);
    assert_built(&f);
    json_t *one = spec_of(&f, "serve.one", PLAN_SHOW);
    json_t *two = spec_of(&f, "serve.two", PLAN_SHOW);
    ASSERT_TAKEN(op_serve.describe(step_at(&f, "serve.one"), one),
                 "http://127.0.0.1:81: url, 1 replica");
    ASSERT_TAKEN(op_serve.describe(step_at(&f, "serve.two"), two),
                 "http://127.0.0.1:8000/two: a (program, 0 to 3 replicas), b (model, 2 "
                 "replicas)");
    json_decref(one);
    json_decref(two);
    fixture_close(&f);
}
END_TEST

/* --- addresses --- */

static const char addressed[] =
    "params: {port: 8100, route: /v1/things/}\n"
    "serve:\n"
    "  a: {url: \"http://h\"}\n"
    "  b: {url: \"${serve.a.url}/x\", route_prefix: \"${params.route}\",\n"
    "      http: {host: localhost, port: \"${params.port}\", tls: {cert: c, key: k}}}\n"
    "  c: {url: \"http://h\", route_prefix: /}\n"
    "tasks:\n"
    "  t: {run: \"ask ${serve.a.url}/p ${serve.b.url} ${serve.c.url}/\"}\n"
    "  u: {run: \"true\", needs: [serve.c]}\n";

START_TEST(addresses_are_known)
{
    static const enum plan_mode modes[] = {PLAN_KEY, PLAN_RUN, PLAN_SHOW};
    struct fixture f;

    fixture_open(&f);
    fixture_build(&f, addressed, ops, NULL);
    assert_built(&f);
    for (size_t i = 0; i < RWF_COUNT(modes); i++) {
        json_t *spec = spec_of(&f, "tasks.t", modes[i]);
        char *text = json_dumps(spec, 0);
        ck_assert_msg(strstr(text, "ask http://127.0.0.1:8000/a/p "
                                   "https://localhost:8100/v1/things "
                                   "http://127.0.0.1:8000/") != NULL,
                      "%s", text);
        free(text);
        json_decref(spec);
    }
    json_t *spec = spec_of(&f, "serve.b", PLAN_RUN);
    ck_assert_str_eq(text_at(spec, "deployments.main.url"),
                     "http://127.0.0.1:8000/a/x");
    json_decref(spec);
    ASSERT_TAKEN(needs_of(&f, "tasks.t"), "serve.a serve.b serve.c");
    ASSERT_TAKEN(needs_of(&f, "tasks.u"), "serve.c");
    ASSERT_TAKEN(needs_of(&f, "serve.b"), "serve.a");
    fixture_close(&f);
}
END_TEST

static const struct {
    const char *recipe, *diag;
} refused[] = {
    {"serve: {a: {url: \"${serve.a.url}\"}}\n", "E0301"},
    {"serve: {a: {url: u, http: {port: \"${serve.a.url}\"}}}\n", "E0301"},
    {"serve: {a: {url: u, http: {host: \"${serve.b.url}\"}},\n"
     "        b: {url: u, http: {host: \"${serve.a.url}\"}}}\n",
     "E0301 3:35-49 serve.a (line 2) -> serve.b (line 3) -> serve.a"},
    {"serve: {a: {url: u, http: {host: \"${tasks.t.outputs.o}\"}}}\n"
     "tasks: {t: {run: x, outputs: {o: o}}, v: {run: \"ask ${serve.a.url}\"}}\n",
     "E0203 2:35-55 '${tasks.t.outputs.o}' is known only after tasks.t has run"},
    {"serve: {a: {url: u}}\ntasks: {t: {run: \"${serve.a.outputs.x}\"}}\n",
     "serve.a has no output 'x'"},
    {"serve: {a: {url: u, http: {cors: [\"${secrets.k}\"]}}}\nsecrets: {k: {env: K}}\n",
     "E0205"},
    {"serve: {a: {deployments: {env: {url: \"${secrets.k}\"}}}}\nsecrets: {k: {env: "
     "K}}\n",
     "E0205"},
};

START_TEST(references_refused)
{
    struct fixture f;

    fixture_open(&f);
    fixture_build(&f, refused[_i].recipe, ops, NULL);
    assert_diag(&f, refused[_i].diag);
    fixture_close(&f);
}
END_TEST

START_TEST(policy)
{
    struct fixture f;

    fixture_open(&f);
    fixture_build(&f, "serve: {a: {url: u, timeout: 3s, resources: {gpu: 1}}}\n", ops,
                  NULL);
    assert_built(&f);
    const struct plan_policy *p = step_at(&f, "serve.a")->policy;
    ck_assert_int_eq(p->timeout, 0); /* that of a request is none of the step */
    ck_assert(p->leased);            /* and the GPU is the replica's */
    ck_assert(!p->cache);
    fixture_close(&f);
}
END_TEST

/* --- contents --- */

static char *content(struct fixture *f, const char *deployment)
{
    json_t *d = json_loads(deployment, 0, NULL);
    json_t *spec = json_pack("{s:{s:o}}", "deployments", "d", d);
    static const char *const paths[] = {"plugin", "model", "dir"};

    for (size_t i = 0; i < RWF_COUNT(paths); i++) {
        const char *path = json_string_value(json_object_get(d, paths[i]));
        char *full = path != NULL ? rwf_fs_join(f->dir, path) : NULL;
        if (full != NULL)
            json_object_set_new(d, paths[i], json_string(full));
        free(full);
    }
    char *out = serve_op_contents(spec, &f->err) < 0
                    ? NULL
                    : rwf_xstrdup(text_at(spec, "deployments.d.content"));
    json_decref(spec);
    return out;
}

static bool same(struct fixture *f, const char *a, const char *b)
{
    char *one = content(f, a), *other = content(f, b);
    bool equal = one != NULL && other != NULL && strcmp(one, other) == 0;

    ck_assert_msg(one != NULL && other != NULL, "%s", f->err.text);
    free(one);
    free(other);
    return equal;
}

static bool changes(struct fixture *f, const char *deployment, const char *name,
                    const char *text)
{
    char *before = content(f, deployment);
    write_file(f, name, text);
    char *after = content(f, deployment);
    bool other = before != NULL && after != NULL && strcmp(before, after) != 0;

    ck_assert_msg(before != NULL && after != NULL, "%s", f->err.text);
    free(before);
    free(after);
    return other;
}

#define P "{\"kind\":\"program\",\"dir\":\".\",\"argv\":"

START_TEST(contents)
{
    static const char plugin[] = "{\"kind\":\"native\",\"plugin\":\"p.so\"}";
    static const char model[] = "{\"kind\":\"model\",\"model\":\"ckpt\"}";
    static const char argv[] = P "[\"python3\",\"app.py\"]}";
    static const char shell[] = P "[\"/bin/sh\",\"-c\",\"X=1 exec ./app.py>log\"]}";
    struct fixture f;

    fixture_open(&f);
    write_file(&f, "p.so", "one");
    write_file(&f, "sub/p.so", "one");
    write_file(&f, "ckpt/config.json", "{}");
    write_file(&f, "ckpt/weights", "w");
    write_file(&f, "app.py", "1");
    write_file(&f, "other", "1");
    ck_assert(same(&f, plugin, "{\"kind\":\"native\",\"plugin\":\"sub/p.so\"}"));
    ck_assert(changes(&f, plugin, "p.so", "two"));
    ck_assert(!changes(&f, plugin, "p.so", "two"));
    ck_assert(changes(&f, model, "ckpt/weights", "v"));
    ck_assert(changes(&f, model, "ckpt/more", ""));
    ck_assert(changes(&f, argv, "app.py", "2"));
    ck_assert(changes(&f, shell, "app.py", "3"));
    ck_assert(!changes(&f, argv, "other", "2"));
    ck_assert(same(&f, P "[\"a\"]}", "{\"kind\":\"url\",\"url\":\"http://h\"}"));
    ck_assert_ptr_null(content(&f, "{\"kind\":\"native\",\"plugin\":\"none.so\"}"));
    ck_assert_ptr_nonnull(strstr(f.err.text, "deployment 'd': "));
    ck_assert_ptr_nonnull(strstr(f.err.text, "none.so: No such file"));
    ck_assert_int_eq(f.err.code, RWF_E_INPUT);
    fixture_close(&f);
}
END_TEST

/* --- deploying --- */

/* Plays the server: each connection gets the next text, after its request was read. */
struct played {
    char path[100];
    const char *const *texts;
    char request[4000]; /* the last one */
    int listener;
    pthread_t thread;
};

static void *play(void *ctx)
{
    struct played *p = ctx;

    for (int i = 0; p->texts[i] != NULL; i++) {
        int fd = accept(p->listener, NULL, NULL);
        size_t len = 0;
        ssize_t n;
        while (len + 1 < sizeof(p->request) && memchr(p->request, '\n', len) == NULL &&
               (n = read(fd, p->request + len, sizeof(p->request) - len - 1)) > 0)
            len += (size_t)n;
        p->request[len] = '\0';
        for (const char *at = p->texts[i]; *at != '\0'; at++) /* in small pieces */
            if (send(fd, at, 1, MSG_NOSIGNAL) != 1) /* it may have read enough */
                break;
        close(fd);
    }
    return NULL;
}

static void play_begin(struct played *p, const char *dir, const char *const *texts)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memset(p, 0, sizeof(*p));
    snprintf(p->path, sizeof(p->path), "%s/control", dir);
    strcpy(a.sun_path, p->path);
    p->texts = texts;
    p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(p->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(p->listener, 5), 0);
    ck_assert_int_eq(setenv("RAYWF_SERVE_CONTROL", p->path, 1), 0);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, play, p), 0);
}

static double reported; /* the last progress */

static void on_report(const struct op_run *r, const json_t *line)
{
    (void)r;
    reported = json_number_value(json_object_get(line, "progress"));
}

static int deploy(struct rwf_err *err)
{
    json_t *body = json_pack("{s:s}", "url", "http://h");
    json_t *spec = serve_spec_complete("api", body, err);
    struct op_run r = {
        .address = "serve.api", .spec = spec, .dir = ".", .report = on_report};
    int rc = serve_op_deploy(&r, err);

    json_decref(spec);
    json_decref(body);
    return rc;
}

static const struct {
    const char *texts[5];
    int rc, code;
    const char *error;
    double progress;
} plays[] = {
    {{"{\"ok\":true,\"data\":{}}\n", NULL}, 0, 0, "", 0},
    {{"{\"progress\":0.25,\"message\":\"1 of 4\"}\n{\"progress\":0.5}\n\nnoise\n"
      "{\"ok\":true}\n{\"progress\":1}\n",
      NULL},
     0,
     0,
     "",
     0.5},
    {{"{\"ok\":false,\"code\":100007,\"error\":\"the port 8000 is in use\"}\n", NULL},
     -1,
     RWF_E_ENV,
     "the port 8000 is in use",
     0},
    {{"{\"ok\":false}\n", NULL}, -1, RWF_E_FAILED, "the server did not say why", 0},
    {{"", "{\"progress\":0.1}\n{\"ok\":tr", "{\"ok\":true}\n", NULL}, 0, 0, "", 0.1},
    {{"", "", "", NULL},
     -1,
     RWF_E_ENV,
     "the server ended 3 times before it answered",
     0},
};

START_TEST(deployed)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct played p;
    struct fixture f;

    fixture_open(&f);
    reported = 0;
    play_begin(&p, f.dir, plays[_i].texts);
    ck_assert_int_eq(deploy(&err), plays[_i].rc);
    pthread_join(p.thread, NULL);
    close(p.listener);
    ck_assert_int_eq(err.code, plays[_i].code);
    ck_assert_msg(strncmp(err.text, plays[_i].error, strlen(plays[_i].error)) == 0,
                  "%s", err.text);
    ck_assert_double_eq(reported, plays[_i].progress);
    json_t *request = json_loads(p.request, 0, NULL);
    ck_assert_str_eq(text_at(request, "do"), "deploy");
    ck_assert_str_eq(text_at(request, "app.name"), "api");
    ck_assert_uint_eq(strlen(text_at(request, "app.deployments.main.content")), 64);
    ck_assert(json_is_true(json_object_get(request, "wait")));
    json_decref(request);
    fixture_close(&f);
}
END_TEST

static void *appear(void *ctx)
{
    static const char *const texts[] = {"{\"ok\":true}\n", NULL};
    struct played *p = ctx;
    char dir[100];

    usleep(50000);
    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(p->path, '/') - p->path), p->path);
    play_begin(p, dir, texts);
    return NULL;
}

/* The server is still starting. */
START_TEST(socket_appears)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct played p = {.listener = -1};
    pthread_t thread;
    struct fixture f;

    fixture_open(&f);
    snprintf(p.path, sizeof(p.path), "%s/control", f.dir);
    setenv("RAYWF_SERVE_CONTROL", p.path, 1);
    pthread_create(&thread, NULL, appear, &p);
    ck_assert_msg(deploy(&err) == 0, "%s", err.text);
    pthread_join(thread, NULL);
    pthread_join(p.thread, NULL);
    close(p.listener);
    fixture_close(&f);
}
END_TEST

START_TEST(no_socket)
{
    struct rwf_err err = RWF_ERR_INIT;

    unsetenv("RAYWF_SERVE_CONTROL");
    ck_assert_int_eq(deploy(&err), -1);
    ck_assert_str_eq(err.text, "RAYWF_SERVE_CONTROL is not set");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve op");
    TCase *t = tcase_create("op");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, specs);
    tcase_add_test(t, keys);
    tcase_add_test(t, described);
    tcase_add_test(t, addresses_are_known);
    tcase_add_loop_test(t, references_refused, 0, RWF_COUNT(refused));
    tcase_add_test(t, policy);
    tcase_add_test(t, contents);
    tcase_add_loop_test(t, deployed, 0, RWF_COUNT(plays));
    tcase_add_test(t, socket_appears);
    tcase_add_test(t, no_socket);
    suite_add_tcase(s, t);
    return run_suite(s);
}
