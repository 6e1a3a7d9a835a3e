/* SPDX-License-Identifier: Apache-2.0
 *
 * Gangs over several nodes: where ranks are, what paths are called there, which network
 * leads to all of them; and the hub that ranks connect to: who gets in, and what comes
 * through. (Whole gangs: t2080, t2090.)
 */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "gang/gang.h"
#include "gang/hub.h"
#include "gang/places.h"

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *out = json_loads(text, JSON_DECODE_ANY, &why);
    ck_assert_msg(out != NULL, "%s: %s", why.text, text);
    return out;
}

/* --- places --- */

#define A "{\"node\":\"a\",\"host\":\"10.0.0.1\",\"interface\":\"eth0\",\"gpus\":[0]}"
#define A2                                                                             \
    "{\"node\":\"a\",\"host\":\"10.0.0.1\",\"interface\":\"eth0\",\"gpus\":[0,2]}"
#define B "{\"node\":\"b\",\"host\":\"10.0.0.6\"}"

START_TEST(ranks_are_on_nodes)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_places p;
    json_t *json = parse("[" A "," A2 "," B "]");

    ck_assert_int_eq(gang_places_read(&p, json, 0, &err), 0);
    ck_assert_int_eq(p.ranks, 3);
    ck_assert_int_eq(p.count, 2);
    ck_assert_int_eq(p.nodes[0].count, 2);
    ck_assert_int_eq(p.nodes[1].first, 2);
    ck_assert_str_eq(p.nodes[0].gpus, "0,2");
    ck_assert_str_eq(p.nodes[0].interface, "eth0");
    ck_assert(p.nodes[1].gpus == NULL && p.nodes[1].interface == NULL);
    ck_assert_str_eq(gang_places_node(&p, 1)->name, "a");
    ck_assert_str_eq(gang_places_node(&p, 2)->name, "b");
    ck_assert(gang_places_node(&p, 3) == NULL);
    gang_places_free(&p);
    json_decref(json);

    ck_assert_int_eq(gang_places_read(&p, NULL, 4, &err), 0);
    ck_assert_int_eq(p.ranks, 4);
    ck_assert_int_eq(p.count, 0);
    ck_assert(gang_places_node(&p, 0) == NULL);
    gang_places_free(&p);
}
END_TEST

static const struct {
    const char *places, *says;
} wrong[] = {
    {"[{\"node\":\"a\"}]", "no host"},
    {"[{\"host\":\"10.0.0.1\"}]", "no node"},
    {"[" A "," B "," A "]", "ranks on node a are not neighbours"},
};

START_TEST(wrong_places_are_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_places p;
    json_t *json = parse(wrong[_i].places);

    ck_assert_int_eq(gang_places_read(&p, json, 0, &err), -1);
    ck_assert_msg(strstr(err.text, wrong[_i].says) != NULL, "%s", err.text);
    json_decref(json);
}
END_TEST

static const struct {
    const char *pairs, *text, *there;
} mapped[] = {
    {"[[\"/here\",\"/there\"]]", "\"/here\"", "\"/there\""},
    {"[[\"/here\",\"/there\"]]", "\"/here/x/y\"", "\"/there/x/y\""},
    {"[[\"/here\",\"/there\"]]", "\"/hereafter\"", "\"/hereafter\""},
    {"[[\"/here\",\"/there\"]]", "\"in /here\"", "\"in /here\""},
    {"[[\"/a\",\"/1\"],[\"/a/b\",\"/2\"]]", "\"/a/b/c\"", "\"/2/c\""},
    {"[[\"/a/b\",\"/2\"],[\"/a\",\"/1\"]]", "\"/a/c\"", "\"/1/c\""},
    {"[[\"/a\",\"/1\"]]", "{\"k\":[\"/a/x\",7,null],\"/a\":\"/b\"}",
     "{\"k\":[\"/1/x\",7,null],\"/a\":\"/b\"}"},
    {"[]", "[\"/a\"]", "[\"/a\"]"},
    {"[[\"/a\"],[1,2]]", "\"/a/x\"", "\"/a/x\""},
};

