/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf agent raywf-N WORDS…: what mpirun calls instead of ssh to start its daemon on
 * node N of a gang (gang/words.c). It asks the node that it runs beneath
 * (RAYWF_ADDRESS) to start the words, as one text for a shell, on that node; passes on
 * what is printed; and ends as they do. TERM ends them; so does its own end, however
 * that comes.
 *
 * Whether the node can take part is found out there, before anything of Open MPI runs:
 * why not, and a node that is lost, is told through the report FIFO of the gang
 * (RAYWF_GANG_DIR), since mpirun itself would only say that a daemon has failed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "wire/frame.h"

#define PREFIX "raywf-"
#define GANG_JSON_MAX (64 << 20)
#define GRACE (2 * RWF_NS_PER_S) /* of mpirun's daemon, to tidy up */
#define STEP 1                   /* our only one */

/* What a node without, or with another Open MPI exits with; far from what a daemon
 * does. */
enum { NO_MPI = 211, OTHER_MPI = 212, NO_RANK = 213, NO_FOLDER = 214 };

struct agent {
    const char *dir;
    json_t *gang;
    int number; /* of the node in the gang */
    const char *node, *mpi, *program;
    json_int_t memory; /* of all ranks there; 0: no limit */
    int fd, signals;
    struct wire_reader *reader;
    char said[200]; /* the first line, of the check */
    bool done;
    int code;
};

/* Each node has folders of its own for Open MPI's files: two nodes may be one machine.
 * The shell outlives TERM, which its group gets, so that it can tidy up. */
static const char script[] =
    "command -v orted >/dev/null 2>&1 && command -v mpirun >/dev/null 2>&1 || exit "
    "211\n"
    "v=$(mpirun --version 2>&1 | head -n 1)\n"
    "[ -z \"$RAYWF_GANG_MPI\" ] || [ \"${v##* }\" = \"$RAYWF_GANG_MPI\" ] || "
    "{ echo \"$v\"; exit 212; }\n"
    "[ -x \"$RAYWF_GANG_RANK\" ] || exit 213\n"
    "for d in /dev/shm/raywf-gang.*; do\n"
    "[ ! -f \"$d/lock\" ] || flock -n \"$d/lock\" rm -rf \"$d\" || :\n"
    "done 2>/dev/null\n"
    "t=$(mktemp -d \"${TMPDIR:-/tmp}/raywf-gang.XXXXXX\") || exit 214\n"
    "if s=$(mktemp -d /dev/shm/.raywf-gang.XXXXXX 2>/dev/null); then\n"
    "exec 9>\"$s/lock\"; flock -n 9; n=/dev/shm/raywf-gang.${s##*.}\n"
    "mv \"$s\" \"$n\" && s=$n\n"
    "else s=$t; fi\n"
    "trap : TERM INT\n"
    "export TMPDIR=\"$t\" OMPI_MCA_btl_vader_backing_directory=\"$s\"\n"
    "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n";

/* --- the gang --- */

static int read_gang(struct agent *a, const char *host, struct rwf_err *err)
{
    char *end = NULL, *path;
    const char *digits = rwf_starts_with(host, PREFIX) ? host + strlen(PREFIX) : "";

    a->dir = getenv("RAYWF_GANG_DIR");
    a->number = (int)strtol(digits, &end, 10);
    if (a->dir == NULL || *digits == '\0' || *end != '\0')
        return rwf_fail(err, RWF_E_USAGE,
                        "raywf agent is for mpirun, which a gang has started");
    path = rwf_fs_join(a->dir, "gang.json");
    a->gang = json_load_file(path, 0, NULL);
    const json_t *node =
        json_array_get(json_object_get(a->gang, "nodes"), (size_t)a->number);
    a->node = json_string_value(json_object_get(node, "name"));
    a->memory = json_integer_value(json_object_get(node, "memory"));
    a->mpi = json_string_value(json_object_get(a->gang, "mpi"));
    a->program = json_string_value(json_object_get(a->gang, "program"));
    if (a->node == NULL || a->mpi == NULL || a->program == NULL)
        rwf_fail(err, RWF_E_BUG, "%s: there is no node %d", path, a->number);
    free(path);
    return a->node == NULL || a->mpi == NULL || a->program == NULL ? -1 : 0;
}

