// Products of bfloat16 matrices on AMX tiles, with float32 sums.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include "fused_maps.h"

constexpr bool KEPT = false;  // whether forward keeps a_v and a_h

// Tile instructions read and write memory that the compiler does not see.
inline void fence(const void *seen = nullptr) { asm volatile("" : : "r"(seen) : "memory"); }

struct Tiles {  // all eight as 16 rows of 64 bytes, during the lifetime of this object
    alignas(64) uint8_t before[64] = {}, now[64] = {1};
    Tiles() {
        for (int t = 0; t < 8; t++) now[16 + 2 * t] = 64, now[48 + t] = 16;
        syscall(SYS_arch_prctl, 0x1023, 18);  // ask Linux for the tiles
        fence(before), fence(now);
        _tile_storeconfig(before);
        _tile_loadconfig(now);
        fence(before);
    }
    ~Tiles() {
        fence(before);
        _tile_loadconfig(before);
    }
};

template <bool two>  // two tiles of columns
inline void columns(float *out, int nt, int n, const Product *products, int count, const float *bias) {
    const long ld = nt * 16;
    const float *row = bias + n * 16;
    fence();
    if (bias) {  // its row, sixteen times
        _tile_loadd(0, row, 0); _tile_loadd(1, row, 0);
        if constexpr (two) { _tile_loadd(2, row + 16, 0); _tile_loadd(3, row + 16, 0); }
    } else {
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    }
    for (const Product *p = products; p < products + count; p++)
        for (int k = 0; k < (p->K + 31) / 32; k++) {
            const bf16 *a = p->a + k * 32, *below = a + 16 * p->stride, *b = p->b + ((long)k * nt + n) * TILE;
            _tile_loadd(4, a, p->stride * 2); _tile_loadd(5, below, p->stride * 2); _tile_loadd(6, b, 64);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 5, 6);
            if constexpr (two) { _tile_loadd(7, b + TILE, 64); _tile_dpbf16ps(2, 4, 7); _tile_dpbf16ps(3, 5, 7); }
        }
    out += n * 16;
    _tile_stored(0, out, ld * 4); _tile_stored(1, out + 16 * ld, ld * 4);
    if constexpr (two) { _tile_stored(2, out + 16, ld * 4); _tile_stored(3, out + 16 + 16 * ld, ld * 4); }
    fence();
}

// 32 sites, of which the first `sites` are wanted: out (32, 16 nt) = bias + sum of products.
inline void multiply(float *out, int nt, const Product *products, int count, int sites, const float *bias = nullptr) {
    if (sites <= 0) return;
    for (int n = 0; n < nt; n += 2)
        if (n + 1 < nt) columns<true>(out, nt, n, products, count, bias);
        else columns<false>(out, nt, n, products, count, bias);
}

template <bool two, bool wide>  // two tiles of rows, two of columns
inline void outer(float *acc, int nt, const bf16 *a, long pitch, const bf16 *b, int lines, int width, int sites) {
    const long below = nt * 256, stride = pitch * 2;
    fence();
    _tile_loadd(0, acc, 64);
    if constexpr (wide) { _tile_loadd(1, acc + 256, 64); }
    if constexpr (two) { _tile_loadd(2, acc + below, 64); }
    if constexpr (two && wide) { _tile_loadd(3, acc + below + 256, 64); }
    for (int i = 0; i < lines; i++, a += width, b += (long)width / SITES * nt * TILE)
        for (int q = 0; q < sites; q += SITES) {
            const bf16 *left = a + q, *right = b + (long)q / SITES * nt * TILE;
            _tile_loadd(4, left, stride); _tile_loadd(6, right, 64); _tile_dpbf16ps(0, 4, 6);
            if constexpr (wide) { _tile_loadd(7, right + TILE, 64); _tile_dpbf16ps(1, 4, 7); }
            if constexpr (two) { _tile_loadd(5, left + 16 * pitch, stride); _tile_dpbf16ps(2, 5, 6); }
            if constexpr (two && wide) { _tile_dpbf16ps(3, 5, 7); }
        }
    _tile_stored(0, acc, 64);
    if constexpr (wide) { _tile_stored(1, acc + 256, 64); }
    if constexpr (two) { _tile_stored(2, acc + below, 64); }
    if constexpr (two && wide) { _tile_stored(3, acc + below + 256, 64); }
    fence();
}

// acc (mt, nt tiles) += sum over sites of a b: a (16 mt, lines of width), its rows `pitch` apart, b in pairs of sites.
// Only the first `sites` of a line are not zero in b.
inline void gradient(float *acc, int mt, int nt, const bf16 *a, long pitch, const bf16 *b, int lines, int width, int sites) {
    for (int m = 0; m < mt; m += 2)
        for (int n = 0; n < nt; n += 2) {
            auto kernel = m + 1 < mt ? (n + 1 < nt ? outer<true, true> : outer<true, false>)
                                     : (n + 1 < nt ? outer<false, true> : outer<false, false>);
            kernel(acc + ((long)m * nt + n) * 256, nt, a + m * 16 * pitch, pitch, b + (long)n * TILE, lines, width, sites);
        }
}