START_TEST(paths_are_called_otherwise_there)
{
    json_t *pairs = parse(mapped[_i].pairs), *value = parse(mapped[_i].text);
    struct gang_node node = {.paths = pairs};
    json_t *out = gang_node_paths(&node, value), *there = parse(mapped[_i].there);

    ck_assert_msg(json_equal(out, there), "%s", mapped[_i].text);
    json_decref(there);
    json_decref(out);
    json_decref(value);
    json_decref(pairs);
}
END_TEST

static const struct {
    const char *hosts[3];
    const char *network;
} networks[] = {
    /* never longer than /30: see places.c */
    {{"127.0.0.1", "127.0.0.1"}, "127.0.0.0/30"},
    {{"10.0.0.1", "10.0.0.2"}, "10.0.0.0/30"},
    {{"10.0.0.1", "10.0.0.6"}, "10.0.0.0/29"},
    {{"10.0.1.1", "10.0.2.1", "10.0.1.9"}, "10.0.0.0/22"},
    {{"192.168.0.1", "10.0.0.1"}, "192.168.0.1/30,10.0.0.1/30"},
    {{"10.0.0.1", "fd00::1"}, NULL},
};

START_TEST(one_network_leads_to_all)
{
    struct gang_node nodes[3];
    struct gang_places p = {nodes, 0, 0};

    for (; p.count < 3 && networks[_i].hosts[p.count] != NULL; p.count++)
        nodes[p.count] = (struct gang_node){.host = networks[_i].hosts[p.count]};
    char *network = gang_places_network(&p);
    if (networks[_i].network == NULL)
        ck_assert(network == NULL);
    else
        ck_assert_str_eq(network, networks[_i].network);
    free(network);
}
END_TEST

/* --- frames --- */

START_TEST(frames_come_in_pieces)
{
    struct rwf_str out = {NULL, 0, 0};
    enum gang_frame type;
    const char *body;
    size_t len, used;

    gang_frame_add(&out, GANG_OUT, "hello", 5);
    gang_frame_add(&out, GANG_ERR, "", 0);
    for (size_t have = 0; have < 10; have++)
        ck_assert_int_eq(
            gang_frame_take(out.data, have, 100, &type, &body, &len, &used), 0);
    ck_assert_int_eq(gang_frame_take(out.data, out.len, 100, &type, &body, &len, &used),
                     1);
    ck_assert(type == GANG_OUT && len == 5 && used == 10 && !memcmp(body, "hello", 5));
    ck_assert_int_eq(gang_frame_take(out.data + used, out.len - used, 100, &type, &body,
                                     &len, &used),
                     1);
    ck_assert(type == GANG_ERR && len == 0 && used == 5);
    ck_assert_int_eq(gang_frame_take(out.data, out.len, 4, &type, &body, &len, &used),
                     -1);
    ck_assert_int_eq(gang_frame_take("\xff\xff\xff\xffO", 5, GANG_FRAME_MAX, &type,
                                     &body, &len, &used),
                     -1);
    rwf_str_free(&out);
}
END_TEST

START_TEST(a_proof_is_of_one_key_one_rank_and_two_nonces)
{
    char a[RWF_DIGEST_LEN], b[RWF_DIGEST_LEN];

    gang_proof("key", "rank 1", "n", "m", a);
    gang_proof("key", "rank 1", "n", "m", b);
    ck_assert(gang_proof_is(a, b));
    gang_proof("kez", "rank 1", "n", "m", b);
    ck_assert(!gang_proof_is(a, b));
    gang_proof("key", "rank 2", "n", "m", b);
    ck_assert(!gang_proof_is(a, b));
    gang_proof("key", "rank 1", "m", "n", b);
    ck_assert(!gang_proof_is(a, b));
    ck_assert(!gang_proof_is(a, NULL));
    ck_assert(!gang_proof_is(a, ""));
}
END_TEST

/* --- the hub --- */

struct heard {
    int welcomes, outs, errs, reports, notices, gone;
    char last[100];
};

static json_t *on_welcome(void *ctx, int rank)
{
    ((struct heard *)ctx)->welcomes++;
    return json_pack("{s:i}", "you", rank);
}

