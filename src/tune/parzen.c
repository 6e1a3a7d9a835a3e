/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels are stored by dimension, so that the sums over thousands of them run along
 * arrays. Observations of the same level share their kernel's mass: with the least
 * width, which nearly all have when there are many, it is looked up in a table made
 * once for a value. Over one parameter, kernels of the least width that are close (an
 * eighth of it) are merged.
 */
#include "config.h"

#include "tune/parzen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum {
    MANY = 512,        /* observations from which on near ones are merged */
    MOST_LEVELS = 512, /* beyond these, levels are as good as real numbers */
    PER_WIDTH = 8
};

#define FAR 8.5       /* widths beyond which a normal distribution is nothing */
#define NOTHING -700. /* the logarithm of nothing */
#define FAINT 36.     /* e^-36 is below the last bit of 1 */

enum form { REAL, LEVELS, WORDS };

struct dimension {
    const struct tune_param *param;
    enum form form;
    double least;       /* width */
    double *mu;         /* (count): unit coordinate, or the number of a word */
    double *inverse;    /* (count): 1 / width */
    double same, other; /* logarithms of a word kernel's two masses */
    double *table;      /* (levels): log mass at the current value by kernel level */
};

struct tune__parzen {
    uint32_t dim_count, count; /* the last kernel is the prior */
    double prior_weight, least_width;
    struct dimension *dims;
    double *weight;   /* (count), of sum 1 */
    double *constant; /* (count): log weight, widths and cuts */
    double *sum;      /* (count): room for a density */
};

static enum form form_of(const struct tune_param *p)
{
    if (p->values)
        return WORDS;
    return p->levels && p->levels <= MOST_LEVELS ? LEVELS : REAL;
}

static void weigh(struct tune__parzen *p)
{
    uint32_t n = p->count - 1;
    double total = 0;
    for (uint32_t i = 0; i < n; i++) {
        double w = 1;
        if (n > 25 && i < n - 25)
            w = n == 26 ? 1.0 / n : 1.0 / n + (1 - 1.0 / n) * i / (n - 26);
        p->weight[i] = w;
        total += w;
    }
    p->weight[n] = n ? p->prior_weight : 1;
    total += p->weight[n];
    for (uint32_t i = 0; i < p->count; i++)
        p->weight[i] /= total;
}

struct tune__parzen *tune__parzen_create(const struct tune_param *const *params,
                                         uint32_t param_count, uint32_t count,
                                         double prior_weight, double least_width)
{
    struct tune__parzen *p = rwf_xcalloc(1, sizeof(*p));
    p->dim_count = param_count;
    p->count = count + 1;
    p->prior_weight = prior_weight;
    p->least_width = least_width;
    p->dims = rwf_xcalloc(param_count, sizeof(*p->dims));
    p->weight = rwf_xcalloc(p->count, sizeof(double));
    p->constant = rwf_xcalloc(p->count, sizeof(double));
    p->sum = rwf_xcalloc(p->count, sizeof(double));
    for (uint32_t d = 0; d < param_count; d++) {
        struct dimension *dim = &p->dims[d];
        dim->param = params[d];
        dim->form = form_of(params[d]);
        dim->mu = rwf_xcalloc(p->count, sizeof(double));
        dim->inverse = rwf_xcalloc(p->count, sizeof(double));
        if (dim->form == LEVELS)
            dim->table = rwf_xcalloc(params[d]->levels, sizeof(double));
    }
    weigh(p);
    return p;
}

void tune__parzen_destroy(struct tune__parzen *p)
{
    if (!p)
        return;
    for (uint32_t d = 0; d < p->dim_count; d++) {
        free(p->dims[d].mu);
        free(p->dims[d].inverse);
        free(p->dims[d].table);
    }
    free(p->dims);
    free(p->weight);
    free(p->constant);
    free(p->sum);
    free(p);
}

static uint32_t level_of(const struct dimension *dim, double u)
{
    const struct tune_param *p = dim->param;
    if (p->type == TUNE_LOGINT)
        return (uint32_t)(tune_param_at(p, u) - p->min);
    double k = floor(u * (double)p->levels);
    return (uint32_t)fmin(fmax(k, 0), (double)p->levels - 1);
}

/* --- widths --- */

