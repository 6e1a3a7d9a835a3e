/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "recipe/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

#include "base/mem.h"

#define MATCH_LIMIT 200000 /* steps; PCRE2's own default takes seconds */

struct recipe__pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

/* PCRE2 shares our way of ending when memory does. */
static void *take(size_t size, void *unused)
{
    (void)unused;
    return rwf_xmalloc(size);
}

static void give(void *memory, void *unused)
{
    (void)unused;
    free(memory);
}

static pcre2_general_context *memory_context(void)
{
    static pcre2_general_context *context;
    if (context == NULL)
        context = pcre2_general_context_create(take, give, NULL);
    return context;
}

struct recipe__pattern *recipe__pattern_compile(const char *text, bool whole,
                                                struct rwf_err *err)
{
    uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY;
    PCRE2_UCHAR words[256];
    PCRE2_SIZE at = 0;
    int code = 0;
    if (whole)
        options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    pcre2_compile_context *context = pcre2_compile_context_create(memory_context());
    struct recipe__pattern *p = rwf_xcalloc(1, sizeof(*p));
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &code,
                            &at, context);
    pcre2_compile_context_free(context);
    if (p->code == NULL) {
        pcre2_get_error_message(code, words, sizeof(words));
        rwf_fail(err, EINVAL, "%s at column %zu", (const char *)words, (size_t)at + 1);
        free(p);
        return NULL;
    }
    p->data = pcre2_match_data_create_from_pattern(p->code, memory_context());
    p->limits = pcre2_match_context_create(memory_context());
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    return p;
}

bool recipe__pattern_matches(const struct recipe__pattern *p, const char *text,
                             size_t len)
{
    return pcre2_match(p->code, (PCRE2_SPTR)text, len, 0, 0, p->data, p->limits) >= 0;
}

void recipe__pattern_free(struct recipe__pattern *p)
{
    if (p == NULL)
        return;
    pcre2_match_context_free(p->limits);
    pcre2_match_data_free(p->data);
    pcre2_code_free(p->code);
    free(p);
}