/* The gang hears why its node is no use. */
static void tell(const struct agent *a, const char *what, const char *text)
{
    char *path = rwf_fs_join(a->dir, "report");
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    json_t *json =
        json_pack("{s:{s:i, s:s}}", "gang", "node", a->number, what,
                  rwf_utf8_valid(text, strlen(text)) ? text : "its words are no UTF-8");
    char *line = json_dumps(json, JSON_COMPACT), *whole = rwf_xasprintf("%s\n", line);

    if (fd >= 0) {
        (void)rwf_fs_write_all(fd, whole, strlen(whole), NULL);
        close(fd);
    }
    free(whole);
    free(line);
    json_decref(json);
    free(path);
}

static void tell_unfit(const struct agent *a)
{
    char *text = NULL;

    switch (a->code) {
    case NO_MPI:
        text = rwf_xasprintf(
            "node %s: Open MPI is not there (no mpirun and orted in the PATH of raywf "
            "start): install it (Debian: apt-get install openmpi-bin), version %s as "
            "on "
            "the node of rank 0",
            a->node, a->mpi);
        break;
    case OTHER_MPI:
        text =
            rwf_xasprintf("node %s: its Open MPI is another one than that of rank 0's "
                          "node, %s: it says '%s'; install the same version on both",
                          a->node, a->mpi, a->said);
        break;
    case NO_RANK:
        text =
            rwf_xasprintf("node %s: raywf-rank is not at %s, where it is on the node "
                          "of rank 0: install raywf at the same path on all nodes",
                          a->node, a->program);
        break;
    case NO_FOLDER:
        text = rwf_xasprintf("node %s: no folder can be made in its TMPDIR or /tmp: is "
                             "the disk full?",
                             a->node);
        break;
    default:
        return;
    }
    tell(a, "fail", text);
    fprintf(stderr, "raywf agent: %s\n", text);
    free(text);
}

/* --- the step --- */

static char *make_spec(const struct agent *a, const struct cmd_call *call)
{
    struct rwf_str text = {NULL, 0, 0};
    const char *run = getenv("RAYWF_RUN_ID"), *step = getenv("RAYWF_STEP");
    char *address = rwf_xasprintf("%s/node%d", step == NULL ? "gang" : step, a->number);

    rwf_str_add(&text, script);
    for (size_t i = 1; i < call->operand_count; i++)
        rwf_str_addf(&text, "%s%s", i > 1 ? " " : "", call->operands[i]);
    rwf_str_add(&text, "\nc=$?\nrm -rf \"$t\" \"$s\"\nexit $c\n");
    json_t *json =
        json_pack("{s:[s, s, s], s:{s:s, s:s}, s:s, s:s, s:I, s:I}", "argv", "sh", "-c",
                  text.data, "env", "RAYWF_GANG_MPI", a->mpi, "RAYWF_GANG_RANK",
                  a->program, "run", run == NULL ? "none" : run, "address", address,
                  "grace", (json_int_t)GRACE, "memory", a->memory);
    char *out = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    free(address);
    rwf_str_free(&text);
    return out;
}

static int ask(struct agent *a, const struct cmd_call *call, struct rwf_err *err)
{
    const char *address = getenv("RAYWF_ADDRESS");
    Wire__Hello hello = WIRE__HELLO__INIT;
    Wire__StepStart start = WIRE__STEP_START__INIT;
    char *spec = make_spec(a, call);
    int rc = -1;

    if (spec == NULL)
        rwf_fail(err, RWF_E_BUG, "the words of mpirun are no UTF-8");
    else if (address == NULL)
        rwf_fail(err, RWF_E_ENV,
                 "RAYWF_ADDRESS is not set: the gang is beneath no node");
    else if ((a->fd = wire_unix_connect(address, err)) >= 0) {
        a->reader = wire_reader_create(a->fd);
        wire_hello_set(&hello, "view", "agent");
        start.step = STEP;
        start.node = (char *)(uintptr_t)a->node;
        start.spec = spec;
        rc = wire_send(a->fd, WIRE_HELLO, &hello.base, NULL, 0, err) < 0
                 ? -1
                 : wire_send(a->fd, WIRE_STEP_START, &start.base, NULL, 0, err);
    }
    free(spec);
    return rc;
}

