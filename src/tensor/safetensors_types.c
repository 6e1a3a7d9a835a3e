/* SPDX-License-Identifier: Apache-2.0
 *
 * The types of elements, and their values as floats.
 */
#include "config.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "base/mem.h"
#include "tensor/safetensors_impl.h"

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [SAFETENSORS_F64] = { "F64", 8 },         [SAFETENSORS_F32] = { "F32", 4 },
    [SAFETENSORS_F16] = { "F16", 2 },         [SAFETENSORS_BF16] = { "BF16", 2 },
    [SAFETENSORS_I64] = { "I64", 8 },         [SAFETENSORS_I32] = { "I32", 4 },
    [SAFETENSORS_I16] = { "I16", 2 },         [SAFETENSORS_I8] = { "I8", 1 },
    [SAFETENSORS_U8] = { "U8", 1 },           [SAFETENSORS_BOOL] = { "BOOL", 1 },
    [SAFETENSORS_U16] = { "U16", 2 },         [SAFETENSORS_U32] = { "U32", 4 },
    [SAFETENSORS_U64] = { "U64", 8 },         [SAFETENSORS_C64] = { "C64", 8 },
    [SAFETENSORS_F8_E4M3] = { "F8_E4M3", 1 }, [SAFETENSORS_F8_E5M2] = { "F8_E5M2", 1 },
    [SAFETENSORS_F8_E8M0] = { "F8_E8M0", 1 }, [SAFETENSORS_OTHER] = { "?", 0 },
};

const char *safetensors_type_name(enum safetensors_type type)
{
    rwf_assert((size_t)type < RWF_COUNT(types));
    return types[type].name;
}

size_t safetensors_type_size(enum safetensors_type type)
{
    rwf_assert((size_t)type < RWF_COUNT(types));
    return types[type].size;
}

enum safetensors_type tensor__type_of(const char *dtype)
{
    for (size_t i = 0; i < SAFETENSORS_OTHER; i++)
        if (strcmp(types[i].name, dtype) == 0)
            return (enum safetensors_type)i;
    return SAFETENSORS_OTHER;
}

int64_t safetensors_elements(const struct safetensors_entry *e)
{
    size_t size = safetensors_type_size(e->type);
    return size ? (int64_t)(e->bytes / size) : 0;
}

static void from_f64(const uint8_t *at, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, at + i * sizeof(d), sizeof(d));
        to[i] = (float)d;
    }
}

static void from_bf16_plain(const uint8_t *at, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, at + i * sizeof(half), sizeof(half));
        uint32_t bits = (uint32_t)half << 16;
        memcpy(to + i, &bits, sizeof(bits));
    }
}

/* IEEE 754 half to single, by integers: subnormals are exact under any rounding mode.
 */
static uint32_t bits_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31;
    uint32_t fraction = h & 0x3ff;
    if (exponent == 31)
        return sign | 0x7f800000 | fraction << 13;
    if (exponent == 0) {
        if (fraction == 0)
            return sign;
        int shift = __builtin_clz(fraction) - 21; /* to bring its first bit to bit 10 */
        return sign | (uint32_t)(113 - shift) << 23 | (fraction << shift & 0x3ff) << 13;
    }
    return sign | (exponent + 112) << 23 | fraction << 13;
}

static void from_f16_plain(const uint8_t *at, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, at + i * sizeof(half), sizeof(half));
        uint32_t bits = bits_of_f16(half);
        memcpy(to + i, &bits, sizeof(bits));
    }
}

#if defined(__x86_64__)
/* Both return how many they did: all but the last few. */
__attribute__((target("avx2"))) static size_t from_bf16_fast(const uint8_t *at,
                                                             size_t n, float *to)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(at + 2 * i));
        __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
        _mm256_storeu_si256((__m256i *)(void *)(to + i), bits);
    }
    return i;
}

__attribute__((target("avx2,f16c"))) static size_t from_f16_fast(const uint8_t *at,
                                                                 size_t n, float *to)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(at + 2 * i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
    }
    return i;
}

static bool has_fast(void)
{
    return __builtin_cpu_supports("avx2"); /* all of those know F16C, too */
}
#else
static size_t from_bf16_fast(const uint8_t *at, size_t n, float *to)
{
    return (void)at, (void)n, (void)to, 0;
}

static size_t from_f16_fast(const uint8_t *at, size_t n, float *to)
{
    return (void)at, (void)n, (void)to, 0;
}

static bool has_fast(void)
{
    return false;
}
#endif

static void from_bf16(const uint8_t *at, size_t n, float *to)
{
    size_t done = has_fast() ? from_bf16_fast(at, n, to) : 0;
    from_bf16_plain(at + 2 * done, n - done, to + done);
}

static void from_f16(const uint8_t *at, size_t n, float *to)
{
    size_t done = has_fast() ? from_f16_fast(at, n, to) : 0;
    from_f16_plain(at + 2 * done, n - done, to + done);
}

int safetensors_floats(const struct safetensors_entry *e, int64_t first, int64_t count,
                       float *to, struct rwf_err *err)
{
    size_t size = safetensors_type_size(e->type);
    int64_t all = safetensors_elements(e);
    if (e->type > SAFETENSORS_BF16)
        return rwf_fail(
            err, RWF_E_INPUT,
            "'%s': tensor '%s' has the type %s: only F64, F32, F16 and BF16 "
            "can be read as numbers",
            e->file, e->name, e->dtype);
    if (first < 0 || count < 0 || first > all || count > all - first)
        return rwf_fail(err, EINVAL,
                        "'%s': tensor '%s' has %" PRId64
                        " values: there are no %" PRId64 " from %" PRId64 " on",
                        e->file, e->name, all, count, first);
    const uint8_t *at = (const uint8_t *)e->data + (size_t)first * size;
    size_t n = (size_t)count;
    if (n == 0)
        return 0;
    if (e->type == SAFETENSORS_F32)
        memcpy(to, at, n * size);
    else if (e->type == SAFETENSORS_F64)
        from_f64(at, n, to);
    else if (e->type == SAFETENSORS_BF16)
        from_bf16(at, n, to);
    else
        from_f16(at, n, to);
    return 0;
}
