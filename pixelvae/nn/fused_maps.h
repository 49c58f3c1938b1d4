// Maps of bfloat16 in cache, the gate on AVX-512 vectors, and the two layouts that products of matrices read.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

using bf16 = uint16_t;
using Vec = __m512;
constexpr int TILE = 512;   // bfloat16 of a tile: 16 rows of 32
constexpr int SITES = 32;   // in a product

template <class T> struct Aligned {  // to cache lines: rows of tiles must not cross them
    using value_type = T;
    Aligned() = default;
    template <class U> Aligned(const Aligned<U> &) {}
    T *allocate(size_t n) { return (T *)::operator new(n * sizeof(T), std::align_val_t(64)); }
    void deallocate(T *x, size_t) { ::operator delete(x, std::align_val_t(64)); }
    bool operator==(const Aligned &) const { return true; }
    bool operator!=(const Aligned &) const { return false; }
};
template <class T> using Array = std::vector<T, Aligned<T>>;

inline int tiles(int n) { return (n + 15) / 16; }
inline Vec set(float a) { return _mm512_set1_ps(a); }
inline Vec load(const float *x) { return _mm512_loadu_ps(x); }
inline Vec load(const bf16 *x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)), 16));
}
inline void store(bf16 *x, Vec a) { _mm256_storeu_si256((__m256i *)x, (__m256i)_mm512_cvtneps_pbh(a)); }
inline void add(float *x, Vec a) { _mm512_storeu_ps(x, load(x) + a); }

// 2^x with a relative error below 1e-4, a twentieth of the rounding error of bfloat16.
inline Vec exp2_of(Vec x) {
    Vec f = _mm512_reduce_ps(x, 1), q = _mm512_fmadd_ps(set(0.07802419f), f, set(0.22606721f));
    q = _mm512_fmadd_ps(_mm512_fmadd_ps(q, f, set(0.69583374f)), f, set(0.99992517f));
    return _mm512_scalef_ps(q, x);
}

struct Gate { Vec t, s, y; };  // tanh(f), sigma(g), their product
inline Gate gate(Vec f, Vec g) {
    constexpr float log2e = 1.44269504f;
    Vec e = exp2_of(_mm512_min_ps(set(-2 * log2e) * f, set(40))), k = exp2_of(_mm512_min_ps(set(-log2e) * g, set(40)));
    Vec a = set(1) + e, b = set(1) + k, r = _mm512_rcp14_ps(a * b), y = (set(1) - e) * r;
    return {y * b, a * r, y};
}

// (rows, channels) of bfloat16 times the packed (K, 16 nt): `stride` channels from row to row. K is padded to 32 by zeros.
struct Product { const bf16 *a; long stride; const bf16 *b; int K; };

// 16 channels of 32 sites as [16 pairs of sites][16 channels][2].
inline void pair(const bf16 *x, int channels, int group, __m512i *out) {
    __mmask16 mask = channels - 16 * group < 16 ? (1u << (channels - 16 * group)) - 1 : 0xffff;
    for (int k = 0; k < 16; k++) {
        const bf16 *a = x + 2 * k * channels + 16 * group;
        __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, a));
        __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, a + channels));
        out[k] = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
    }
}
inline void paired(const bf16 *x, int channels, bf16 *out) {
    __m512i a[16];
    for (int g = 0; g < tiles(channels); g++) pair(x, channels, g, a), memcpy(out + g * TILE, a, sizeof a);
}

// (32 sites, channels) -> (channels, 32 sites), the rows of the result `pitch` apart.
inline void transposed(const bf16 *x, int channels, bf16 *out, long pitch) {
    __m512i a[16], b[16], c[16];
    for (int g = 0; g < tiles(channels); g++, out += 16 * pitch) {
        pair(x, channels, g, a);
        for (int i = 0; i < 16; i += 2) {
            b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        }
        for (int i = 0; i < 16; i += 4)
            for (int j = 0; j < 2; j++) {
                c[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + 2 + j]);
                c[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + 2 + j]);
            }
        for (int j = 0; j < 4; j++) {
            __m512i l0 = _mm512_shuffle_i32x4(c[j], c[4 + j], 0x88), h0 = _mm512_shuffle_i32x4(c[j], c[4 + j], 0xdd);
            __m512i l1 = _mm512_shuffle_i32x4(c[8 + j], c[12 + j], 0x88);
            __m512i h1 = _mm512_shuffle_i32x4(c[8 + j], c[12 + j], 0xdd);
            _mm512_storeu_si512(out + j * pitch, _mm512_shuffle_i32x4(l0, l1, 0x88));
            _mm512_storeu_si512(out + (4 + j) * pitch, _mm512_shuffle_i32x4(h0, h1, 0x88));
            _mm512_storeu_si512(out + (8 + j) * pitch, _mm512_shuffle_i32x4(l0, l1, 0xdd));
            _mm512_storeu_si512(out + (12 + j) * pitch, _mm512_shuffle_i32x4(h0, h1, 0xdd));
        }
    }
}