static void stop(struct agent *a, bool kill)
{
    Wire__StepStop w = WIRE__STEP_STOP__INIT;

    w.step = STEP;
    w.kill = kill;
    (void)wire_send(a->fd, WIRE_STEP_STOP, &w.base, NULL, 0, NULL);
}

/* --- what comes back --- */

static void on_output(struct agent *a, const Wire__StepOutput *w)
{
    size_t len = w->data.len, line = 0;
    const char *text = (const char *)w->data.data;

    if (w->stream != 1 && w->stream != 2)
        return;
    while (line < len && text[line] != '\n')
        line++;
    if (a->said[0] == '\0')
        snprintf(a->said, sizeof(a->said), "%.*s", (int)line, text);
    (void)rwf_fs_write_all((int)w->stream, text, len, NULL);
}

static void on_exit_record(struct agent *a, const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *cause = json_string_value(json_object_get(json, "cause"));
    const char *message = json_string_value(json_object_get(json, "message"));
    const json_t *code = json_object_get(json, "code");

    a->done = true;
    a->code = json_is_integer(code) ? (int)json_integer_value(code) : 1;
    if (a->code < 0)
        a->code = 1;
    if (cause != NULL && strcmp(cause, "node_lost") == 0)
        tell(a, "lost", message == NULL ? "" : message);
    else if (cause != NULL && strcmp(cause, "start") == 0)
        tell(a, "fail", message == NULL ? "mpirun's daemon does not start" : message);
    else
        tell_unfit(a);
    json_decref(json);
}

static void on_message(struct agent *a, const struct wire_message *m)
{
    if (m->type == WIRE_STEP_OUTPUT)
        on_output(a, (const Wire__StepOutput *)m->body);
    else if (m->type == WIRE_STEP_EXIT)
        on_exit_record(a, ((const Wire__StepExit *)m->body)->result);
    else if (m->type == WIRE_ERROR) {
        a->done = true;
        a->code = 1;
        tell(a, "fail", ((const Wire__Error *)m->body)->text);
    }
}

/* All that is there. -1: the node is gone. */
static int receive(struct agent *a, struct rwf_err *err)
{
    struct wire_message m;
    int rc;

    while (!a->done && (rc = wire_receive(a->reader, rwf_clock_mono(), &m, err)) > 0) {
        on_message(a, &m);
        wire_message_clear(&m);
    }
    if (a->done || (rc < 0 && err->code == ETIMEDOUT))
        return 0;
    return rc == 0 ? rwf_fail(err, RWF_E_ENV, "the node here has ended") : -1;
}

static int attend(struct agent *a, struct rwf_err *err)
{
    struct pollfd fds[] = {{a->fd, POLLIN, 0}, {a->signals, POLLIN, 0}};
    struct signalfd_siginfo info;
    bool asked = false;

    while (!a->done) {
        if (receive(a, err) < 0)
            return -1;
        if (a->done || (poll(fds, RWF_COUNT(fds), -1) < 0 && errno != EINTR))
            break;
        if (fds[1].revents == 0 ||
            read(a->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
            continue;
        stop(a, asked);
        asked = true;
    }
    return 0;
}

static int agent_run(struct cmd_call *call, struct rwf_err *err)
{
    struct agent a = {.fd = -1, .code = 1};
    sigset_t set;
    int rc;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    a.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    rc = read_gang(&a, call->operands[0], err);
    if (rc == 0 && (ask(&a, call, err) < 0 || attend(&a, err) < 0)) {
        tell(&a, "fail", err->text);
        rc = -1;
    }
    wire_reader_destroy(a.reader);
    if (a.fd >= 0)
        close(a.fd);
    close(a.signals);
    json_decref(a.gang);
    return rc < 0 ? -1 : a.code;
}

const struct cmd cmd_agent = {
    .name = "agent",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "start mpirun's daemon on another node (for a gang's own use)",
    .exits = "0 1 2 7",
    .operands = {{"HOST", CMD_TEXT, 1, 1}, {"COMMAND", CMD_TEXT, 1, CMD_MANY}},
    .run = agent_run,
};
