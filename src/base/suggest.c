/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/suggest.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

enum { LONGEST = 64, FAR = 1000 };

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

/* Three rows of the usual table; a transposition looks two rows up. */
static int distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return FAR;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *now = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int same = lower(a[i - 1]) == lower(b[j - 1]);
            now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2])
                && lower(a[i - 2]) == lower(b[j - 1]) && up2[j - 2] + 1 < now[j])
                now[j] = up2[j - 2] + 1;
        }
    }
    return rows[n % 3][m];
}

void rwf_suggest_init(struct rwf_suggest *s, const char *name)
{
    *s = (struct rwf_suggest){ .name = name, .distance = FAR };
}

void rwf_suggest_try(struct rwf_suggest *s, const char *candidate)
{
    int d = distance(s->name, candidate);
    if (d < s->distance) {
        s->distance = d;
        s->best = candidate;
    }
}

const char *rwf_suggest_best(const struct rwf_suggest *s)
{
    if (!s->best)
        return NULL;
    /* A third of the letters may be wrong; short names need more care. */
    int allowed = (int)strlen(s->name) / 3;
    if (allowed < 1)
        allowed = 1;
    if (allowed > 4)
        allowed = 4;
    return s->distance <= allowed ? s->best : NULL;
}

char *rwf_suggest_choices(const char *name, const char *const *names, size_t count)
{
    struct rwf_str out = { 0 };
    struct rwf_suggest s;
    rwf_suggest_init(&s, name);
    for (size_t i = 0; i < count; i++)
        rwf_suggest_try(&s, names[i]);
    const char *best = rwf_suggest_best(&s);
    if (best != NULL)
        rwf_str_addf(&out, "did you mean '%s'? ", best);
    rwf_str_add(&out, best != NULL ? "One of " : "one of ");
    for (size_t i = 0; i < count; i++)
        rwf_str_addf(&out, "%s%s", i > 0 ? ", " : "", names[i]);
    return rwf_str_take(&out);
}
