/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "rank/spread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "gang/places.h"
#include "train/checkpoint.h"

enum { JOB_MAX = 64 << 20, PIECE = 4 << 20, DEEP = 8 };

struct spread {
    MPI_Comm
        comm; /* rank 0 and one rank of each node without its files; or NULL of MPI */
    bool root;
    struct gang_node node; /* only paths */
    char *piece;
};

bool rank_is_spread(void)
{
    return getenv("RAYWF_GANG_PATHS") != NULL;
}

/* --- texts --- */

/* A text of rank 0 for all of comm: the caller's. */
static char *broadcast_text(MPI_Comm comm, const char *text)
{
    int rank, len = text == NULL ? 0 : (int)strlen(text);
    char *out;

    MPI_Comm_rank(comm, &rank);
    MPI_Bcast(&len, 1, MPI_INT, 0, comm);
    out = rwf_xmalloc((size_t)len + 1);
    if (rank == 0 && len > 0)
        memcpy(out, text, (size_t)len);
    MPI_Bcast(out, len, MPI_CHAR, 0, comm);
    out[len] = '\0';
    return out;
}

/* All of comm agree: 0, or -1 when one of them has failed. */
static int agree(MPI_Comm comm, int rc, const char *what, struct rwf_err *err)
{
    int mine = rc != 0, any = 0;

    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, comm);
    if (any && rc == 0)
        return rwf_fail(err, RWF_E_FAILED, "%s did not come to another node", what);
    return any ? -1 : 0;
}

/* --- what is in a folder --- */

static void list(const char *root, const char *within, int depth, json_t *files)
{
    char *path = rwf_fs_join(root, within);
    DIR *dir = depth < DEEP ? opendir(path) : NULL;
    struct stat st;

    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *name = *within == '\0' ? rwf_xstrdup(e->d_name)
                                     : rwf_xasprintf("%s/%s", within, e->d_name);
        char *full = rwf_fs_join(root, name);
        if (lstat(full, &st) == 0 && S_ISDIR(st.st_mode))
            list(root, name, depth + 1, files);
        else if (S_ISREG(st.st_mode))
            json_array_append_new(files, json_pack("{s:s, s:I}", "name", name, "size",
                                                   (json_int_t)st.st_size));
        free(full);
        free(name);
    }
    if (dir != NULL)
        closedir(dir);
    free(path);
}

/* --- one file --- */

/* Also of what an earlier attempt has brought: the same name in the same folder of
 * attempts (gang/stable.h) is the same file. */
static bool is_here(const char *path, int64_t size)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size;
}

static int open_file(const struct spread *s, const char *path, char **ret_tmp,
                     struct rwf_err *err)
{
    char *folder = rwf_fs_dirname(path);
    int fd = -1;

    *ret_tmp = rwf_xasprintf("%s.coming", path);
    if (s->root)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    else if (rwf_fs_mkdirs(folder, err) == 0)
        fd = open(*ret_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 && (err->code == 0 || s->root))
        rwf_fail(err, errno, "%s: %s", s->root ? path : *ret_tmp, strerror(errno));
    free(folder);
    return fd;
}

/* Once something has gone wrong the pieces still pass, so that nobody waits. */
static int copy(const struct spread *s, int fd, int64_t size, const char *path,
                struct rwf_err *err)
{
    int rc = fd < 0 ? -1 : 0;

    for (int64_t at = 0; at < size; at += PIECE) {
        int len = (int)(size - at < PIECE ? size - at : PIECE);
        if (s->root && rc == 0 && pread(fd, s->piece, (size_t)len, at) != len)
            rc = rwf_fail(err, RWF_E_INPUT, "%s changes, or cannot be read", path);
        MPI_Bcast(s->piece, len, MPI_BYTE, 0, s->comm);
        if (!s->root && rc == 0)
            rc = rwf_fs_write_all(fd, s->piece, (size_t)len, err);
    }
    return rc;
}

static int spread_file(const struct spread *s, const char *path, int64_t size,
                       struct rwf_err *err)
{
    int mine = !s->root && !is_here(path, size), any = 0, rc;
    char *tmp;

    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, s->comm);
    if (!any)
        return 0;
    int fd = open_file(s, path, &tmp, err);
    rc = copy(s, fd, size, path, err);
    if (fd >= 0)
        close(fd);
    if (rc == 0 && !s->root && rename(tmp, path) != 0)
        rc = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    free(tmp);
    return agree(s->comm, rc, path, err);
}

