/* SPDX-License-Identifier: Apache-2.0
 *
 * A tree of files as one stream of bytes, and back: how recipes and results travel from
 * one machine to another. The stream is the same for equal trees (names, contents, the
 * x bit, links; neither times nor owners), so that its digest is the tree's address.
 *
 * The stream, numbers little-endian:
 *     "RWFBNDL" u8 version(1)
 *     entries, in ascending order of their paths (strcmp):
 *         u8 kind ('d' folder, 'f' file, 'x' program, 'l' link)  u16 length of path
 *         u64 size (a folder's is 0)  path, then
 *         'l': the link's text    'f', 'x': the bytes, their SHA-256 as 64 hex digits
 *     'e', then the digest as 64 hex digits: SHA-256 of all before it but the bytes of
 *     files, which their checksums stand for
 *
 * Invariants: nobody holds a whole file in memory. A reader never writes outside its
 * target, whatever it is fed, and leaves nothing unless the whole stream was right.
 */
#ifndef RWF_BUNDLE_BUNDLE_H
#define RWF_BUNDLE_BUNDLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/digest.h"
#include "base/err.h"

struct bundle_options {
    bool ignore;     /* what .gitignore and .raywfignore name stays behind */
    bool everything; /* .git and .raywf come too; else they never do */
    /* Of a reader. keep: what is at target already stays, and is as good; digest: what
     * comes must have this one, or nothing is put in place; NULL: any. */
    bool keep;
    const char *digest;
    bool leave_links; /* links that lead out stay behind, with a warning; else they fail
                       */
    /* Files and folders beneath root, with all in them; NULL: all of root. What is
     * named here comes, ignored or not. */
    const char *const *paths;
    size_t path_count;
    int64_t max_bytes, max_files; /* 0: BUNDLE_MAX_BYTES, BUNDLE_MAX_FILES */
};
#define BUNDLE_MAX_BYTES (INT64_C(1) << 40)
#define BUNDLE_MAX_FILES INT64_C(1000000)

/* Whether the file at path beneath root stays behind with `ignore`. */
bool bundle_leaves(const char *root, const char *path);

struct bundle_writer;

/* Looks at the whole tree and fails, naming the largest offenders, when it is too
 * large, has what cannot travel (a link that leads out of it) or cannot be read. */
struct bundle_writer *bundle_writer_open(const char *root,
                                         const struct bundle_options *o,
                                         struct rwf_err *err);
/* The next bytes of the stream; 0: it has ended. A file is what it was when it was found:
 * one that has become shorter fails, what was added to one does not come. */
ssize_t bundle_writer_read(struct bundle_writer *w, void *buf, size_t size,
                           struct rwf_err *err);
/* All of it for its digest alone; then the stream begins again. */
int bundle_writer_through(struct bundle_writer *w, char ret[RWF_DIGEST_LEN],
                          struct rwf_err *err);
/* The same stream from its beginning, as it was found before. */
void bundle_writer_rewind(struct bundle_writer *w);
/* After the end; NULL before. */
const char *bundle_writer_digest(const struct bundle_writer *w);
/* What was found: files and links, bytes of files; for people. */
int64_t bundle_writer_files(const struct bundle_writer *w);
int64_t bundle_writer_bytes(const struct bundle_writer *w);
void bundle_writer_close(struct bundle_writer *w);

struct bundle_reader;

/* Unpacks to target, which need not exist, but its folder must. Until the end all is in
 * a folder beside it. Of o only the limits count; NULL: the defaults. */
struct bundle_reader *bundle_reader_open(const char *target,
                                         const struct bundle_options *o,
                                         struct rwf_err *err);
/* Pieces of any length. After a failure only bundle_reader_close may follow. */
int bundle_reader_feed(struct bundle_reader *r, const void *data, size_t size,
                       struct rwf_err *err);
/* Fails when the stream is not whole; else target is what came, in one step: a folder
 * that was there is gone with all in it. Call bundle_reader_close after it, too. */
int bundle_reader_finish(struct bundle_reader *r, char ret_digest[RWF_DIGEST_LEN],
                         struct rwf_err *err);
/* Without a finish that succeeded: removes what was written. */
void bundle_reader_close(struct bundle_reader *r);

/* What a writer would pack, in its order; link: the text of one. When fn gives -1 that
 * is the end, and *err is fn's to set. */
typedef int (*bundle_entry_fn)(void *ctx, const char *path, char kind, int64_t size,
                               const char *link, struct rwf_err *err);
int bundle_each(const char *root, const struct bundle_options *o, bundle_entry_fn fn,
                void *ctx, struct rwf_err *err);

/* The digest that a writer would end with. */
int bundle_digest(const char *root, const struct bundle_options *o,
                  char ret[RWF_DIGEST_LEN], struct rwf_err *err);

#endif