static void words(struct tune__parzen *p, struct dimension *dim,
                  const struct tune__kernel_value *sorted)
{
    double small = p->prior_weight / p->count, levels = (double)dim->param->levels;
    dim->same = log((1 + small) / (1 + small * levels));
    dim->other = log(small / (1 + small * levels));
    for (uint32_t i = 0; i + 1 < p->count; i++)
        dim->mu[sorted[i].slot] = level_of(dim, sorted[i].u);
    dim->mu[p->count - 1] = -1;
}

/* The ends count as neighbours only of a single observation. */
static double width_of(const struct tune__kernel_value *sorted, uint32_t n, uint32_t i)
{
    double left = i ? sorted[i].u - sorted[i - 1].u : sorted[i].u;
    double right = i + 1 < n ? sorted[i + 1].u - sorted[i].u : 1 - sorted[i].u;
    if (n >= 2 && !i)
        return right;
    if (n >= 2 && i + 1 == n)
        return left;
    return left > right ? left : right;
}

void tune__parzen_dimension(struct tune__parzen *p, uint32_t d,
                            const struct tune__kernel_value *sorted)
{
    struct dimension *dim = &p->dims[d];
    uint32_t n = p->count - 1;
    if (dim->form == WORDS) {
        words(p, dim, sorted);
        return;
    }
    dim->least = p->least_width;
    for (uint32_t i = 0; i < n; i++) {
        double width = width_of(sorted, n, i);
        width = width < dim->least ? dim->least : width > 1 ? 1 : width;
        dim->mu[sorted[i].slot] = sorted[i].u;
        dim->inverse[sorted[i].slot] = 1 / width;
    }
    dim->mu[n] = 0.5;
    dim->inverse[n] = 1;
}

/* --- merging, over one parameter --- */

struct bin {
    double weight, moment;
};

static uint32_t bin_count(const struct dimension *dim)
{
    return dim->form == REAL ? (uint32_t)ceil(PER_WIDTH / dim->least)
                             : (uint32_t)dim->param->levels;
}

static uint32_t bin_of(const struct dimension *dim, double mu, uint32_t bins)
{
    if (dim->form == WORDS)
        return (uint32_t)mu;
    if (dim->form == LEVELS)
        return level_of(dim, mu);
    return (uint32_t)fmin(mu * bins, bins - 1);
}

static bool has_least_width(const struct dimension *dim, uint32_t i)
{
    return dim->form == WORDS || dim->inverse[i] >= (1 - 1e-12) / dim->least;
}

static void keep(struct tune__parzen *p, uint32_t to, double weight, double mu,
                 double inverse)
{
    p->weight[to] = weight;
    p->dims[0].mu[to] = mu;
    p->dims[0].inverse[to] = inverse;
}

static void merge(struct tune__parzen *p)
{
    struct dimension *dim = &p->dims[0];
    uint32_t bins = bin_count(dim), kept = 0, n = p->count - 1;
    struct bin *bin = rwf_xcalloc(bins, sizeof(*bin));
    double prior[3] = {p->weight[n], dim->mu[n], dim->inverse[n]};
    for (uint32_t i = 0; i < n; i++) {
        if (!has_least_width(dim, i)) {
            keep(p, kept++, p->weight[i], dim->mu[i], dim->inverse[i]);
            continue;
        }
        struct bin *b = &bin[bin_of(dim, dim->mu[i], bins)];
        b->weight += p->weight[i];
        b->moment += p->weight[i] * dim->mu[i];
    }
    for (uint32_t b = 0; b < bins; b++)
        if (bin[b].weight > 0)
            keep(p, kept++, bin[b].weight, bin[b].moment / bin[b].weight,
                 dim->form == WORDS ? 0 : 1 / dim->least);
    keep(p, kept, prior[0], prior[1], prior[2]);
    p->count = kept + 1;
    free(bin);
}

/* --- the density --- */

static double mass(double low, double high, double mu, double inverse)
{
    double a = (low - mu) * inverse, b = (high - mu) * inverse;
    if (a > FAR || b < -FAR)
        return 0;
    /* On the side where the function is small, so that differences keep their digits.
     */
    return a > 0 ? tune_normal_cdf(-a) - tune_normal_cdf(-b)
                 : tune_normal_cdf(b) - tune_normal_cdf(a);
}

