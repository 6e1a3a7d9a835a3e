/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors of floats in the width this file is compiled for: AVX-512, AVX2 with FMA, or
 * 16 bytes. Code above it is written once. Loads and stores need no alignment; the
 * _part ones touch the first n elements only.
 */
#ifndef RWF_KERNELS_CPU_VEC_H
#define RWF_KERNELS_CPU_VEC_H
#include <stdint.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/kernels.h"
#if defined __AVX2__
#include <immintrin.h>
#elif defined __SSE2__
#include <emmintrin.h>
#endif

#if defined __AVX512F__
#define LANES 16
#elif defined __AVX2__ && defined __FMA__
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

INLINE vf vsplat(float x)
{
    return x - (vf){0};
}

INLINE vf vload(const float *p)
{
    return *(const vf_any *)p;
}

INLINE void vstore(float *p, vf x)
{
    *(vf_any *)p = x;
}

/* a * b + c, rounded once where the processor can. */
INLINE vf vfma(vf a, vf b, vf c)
{
#if LANES == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* Each lane as two bfloat16: sum + a[0] b[0] + a[1] b[1]. */
#if defined __AVX512BF16__
#define PAIRS 1
INLINE vf vpairs(vf a, vf b, vf sum)
{
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#else
#define PAIRS 0
#endif

/* Picks a where the bits of mask (of a comparison) are set, else b. */
INLINE vf vpick(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* The larger; b where one of them is a NaN. */
INLINE vf vmax(vf a, vf b)
{
#if LANES == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vpick(a > b, a, b);
#endif
}

INLINE vf vroot(vf x)
{
#if LANES == 16
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/* --- the first n elements: 0 < n <= LANES --- */

#if LANES == 16
INLINE __mmask16 vfirst(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}
#elif LANES == 8
INLINE __m256i vfirst(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* Zero beyond n. */
INLINE vf vload_part(const float *p, int64_t n)
{
#if LANES == 16
    return (vf)_mm512_maskz_loadu_ps(vfirst(n), p);
#elif LANES == 8
    return (vf)_mm256_maskload_ps(p, vfirst(n));
#else
    vf x = {0};
    memcpy(&x, p, (size_t)n * 4);
    return x;
#endif
}

INLINE void vstore_part(float *p, vf x, int64_t n)
{
#if LANES == 16
    _mm512_mask_storeu_ps(p, vfirst(n), (__m512)x);
#elif LANES == 8
    _mm256_maskstore_ps(p, vfirst(n), (__m256)x);
#else
    memcpy(p, &x, (size_t)n * 4);
#endif
}

/* x with the lanes from n on set to `rest`. */
INLINE vf vlanes(vf x, int64_t n, float rest)
{
    vi lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return vpick(lane < (int)(n < LANES ? n : LANES), x, vsplat(rest));
}

/* --- bfloat16 --- */

INLINE vh vhalf_load_part(const uint16_t *p, int64_t n)
{
#if LANES == 16
    return (vh)_mm256_maskz_loadu_epi16(vfirst(n), p);
#else
    vh h = {0};
    memcpy(&h, p, (size_t)n * 2);
    return h;
#endif
}

INLINE void vhalf_store_part(uint16_t *p, vh h, int64_t n)
{
#if LANES == 16
    _mm256_mask_storeu_epi16(p, vfirst(n), (__m256i)h);
#else
    memcpy(p, &h, (size_t)n * 2);
#endif
}

/* Compilers widen and narrow in several steps what processors do in one. */
INLINE vf vhalf_to_float(vh h)
{
#if LANES == 16
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif LANES == 8
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#elif defined __SSE2__
    int64_t bits;
    memcpy(&bits, &h, sizeof(bits));
    return (vf)_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_cvtsi64_si128(bits));
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/* The lower halves. */
INLINE vh vnarrow(vu x)
{
#if LANES == 16
    return (vh)_mm512_cvtepi32_epi16((__m512i)x);
#else
    return __builtin_convertvector(x, vh);
#endif
}

INLINE vh vhalf_from_float(vf x)
{
    vu bits = (vu)x;
    vu nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vu rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return vnarrow((nan & (bits >> 16 | 0x40)) | (~nan & rounded));
}

/* --- elements of either type: n of them from index i; zero beyond --- */

INLINE vf vget(const void *p, int64_t i, int64_t n, enum kernel_type type)
{
    if (type == KERNEL_BF16) {
        const uint16_t *from = (const uint16_t *)p + i;
        if (__builtin_expect(n >= LANES, 1))
            return vhalf_to_float(*(const vh_any *)from);
        return vhalf_to_float(vhalf_load_part(from, n));
    }
    const float *from = (const float *)p + i;
    return __builtin_expect(n >= LANES, 1) ? vload(from) : vload_part(from, n);
}

INLINE void vput(void *p, int64_t i, int64_t n, enum kernel_type type, vf x)
{
    if (type == KERNEL_BF16) {
        vh h = vhalf_from_float(x);
        uint16_t *to = (uint16_t *)p + i;
        if (__builtin_expect(n >= LANES, 1))
            *(vh_any *)to = h;
        else
            vhalf_store_part(to, h, n);
    } else if (__builtin_expect(n >= LANES, 1))
        vstore((float *)p + i, x);
    else
        vstore_part((float *)p + i, x, n);
}

/* Turns LANES rows into columns: in steps of 1, 2, 4… lanes, pairs of rows change the
 * halves that are on the wrong side. */
#if defined __clang__
INLINE void vturn(vf row[LANES])
{
    float turned[LANES][LANES];
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++)
            turned[j][i] = row[i][j];
    memcpy(row, turned, sizeof(turned));
}
#else
INLINE void vturn(vf row[LANES])
{
    vi lane;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) {
        vi upper = (lane & step) != 0;
        vi low = (lane & ~upper) | ((lane - step + LANES) & upper);
        vi high = ((lane + step) & ~upper) | ((lane + LANES) & upper);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            if ((i & step) == 0) {
                vf a = row[i], b = row[i + step];
                row[i] = __builtin_shuffle(a, b, low);
                row[i + step] = __builtin_shuffle(a, b, high);
            }
    }
}
#endif

/* --- across the lanes: halves upon halves --- */

typedef float vf4 __attribute__((vector_size(16)));
typedef float vf4_any __attribute__((vector_size(16), aligned(4), may_alias));

INLINE float vsum(vf x)
{
#if LANES == 16
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256((__m512)x),
                             _mm512_extractf32x8_ps((__m512)x, 1));
#elif LANES == 8
    __m256 y = (__m256)x;
#endif
#if LANES > 4
    vf4 z = (vf4)_mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
#else
    vf4 z = x;
#endif
    return (z[0] + z[2]) + (z[1] + z[3]);
}

/* The sums of four vectors. */
INLINE vf4 vsum4(vf a, vf b, vf c, vf d)
{
#if LANES > 4
#if LANES == 16
    __m512 x = _mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b),
                             _mm512_unpackhi_ps((__m512)a, (__m512)b));
    __m512 y = _mm512_add_ps(_mm512_unpacklo_ps((__m512)c, (__m512)d),
                             _mm512_unpackhi_ps((__m512)c, (__m512)d));
    __m512 z = _mm512_add_ps((__m512)_mm512_unpacklo_pd((__m512d)x, (__m512d)y),
                             (__m512)_mm512_unpackhi_pd((__m512d)x, (__m512d)y));
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(z), _mm512_extractf32x8_ps(z, 1));
#else
    __m256 x = _mm256_add_ps(_mm256_unpacklo_ps((__m256)a, (__m256)b),
                             _mm256_unpackhi_ps((__m256)a, (__m256)b));
    __m256 y = _mm256_add_ps(_mm256_unpacklo_ps((__m256)c, (__m256)d),
                             _mm256_unpackhi_ps((__m256)c, (__m256)d));
    __m256 h = _mm256_add_ps((__m256)_mm256_unpacklo_pd((__m256d)x, (__m256d)y),
                             (__m256)_mm256_unpackhi_pd((__m256d)x, (__m256d)y));
#endif
    return (vf4)_mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
#else
    return (vf4){vsum(a), vsum(b), vsum(c), vsum(d)};
#endif
}

INLINE float larger(float a, float b)
{
    return a > b ? a : b;
}

/* No NaN among them. */
INLINE float vmost(vf x)
{
#if LANES == 16
    __m256 y = _mm256_max_ps(_mm512_castps512_ps256((__m512)x),
                             _mm512_extractf32x8_ps((__m512)x, 1));
#elif LANES == 8
    __m256 y = (__m256)x;
#endif
#if LANES > 4
    vf4 z = (vf4)_mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
#else
    vf4 z = x;
#endif
    return larger(larger(z[0], z[2]), larger(z[1], z[3]));
}

/* i from `from` in steps of LANES, each time with n elements left until `to`. */
#define EACH(i, n, from, to)                                                           \
    for (int64_t i = (from), n = (to)-i; n > 0; i += LANES, n -= LANES)

#endif
