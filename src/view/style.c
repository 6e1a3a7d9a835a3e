/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/style.h"

#include <stdint.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>

#include "base/redact.h"

const char *view_on(bool color, enum view_style style)
{
    static const char *const escapes[] = {
        [VIEW_PLAIN] = "",        [VIEW_BOLD] = "\033[1m",  [VIEW_DIM] = "\033[2m",
        [VIEW_NAME] = "\033[36m", [VIEW_GOOD] = "\033[32m", [VIEW_ERROR] = "\033[1;31m",
        [VIEW_WARN] = "\033[33m", [VIEW_BUSY] = "\033[34m",
    };

    return color ? escapes[style] : "";
}

const char *view_off(bool color)
{
    return color ? "\033[0m" : "";
}

/* setlocale would load locale files at start; the variables say enough. */
bool view_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    /* Nothing is set in most containers and CI jobs, whose logs are UTF-8. */
    return true;
}

static const struct {
    const char *utf8, *ascii;
    enum view_style style;
} states[STEP_STATE_COUNT] = {
    [STEP_PENDING] = {"·", ".", VIEW_DIM},  [STEP_PREPARING] = {"·", ".", VIEW_DIM},
    [STEP_QUEUED] = {"·", ".", VIEW_DIM},   [STEP_RUNNING] = {"▶", ">", VIEW_BUSY},
    [STEP_BACKOFF] = {"↻", "r", VIEW_WARN}, [STEP_SUCCEEDED] = {"✓", "+", VIEW_GOOD},
    [STEP_CACHED] = {"=", "=", VIEW_GOOD},  [STEP_FAILED] = {"✗", "x", VIEW_ERROR},
    [STEP_SKIPPED] = {"⊘", "-", VIEW_DIM},  [STEP_STOPPED] = {"■", "#", VIEW_WARN},
};

const char *view_mark(enum schedule_state state)
{
    return view_utf8() ? states[state].utf8 : states[state].ascii;
}

enum view_style view_state_style(enum schedule_state state)
{
    return states[state].style;
}

enum view_style view_status_style(const char *status)
{
    static const struct {
        const char *name;
        enum view_style style;
    } known[] = {{"succeeded", VIEW_GOOD},
                 {"failed", VIEW_ERROR},
                 {"stopped", VIEW_WARN},
                 {"interrupted", VIEW_WARN},
                 {"running", VIEW_BUSY}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, status) == 0)
            return known[i].style;
    return VIEW_PLAIN;
}

/* Bytes of the UTF-8 character at text; 1 for anything else. */
static size_t char_len(const char *text)
{
    unsigned char c = (unsigned char)*text;
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

    for (size_t i = 1; i < len; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 1;
    return len;
}

/* East Asian wide and emoji blocks take two columns. */
static size_t char_width(const char *text, size_t len)
{
    unsigned char c = (unsigned char)*text;

    if (len < 3)
        return 1;
    if (len == 4)
        return 2;
    uint32_t u = ((c & 0x0fu) << 12) | (((unsigned char)text[1] & 0x3fu) << 6) |
                 ((unsigned char)text[2] & 0x3fu);
    bool wide = (u >= 0x1100 && u <= 0x115f) || (u >= 0x2e80 && u <= 0xa4cf) ||
                (u >= 0xac00 && u <= 0xd7a3) || (u >= 0xf900 && u <= 0xfaff) ||
                (u >= 0xfe30 && u <= 0xfe6f) || (u >= 0xff00 && u <= 0xff60);
    return wide ? 2 : 1;
}

static size_t escape_len(const char *text)
{
    if (text[0] != '\033' || text[1] != '[')
        return 0;
    size_t len = 2;
    while (text[len] && (text[len] < '@' || text[len] > '~'))
        len++;
    return text[len] ? len + 1 : len;
}

void view_number(struct rwf_str *out, double value)
{
    bool whole = fabs(value) < 1e15 && value == floor(value);

    rwf_str_addf(out, whole ? "%.0f" : "%.6g", value);
}

size_t view_columns(const char *text)
{
    size_t columns = 0;

    while (*text) {
        size_t len = escape_len(text);
        if (!len) {
            len = char_len(text);
            columns += char_width(text, len);
        }
        text += len;
    }
    return columns;
}

void view_clip(struct rwf_str *out, const char *text, size_t width)
{
    size_t used = 0, whole = view_columns(text);
    size_t room = whole > width ? (width ? width - 1 : 0) : width;

    while (*text) {
        size_t len = char_len(text), w = char_width(text, len);
        if (used + w > room)
            break;
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            rwf_str_addc(out, '?');
        else
            rwf_str_addn(out, text, len);
        used += w;
        text += len;
    }
    if (*text && width)
        rwf_str_add(out, view_utf8() ? "…" : "~");
}

void view_safe(struct rwf_str *out, const char *text, size_t len, bool lines)
{
    struct rwf_str clean = {0};

    rwf_redact(&clean, text, len);
    for (size_t i = 0; i < clean.len; i++) {
        unsigned char c = (unsigned char)clean.data[i];
        if (c == '\n' || c == '\t')
            c = lines ? c : ' ';
        else if (c < ' ' || c == 0x7f)
            c = '?';
        rwf_str_addc(out, (char)c);
    }
    rwf_str_free(&clean);
}

void view_print_safe(FILE *out, const char *text)
{
    struct rwf_str safe = {0};

    view_safe(&safe, text, strlen(text), false);
    fwrite(safe.data ? safe.data : "", 1, safe.len, out);
    rwf_str_free(&safe);
}

static struct winsize window(int fd)
{
    struct winsize size = {0};

    if (ioctl(fd, TIOCGWINSZ, &size) < 0)
        memset(&size, 0, sizeof(size));
    return size;
}

int view_width(int fd, int fallback)
{
    int width = window(fd).ws_col;

    return width > 0 ? width : fallback;
}

int view_height(int fd, int fallback)
{
    int height = window(fd).ws_row;

    return height > 0 ? height : fallback;
}
