/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/reply.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "llm/json_text.h"

enum state { AT_START, THINKING, AFTER_THINKING, CONTENT, CALL, AFTER_CALL };

struct reply {
    struct reply_options o;
    enum state state;
    struct rwf_str held; /* not told yet */
    struct rwf_str
        space;  /* newlines of the thinking that are its end if nothing follows */
    bool begun; /* something of the thinking was told */
    int calls;
};

#define THINK "<think>"
#define END_THINK "</think>"
#define TOOL "<tool_call>"
#define END_TOOL "</tool_call>"

struct reply *reply_create(const struct reply_options *o)
{
    struct reply *r = rwf_xcalloc(1, sizeof(*r));

    r->o = *o;
    r->state = !o->reasoning ? CONTENT : o->thinks ? THINKING : AT_START;
    return r;
}

void reply_destroy(struct reply *r)
{
    if (r == NULL)
        return;
    rwf_str_free(&r->held);
    rwf_str_free(&r->space);
    free(r);
}

int reply_calls(const struct reply *r)
{
    return r->calls;
}

/* --- telling --- */

static void drop(struct reply *r, size_t len)
{
    r->held.len -= len;
    memmove(r->held.data, r->held.data + len, r->held.len);
}

/* Newlines are told only when something follows, and none before the first. */
static void think(struct reply *r, size_t len)
{
    size_t from = 0, to = len;

    while (!r->begun && from < len && r->held.data[from] == '\n')
        from++;
    while (to > from && r->held.data[to - 1] == '\n')
        to--;
    if (to > from) {
        if (r->space.len > 0)
            r->o.thinking(r->o.ctx, r->space.data, r->space.len);
        rwf_str_clear(&r->space);
        r->o.thinking(r->o.ctx, r->held.data + from, to - from);
        r->begun = true;
    }
    if (r->begun)
        rwf_str_addn(&r->space, r->held.data + to, len - to);
    drop(r, len);
}

static void content(struct reply *r, size_t len)
{
    if (len > 0)
        r->o.content(r->o.ctx, r->held.data, len);
    drop(r, len);
}

/* --- tags --- */

static bool find(const struct reply *r, const char *tag, size_t *ret)
{
    const char *at =
        r->held.len == 0 ? NULL : memmem(r->held.data, r->held.len, tag, strlen(tag));

    *ret = at == NULL ? 0 : (size_t)(at - r->held.data);
    return at != NULL;
}

/* What of held is certainly no beginning of tag at its end. */
static size_t before(const struct reply *r, const char *tag)
{
    size_t n = strlen(tag) - 1;

    n = n < r->held.len ? n : r->held.len;
    while (n > 0 && memcmp(r->held.data + r->held.len - n, tag, n) != 0)
        n--;
    return r->held.len - n;
}

static size_t spaces(const struct reply *r)
{
    size_t n = 0;

    while (n < r->held.len && memchr(" \t\r\n", r->held.data[n], 4))
        n++;
    return n;
}

/* --- states: each returns true when it went on to another --- */

static bool at_start(struct reply *r)
{
    size_t skip = spaces(r), left = r->held.len - skip;
    size_t n = left < strlen(THINK) ? left : strlen(THINK);

    if (n > 0 && memcmp(r->held.data + skip, THINK, n) != 0) {
        r->state = CONTENT;
        return true;
    }
    if (n < strlen(THINK))
        return false;
    drop(r, skip + n);
    r->state = THINKING;
    return true;
}

static bool thinking(struct reply *r)
{
    size_t at;

    if (!find(r, END_THINK, &at)) {
        think(r, before(r, END_THINK));
        return false;
    }
    think(r, at);
    drop(r, strlen(END_THINK));
    r->state = AFTER_THINKING;
    return true;
}

static bool after_thinking(struct reply *r)
{
    size_t n = 0;

    while (n < r->held.len && r->held.data[n] == '\n')
        n++;
    drop(r, n);
    if (r->held.len == 0)
        return false;
    r->state = CONTENT;
    return true;
}

static bool in_content(struct reply *r)
{
    size_t at;

    if (!r->o.tools) {
        content(r, r->held.len);
        return false;
    }
    if (!find(r, TOOL, &at)) {
        content(r, before(r, TOOL));
        return false;
    }
    content(r, at);
    r->state = CALL;
    return true;
}

/* Tells the call in text; false when it is none. */
static bool tell_call(struct reply *r, const char *text, size_t len)
{
    json_t *call = json_loadb(text, len, 0, NULL);
    const char *name = json_string_value(json_object_get(call, "name"));
    const json_t *given = json_object_get(call, "arguments");
    struct rwf_str arguments = {NULL, 0, 0};

    if (given == NULL)
        given = json_object_get(call, "parameters");
    if (json_is_string(given))
        rwf_str_add(&arguments, json_string_value(given));
    else if (given != NULL)
        json_text_add(&arguments, given);
    else
        rwf_str_add(&arguments, "{}");
    if (name != NULL)
        r->o.call(r->o.ctx, r->calls++, name, arguments.data);
    rwf_str_free(&arguments);
    json_decref(call);
    return name != NULL;
}

static bool in_call(struct reply *r)
{
    size_t end, from = strlen(TOOL);

    if (!find(r, END_TOOL, &end))
        return false;
    size_t whole = end + strlen(END_TOOL);
    if (tell_call(r, r->held.data + from, end - from))
        drop(r, whole);
    else
        content(r, whole);
    r->state = AFTER_CALL;
    return true;
}

/* Whitespace between calls, and after the last, is no content. */
static bool after_call(struct reply *r)
{
    drop(r, spaces(r));
    if (r->held.len == 0)
        return false;
    r->state = CONTENT;
    return true;
}

static void settle(struct reply *r)
{
    static bool (*const states[])(struct reply *) = {
        [AT_START] = at_start,
        [THINKING] = thinking,
        [AFTER_THINKING] = after_thinking,
        [CONTENT] = in_content,
        [CALL] = in_call,
        [AFTER_CALL] = after_call,
    };

    while (states[r->state](r))
        ;
}

void reply_add(struct reply *r, const char *text, size_t len)
{
    rwf_str_addn(&r->held, text, len);
    settle(r);
}

void reply_end(struct reply *r)
{
    if (r->held.len == 0)
        return;
    if (r->state == THINKING)
        think(r, r->held.len);
    else if (r->state == CALL &&
             tell_call(r, r->held.data + strlen(TOOL), r->held.len - strlen(TOOL)))
        drop(r, r->held.len);
    else
        content(r, r->held.len);
}
