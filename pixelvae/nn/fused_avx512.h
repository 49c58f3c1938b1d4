// Products of bfloat16 matrices by AVX-512's dot products of pairs, with float32 sums.
#pragma once
#include "fused_maps.h"

constexpr bool KEPT = true;  // whether forward keeps a_v and a_h

struct Tiles {};  // nothing to configure

constexpr int MOST = 8;  // rows of a block of sums in registers: with two columns of 16, half of all registers

inline Vec dot(Vec sum, const bf16 *pair, __m512i b) {
    int32_t both;
    memcpy(&both, pair, sizeof both);
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(both), (__m512bh)b);
}

template <int R, int C>  // R sites, C tiles of columns
inline void columns(float *out, long ld, int nt, const Product *products, int count, const float *bias, int site, int n) {
    Vec sums[R][C];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) sums[r][c] = bias ? load(bias + (n + c) * 16) : set(0);
    for (const Product *p = products; p < products + count; p++) {
        const bf16 *a = p->a + site * p->stride;
        for (int k = 0; k < p->K; k += 2) {
            const bf16 *b = p->b + ((long)(k / 32) * nt + n) * TILE + k % 32 * 16;
            __m512i column[C];
            for (int c = 0; c < C; c++) column[c] = _mm512_load_si512(b + c * TILE);
            for (int r = 0; r < R; r++)
                for (int c = 0; c < C; c++) sums[r][c] = dot(sums[r][c], a + r * p->stride + k, column[c]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) _mm512_storeu_ps(out + (site + r) * ld + (n + c) * 16, sums[r][c]);
}

template <int R>
inline void rows(float *out, int nt, const Product *products, int count, const float *bias, int site) {
    for (int n = 0; n < nt; n += 2)
        if (n + 1 < nt) columns<R, 2>(out, nt * 16, nt, products, count, bias, site, n);
        else columns<R, 1>(out, nt * 16, nt, products, count, bias, site, n);
}

// The first `sites` of 32: out (sites, 16 nt) = bias + sum of products.
inline void multiply(float *out, int nt, const Product *products, int count, int sites, const float *bias = nullptr) {
    sites = sites < SITES ? sites : SITES;
    for (int site = 0, left = (sites + MOST - 1) / MOST, R; site < sites; site += R, left--) {
        R = (sites - site + left - 1) / left;  // blocks of nearly equal size
        switch (R) {
            case 8: rows<8>(out, nt, products, count, bias, site); break;
            case 7: rows<7>(out, nt, products, count, bias, site); break;
            case 6: rows<6>(out, nt, products, count, bias, site); break;
            case 5: rows<5>(out, nt, products, count, bias, site); break;
            case 4: rows<4>(out, nt, products, count, bias, site); break;
            case 3: rows<3>(out, nt, products, count, bias, site); break;
            case 2: rows<2>(out, nt, products, count, bias, site); break;
            default: rows<1>(out, nt, products, count, bias, site);
        }
    }
}

template <int C>  // C tiles of columns, MOST rows
inline void outer(float *acc, int nt, const bf16 *a, long pitch, const bf16 *b, int lines, int width, int sites) {
    Vec sums[MOST][C];
    for (int r = 0; r < MOST; r++)
        for (int c = 0; c < C; c++) sums[r][c] = load(acc + c * 256 + r * 16);
    for (int i = 0; i < lines; i++, a += width)
        for (int q = 0; q < sites; q += 2) {
            const bf16 *pairs = b + ((long)i * (width / SITES) + q / SITES) * nt * TILE + q % SITES * 16;
            __m512i column[C];
            for (int c = 0; c < C; c++) column[c] = _mm512_load_si512(pairs + c * TILE);
            for (int r = 0; r < MOST; r++)
                for (int c = 0; c < C; c++) sums[r][c] = dot(sums[r][c], a + r * pitch + q, column[c]);
        }
    for (int r = 0; r < MOST; r++)
        for (int c = 0; c < C; c++) _mm512_storeu_ps(acc + c * 256 + r * 16, sums[r][c]);
}

// acc (mt, nt tiles) += sum over sites of a b: a (16 mt, lines of width), its rows `pitch` apart, b in pairs of sites.
// Only the first `sites` of a line are not zero in b.
inline void gradient(float *acc, int mt, int nt, const bf16 *a, long pitch, const bf16 *b, int lines, int width, int sites) {
    for (int m = 0; m < mt * 16; m += MOST)
        for (int n = 0; n < nt; n += 2) {
            auto kernel = n + 1 < nt ? outer<2> : outer<1>;
            kernel(acc + ((long)(m / 16) * nt + n) * 256 + m % 16 * 16, nt, a + m * pitch, pitch, b + (long)n * TILE, lines,
                   width, sites);
        }
}