static void on_output(void *ctx, int rank, bool error, const char *line, size_t len)
{
    struct heard *h = ctx;
    h->outs += !error;
    h->errs += error;
    snprintf(h->last, sizeof(h->last), "%d %.*s", rank, (int)len, line);
}

static void on_report(void *ctx, int rank, const char *line, size_t len)
{
    (void)rank, (void)line, (void)len;
    ((struct heard *)ctx)->reports++;
}

static void on_notice(void *ctx, int rank, const json_t *notice)
{
    struct heard *h = ctx;
    ck_assert_int_eq(rank, 1);
    h->notices += (int)json_integer_value(json_object_get(notice, "add"));
}

static void on_gone(void *ctx, int rank)
{
    (void)rank;
    ((struct heard *)ctx)->gone++;
}

static struct heard heard;
static struct gang_hub *hub;

static void setup(void)
{
    const struct gang_hub_handler f = {&heard,    on_welcome, on_output,
                                       on_report, on_notice,  on_gone};
    struct rwf_err err = RWF_ERR_INIT;

    heard = (struct heard){0};
    hub = gang_hub_open("127.0.0.1", 2, &f, &err);
    ck_assert_msg(hub != NULL, "%s", err.text);
}

static void teardown(void)
{
    gang_hub_close(hub);
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)gang_hub_port(hub)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* What the hub says next to fd: its type, 0: it has hung up. */
static int hear(int fd, struct rwf_str *in, char **ret_body)
{
    enum gang_frame type;
    const char *body;
    size_t len, used;
    int64_t until = rwf_clock_mono() + 300 * RWF_NS_PER_S;

    while (gang_frame_take(in->data, in->len, GANG_FRAME_MAX, &type, &body, &len,
                           &used) <= 0) {
        char bytes[4096];
        ck_assert(rwf_clock_mono() < until);
        gang_hub_turn(hub);
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return 0;
        if (n > 0)
            rwf_str_addn(in, bytes, (size_t)n);
    }
    *ret_body = rwf_xstrndup(body, len);
    in->len -= used;
    memmove(in->data, in->data + used, in->len);
    return (int)type;
}

static void say(int fd, enum gang_frame type, const char *text)
{
    struct rwf_str out = {NULL, 0, 0};
    gang_frame_add(&out, type, text, strlen(text));
    ck_assert_int_eq(send(fd, out.data, out.len, MSG_NOSIGNAL), (ssize_t)out.len);
    rwf_str_free(&out);
}

/* Says who it is, with the proof of a key: what the hub answers. */
static int introduce(int fd, struct rwf_str *in, const char *key, const char *who,
                     int rank, char **ret)
{
    char proof[RWF_DIGEST_LEN], *challenge = NULL;
    ck_assert_int_eq(hear(fd, in, &challenge), GANG_CHALLENGE);
    gang_proof(key, who, challenge, "mine", proof);
    char *hello =
        rwf_xasprintf("{\"rank\":%d,\"nonce\":\"mine\",\"proof\":\"%s\"}", rank, proof);
    say(fd, GANG_HELLO, hello);
    int type = hear(fd, in, ret);
    if (type == GANG_WELCOME) { /* the gang, too, knows the key */
        json_t *json = parse(*ret);
        gang_proof(key, "gang", challenge, "mine", proof);
        ck_assert(
            gang_proof_is(proof, json_string_value(json_object_get(json, "proof"))));
        json_decref(json);
    }
    free(hello);
    free(challenge);
    return type;
}