/* How much of a kernel lies in [0, 1]. */
static double inside(double mu, double inverse)
{
    if (mu * inverse > FAR && (1 - mu) * inverse > FAR)
        return 1;
    return mass(0, 1, mu, inverse);
}

/* Multiplied up before the logarithm is taken: most of the time of an estimator is
 * here. */
static void multiply_heights(const struct tune__parzen *p, const struct dimension *dim,
                             double *height)
{
    for (uint32_t i = 0; i < p->count; i++) {
        double h = dim->form == REAL ? dim->inverse[i] : 1;
        height[i] *= h / inside(dim->mu[i], dim->inverse[i]);
    }
}

static void take_logarithms(struct tune__parzen *p, double *height)
{
    for (uint32_t i = 0; i < p->count; i++) {
        p->constant[i] += log(height[i]);
        height[i] = 1;
    }
}

void tune__parzen_finish(struct tune__parzen *p)
{
    uint32_t multiplied = 0;
    if (p->dim_count == 1 && p->count > MANY)
        merge(p);
    double *height = rwf_xcalloc(p->count, sizeof(*height));
    memcpy(height, p->weight, p->count * sizeof(*height));
    for (uint32_t d = 0; d < p->dim_count; d++) {
        if (p->dims[d].form == WORDS)
            continue;
        multiply_heights(p, &p->dims[d], height);
        if (++multiplied % 32 == 0) /* far from overflow */
            take_logarithms(p, height);
    }
    take_logarithms(p, height);
    free(height);
}

/* What a dimension's values are compared with. */
struct place {
    const struct dimension *dim;
    double u;         /* REAL */
    double word;      /* WORDS */
    double low, high; /* LEVELS */
};

static void find_places(const struct tune__parzen *p, const double *values,
                        struct place *places)
{
    for (uint32_t d = 0; d < p->dim_count; d++) {
        const struct dimension *dim = &p->dims[d];
        struct place *at = &places[d];
        *at = (struct place){.dim = dim, .word = values[d]};
        if (dim->form == REAL)
            at->u = tune_param_unit(dim->param, values[d]);
        if (dim->form != LEVELS)
            continue;
        tune_param_cell(dim->param, values[d], &at->low, &at->high);
        for (uint32_t k = 0; k < dim->param->levels; k++)
            dim->table[k] = NAN;
    }
}

static double log_mass(const struct place *at, uint32_t i)
{
    double m = mass(at->low, at->high, at->dim->mu[i], at->dim->inverse[i]);
    return m > 0 ? log(m) : NOTHING;
}

/* The logarithm of what kernel i has at the place, in this dimension; at most 0. */
static double level_term(const struct place *at, uint32_t i)
{
    const struct dimension *dim = at->dim;
    if (!has_least_width(dim, i))
        return log_mass(at, i);
    double *t = &dim->table[level_of(dim, dim->mu[i])];
    if (isnan(*t))
        *t = log_mass(at, i);
    return *t;
}

static double word_term(const struct place *at, uint32_t i)
{
    const struct dimension *dim = at->dim;
    if (dim->mu[i] < 0)
        return -log((double)dim->param->levels);
    return dim->mu[i] == at->word ? dim->same : dim->other;
}

static double real_term(const struct place *at, uint32_t i)
{
    double z = (at->u - at->dim->mu[i]) * at->dim->inverse[i];
    return -0.5 * z * z;
}

enum { BLOCK = 256 };

/* Adds a dimension's terms to the sums of n kernels. */
static void add_terms(const struct place *at, uint32_t n, const uint32_t *index,
                      double *sum)
{
    if (at->dim->form == REAL)
        for (uint32_t k = 0; k < n; k++)
            sum[k] += real_term(at, index[k]);
    else if (at->dim->form == WORDS)
        for (uint32_t k = 0; k < n; k++)
            sum[k] += word_term(at, index[k]);
    else
        for (uint32_t k = 0; k < n; k++)
            sum[k] += level_term(at, index[k]);
}

/* The constants of n kernels and a real dimension's terms: most of the time is spent
 * here. */
static void begin_real(const struct tune__parzen *p, const struct place *at,
                       uint32_t from, uint32_t n, double *restrict sum)
{
    const double *restrict mu = at->dim->mu + from;
    const double *restrict inverse = at->dim->inverse + from;
    const double *restrict constant = p->constant + from;
    for (uint32_t k = 0; k < n; k++) {
        double z = (at->u - mu[k]) * inverse[k];
        sum[k] = constant[k] - 0.5 * z * z;
    }
}

