// A weight of the layer in the order that products read, and its gradient out of the order that they write.
#pragma once
#include "fused_maps.h"

struct Weight {  // (out, rows, taps, in), packed for products with inputs, and transposed for gradients
    int rows, taps, in, out;
    float *gradient;
    Array<bf16> ahead, back;
    size_t at = 0;  // where the tiles of its gradient begin, [row][tap][in/16][out/16]
    Weight(int rows, int taps, int in, int out, const float *w, float *gradient)
        : rows(rows), taps(taps), in(in), out(out), gradient(gradient) {
        const long row = (long)taps * in, all = rows * row;
        if (w) pack(ahead, row, out, [&](int r, int k, int j) { return w[j * all + r * row + k]; });
        if (w && gradient) pack(back, taps * out, in, [&](int r, int k, int j) {
            return w[k % out * all + (rows - 1 - r) * row + (long)(taps - 1 - k / out) * in + j]; });
    }
    static long size(long K, int N) { return (K + 31) / 32 * tiles(N) * TILE; }  // of a row, packed
    template <class F> void pack(Array<bf16> &to, int K, int N, F value) const {
        const long chunks = (K + 31) / 32, nt = tiles(N);
        to.assign(rows * size(K, N), 0);
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < K; k++)
                for (int j = 0; j < N; j++)
                    to[((r * chunks + k / 32) * nt + j / 16) * TILE + k % 32 / 2 * 32 + j % 16 * 2 + k % 2] =
                        (bf16)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(value(r, k, j))), 0);
    }
    long tap() const { return (long)tiles(in) * tiles(out) * 256; }
    Product with(const bf16 *a, int row = 0) const {
        return {a, in, ahead.data() + row * size(taps * in, out), taps * in};
    }
    Product against(const bf16 *a, int row = 0) const {
        return {a, out, back.data() + row * size(taps * out, in), taps * out};
    }
    void write(const float *sums) const {
        const long mt = tiles(in), nt = tiles(out), n = rows * taps;
        for (long j = 0; j < out; j++)
            for (long t = 0; t < n; t++)
                for (long k = 0; k < in; k++)
                    gradient[(j * n + t) * in + k] =
                        sums[at + ((t * mt + k / 16) * nt + j / 16) * 256 + k % 16 * 16 + j % 16];
    }
};
