// Products of features with a matrix, in tiles of sums in registers, and activations.
#pragma once
#include "numbers.h"

namespace {

enum Activation { NONE, RELU, SILU, GATE, LSTM };

struct Place {  // the features of item (sample s, column c)
    float* base;
    int64_t sample, column;
    float* at(int64_t s, int64_t c) const { return base + s * sample + c * column; }
};
struct Segment { Place place; int32_t size; };

struct Job {  // out[s, c] <- bias[s] + add[s, c] + sum of segment[s, c] . weight
    const Segment* segments;
    int num_segments, columns;
    const float* weight;  // (outputs / 16, depth, 16)
    int64_t depth;
    const float* bias;
    int64_t bias_sample;
    Place add, out;
};

template <int R, int V>
void tile(const Job& job, int64_t sample, int64_t column, int vector) {  // R items, V vectors of outputs
    int64_t s[R], c[R];
    for (int r = 0; r < R; ++r) {
        s[r] = sample, c[r] = column;
        if (++column == job.columns) ++sample, column = 0;
    }
    const int from = vector * LANES;
    const float* w = job.weight + from / 16 * job.depth * 16 + from % 16;
    Vec even[R][V], odd[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
            even[r][v] = load(job.bias + s[r] * job.bias_sample + from + v * LANES), odd[r][v] = Vec{};
            if (job.add.base) even[r][v] += load(job.add.at(s[r], c[r]) + from + v * LANES);
        }
    }
    for (int i = 0; i < job.num_segments; ++i) {
        const float* a[R];
        const int32_t size = job.segments[i].size;
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) a[r] = job.segments[i].place.at(s[r], c[r]);
        auto step = [&](Vec(&sum)[R][V], int32_t k) __attribute__((always_inline)) {
            Vec b[V];
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) b[v] = load(w + v * LANES / 16 * job.depth * 16 + v * LANES % 16 + k * 16);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
                for (int v = 0; v < V; ++v) sum[r][v] += b[v] * a[r][k];
            }
        };
        int32_t k = 0;
        for (; k + 1 < size; k += 2) step(even, k), step(odd, k + 1);
        if (k < size) step(even, k);
        w += size * 16;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(job.out.at(s[r], c[r]) + from + v * LANES, even[r][v] + odd[r][v]);
    }
}

using Tile = void (*)(const Job&, int64_t, int64_t, int);
constexpr Tile TILES[3][6] = {  // by vectors of outputs 1, 2, 4 and by items
    {tile<1, 1>, tile<2, 1>, tile<3, 1>, tile<4, 1>, tile<5, 1>, tile<6, 1>},
    {tile<1, 2>, tile<2, 2>, tile<3, 2>, tile<4, 2>, tile<5, 2>, tile<6, 2>},
    {tile<1, 4>, tile<2, 4>, tile<3, 4>},
};

void multiply(const Job& job, int items, int size) {
    const int vectors = (size + 15) / 16 * 16 / LANES;
    for (int v = 0, log = 0; v < vectors; v += 1 << log) {
        log = vectors - v >= 4 && 4 * items <= BUDGET ? 2 : vectors - v >= 2 ? 1 : 0;
        const int most = BUDGET >> log < 6 ? BUDGET >> log : 6, tiles = (items + most - 1) / most;
        const int each = (items + tiles - 1) / tiles;  // tiles of nearly equal size
        for (int i = 0, s = 0, c = 0; i < items; i += each) {
            TILES[log][(items - i < each ? items - i : each) - 1](job, s, c, v);
            for (c += each; c >= job.columns; c -= job.columns) ++s;
        }
    }
}

void activate(int activation, int size, const float* a, float* out, const float* cell, float* cell_out) {
    const int n = activation == GATE ? size / 2 : activation == LSTM ? size / 4 : size;
    for (int j = 0; j < n; j += LANES) {
        const Vec x = load(a + j);
        if (activation == NONE) store(out + j, x);
        if (activation == RELU) store(out + j, x > 0 ? x : Vec{});
        if (activation == SILU) store(out + j, x * sigmoid(x));
        if (activation == GATE) store(out + j, gate(x, load(a + n + j)));  // tanh(f) sigma(g)
        if (activation == LSTM) {                                          // o, f, i, g
            const Vec kept = rounded(sigmoid(load(a + n + j)) * load(cell + j));
            const Vec now = kept + rounded(gate(load(a + 3 * n + j), load(a + 2 * n + j)));
            store(out + j, gate(now, x)), store(cell_out + j, now);
        }
    }
}

}  // namespace