/* The folder of rank 0 at path, or nothing. */
static int spread_folder(const struct spread *s, const char *path, struct rwf_err *err)
{
    json_t *listed = json_pack("{s:s, s:[]}", "at", path == NULL ? "" : path, "files");
    json_t *files = json_object_get(listed, "files"), *file;
    char *text = NULL, *told;
    int rc = 0;
    size_t i;

    if (s->root && path != NULL)
        list(path, "", 0, files);
    if (s->root)
        text = json_dumps(listed, JSON_COMPACT);
    told = broadcast_text(s->comm, text);
    json_decref(listed);
    free(text);
    listed = json_loads(told, 0, NULL);
    free(told);
    json_t *at = gang_node_paths(&s->node, json_object_get(listed, "at"));
    files = json_object_get(listed, "files");
    json_array_foreach(files, i, file) {
        char *to = rwf_fs_join(json_string_value(at),
                               json_string_value(json_object_get(file, "name")));
        if (rc == 0)
            rc = spread_file(s, to, json_integer_value(json_object_get(file, "size")),
                             err);
        free(to);
    }
    json_decref(at);
    json_decref(listed);
    return rc;
}

/* --- all of it --- */

/* What the job names, of rank 0's node. */
static int spread_files(const struct spread *s, const json_t *job, struct rwf_err *err)
{
    const char *data = json_string_value(json_object_get(job, "data"));
    const char *all = json_string_value(json_object_get(job, "checkpoints"));
    struct rwf_err why = RWF_ERR_INIT;
    char *newest = NULL;
    json_t *state = NULL;

    if (spread_folder(s, s->root ? data : NULL, err) != 0)
        return -1;
    if (s->root && checkpoint_find(all, NULL, NULL, &newest, &state, &why) != 0)
        newest = NULL; /* the training will say so */
    int rc = spread_folder(s, newest, err);
    json_decref(state);
    free(newest);
    return rc;
}

/* This node's, and whether any has some. */
static bool read_pairs(struct spread *s, json_t **ret_pairs)
{
    int mine, any = 0;

    *ret_pairs = json_loads(getenv("RAYWF_GANG_PATHS"), 0, NULL);
    s->node.paths = *ret_pairs;
    mine = json_array_size(*ret_pairs) > 0;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return any;
}

static json_t *bring_job(const char *path, const struct spread *s, struct rwf_err *err)
{
    char *own = s->root ? rwf_fs_read(path, JOB_MAX, NULL, err) : NULL;
    char *text = broadcast_text(MPI_COMM_WORLD, own);
    json_t *job = json_loads(text, 0, NULL);

    if (job == NULL && err->code == 0)
        rwf_fail(err, RWF_E_INPUT, "%s is no job", path);
    free(text);
    free(own);
    return job;
}

json_t *rank_spread_job(const char *path, struct rwf_err *err)
{
    const char *local = getenv("LOCAL_RANK");
    struct spread s = {.comm = MPI_COMM_NULL};
    json_t *pairs, *job, *here = NULL;
    int rank, rc = 0;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    s.root = rank == 0;
    bool any = read_pairs(&s, &pairs);
    bool takes = json_array_size(pairs) > 0 && local != NULL && atoi(local) == 0;
    job = bring_job(path, &s, err);
    if (job != NULL && any) {
        MPI_Comm_split(MPI_COMM_WORLD, s.root || takes ? 0 : MPI_UNDEFINED, rank,
                       &s.comm);
        s.piece = rwf_xmalloc(PIECE);
        if (s.comm != MPI_COMM_NULL) {
            rc = spread_files(&s, job, err);
            MPI_Comm_free(&s.comm);
        }
        free(s.piece);
        rc = agree(MPI_COMM_WORLD, rc, "what is trained on", err);
    }
    if (job != NULL && rc == 0)
        here = gang_node_paths(&s.node, job);
    json_decref(job);
    json_decref(pairs);
    return here;
}
