/* SPDX-License-Identifier: Apache-2.0
 *
 * From a model's outputs to JSON. What does not change from row to row (names of
 * classes and targets, quoted) is made once.
 */
#include "config.h"
#include "serve/class_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static char *quoted(const char *text)
{
    json_t *s = json_string(text);
    char *out = s != NULL ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    json_decref(s);
    return out != NULL ? out : rwf_xstrdup("\"?\"");
}

static void set_class(struct serve__class *c, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    c->value = text != NULL ? text : rwf_xstrdup("null");
    c->key = json_is_string(value) ? rwf_xasprintf("%s:", c->value)
                                   : rwf_xasprintf("\"%s\":", c->value);
}

static void set_target(struct serve__class *c, const char *name)
{
    char *q = quoted(name);
    c->key = rwf_xasprintf("%s:", q);
    c->value = rwf_xstrdup("");
    free(q);
}

void serve__replies_init(struct serve__replies *r, const struct features *f)
{
    *r = (struct serve__replies){.f = f, .outputs = features_outputs(f)};
    r->classes = rwf_xcalloc((size_t)r->outputs, sizeof(*r->classes));
    for (int i = 0; i < r->outputs; i++) {
        struct serve__class *c = &r->classes[i];
        if (features_classifies(f)) {
            json_t *value = features_class(f, i);
            set_class(c, value);
            json_decref(value);
        } else {
            set_target(c, features_target(f, i));
        }
        c->value_len = strlen(c->value);
        c->key_len = strlen(c->key);
    }
}

void serve__replies_free(struct serve__replies *r)
{
    for (int i = 0; r->classes != NULL && i < r->outputs; i++) {
        free(r->classes[i].value);
        free(r->classes[i].key);
    }
    free(r->classes);
    rwf_str_free(&r->text);
    *r = (struct serve__replies){0};
}

/* --- numbers --- */

void serve__add_number(struct rwf_str *to, double x)
{
    char text[32];
    if (!isfinite(x)) {
        rwf_str_add(to, "null");
        return;
    }
    int n = snprintf(text, sizeof(text), "%.9g", x);
    rwf_str_addn(to, text, (size_t)n);
}

/* Six places, without zeros at the end: a probability is not known better than that. */
static void add_share(struct rwf_str *to, double p)
{
    char text[8] = "0.000000";
    long units = lround(p * 1e6);
    if (units <= 0 || units >= 1000000) {
        rwf_str_add(to, units <= 0 ? "0.0" : "1.0");
        return;
    }
    for (int i = 7; i > 1; i--, units /= 10)
        text[i] = (char)('0' + units % 10);
    size_t len = sizeof(text);
    while (text[len - 1] == '0')
        len--;
    rwf_str_addn(to, text, len);
}

/* --- answers --- */

static void add_values(struct serve__replies *r, const float *outputs)
{
    rwf_str_add(&r->text, "{\"prediction\":");
    if (r->outputs == 1) {
        serve__add_number(&r->text, features_value(r->f, 0, outputs[0]));
    } else {
        for (int i = 0; i < r->outputs; i++) {
            rwf_str_addc(&r->text, i == 0 ? '{' : ',');
            rwf_str_addn(&r->text, r->classes[i].key, r->classes[i].key_len);
            serve__add_number(&r->text, features_value(r->f, i, outputs[i]));
        }
        rwf_str_addc(&r->text, '}');
    }
    rwf_str_addc(&r->text, '}');
}

static void add_classes(struct serve__replies *r, const float *outputs)
{
    int best = 0;
    double sum = 0;
    for (int i = 1; i < r->outputs; i++)
        if (outputs[i] > outputs[best])
            best = i;
    for (int i = 0; i < r->outputs; i++)
        sum += exp((double)outputs[i] - (double)outputs[best]);
    rwf_str_add(&r->text, "{\"prediction\":");
    rwf_str_addn(&r->text, r->classes[best].value, r->classes[best].value_len);
    rwf_str_add(&r->text, ",\"probabilities\":");
    for (int i = 0; i < r->outputs; i++) {
        rwf_str_addc(&r->text, i == 0 ? '{' : ',');
        rwf_str_addn(&r->text, r->classes[i].key, r->classes[i].key_len);
        add_share(&r->text, exp((double)outputs[i] - (double)outputs[best]) / sum);
    }
    rwf_str_add(&r->text, "}}");
}

void serve__replies_row(struct serve__replies *r, const float *outputs)
{
    if (features_classifies(r->f))
        add_classes(r, outputs);
    else
        add_values(r, outputs);
}
