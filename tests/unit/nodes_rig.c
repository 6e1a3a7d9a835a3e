/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "nodes_rig.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#define PATHS 64

struct rig rig;
static const uint8_t key[WIRE_KEY_LEN] = "the key of the cluster in a test";
static char *paths[PATHS];
static size_t path_at;

static int count_fds(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

uint64_t rig_session(const char *name)
{
    const struct far__member *m = far__member_find(rig.nodes[0], name);
    return m ? m->session : 0;
}

static struct node *create_node(size_t i)
{
    char name[32];
    snprintf(name, sizeof(name), "n%zu", i);
    struct schedule_machine machine = {
        .name = name, .cpu = 4, .memory = (int64_t)1 << 30};
    struct node_options o = {.far = &far_nodes,
                             .machine = &machine,
                             .store = (int64_t)4 << 20,
                             .peer_host = "127.0.0.1",
                             .key = key,
                             .driver = i == 0};
    struct rwf_err err = RWF_ERR_INIT;
    o.folder = rig_path("node%zu", i);
    (void)mkdir(o.folder, 0700);
    struct node *n = node_create(&rig.loop, &o, &err);
    if (!n) { /* no ck_assert: it may be in a process that is no test */
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return n;
}

static void open_node(size_t i)
{
    struct wire_link *far;
    rig.nodes[i] = create_node(i);
    wire_link_pair(&rig.loop, &rig.links[i], &far);
    head_attach(rig.head, rig.links[i]);
    node_attach_head(rig.nodes[i], far);
}

int rig_node_main(char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing */
    strncpy(rig.dir, argv[4], sizeof(rig.dir) - 1);
    uv_loop_init(&rig.loop);
    rwf_log_set_level(RWF_LOG_ERROR);
    struct node *n = create_node((size_t)atoi(argv[2]));
    node_reconnect(n, "127.0.0.1", atoi(argv[3]), key);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    return EXIT_FAILURE; /* it is to be killed */
}

int rig_spawn(size_t i)
{
    char number[32], port[32];
    char *argv[] = {(char *)"node", (char *)"node", number, port, rig.dir, NULL};
    snprintf(number, sizeof(number), "%zu", i);
    snprintf(port, sizeof(port), "%d", head_port(rig.head));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    return (int)pid;
}

static bool all_know(void)
{
    char name[32];
    for (size_t i = 0; i < rig.count; i++)
        for (size_t k = 0; k < rig.count; k++) {
            snprintf(name, sizeof(name), "n%zu", k);
            if (!far__member_find(rig.nodes[i], name))
                return false;
        }
    return true;
}

static void open_head(void)
{
    struct head_options o = {.listen = "127.0.0.1:0"};
    struct rwf_err err = RWF_ERR_INIT;
    char hex[2 * WIRE_KEY_LEN + 2] = "";
    for (size_t i = 0; i < WIRE_KEY_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", key[i]);
    o.folder = rig_path("head");
    rig_write(rig_path("head/key"), hex);
    ck_assert_int_eq(chmod(o.folder, 0700), 0);
    ck_assert_int_eq(chmod(rig_path("head/key"), 0600), 0);
    rig.head = head_create(&rig.loop, &o, &err);
    ck_assert_msg(rig.head != NULL, "%s", err.text);
}

void rig_open(size_t count)
{
    memset(&rig, 0, sizeof(rig));
    strcpy(rig.dir, "/tmp/raywf-nodes-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(rig.dir));
    /* What libuv opens once for the process does not count. */
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    rig.fds = count_fds();
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    rwf_log_set_level(getenv("RIG_LOG") ? RWF_LOG_INFO : RWF_LOG_ERROR);
    open_head();
    rig.count = count;
    for (size_t i = 0; i < count; i++)
        open_node(i);
    UNTIL(all_know());
}

void rig_lose(size_t i)
{
    wire_link_close(rig.links[i]);
    rig.links[i] = NULL;
}

void rig_destroy(size_t i)
{
    node_destroy(rig.nodes[i]);
    rig.nodes[i] = NULL;
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

void rig_stop(size_t i)
{
    bool stopped = false;
    if (!rig.nodes[i])
        return;
    node_stop(rig.nodes[i], on_stopped, &stopped);
    UNTIL(stopped);
    rig_destroy(i);
}

void rig_cut(void)
{
    for (size_t i = 0; i < rig.count; i++)
        for (size_t k = 0; rig.nodes[i] && k < rig.count; k++) {
            char name[32];
            snprintf(name, sizeof(name), "n%zu", k);
            struct far__member *m = far__member_find(rig.nodes[i], name);
            if (m && m->peer)
                wire_link_close(m->peer->link);
        }
}

void rig_close(void)
{
    for (size_t i = 0; i < rig.count; i++)
        rig_stop(i);
    head_destroy(rig.head);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    /* Two more: the files that many captures and environments are links of. */
    ck_assert_int_le(count_fds(), rig.fds + 2);
    ck_assert_int_eq(rwf_fs_rmtree(rig.dir, NULL), 0);
    for (size_t i = 0; i < PATHS; i++) {
        free(paths[i]);
        paths[i] = NULL;
    }
}

const char *rig_path(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *rest = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    size_t at = path_at++ % PATHS;
    free(paths[at]);
    paths[at] = rwf_fs_join(rig.dir, rest);
    free(rest);
    return paths[at];
}

char *rig_read(const char *path)
{
    char *text = rwf_fs_read(path, (size_t)64 << 20, NULL, NULL);
    return text ? text : rwf_xstrdup("");
}

void rig_write(const char *path, const char *text)
{
    char *dir = rwf_fs_dirname(path);
    ck_assert_int_eq(rwf_fs_mkdirs(dir, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    free(dir);
}
