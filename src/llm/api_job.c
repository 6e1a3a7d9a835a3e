/* SPDX-License-Identifier: Apache-2.0
 *
 * A request while it runs. A job has one choice for each text that it makes; each is a
 * request of the engine. The reply is ended when all texts are complete, which may be
 * before the engine has told the end of all (a stop string was found): the job is freed
 * when both is so.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

struct job *api__job_create(struct llm_api *a, const struct job_ops *ops,
                            struct http_request *r, json_t *request, const char *prefix)
{
    struct job *j = rwf_xcalloc(1, sizeof(*j));
    uint64_t random[2] = {0, 0};

    if (getrandom(random, sizeof(random), 0) < 0)
        random[0] = (uint64_t)rwf_clock_mono();
    *j = (struct job){.api = a, .ops = ops, .http = r, .request = request};
    snprintf(j->id, sizeof(j->id), "%s-%016llx%016llx", prefix,
             (unsigned long long)random[0], (unsigned long long)random[1]);
    j->created = (int64_t)time(NULL);
    http_set(r, j);
    http_note(r, ops->name);
    LIST_INSERT_HEAD(&a->jobs, j, link);
    return j;
}

static void choice_free(struct choice *c)
{
    text_stream_destroy(c->text);
    reply_destroy(c->reply);
    rwf_str_free(&c->piece);
    rwf_str_free(&c->thought);
    rwf_str_free(&c->whole);
    rwf_str_free(&c->whole_thought);
    rwf_str_free(&c->calls);
    rwf_str_free(&c->logprobs);
    rwf_str_free(&c->whole_logprobs);
    rwf_str_free(&c->prompt_logprobs);
    free(c->prompt_text);
    free(c->embedding);
}

static void job_free(struct job *j)
{
    for (int i = 0; i < j->count; i++)
        choice_free(&j->choices[i]);
    free(j->choices);
    api_params_free(&j->params);
    json_decref(j->request);
    rwf_str_free(&j->out);
    LIST_REMOVE(j, link);
    free(j);
}

/* --- the end --- */

static void cancel_all(struct job *j)
{
    for (int i = 0; i < j->count; i++)
        if (j->choices[i].request != NULL)
            llm_engine_cancel(j->api->engine, j->choices[i].request);
}

static void let_go(struct job *j)
{
    if (j->http == NULL && j->told == j->count)
        job_free(j);
}

void api__job_refuse(struct job *j, const char *param, const struct rwf_err *err)
{
    api__refuse(j->http, param, err);
    j->http = NULL;
    cancel_all(j);
    let_go(j);
}

/* Also while a piece is written: then the turn lets it go. */
void api__job_gone(struct job *j)
{
    http_reply_end(j->http, true);
    j->http = NULL;
    cancel_all(j);
    if (!j->touched)
        let_go(j);
}

/* Its status is with the client already: only the connection's end and the logs can say why. */
static void cut_short(struct job *j, const char *why)
{
    rwf_log(RWF_LOG_WARN, "llm", "an answer was cut short: request=%s bytes=%llu cause=%s",
            http_id(j->http), (unsigned long long)http_reply_written(j->http), why);
    http_reason(j->http, why);
    http_reply_end(j->http, true);
}

void api__job_cut(struct job *j)
{
    if (j->http == NULL)
        return;
    if (j->streaming)
        cut_short(j, "the server is ending");
    else
        api__error(j->http, 503, "server_unavailable", NULL, "the server is ending");
    j->http = NULL;
}

/* --- what a reply says --- */

static void on_thinking(void *ctx, const char *text, size_t len)
{
    struct choice *c = ctx;

    if (c->job->params.thoughts)
        rwf_str_addn(&c->thought, text, len);
}

static void on_content(void *ctx, const char *text, size_t len)
{
    struct choice *c = ctx;

    rwf_str_addn(&c->piece, text, len);
}

static void on_call(void *ctx, int number, const char *name, const char *arguments)
{
    struct choice *c = ctx;

    if (number > 0 && !c->job->params.several_calls)
        return;
    rwf_str_addf(&c->calls,
                 "%s{\"index\":%d,\"id\":\"call_%s_%d_%d\",\"type\":\"function\",",
                 c->calls.len > 0 ? "," : "", number, c->job->id + strlen("chatcmpl-"),
                 c->index, number);
    rwf_str_add(&c->calls, "\"function\":{\"name\":");
    api__text(&c->calls, name, strlen(name));
    rwf_str_add(&c->calls, ",\"arguments\":");
    api__text(&c->calls, arguments, strlen(arguments));
    rwf_str_add(&c->calls, "}}");
}