START_TEST(a_rank_is_heard)
{
    struct rwf_str in = {NULL, 0, 0};
    char *body = NULL;
    int fd = dial();

    ck_assert_int_eq(introduce(fd, &in, gang_hub_key(hub), "rank 1", 1, &body),
                     GANG_WELCOME);
    ck_assert(strstr(body, "\"you\":1") != NULL);
    free(body);
    ck_assert(gang_hub_has(hub, 1) && !gang_hub_has(hub, 0));
    say(fd, GANG_OUT, "a line");
    say(fd, GANG_ERR, "another");
    say(fd, GANG_REPORT, "{\"loss\":1}");
    say(fd, GANG_NOTICE, "{\"add\":5}");
    say(fd, GANG_NOTICE, "no JSON");
    for (int i = 0; i < 60000 && heard.notices == 0; i++) {
        gang_hub_turn(hub);
        poll(NULL, 0, 5);
    }
    ck_assert_int_eq(heard.outs, 1);
    ck_assert_int_eq(heard.errs, 1);
    ck_assert_int_eq(heard.reports, 1);
    ck_assert_int_eq(heard.notices, 5);
    ck_assert_str_eq(heard.last, "1 another");
    gang_hub_signal(hub, 15);
    ck_assert_int_eq(hear(fd, &in, &body), GANG_KILL);
    ck_assert(strstr(body, "15") != NULL);
    free(body);
    close(fd);
    for (int i = 0; i < 60000 && heard.gone == 0; i++) {
        gang_hub_turn(hub);
        poll(NULL, 0, 5);
    }
    ck_assert_int_eq(heard.gone, 1);
    rwf_str_free(&in);
}
END_TEST

/* A rank that begins after all were told to end is told so, too. */
START_TEST(a_rank_that_is_late_is_told_to_end)
{
    struct rwf_str in = {NULL, 0, 0};
    char *body = NULL;

    gang_hub_signal(hub, 15);
    int fd = dial();
    ck_assert_int_eq(introduce(fd, &in, gang_hub_key(hub), "rank 1", 1, &body),
                     GANG_WELCOME);
    free(body);
    ck_assert_int_eq(hear(fd, &in, &body), GANG_KILL);
    ck_assert(strstr(body, "15") != NULL);
    free(body);
    close(fd);
    rwf_str_free(&in);
}
END_TEST

static const struct {
    const char *key, *who; /* key NULL: the right one */
    int rank;
} strangers[] = {
    {"another key", "rank 1", 1}, {NULL, "rank 0", 1},   {NULL, "gang", 1},
    {NULL, "rank 2", 2},          {NULL, "rank -1", -1},
};

START_TEST(who_cannot_prove_it_stays_out)
{
    struct rwf_str in = {NULL, 0, 0};
    char *body = NULL;
    int fd = dial();
    const char *key = strangers[_i].key == NULL ? gang_hub_key(hub) : strangers[_i].key;

    ck_assert_int_eq(
        introduce(fd, &in, key, strangers[_i].who, strangers[_i].rank, &body), 0);
    ck_assert_int_eq(heard.welcomes, 0);
    close(fd);
    rwf_str_free(&in);
}
END_TEST

static const struct {
    enum gang_frame type;
    const char *text;
} noise[] = {
    {GANG_HELLO, "no JSON"},
    {GANG_HELLO, "{}"},
    {GANG_HELLO, "{\"rank\":\"1\",\"nonce\":7}"},
    {GANG_OUT, "before it has said who it is"},
    {'?', ""},
};

START_TEST(noise_is_hung_up_on)
{
    struct rwf_str in = {NULL, 0, 0};
    char *body = NULL;
    int fd = dial();

    ck_assert_int_eq(hear(fd, &in, &body), GANG_CHALLENGE);
    free(body);
    say(fd, noise[_i].type, noise[_i].text);
    ck_assert_int_eq(hear(fd, &in, &body), 0);
    ck_assert_int_eq(heard.outs, 0);
    close(fd);
    rwf_str_free(&in);
}
END_TEST

START_TEST(a_rank_is_there_once)
{
    struct rwf_str one = {NULL, 0, 0}, two = {NULL, 0, 0};
    char *body = NULL;
    int first = dial(), second = dial();

    ck_assert_int_eq(introduce(first, &one, gang_hub_key(hub), "rank 0", 0, &body),
                     GANG_WELCOME);
    free(body);
    ck_assert_int_eq(introduce(second, &two, gang_hub_key(hub), "rank 0", 0, &body), 0);
    ck_assert(gang_hub_has(hub, 0));
    ck_assert_int_eq(heard.gone, 0);
    close(first);
    close(second);
    rwf_str_free(&one);
    rwf_str_free(&two);
}
END_TEST

