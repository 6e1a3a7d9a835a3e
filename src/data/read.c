/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths are expanded here and not by DuckDB, sorted, so that the order of rows is the
 * order of names and a file that is missing is an error with its name.
 * Folders named a=b never become columns: a path must not change the data.
 */
#include "config.h"
#include "data/read.h"
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "data/sql.h"

#define READ_GUESS 16384 /* bytes of each of the pieces that are looked at */
#define READ_GUESS_PIECES 8

static const char *const format_names[] = {
    [READ_UNKNOWN] = "unknown", [READ_CSV] = "csv", [READ_JSONL] = "jsonl",
    [READ_PARQUET] = "parquet",
};

static const struct {
    const char *ending;
    enum read_format format;
    const char *extra; /* arguments that the ending implies */
} endings[] = {
    { ".csv", READ_CSV, "" },
    { ".tsv", READ_CSV, ", delim='\t'" },
    { ".jsonl", READ_JSONL, "" },
    { ".ndjson", READ_JSONL, "" },
    { ".json", READ_JSONL, ", format='auto'" },
    { ".parquet", READ_PARQUET, "" },
    { ".pq", READ_PARQUET, "" },
};

enum read_format read_format_parse(const char *name)
{
    for (size_t i = 1; i < RWF_COUNT(format_names); i++)
        if (strcmp(name, format_names[i]) == 0)
            return (enum read_format)i;
    return READ_UNKNOWN;
}

const char *read_format_name(enum read_format format)
{
    return format_names[format];
}

/* Index into endings, or -1; a compression's ending is looked through. */
static int find_ending(const char *path)
{
    size_t len = strlen(path);
    if (len > 3 && strcasecmp(path + len - 3, ".gz") == 0)
        len -= 3;
    else if (len > 4 && strcasecmp(path + len - 4, ".zst") == 0)
        len -= 4;
    for (size_t i = 0; i < RWF_COUNT(endings); i++) {
        size_t n = strlen(endings[i].ending);
        if (len > n && strncasecmp(path + len - n, endings[i].ending, n) == 0)
            return (int)i;
    }
    return -1;
}

/* --- which files --- */

static int add_file(json_t *files, const char *path, int64_t *bytes)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    *bytes += st.st_size;
    json_array_append_new(files, json_string(path));
    return 1;
}

static int expand(json_t *files, const char *path, int64_t *bytes, struct rwf_err *err)
{
    struct stat st;
    glob_t found = { 0 };
    int n = 0;
    if (add_file(files, path, bytes))
        return 0;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    char *pattern = folder ? rwf_xasprintf("%s/*", path) : rwf_xstrdup(path);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            n += add_file(files, found.gl_pathv[i], bytes);
    globfree(&found);
    free(pattern);
    if (n > 0)
        return 0;
    if (folder)
        return rwf_fail(err, RWF_E_INPUT, "the folder %s has no files", path);
    bool is_glob = strpbrk(path, "*?[") != NULL;
    return rwf_fail(err, RWF_E_INPUT, is_glob ? "no file matches %s"
                                              : "there is no file %s", path);
}

static int expand_all(const json_t *paths, json_t *files, int64_t *bytes,
                      struct rwf_err *err)
{
    size_t i;
    json_t *path;
    if (json_is_string(paths))
        return expand(files, json_string_value(paths), bytes, err);
    if (json_array_size(paths) == 0)
        return rwf_fail(err, RWF_E_INPUT, "the list of files is empty");
    json_array_foreach(paths, i, path) {
        if (!json_is_string(path))
            return rwf_fail(err, RWF_E_INPUT, "path %zu is not text", i + 1);
        if (expand(files, json_string_value(path), bytes, err) < 0)
            return -1;
    }
    return 0;
}

/* All files of one format: the one named, else the one all their endings say. */
static int find_format(const json_t *read, const json_t *files, enum read_format *ret,
                       const char **ret_extra, struct rwf_err *err)
{
    const char *named = json_string_value(json_object_get(read, "format"));
    const char *first = json_string_value(json_array_get(files, 0));
    int ending = find_ending(first);
    *ret_extra = "";
    if (named != NULL) {
        *ret = read_format_parse(named);
        if (*ret == READ_UNKNOWN)
            return rwf_fail(err, RWF_E_FAILED,
                            "format %s is not known: use csv, jsonl or parquet", named);
        return 0;
    }
    if (ending < 0)
        return rwf_fail(err, RWF_E_FAILED,
                        "the name of %s does not tell its format: set read.format to "
                        "csv, jsonl or parquet", first);
    for (size_t i = 1; i < json_array_size(files); i++) {
        const char *other = json_string_value(json_array_get(files, i));
        if (find_ending(other) != ending)
            return rwf_fail(err, RWF_E_FAILED,
                            "%s and %s are not of the same format by their names: read "
                            "one format, or set read.format", first, other);
    }
    *ret = endings[ending].format;
    *ret_extra = endings[ending].extra;
    return 0;
}

/* --- the SELECT --- */