static void open_text(struct job *j, struct choice *c, const struct job_plan *plan)
{
    const struct api_params *p = &j->params;

    c->text = text_stream_create(&(struct text_stream_options){
        .tokenizer = j->api->tokenizer,
        .stops = p->stops,
        .stop_count = (size_t)p->stop_count,
        .include_stop = p->include_stop,
        .least = (size_t)p->min_tokens,
        .keep_special = !p->skip_special,
    });
    if (plan->chat)
        c->reply = reply_create(&(struct reply_options){
            .reasoning = j->api->reasoning,
            .thinks = plan->thinks,
            .tools = plan->tools,
            .thinking = on_thinking,
            .content = on_content,
            .call = on_call,
            .ctx = c,
        });
}

/* --- into the engine --- */

/* name: how the request called it */
static int check_room(const struct job *j, const struct job_prompt *p, const char *name,
                      struct rwf_err *err)
{
    int64_t want = j->params.max_tokens, room = j->api->max_length - p->count;

    if (want > 0 && want > room && room > 0)
        return rwf_fail(
            err, RWF_E_FIT,
            "%s: %lld is too much: this model's context is %d tokens, and "
            "the prompt takes %d of them, which leaves %lld",
            name, (long long)want, j->api->max_length, p->count, (long long)room);
    return 0;
}

/* The prompt comes before the reply, and so do its logprobs; nothing is known of the
 * first. */
static void begin_echo(struct job *j, struct choice *c, const struct job_prompt *p)
{
    struct rwf_str text = {NULL, 0, 0};

    if (p->text != NULL)
        rwf_str_add(&text, p->text);
    else
        tokenizer_decode(j->api->tokenizer, p->ids, (size_t)p->count, &text);
    c->prompt_text = rwf_str_take(&text);
    if (j->params.logprobs >= 0)
        j->ops->logprobs(j, c, &(struct llm_logprob){.id = p->ids[0], .logprob = NAN},
                         1);
}

static struct job_prompt truncated(const struct job *j, const struct job_prompt *p, bool embed)
{
    int64_t cut = j->params.truncate, reply = j->params.max_tokens > 0 ? j->params.max_tokens : 1;

    if (cut < 0)
        cut = j->api->max_length - (embed ? 0 : reply);
    return cut <= 0 || cut >= p->count
               ? *p
               : (struct job_prompt){p->ids + p->count - cut, (int)cut, NULL};
}

/* What is left in the content is held from its first token on: also thinking that no
 * parser takes out. */
static void constrain(const struct job *j, const struct job_plan *plan,
                      struct llm_constraint *ret)
{
    const struct llm_api *a = j->api;
    int32_t begin = a->reasoning && plan->may_think ? a->think : -1;
    bool thinks = a->reasoning && (plan->thinks || begin >= 0);

    grammar_keep(plan->grammar);
    grammar_constrain(plan->grammar, a->vocabulary, begin, thinks ? a->think_end : -1,
                      ret);
}

static int submit(struct job *j, struct choice *c, const struct job_prompt *p,
                  const struct job_plan *plan, const char **ret_param,
                  struct rwf_err *err)
{
    struct llm_submit s = {
        .prompt = p->ids,
        .prompt_count = p->count,
        .embed = plan->embed,
        .priority = (int)j->params.priority,
        .tokens = api__tokens,
        .embedding = api__embedding,
        .prompt_logprobs = api__prompt_logprobs,
        .ctx = c,
    };

    *ret_param = json_is_integer(json_object_get(j->request, "max_completion_tokens"))
                     ? "max_completion_tokens"
                     : "max_tokens";
    if (check_room(j, p, *ret_param, err) != 0)
        return -1;
    *ret_param = plan->chat ? "messages" : plan->embed ? "input" : "prompt";
    api_params_sampling(&j->params, c->index, &s.sampling);
    if (plan->grammar != NULL)
        constrain(j, plan, &s.constraint);
    c->request = llm_engine_submit(j->api->engine, &s, &c->times, err);
    if (c->request != NULL)
        return 0;
    if (s.constraint.ctx != NULL)
        s.constraint.free(s.constraint.ctx);
    return -1;
}

