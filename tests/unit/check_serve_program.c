/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in class of programs: how one starts, and how it is told that one did not.
 * The programs are shell scripts and this very test, which answers HTTP when it is
 * asked to (SERVE_TEST=…).
 */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/unix.h"
#include "serve/class_program.h"

static char *folder;

/* --- the program --- */

static int listen_at(const char *path, const char *port)
{
    struct rwf_err err = RWF_ERR_INIT;
    int fd = -1;
    if (path != NULL) {
        struct rwf_unix a;
        if (rwf_unix_open(&a, path, &err) != 0)
            exit(90);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&a.addr, a.len) != 0)
            exit(91);
        rwf_unix_close(&a);
    } else {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)atoi(port))};
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
            exit(92);
    }
    listen(fd, 16);
    return fd;
}

/* Answers every request with `status`, the first `unwell` ones with 503; "/die" ends
 * it. */
static int be_program(const char *how)
{
    const char *port = strcmp(how, "port") == 0 ? getenv("PORT") : NULL;
    int unwell = strcmp(how, "late") == 0 ? 3 : strcmp(how, "ill") == 0 ? 1 << 30 : 0;
    int fd = listen_at(port == NULL ? getenv("RAYWF_SOCKET") : NULL, port);
    if (strcmp(how, "stubborn") == 0)
        signal(SIGTERM, SIG_IGN);
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        char in[1024] = "";
        int c = accept(fd, NULL, NULL);
        ssize_t n = recv(c, in, sizeof(in) - 1, 0);
        if (n > 0) {
            const char *status = unwell-- > 0 ? "503 Unwell" : "200 OK";
            char out[128];
            snprintf(out, sizeof(out), "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok",
                     status);
            if (send(c, out, strlen(out), MSG_NOSIGNAL) < 0)
                exit(93);
            if (strncmp(in, "GET /die ", 9) == 0) {
                fprintf(stderr, "told to die\n");
                return 42;
            }
        }
        close(c);
    }
}

/* --- the tests --- */

static void setup(void)
{
    char name[] = "/tmp/serve-program-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(name));
    folder = rwf_xstrdup(name);
}