static int check_types(struct duck *d, const json_t *types, struct rwf_err *err)
{
    const char *name;
    const json_t *type;
    json_object_foreach((json_t *)types, name, type) {
        if (!json_is_string(type))
            return rwf_fail(err, RWF_E_FAILED, "types.%s must be text", name);
        if (sql_check(d, json_string_value(type), SQL_TYPE, err) < 0)
            return rwf_wrap(err, "types.%s", name);
    }
    return 0;
}

static void add_csv_arguments(struct rwf_str *sql, const json_t *read)
{
    static const char *const texts[][2] = { { "delimiter", "delim" },
                                            { "null", "nullstr" } };
    const json_t *header = json_object_get(read, "header");
    const json_t *types = json_object_get(read, "types");
    const char *name, *sep = "";
    json_t *type;
    if (json_is_boolean(header))
        rwf_str_addf(sql, ", header=%s", json_is_true(header) ? "true" : "false");
    for (size_t i = 0; i < RWF_COUNT(texts); i++) {
        const char *text = json_string_value(json_object_get(read, texts[i][0]));
        if (text == NULL)
            continue;
        rwf_str_addf(sql, ", %s=", texts[i][1]);
        sql_add_text(sql, text);
    }
    if (json_object_size(types) == 0)
        return;
    rwf_str_add(sql, ", types={");
    json_object_foreach((json_t *)types, name, type) {
        rwf_str_add(sql, sep);
        sql_add_text(sql, name);
        rwf_str_add(sql, ": ");
        sql_add_text(sql, json_string_value(type));
        sep = ", ";
    }
    rwf_str_add(sql, "}");
}

/* Formats whose files carry their types: the ones given are casts. */
static void add_casts(struct rwf_str *sql, const json_t *types)
{
    const char *name, *sep = " REPLACE (";
    json_t *type;
    rwf_str_add(sql, "*");
    json_object_foreach((json_t *)types, name, type) {
        rwf_str_addf(sql, "%sCAST(", sep);
        sql_add_name(sql, name);
        rwf_str_addf(sql, " AS %s\n) AS ", json_string_value(type));
        sql_add_name(sql, name);
        sep = ", ";
    }
    if (json_object_size(types) > 0)
        rwf_str_add(sql, ")");
}

static void add_reader(struct rwf_str *sql, const json_t *read, const json_t *files,
                       enum read_format format, const char *extra)
{
    static const char *const calls[] = { [READ_CSV] = "read_csv",
                                         [READ_JSONL] = "read_json",
                                         [READ_PARQUET] = "read_parquet" };
    size_t i, count = json_array_size(files);
    rwf_str_add(sql, "SELECT ");
    if (format == READ_CSV)
        rwf_str_add(sql, "*");
    else
        add_casts(sql, json_object_get(read, "types"));
    rwf_str_addf(sql, " FROM %s([", calls[format]);
    for (i = 0; i < count; i++) {
        rwf_str_add(sql, i > 0 ? ", " : "");
        sql_add_text(sql, json_string_value(json_array_get(files, i)));
    }
    rwf_str_addf(sql, "], hive_partitioning=false%s%s",
                 count > 1 ? ", union_by_name=true" : "", extra);
    if (format == READ_CSV)
        add_csv_arguments(sql, read);
    if (format == READ_JSONL && extra[0] == '\0')
        rwf_str_add(sql, ", format='newline_delimited'");
    rwf_str_add(sql, ")");
}

int read_add_sql(struct duck *d, const json_t *read, struct rwf_str *sql,
                 int64_t *ret_bytes, struct rwf_err *err)
{
    json_t *files = json_array();
    const char *extra;
    enum read_format format;
    int64_t bytes = 0;
    int r = -1;
    if (expand_all(json_object_get(read, "path"), files, &bytes, err) < 0 ||
        find_format(read, files, &format, &extra, err) < 0 ||
        check_types(d, json_object_get(read, "types"), err) < 0)
        goto out;
    add_reader(sql, read, files, format, extra);
    *ret_bytes += bytes;
    r = 0;
out:
    json_decref(files);
    return r;
}

int64_t read_guess_rows(const json_t *what, int64_t bytes)
{
    const json_t *path = json_object_get(what, "path");
    const char *first = json_string_value(json_is_array(path) ? json_array_get(path, 0)
                                                              : path);
    size_t len = first != NULL ? strlen(first) : 0;
    int ending = len > 0 ? find_ending(first) : -1;
    if (ending < 0 || endings[ending].format == READ_PARQUET ||
        !rwf_ends_with(first, endings[ending].ending))
        return 0;
    int fd = open(first, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    int64_t lines = 0, seen = 0;
    for (int piece = 0; fd >= 0 && piece < READ_GUESS_PIECES; piece++) {
        char text[READ_GUESS];
        ssize_t n = pread(fd, text, sizeof(text), size / READ_GUESS_PIECES * piece);
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
        seen += n > 0 ? n : 0;
    }
    if (fd >= 0)
        close(fd);
    return seen > 0 ? (int64_t)((double)bytes / (double)seen * (double)lines) : 0;
}