void api__job_start(struct job *j, const struct job_plan *plan)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *param;

    j->count = plan->prompt_count * (int)j->params.n;
    j->choices = rwf_xcalloc((size_t)j->count, sizeof(*j->choices));
    for (int i = 0; i < j->count; i++) {
        struct choice *c = &j->choices[i];
        const struct job_prompt p = truncated(j, &plan->prompts[i / (int)j->params.n], plan->embed);
        c->job = j;
        c->index = i;
        if (!plan->embed)
            open_text(j, c, plan);
        if (j->params.echo)
            begin_echo(j, c, &p);
        if (submit(j, c, &p, plan, &param, &err) != 0) {
            j->told += j->count - i; /* of these no end will be told */
            api__job_refuse(j, param, &err);
            return;
        }
    }
}

/* --- news --- */

static void say(struct choice *c, const char *text, size_t len)
{
    if (c->reply != NULL)
        reply_add(c->reply, text, len);
    else
        rwf_str_addn(&c->piece, text, len);
}

static void complete(struct choice *c, const char *reason)
{
    struct rwf_str rest = {NULL, 0, 0};

    if (c->over)
        return;
    text_stream_end(c->text, &rest);
    if (rest.len > 0)
        say(c, rest.data, rest.len);
    rwf_str_free(&rest);
    if (c->reply != NULL) {
        reply_end(c->reply);
        if (reply_calls(c->reply) > 0 && strcmp(reason, "stop") == 0)
            reason = "tool_calls";
    }
    c->finish_reason = reason;
    c->stop = text_stream_stop(c->text);
    c->over = true;
    c->job->over++;
}

static void take_token(struct job *j, struct choice *c, const struct llm_token *t)
{
    struct rwf_str text = {NULL, 0, 0};

    if (j->params.max_tokens == 0) /* only an echo */
        return;
    c->tokens++;
    api__metrics_token(j->api->metrics, c, rwf_clock_mono());
    if (j->params.logprobs >= 0 && t->logprob_count > 0)
        j->ops->logprobs(j, c, t->logprobs, t->logprob_count);
    bool stop = text_stream_add(c->text, t->id, &text);
    if (text.len > 0)
        say(c, text.data, text.len);
    rwf_str_free(&text);
    if (stop) {
        complete(c, "stop");
        llm_engine_cancel(j->api->engine, c->request);
    }
}

/* False: the client took nothing for so long that it counts as gone. */
static bool write_out(struct job *j)
{
    if (j->out.len > 0)
        http_reply_write(j->http, j->out.data, j->out.len);
    rwf_str_clear(&j->out);
    return j->http != NULL;
}

/* The engine failed, or cancels because it ends. */
static void fail(struct job *j, const char *reason)
{
    if (j->http == NULL || j->failed)
        return;
    j->failed = true;
    if (j->streaming) {
        struct rwf_str out = {NULL, 0, 0};
        api__add_error(&out, 500, NULL, NULL, reason);
        api__event(j, out.data, out.len);
        rwf_str_free(&out);
        if (!write_out(j))
            return;
        cut_short(j, reason);
    } else {
        api__error(j->http, 500, NULL, NULL, reason);
    }
    j->http = NULL;
    cancel_all(j);
}

static void take_end(struct job *j, struct choice *c, const struct news *n)
{
    c->request = NULL;
    c->cached = c->times.cached;
    j->told++;
    /* What was complete before, by a stop string, was cancelled by us. */
    api__metrics_choice(j->api->metrics, j, c, c->over ? LLM_STOP : n->finish);
    if (j->told == j->count)
        api__metrics_job(j->api->metrics, j);
    if (c->over)
        return;
    if (n->finish == LLM_STOP || n->finish == LLM_LENGTH) {
        if (c->text != NULL) {
            complete(c, n->finish == LLM_STOP ? "stop" : "length");
        } else {
            c->over = true;
            j->over++;
        }
    } else {
        fail(j, n->reason != NULL            ? n->reason
                : n->finish == LLM_CANCELLED ? "the request was cancelled"
                                             : "the engine failed");
    }
}

