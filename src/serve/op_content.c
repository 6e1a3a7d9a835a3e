/* SPDX-License-Identifier: Apache-2.0
 *
 * What a deployment is made of, as far as it lies in files: a plugin that was built
 * anew at the same path is another version, the same checkpoint at another path is not.
 * Files up to a size count by their bytes; larger ones (weights) by size and time of
 * change, so that gigabytes are not read before anything is served.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define READ_MAX ((int64_t)16 << 20)

static void add_text(struct rwf_digest *d, const char *text)
{
    rwf_digest_add(d, text, strlen(text) + 1);
}

static int add_file(struct rwf_digest *d, const char *path, const char *name,
                    struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    struct stat st;

    if (stat(path, &st) != 0)
        return rwf_fail(err, RWF_E_INPUT, "%s: %s", path, strerror(errno));
    if (st.st_size > READ_MAX)
        snprintf(digest, sizeof(digest), "%lld bytes %lld.%09ld", (long long)st.st_size,
                 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    else if (rwf_digest_file(path, digest, NULL, err) < 0)
        return -1;
    add_text(d, name);
    add_text(d, digest);
    return 0;
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* The regular files of a folder, in order of names; folders in it are not part of a
 * model. */
static int add_folder(struct rwf_digest *d, const char *path, struct rwf_err *err)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, not_hidden, alphasort), rc = 0;

    if (count < 0)
        return rwf_fail(err, RWF_E_INPUT, "%s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char *file = rwf_fs_join(path, names[i]->d_name);
        if (rc == 0 && rwf_fs_is_file(file))
            rc = add_file(d, file, names[i]->d_name, err);
        free(file);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int add_path(struct rwf_digest *d, const char *path, struct rwf_err *err)
{
    return rwf_fs_is_file(path) ? add_file(d, path, rwf_fs_basename(path), err)
                                : add_folder(d, path, err);
}

/* A word that names a file in the program's folder (its code); others are left alone.
 */
static int add_word(struct rwf_digest *d, const char *dir, const char *word,
                    struct rwf_err *err)
{
    char *path = rwf_fs_join(dir, word);
    int rc = *word != '\0' && rwf_fs_is_file(path) ? add_file(d, path, word, err) : 0;

    free(path);
    return rc;
}

/* The words of a text for the shell, taken apart coarsely. */
static int add_shell(struct rwf_digest *d, const char *dir, const char *text,
                     struct rwf_err *err)
{
    static const char between[] = " \t\n;|&<>()\"'`=";
    int rc = 0;

    while (rc == 0 && *text != '\0') {
        size_t len = strcspn(text, between);
        char *word = rwf_xstrndup(text, len);
        rc = add_word(d, dir, word, err);
        free(word);
        text += len + (text[len] != '\0');
    }
    return rc;
}

static int add_program(struct rwf_digest *d, const json_t *deployment,
                       struct rwf_err *err)
{
    const char *dir = json_string_value(json_object_get(deployment, "dir"));
    const json_t *argv = json_object_get(deployment, "argv"), *word;
    bool shell = json_array_size(argv) == 3 &&
                 strcmp(json_string_value(json_array_get(argv, 0)), "/bin/sh") == 0;
    size_t i;
    int rc = 0;

    json_array_foreach((json_t *)(uintptr_t)argv, i, word) {
        const char *text = json_string_value(word);
        if (rc == 0 &&
            strcmp(json_string_value(json_array_get(argv, 0)), "raywf") == 0 &&
            i == 2) /* a language model */
            rc = add_path(d, text, err);
        else if (rc == 0 && shell && i == 2)
            rc = add_shell(d, dir != NULL ? dir : ".", text, err);
        else if (rc == 0)
            rc = add_word(d, dir != NULL ? dir : ".", text, err);
    }
    return rc;
}

static int content_of(const json_t *deployment, char digest[RWF_DIGEST_LEN],
                      struct rwf_err *err)
{
    const char *kind = json_string_value(json_object_get(deployment, "kind"));
    const char *plugin = json_string_value(json_object_get(deployment, "plugin"));
    const char *model = json_string_value(json_object_get(deployment, "model"));
    struct rwf_digest *d = rwf_digest_create();
    int rc = 0;

    if (strcmp(kind, "native") == 0)
        rc = add_path(d, plugin, err);
    else if (strcmp(kind, "model") == 0)
        rc = add_path(d, model, err);
    else if (strcmp(kind, "program") == 0)
        rc = add_program(d, deployment, err);
    rwf_digest_finish(d, digest);
    return rc;
}

int serve_op_contents(json_t *spec, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    const char *name;
    json_t *d;

    json_object_foreach(json_object_get(spec, "deployments"), name, d) {
        if (content_of(d, digest, err) < 0)
            return rwf_wrap(err, "deployment '%s'", name);
        json_object_set_new(d, "content", json_string(digest));
    }
    return 0;
}
