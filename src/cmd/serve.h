/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf serve: the live server of a folder, as the command's files share it.
 */
#ifndef RWF_CMD_SERVE_H
#define RWF_CMD_SERVE_H
#include "cmd/cmd.h"

/* What serves the runs of a root now. */
struct cmd_live {
    char *run, *control; /* its run's id, and the path of its control socket */
};

/* The server of the newest run of root that has one. RWF_E_NORUN: there is none. */
int cmd_live_find(const char *root, struct cmd_live *ret, struct rwf_err *err);
void cmd_live_free(struct cmd_live *l);

/* serve_live.c: status, scale, down */
int cmd_serve_status(struct cmd_call *call, struct rwf_err *err);
int cmd_serve_scale(struct cmd_call *call, struct rwf_err *err);
int cmd_serve_down(struct cmd_call *call, struct rwf_err *err);

/* --- serve_model.c: one model behind the OpenAI API --- */

/* A folder with a config.json. */
bool cmd_serve_is_model(const char *path);
/* A length as vLLM writes it: 8192, 8k (thousands), 8K (1024); auto, -1: -1. */
int cmd_serve_length(const char *text, int64_t *ret, struct rwf_err *err);
/* The same of tokens or bytes, at least 1; also 4GiB. what: for messages, "--max-num-batched-tokens". */
int cmd_serve_amount(const char *what, const char *text, int64_t *ret, struct rwf_err *err);
int cmd_serve_model(struct cmd_call *call, struct rwf_err *err);

#define CMD_MODEL_OPTION(name, type, metavar, fallback, help)                            \
    {                                                                                    \
        name, 0, type, metavar, false, fallback, help                                    \
    }