/* vLLM's form: {"ID": {"logprob", …}}, with the token itself first. */
static void add_prompt_token(struct job *j, struct rwf_str *out,
                             const struct llm_logprob *l, size_t count)
{
    rwf_str_add(out, ",{");
    for (size_t k = 0; k < count; k++) {
        if (k > 0 && l[k].id == l[0].id)
            continue;
        rwf_str_addf(out, "%s\"%d\":", k > 0 ? "," : "", l[k].id);
        api__token(j, out, &l[k]);
        rwf_str_addc(out, '}');
    }
    rwf_str_addc(out, '}');
}

/* In as many pieces as the prompt was computed in. */
static void take_prompt(struct job *j, struct choice *c, const struct news *n,
                        const struct llm_logprob *l)
{
    for (size_t i = 0; i < n->prompt_count; i++, l += n->prompt_each) {
        if (j->params.prompt_logprobs >= 0)
            add_prompt_token(j, &c->prompt_logprobs, l,
                             1 + (size_t)j->params.prompt_logprobs);
        if (j->params.echo && j->params.logprobs >= 0)
            j->ops->logprobs(j, c, l, 1 + (int)j->params.logprobs);
    }
}

void api__job_news(struct job *j, struct choice *c, const struct news *n,
                   const struct llm_logprob *pool)
{
    if (n->embedding != NULL) {
        c->embedding = n->embedding;
        c->embedding_width = (int)j->api->config.hidden;
        return;
    }
    if (n->finish != LLM_RUNNING) {
        take_end(j, c, n);
    } else if (c->over || j->http == NULL) {
        return;
    } else if (n->prompt_count > 0) {
        take_prompt(j, c, n, pool + n->logprob);
    } else {
        c->cached = n->cached;
        take_token(
            j, c, &(struct llm_token){n->id, pool + n->logprob, (int)n->logprob_count});
    }
}

/* --- replies --- */

static void move(struct rwf_str *to, struct rwf_str *from)
{
    if (from->len > 0)
        rwf_str_addn(to, from->data, from->len);
    rwf_str_clear(from);
}

static bool has_new(const struct choice *c)
{
    return c->piece.len > 0 || c->thought.len > 0 || c->calls.len > 0 ||
           c->logprobs.len > 0;
}

static void stream(struct job *j)
{
    if (!j->streaming) {
        http_reply_header(j->http, "Cache-Control", "no-cache");
        http_reply_begin(j->http, 200, "text/event-stream; charset=utf-8");
        j->streaming = true;
    }
    for (int i = 0; i < j->count; i++) {
        struct choice *c = &j->choices[i];
        if (c->closed || (c->begun && !c->over && !has_new(c)))
            continue;
        j->ops->piece(j, c, c->over);
        rwf_str_clear(&c->piece);
        rwf_str_clear(&c->thought);
        rwf_str_clear(&c->calls);
        rwf_str_clear(&c->logprobs);
        c->begun = true;
        c->closed = c->over;
    }
}

static void add_usage_event(struct job *j)
{
    struct rwf_str out = {NULL, 0, 0};

    api__head(j, &out, j->ops->chunk);
    rwf_str_add(&out, "\"choices\":[],\"usage\":");
    api__usage(j, &out);
    rwf_str_addc(&out, '}');
    api__event(j, out.data, out.len);
    rwf_str_free(&out);
}

static void end_stream(struct job *j)
{
    if (j->params.include_usage)
        add_usage_event(j);
    rwf_str_add(&j->out, "data: [DONE]\n\n");
    if (write_out(j))
        http_reply_end(j->http, false);
    j->http = NULL;
}

static void gather(struct job *j)
{
    for (int i = 0; i < j->count; i++) {
        struct choice *c = &j->choices[i];
        move(&c->whole, &c->piece);
        move(&c->whole_thought, &c->thought);
        if (c->whole_logprobs.len > 0 && c->logprobs.len > 0)
            rwf_str_addc(&c->whole_logprobs, ',');
        move(&c->whole_logprobs, &c->logprobs);
    }
}

static void end_whole(struct job *j)
{
    struct rwf_str out = {NULL, 0, 0};

    gather(j);
    j->ops->whole(j, &out);
    http_reply(j->http, 200, "application/json", out.data, out.len);
    rwf_str_free(&out);
    j->http = NULL;
}

void api__job_turn(struct job *j)
{
    if (j->http != NULL && j->params.stream) {
        stream(j);
        if (j->over == j->count)
            end_stream(j);
        else
            (void)write_out(j);
    } else if (j->http != NULL && j->over == j->count) {
        end_whole(j);
    }
    j->touched = false;
    let_go(j);
}