START_TEST(an_address_of_others_is_said)
{
    const struct gang_hub_handler f = {.ctx = &heard};
    struct rwf_err err = RWF_ERR_INIT;

    ck_assert(gang_hub_open("192.0.2.77", 2, &f, &err) == NULL);
    ck_assert_int_eq(err.code, RWF_E_ENV);
    ck_assert_msg(strstr(err.text, "192.0.2.77") != NULL, "%s", err.text);
    ck_assert(gang_hub_open("no address", 2, &f, &err) == NULL);
    ck_assert_int_eq(gang_free_port("192.0.2.77"), 0);
    ck_assert_int_gt(gang_free_port("127.0.0.1"), 0);
}
END_TEST

/* --- words --- */

static const struct {
    struct gang_result r;
    const char *text;
    int code, exit_code;
} ends[] = {
    {{.end = GANG_EXIT, .rank = 2, .exit_code = 3, .last = "enough"},
     "rank 2 of 3 on node b ended with exit code 3: enough",
     RWF_E_FAILED,
     0},
    {{.end = GANG_SIGNAL, .rank = 0, .signal = 9},
     "rank 0 of 3 on node a was killed by signal 9 (SIGKILL)",
     RWF_E_FAILED,
     137},
    {{.end = GANG_HUNG, .rank = 1, .last = "its process is stopped"},
     "rank 1 of 3 on node a gave no sign of life for 5 s (heartbeat): its process is "
     "stopped",
     RWF_E_FAILED,
     124},
    {{.end = GANG_GONE, .rank = 2},
     "rank 2 of 3 on node b is gone: the connection to it has ended",
     RWF_E_FAILED,
     123},
    {{.end = GANG_NODE, .rank = 2, .last = "node b: Open MPI is not there"},
     "node b: Open MPI is not there",
     RWF_E_ENV,
     0},
    {{.end = GANG_NODE_LOST, .rank = 0, .last = "no beat"},
     "node a, with ranks 0 to 1 of 3, was lost: no beat",
     RWF_E_FAILED,
     123},
    {{.end = GANG_NODE_LOST, .rank = 2, .last = "no beat"},
     "node b, with rank 2 of 3, was lost: no beat",
     RWF_E_FAILED,
     123},
};

START_TEST(an_end_is_told_with_its_node)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct gang_places p;
    json_t *json = parse("[" A "," A2 "," B "]");

    ck_assert_int_eq(gang_places_read(&p, json, 0, &err), 0);
    struct gang g = {
        .places = &p, .workers = 3, .dir = "/d", .heartbeat_limit = 5 * RWF_NS_PER_S};
    gang_explain(&g, &ends[_i].r, true, &err);
    ck_assert_str_eq(err.text, ends[_i].text);
    ck_assert_int_eq(err.code, ends[_i].code);
    ck_assert_int_eq(gang_exit_code(&ends[_i].r), ends[_i].exit_code);
    gang_places_free(&p);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gang");
    TCase *plain = tcase_create("places"), *net = tcase_create("hub");

    tcase_add_test(plain, ranks_are_on_nodes);
    tcase_add_loop_test(plain, wrong_places_are_refused, 0, RWF_COUNT(wrong));
    tcase_add_loop_test(plain, paths_are_called_otherwise_there, 0, RWF_COUNT(mapped));
    tcase_add_loop_test(plain, one_network_leads_to_all, 0, RWF_COUNT(networks));
    tcase_add_test(plain, frames_come_in_pieces);
    tcase_add_test(plain, a_proof_is_of_one_key_one_rank_and_two_nonces);
    tcase_add_loop_test(plain, an_end_is_told_with_its_node, 0, RWF_COUNT(ends));
    suite_add_tcase(suite, plain);
    tcase_add_checked_fixture(net, setup, teardown);
    tcase_set_timeout(net, 60);
    tcase_add_test(net, a_rank_is_heard);
    tcase_add_test(net, a_rank_that_is_late_is_told_to_end);
    tcase_add_loop_test(net, who_cannot_prove_it_stays_out, 0, RWF_COUNT(strangers));
    tcase_add_loop_test(net, noise_is_hung_up_on, 0, RWF_COUNT(noise));
    tcase_add_test(net, a_rank_is_there_once);
    tcase_add_test(net, an_address_of_others_is_said);
    suite_add_tcase(suite, net);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
