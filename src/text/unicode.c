/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 and the classes of characters. utf8proc says the general category; letters,
 * numbers and marks that came between Unicode 14 and 16 are listed here, so that an
 * older utf8proc splits text where Hugging Face tokenizers does.
 */
#include "config.h"
#include "text/unicode.h"

#include <pthread.h>
#include <string.h>
#include <utf8proc.h>
#include "base/mem.h"

struct range {
    uint32_t first, last;
};

static const struct range new_letters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x1123F, 0x11240},
    {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5},
    {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x11F02, 0x11F02}, {0x11F04, 0x11F10}, {0x11F12, 0x11F33}, {0x1342F, 0x1342F},
    {0x13441, 0x13446}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C},
    {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A},
    {0x1E030, 0x1E06D}, {0x1E4D0, 0x1E4EB}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0},
    {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF},
};

static const struct range new_numbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11F50, 0x11F59},
    {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3},
    {0x1E4F0, 0x1E4F9}, {0x1E5F1, 0x1E5FA},
};

static const struct range new_marks[] = {
    {0x0897, 0x0897},   {0x0CF3, 0x0CF3},   {0x0ECE, 0x0ECE},   {0x10D69, 0x10D6D},
    {0x10EFC, 0x10EFF}, {0x11241, 0x11241}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2},
    {0x113E1, 0x113E2}, {0x11F00, 0x11F01}, {0x11F03, 0x11F03}, {0x11F34, 0x11F3A},
    {0x11F3E, 0x11F42}, {0x11F5A, 0x11F5A}, {0x13440, 0x13440}, {0x13447, 0x13455},
    {0x1611E, 0x1612F}, {0x1E08F, 0x1E08F}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF},
};

struct text__pages text__classes;

static bool in_ranges(const struct range *r, size_t count, uint32_t c)
{
    size_t low = 0;

    while (low < count) {
        size_t mid = (low + count) / 2;
        if (c > r[mid].last)
            low = mid + 1;
        else if (c < r[mid].first)
            count = mid;
        else
            return true;
    }
    return false;
}

void text__add_new(char class, struct rwf_str *out)
{
    const struct range *r = class == 'L'   ? new_letters
                            : class == 'N' ? new_numbers
                                           : new_marks;
    size_t count = class == 'L'   ? RWF_COUNT(new_letters)
                   : class == 'N' ? RWF_COUNT(new_numbers)
                                  : RWF_COUNT(new_marks);

    for (size_t i = 0; i < count; i++)
        rwf_str_addf(out, "\\x{%X}-\\x{%X}", (unsigned)r[i].first, (unsigned)r[i].last);
}

static enum text_class class_of(uint32_t c)
{
    if (c == '\r' || c == '\n')
        return TEXT_NEWLINE;
    if ((c >= 9 && c <= 13) || c == 0x85)
        return TEXT_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return TEXT_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return TEXT_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return TEXT_SPACE;
    default:
        break;
    }
    if (c >= 0x1C89 && in_ranges(new_letters, RWF_COUNT(new_letters), c))
        return TEXT_LETTER;
    if (c >= 0x10D40 && in_ranges(new_numbers, RWF_COUNT(new_numbers), c))
        return TEXT_NUMBER;
    return TEXT_OTHER;
}

/* The index of a page like this one, added when it is new. */
static uint16_t page_add(struct text__pages *t, const uint8_t *page)
{
    for (size_t i = t->count; i-- > 0;)
        if (memcmp(t->pages[i], page, 256) == 0)
            return (uint16_t)i;
    t->pages = rwf_grow(t->pages, t->count, &t->cap, sizeof(*t->pages));
    memcpy(t->pages[t->count], page, 256);
    return (uint16_t)t->count++;
}

/* Planes 4 to 13 are empty, 15 and 16 for private use: the page of what has no class. */
static bool has_characters(uint32_t high)
{
    return high < 0x400 || (high >= 0xE00 && high < 0xE02);
}

static void make_tables(void)
{
    uint8_t page[256] = {TEXT_OTHER};
    uint16_t empty = page_add(&text__classes, page);

    for (uint32_t high = 0; high < 0x1100; high++) {
        text__classes.index[high] = empty;
        if (!has_characters(high))
            continue;
        for (uint32_t low = 0; low < 256; low++)
            page[low] = (uint8_t)class_of(high << 8 | low);
        text__classes.index[high] = page_add(&text__classes, page);
    }
    text__nfc_init();
}

void text__unicode_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_tables);
}

/* Of the new numbers all are decimal digits but those of Kaktovik. */
static bool is_new_digit(uint32_t c)
{
    return in_ranges(new_numbers, RWF_COUNT(new_numbers), c) &&
           !(c >= 0x1D2C0 && c <= 0x1D2D3);
}

bool text__is_word(uint32_t c)
{
    if (text__class(c) == TEXT_LETTER || c == 0x200C || c == 0x200D ||
        in_ranges(new_marks, RWF_COUNT(new_marks), c) || is_new_digit(c))
        return true;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* the symbols that are Other_Alphabetic */
        return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
               (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    }
}

size_t text__encode(uint32_t c, uint8_t *out)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

size_t text__ascii_prefix(const uint8_t *p, size_t len)
{
    size_t i = 0;

    for (uint64_t word; i + 8 <= len; i += 8) {
        memcpy(&word, p + i, 8);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < len && p[i] < 0x80)
        i++;
    return i;
}

/* The length of the well-formed character at p[0..len), which is not ASCII; 0:
 * ill-formed. */
static size_t char_length(const uint8_t *p, size_t len)
{
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;

    if (p[0] < 0xC2 || p[0] > 0xF4 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    /* Overlong, surrogate or beyond U+10FFFF: told by the second byte. */
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

size_t text__valid_prefix(const uint8_t *p, size_t len)
{
    size_t i = 0;

    for (;;) {
        i += text__ascii_prefix(p + i, len - i);
        for (size_t n; i < len && p[i] >= 0x80; i += n)
            if ((n = char_length(p + i, len - i)) == 0)
                return i;
        if (i == len)
            return i;
    }
}

static bool stands_for_itself(uint32_t c)
{
    return (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) ||
           (c >= 0xAE && c <= 0xFF);
}

uint32_t text__byte_char(uint8_t byte)
{
    uint32_t c = 0x100;

    if (stands_for_itself(byte))
        return byte;
    for (uint32_t b = 0; b < byte; b++)
        c += !stands_for_itself(b);
    return c;
}

int text__char_byte(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (c > 0x143)
        return -1;
    c -= 0x100;
    return c <= 32 ? (int)c : c <= 66 ? (int)(c - 33 + 127) : 0xAD;
}
