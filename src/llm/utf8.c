/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/utf8.h"

/* The least and largest second byte by the first: no overlongs, surrogates, above
 * U+10FFFF. */
static bool second_fits(uint8_t first, uint8_t second)
{
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;

    return second >= least && second <= most;
}

struct utf8_piece utf8_piece(const uint8_t *p, size_t len)
{
    size_t want = p[0] < 0x80                    ? 1
                  : p[0] >= 0xc2 && p[0] < 0xe0  ? 2
                  : p[0] >= 0xe0 && p[0] < 0xf0  ? 3
                  : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                 : 0;
    if (want == 0)
        return (struct utf8_piece){1, false, false};
    for (size_t i = 1; i < want; i++) {
        if (i == len)
            return (struct utf8_piece){len, false, true};
        if (i == 1 ? !second_fits(p[0], p[1]) : (p[i] & 0xc0) != 0x80)
            return (struct utf8_piece){i, false, false};
    }
    return (struct utf8_piece){want, true, false};
}