static void teardown(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    rwf_fs_rmtree(folder, &err);
    free(folder);
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

/* `how` of this program, or a shell command when it has a space. */
static struct serve_program *start(const char *how, const char *health, int64_t grace,
                                   struct rwf_err *err)
{
    char *socket = rwf_fs_join(folder, "s"), *log = rwf_fs_join(folder, "log");
    char *self = rwf_fs_self();
    bool shell = strchr(how, ' ') != NULL;
    json_t *j = json_pack(
        "{s:o, s:o, s:s, s:s, s:s, s:I, s:I}", "argv",
        shell ? json_pack("[s,s,s]", "/bin/sh", "-c", how) : json_pack("[s]", self),
        "env",
        json_pack("{s:s, s:s}", "SERVE_TEST", how, "WHERE",
                  "${replica.id}@${replica.socket}:${replica.port}"),
        "id", "a.b.1", "socket", socket, "log", log, "start_grace", (json_int_t)grace,
        "grace", (json_int_t)(200 * RWF_NS_PER_MS));
    if (health != NULL)
        json_object_set_new(j, "health", json_string(health));
    struct serve_program *p = serve_program_start(j, never, NULL, err);
    json_decref(j);
    free(self);
    free(socket);
    free(log);
    return p;
}

#define LONG (300 * RWF_NS_PER_S)

static const struct {
    const char *how, *health, *address;
} good[] = {{"plain", NULL, "unix:"},
            {"plain", "/health", "unix:"},
            {"late", "/health", "unix:"},
            {"port", "/health", "http://127.0.0.1:"}};

START_TEST(test_good)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct serve_program *p = start(good[_i].how, good[_i].health, LONG, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    ck_assert_int_eq(
        strncmp(serve_program_address(p), good[_i].address, strlen(good[_i].address)),
        0);
    ck_assert_int_eq(serve__probe(serve_program_address(p), "/x", 60000, &err), 0);
    ck_assert_int_eq(serve_program_wait(p, at_once, NULL, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_STOPPED);
    serve_program_free(p);
}
END_TEST

START_TEST(test_dies)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct serve_program *p = start("plain", NULL, LONG, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    serve__probe(serve_program_address(p), "/die", 60000, &err);
    ck_assert_int_eq(serve_program_wait(p, never, NULL, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_FAILED);
    ck_assert_msg(strstr(err.text, "exit code 42") != NULL &&
                      strstr(err.text, "told to die") != NULL,
                  "%s", err.text);
    serve_program_free(p);
}
END_TEST

/* One that does not hear TERM is killed after its grace. */
START_TEST(test_stubborn)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct serve_program *p = start("stubborn", NULL, LONG, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    ck_assert_int_eq(serve_program_wait(p, at_once, NULL, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_STOPPED);
    serve_program_free(p);
}
END_TEST

static const struct {
    const char *how, *health, *wrong, *also;
} bad[] = {
    {"echo one; echo two >&2; exit 3", NULL, "exit code 3 before it was healthy",
     "one\ntwo"},
    {"exec sleep 1000", NULL, "not healthy within", "neither at ${replica.socket}"},
    {"kill -9 $$", NULL, "killed by signal 9", "printed nothing"},
    {"echo \"$WHERE\"; exit 1", NULL, "a.b.1@", "/s:"},
    {"ill", "/health", "not healthy within", "status 503"},
};

START_TEST(test_bad)
{
    struct rwf_err err = RWF_ERR_INIT;
    /* Longer where it was not so far as to say what is wrong. */
    for (int64_t grace = 700 * RWF_NS_PER_MS; grace < LONG; grace *= 4) {
        ck_assert_ptr_null(start(bad[_i].how, bad[_i].health, grace, &err));
        if (strstr(err.text, bad[_i].wrong) != NULL &&
            strstr(err.text, bad[_i].also) != NULL)
            break;
    }
    ck_assert_msg(strstr(err.text, bad[_i].wrong) != NULL &&
                      strstr(err.text, bad[_i].also) != NULL,
                  "%s", err.text);
}
END_TEST

START_TEST(test_no_program)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *j = json_pack("{s:[s], s:s, s:I}", "argv", "/no/such/program", "socket",
                          "/tmp/none", "start_grace", (json_int_t)LONG);
    ck_assert_ptr_null(serve_program_start(j, never, NULL, &err));
    ck_assert_msg(strstr(err.text, "cannot run '/no/such/program'") != NULL, "%s",
                  err.text);
    json_decref(j);
}
END_TEST

/* The log ends, and the last lines are those that count. */
START_TEST(test_log)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct stat st;
    struct serve_program *p =
        start("head -c 9000000 /dev/zero | tr '\\0' 'x' | fold -w 99; "
              "echo the end; exit 5",
              NULL, LONG, &err);
    ck_assert_ptr_null(p);
    ck_assert_msg(strstr(err.text, "exit code 5") != NULL &&
                      strstr(err.text, "the end") != NULL,
                  "%s", err.text);
    char *log = rwf_fs_join(folder, "log"), *old = rwf_fs_join(folder, "log.1");
    ck_assert_int_eq(stat(log, &st), 0);
    ck_assert_int_lt(st.st_size, SERVE_PROGRAM_LOG_MAX);
    ck_assert_int_eq(stat(old, &st), 0);
    ck_assert_int_le(st.st_size, SERVE_PROGRAM_LOG_MAX);
    free(log);
    free(old);
}
END_TEST

int main(void)
{
    const char *how = getenv("SERVE_TEST");
    if (how != NULL)
        return be_program(how);
    Suite *s = suite_create("serve_program");
    TCase *t = tcase_create("program");
    rwf_mem_init();
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_good, 0, (int)RWF_COUNT(good));
    tcase_add_test(t, test_dies);
    tcase_add_test(t, test_stubborn);
    tcase_add_loop_test(t, test_bad, 0, (int)RWF_COUNT(bad));
    tcase_add_test(t, test_no_program);
    tcase_add_test(t, test_log);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
