/* SPDX-License-Identifier: Apache-2.0
 *
 * What the head answers to JOB messages. A client sends one request after the other;
 * each gets one JOB_REPLY (code 0, or an error of base/err.h with its text):
 *
 *   submit {id, spec}       {job, state}, or {need: "bundle"}: send it, then submit
 * again put {digest} data end   a piece of a bundle; {digest} in the first list {}
 * {jobs: […]}             status {job}     one of them, and more logs {job,
 * offset|tail, wait} data, {offset, next, state, ended, exit_code}; waits for some stop
 * {job, force}   retry {job}   delete {job} outputs {job}           {files, bytes},
 * then `next {}`: a piece of a bundle; more
 *
 * A piece has at most JOB_PIECE bytes, and the next one follows the answer, so that no
 * link is flooded.
 */
#ifndef RWF_JOB_SERVER_H
#define RWF_JOB_SERVER_H
#include "job/keeper.h"
#include "wire/link.h"

#define JOB_PIECE ((size_t)256 << 10)

struct job_server;

struct job_server *job_server_create(uv_loop_t *loop);
/* Before this, clients are told to come again. Takes keeper. */
void job_server_start(struct job_server *s, struct job_keeper *keeper);
/* For head_options: a program that is no node says something. ctx: the server. */
bool job_server_take(void *ctx, struct wire_link *link, struct wire_message *m);
/* Closes its links, and the keeper (see there). The rest follows in later turns. */
void job_server_destroy(struct job_server *s, bool interrupt);

#endif