#define CMD_MODEL_OPTIONS                                                                \
    CMD_MODEL_OPTION("model", CMD_DIR, "MODEL", NULL,                                    \
                     "MODEL: may be named this way, too"),                               \
        CMD_MODEL_OPTION("host", CMD_TEXT, "ADDRESS", "127.0.0.1",                       \
                     "MODEL: where to listen; one that is not loopback needs a key"),    \
        CMD_MODEL_OPTION("port", CMD_COUNT, "N", "8000", "MODEL: 0 takes any free one"), \
        CMD_MODEL_OPTION("uds", CMD_FILE, "PATH", NULL,                                  \
                         "MODEL: a Unix socket instead of host and port"),               \
        CMD_MODEL_OPTION("api-key-file", CMD_FILE, "FILE", NULL,                         \
                         "MODEL: keys that clients must send, one a line (also: "        \
                         "RAYWF_API_KEY)"),                                              \
        CMD_MODEL_OPTION("api-key", CMD_TEXT, "KEY", NULL,                               \
                         "MODEL: such a key; lists of processes show it"),               \
        CMD_MODEL_OPTION("ssl-certfile", CMD_FILE, "FILE", NULL, "MODEL: TLS, with "     \
                         "--ssl-keyfile"),                                               \
        CMD_MODEL_OPTION("ssl-keyfile", CMD_FILE, "FILE", NULL, "MODEL: its key"),       \
        {"allowed-origins", 0, CMD_TEXT, "ORIGIN", true, NULL,                           \
         "MODEL: of pages that may ask (CORS); *: all"},                                 \
        CMD_MODEL_OPTION("access-log", CMD_FILE, "FILE", NULL,                           \
                         "MODEL: a line of JSON for each request"),                      \
        {"served-model-name", 0, CMD_TEXT, "NAME", true, "the folder",                   \
         "MODEL: what clients call it"},                                                 \
        CMD_MODEL_OPTION("device", CMD_CHOICE, "auto|cpu|cuda", "auto",                  \
                         "MODEL: auto takes a GPU when there is one"),                   \
        CMD_MODEL_OPTION("threads", CMD_COUNT, "N", "all", "MODEL: of the CPU"),         \
        CMD_MODEL_OPTION("dtype", CMD_TEXT, "TYPE", "auto",                              \
                         "MODEL: bfloat16 (half means it, too) or float32; auto: the "   \
                         "file's"),                                                      \
        CMD_MODEL_OPTION("load-format", CMD_CHOICE, "auto|safetensors|dummy", "auto",    \
                         "MODEL: dummy makes weights up, to measure without them"),      \
        CMD_MODEL_OPTION("max-model-len", CMD_TEXT, "TOKENS", "what fits",               \
                         "MODEL: longest prompt and reply; 8192, 8k, auto"),             \
        CMD_MODEL_OPTION("gpu-memory-utilization", CMD_TEXT, "SHARE", "0.9",             \
                         "MODEL: of the device's memory"),                               \
        CMD_MODEL_OPTION("kv-cache-memory-bytes", CMD_TEXT, "BYTES", NULL,               \
                         "MODEL: of the KV cache, instead of what the share leaves; "    \
                         "4294967296, 4G, 4GiB"),                                        \
        CMD_MODEL_OPTION("max-num-seqs", CMD_COUNT, "N", "256, large GPU: 512, CPU: 32", \
                         "MODEL: requests in a step"),                                   \
        CMD_MODEL_OPTION("max-num-batched-tokens", CMD_TEXT, "N",                        \
                         "2048, large GPU: 8192, CPU: 512", "MODEL: tokens in a step"),  \
        CMD_MODEL_OPTION("enforce-eager", CMD_FLAG, NULL, NULL,                          \
                         "MODEL: kernel by kernel, no step as a CUDA graph or one kernel"), \
        CMD_MODEL_OPTION("no-enforce-eager", CMD_FLAG, NULL, NULL,                       \
                         "MODEL: holds unless --enforce-eager is given"),                \
        CMD_MODEL_OPTION("no-enable-prefix-caching", CMD_FLAG, NULL, NULL,               \
                         "MODEL: compute equal beginnings of prompts again"),            \
        CMD_MODEL_OPTION("chat-template", CMD_TEXT, "NAME", "the model's",               \
                         "MODEL: qwen3, qwen3-instruct, qwen3-thinking or plain"),       \
        CMD_MODEL_OPTION("escape-special-tokens", CMD_FLAG, NULL, NULL,                  \
                         "MODEL: <|im_end|> and the like are plain text in what users "  \
                         "and tools say in a chat"),                                     \
        CMD_MODEL_OPTION("no-escape-special-tokens", CMD_FLAG, NULL, NULL,               \
                         "MODEL: holds unless --escape-special-tokens is given"),        \
        CMD_MODEL_OPTION("reasoning-parser", CMD_TEXT, "NAME", "qwen3",                  \
                         "MODEL: none leaves thinking in the content"),                  \
        CMD_MODEL_OPTION("tool-call-parser", CMD_TEXT, "NAME", "hermes",                 \
                         "MODEL: none leaves calls in the content"),                     \
        CMD_MODEL_OPTION("enable-auto-tool-choice", CMD_FLAG, NULL, NULL,                \
                         "MODEL: holds always"),                                         \
        CMD_MODEL_OPTION("enable-prefix-caching", CMD_FLAG, NULL, NULL,                  \
                         "MODEL: holds always"),                                         \
        CMD_MODEL_OPTION("enable-chunked-prefill", CMD_FLAG, NULL, NULL,                 \
                         "MODEL: holds always"),                                         \
        CMD_MODEL_OPTION("tensor-parallel-size", CMD_TEXT, "N", "1", "MODEL: 1"),        \
        CMD_MODEL_OPTION("tp", CMD_TEXT, "N", "1", "MODEL: -tp N is the same"),          \
        CMD_MODEL_OPTION("pipeline-parallel-size", CMD_TEXT, "N", "1", "MODEL: 1"),      \
        CMD_MODEL_OPTION("pp", CMD_TEXT, "N", "1", "MODEL: -pp N is the same"),          \
        CMD_MODEL_OPTION("distributed-executor-backend", CMD_TEXT, "NAME", NULL,         \
                         "MODEL: not looked at"),                                        \
        CMD_MODEL_OPTION("block-size", CMD_TEXT, "N", "16", "MODEL: 16"),                \
        CMD_MODEL_OPTION("kv-cache-dtype", CMD_TEXT, "TYPE", "auto", "MODEL: auto"),     \
        CMD_MODEL_OPTION("quantization", CMD_TEXT, "NAME", "auto", "MODEL: awq"),        \
        CMD_MODEL_OPTION("seed", CMD_COUNT, "N", "any",                                  \
                         "MODEL: of requests that say none, counted on in their order")

#endif
