/* SPDX-License-Identifier: Apache-2.0
 *
 * One model behind HTTP until a signal ends it: `raywf serve MODEL`.
 */
#ifndef RWF_LLM_SERVER_H
#define RWF_LLM_SERVER_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* What is zero or NULL gets its default. */
struct llm_server_options {
    const char *folder;
    const char *const *names; /* NULL: the folder as it was given */
    const char *host;
    int port;                 /* < 0: 8000 */
    const char *unix_path;    /* instead of both */
    const char *tls_cert, *tls_key;
    const char *const *api_keys;
    const char *const *cors_origins;
    const char *access_log;
    const char *template_;
    bool no_reasoning, no_tools, escape_special;
    const char *device;     /* "auto", "cpu", "cuda" */
    int threads;            /* of the CPU; 0: all */
    const char *type;       /* "auto", "bfloat16", "float32" */
    int64_t max_length;     /* 0: what the model was made for, or less when the cache holds
                               less (said); -1: as much as fits */
    int max_sequences, max_tokens;
    double memory_share;
    int64_t cache_bytes;
    bool seeded;
    int64_t seed; /* if seeded: of requests that say none, in their order */
    bool dummy;             /* weights are made up: to measure without them */
    bool eager, no_prefix_cache, quiet;
    int64_t drain;          /* ns that requests may take at the end; 0: 30 s */
};

/* 0 after a signal. */
int llm_server_run(const struct llm_server_options *o, struct rwf_err *err);

#endif