static void begin(const struct tune__parzen *p, const struct place *at, uint32_t from,
                  uint32_t n, uint32_t *index, double *sum)
{
    for (uint32_t k = 0; k < n; k++)
        index[k] = from + k;
    if (at->dim->form == REAL) {
        begin_real(p, at, from, n, sum);
        return;
    }
    memcpy(sum, &p->constant[from], n * sizeof(*sum));
    add_terms(at, n, index, sum);
}

/* Keeps those above least. */
static uint32_t narrow(uint32_t n, uint32_t *index, double *sum, double least)
{
    uint32_t left = 0;
    for (uint32_t k = 0; k < n; k++) {
        index[left] = index[k];
        sum[left] = sum[k];
        left += sum[left] > least;
    }
    return left;
}

/* The sums of the kernels that matter, into p->sum; *most is the largest. All terms are
 * at most 0, so that a kernel far below another one stays so, and is dropped at once.
 */
static uint32_t collect(struct tune__parzen *p, const struct place *places,
                        double *most)
{
    uint32_t index[BLOCK], kept = 0;
    double sum[BLOCK];
    for (uint32_t from = 0; from < p->count; from += BLOCK) {
        uint32_t n = p->count - from < BLOCK ? p->count - from : BLOCK;
        begin(p, &places[0], from, n, index, sum);
        n = narrow(n, index, sum, *most - FAINT);
        for (uint32_t d = 1; n && d < p->dim_count; d++) {
            add_terms(&places[d], n, index, sum);
            n = narrow(n, index, sum, *most - FAINT);
        }
        for (uint32_t k = 0; k < n; k++) {
            *most = sum[k] > *most ? sum[k] : *most;
            p->sum[kept++] = sum[k];
        }
    }
    return kept;
}

double tune__parzen_log(struct tune__parzen *p, const double *values)
{
    struct place few[32], *places = few;
    double total = 0, most = p->constant[p->count - 1];
    if (p->dim_count > RWF_COUNT(few))
        places = rwf_xcalloc(p->dim_count, sizeof(*places));
    find_places(p, values, places);
    /* The prior first: what is faint beside it needs no more than a look. */
    for (uint32_t d = 0; d < p->dim_count; d++) {
        const struct place *at = &places[d];
        most += at->dim->form == REAL    ? real_term(at, p->count - 1)
                : at->dim->form == WORDS ? word_term(at, p->count - 1)
                                         : log_mass(at, p->count - 1);
    }
    uint32_t n = collect(p, places, &most);
    for (uint32_t i = 0; i < n; i++)
        if (p->sum[i] > most - FAINT)
            total += exp(p->sum[i] - most);
    if (places != few)
        free(places);
    return most + log(total);
}

/* --- drawing --- */

static double draw_normal(struct tune_rng *r, double mu, double inverse)
{
    double low = tune_normal_cdf(-mu * inverse),
           high = tune_normal_cdf((1 - mu) * inverse);
    double q = low + (high - low) * tune_rng_uniform(r);
    q = fmin(fmax(q, 1e-300), 1 - 1e-16);
    double u = mu + tune_normal_quantile(q) / inverse;
    return fmin(fmax(u, 0), 1);
}

static double draw_word(const struct dimension *dim, struct tune_rng *r, double word)
{
    uint64_t levels = dim->param->levels;
    double q = tune_rng_uniform(r);
    if (word >= 0 && q < exp(dim->same) - exp(dim->other))
        return word;
    return (double)tune_rng_below(r, levels);
}

void tune__parzen_draw(const struct tune__parzen *p, struct tune_rng *r, double *values)
{
    double q = tune_rng_uniform(r);
    uint32_t k = 0;
    while (k + 1 < p->count && q >= p->weight[k])
        q -= p->weight[k++];
    for (uint32_t d = 0; d < p->dim_count; d++) {
        const struct dimension *dim = &p->dims[d];
        values[d] = dim->form == WORDS
                        ? draw_word(dim, r, dim->mu[k])
                        : tune_param_at(dim->param,
                                        draw_normal(r, dim->mu[k], dim->inverse[k]));
    }
}
