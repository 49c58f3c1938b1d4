// A layer of a Gated PixelCNN, forward and backward, row by row in cache: a_v = W_v*v + V_v c + b_v, v' = gate(a_v),
// a_h = W_h*h + W_vh a_v + V_h c + b_h, y = gate(a_h), h' = h + W_r y + b_r. With KEPT, forward writes a_v and a_h for
// backward; on tiles, computing them once more is cheaper. Maps are (B, H, W, channels) of bfloat16. In cache a row holds
// a multiple of 32 sites; the zeros at its end are its right margin and the left margin of the next row.
#include <algorithm>

#ifdef AMX
#include "fused_amx.h"
#else
#include "fused_avx512.h"
#endif
#include "fused_weight.h"

constexpr int LEAD = 64, SLACK = 96;  // sites before and after a map in cache
constexpr int GROUPS = 16;            // of images, each with its own sums: results do not depend on the number of threads

struct Sizes { int B, H, W, in, p, rows, columns, taps, D, first, last, threads; };

struct Tensors {  // null if absent
    const bf16 *v, *h, *c;                          // (B, H, W, in) twice, (B, H, W, D)
    const float *wv, *wh, *wvh, *wr, *vv, *vh;      // (out, rows, columns, in) each
    const float *bias_v, *bias_h, *bias_r;          // (B, 2p) twice: contexts that are vectors are in them; (p,)
    bf16 *v_out, *h_out, *y, *av, *ah;              // (B, H, W, p) thrice, (B, H, W, 2p) twice
    const bf16 *dv_out, *dh_out, *dy;               // (B, H, W, p)
    bf16 *dv, *dh, *dc;                             // like v, h, c
    float *dwv, *dwh, *dwvh, *dwr, *dvv, *dvh;      // like the weights
    float *dbias_v, *dbias_h, *dbias_r;             // (B, 2p), (B, 2p), (B, p)
};

struct Layer {
    const Sizes s;
    const Tensors m;
    const int P, Wp, half;
    const long lines;
    Weight v, h, vh, r, cv, ch;
    size_t size = 0;
    Layer(const Sizes &s, const Tensors &m)
        : s(s), m(m), P(2 * s.p), Wp((s.W + std::max(s.columns / 2, s.taps - 1) + 31) / 32 * 32), half(s.columns / 2),
          lines(LEAD + (long)(s.H + s.rows) * Wp + SLACK), v(s.rows, s.columns, s.in, P, m.wv, m.dwv),
          h(1, s.taps, s.in, P, m.wh, m.dwh), vh(1, 1, P, P, m.wvh, m.dwvh), r(1, 1, s.p, s.p, m.wr, m.dwr),
          cv(1, 1, s.D, P, m.vv, m.dvv), ch(1, 1, s.D, P, m.vh, m.dvh) {
        for (Weight *w : {&v, &h, &vh, &r, &cv, &ch}) w->at = size, size += w->rows * w->taps * w->tap();
    }
    long above(int i) const { return LEAD + (long)(s.rows - 1 + i) * Wp; }  // row i, with margin rows above the image
    long below(int i) const { return LEAD + (long)i * Wp; }                  // row i, with margin rows below the image
};

struct Image {  // one image in cache
    const Layer &l;
    const Sizes &s;
    Array<bf16> v, h, c, av_row, y_row;
    Array<float> av, ah, out;  // of one row
    explicit Image(const Layer &l)
        : l(l), s(l.s), v(l.lines * s.in), h(l.lines * s.in), c(l.lines * s.D), av_row((l.Wp + SITES) * l.P),
          y_row((l.Wp + SITES) * s.p), av(l.Wp * l.P), ah(l.Wp * l.P), out(l.Wp * s.p) {}
    void read(int b) {
        auto copy = [&](Array<bf16> &to, const bf16 *from, long channels) {
            for (int i = 0; i < s.H; i++)
                memcpy(&to[l.above(i) * channels], from + ((long)b * s.H + i) * s.W * channels, s.W * channels * 2);
        };
        copy(v, l.m.v, s.in), copy(h, l.m.h, s.in);
        if (s.D) copy(c, l.m.c, s.D);
    }
    void sums(int b, int i) {  // a_v and a_h of row i
        Product products[16];
        for (int j = 0; j < l.Wp; j += SITES) {
            const long x = l.above(i) + j;
            int n = 0;
            for (int r = 0; r < s.rows; r++)
                products[n++] = l.v.with(&v[(x - (long)(s.rows - 1 - r) * l.Wp - l.half) * s.in], r);
            if (s.D) products[n++] = l.cv.with(&c[x * s.D]);
            float *a = &av[j * l.P];
            multiply(a, tiles(l.P), products, n, s.W - j, l.m.bias_v + (long)b * l.P);
            for (int k = 0; k < SITES * l.P; k += 32)
                _mm512_storeu_si512(&av_row[j * l.P + k], (__m512i)_mm512_cvtne2ps_pbh(load(a + k + 16), load(a + k)));
            products[0] = l.h.with(&h[(x - (s.taps - 1)) * s.in]);
            products[1] = l.vh.with(&av_row[j * l.P]);
            if (s.D) products[2] = l.ch.with(&c[x * s.D]);
            multiply(&ah[j * l.P], tiles(l.P), products, s.D ? 3 : 2, s.W - j, l.m.bias_h + (long)b * l.P);
        }
    }
    void keep(long row) const {  // a_v and a_h of a row, for backward
        const long n = s.W * l.P;
        memcpy(l.m.av + row * l.P, av_row.data(), n * 2);
        for (long k = 0; k < n; k += 16) store(l.m.ah + row * l.P + k, load(&ah[k]));
    }
    void recall(long row) {
        const long n = s.W * l.P;
        const bf16 *v = l.m.av + row * l.P, *h = l.m.ah + row * l.P;
        memcpy(av_row.data(), v, n * 2);
        for (long k = 0; k < n; k += 16) _mm512_storeu_ps(&av[k], load(v + k)), _mm512_storeu_ps(&ah[k], load(h + k));
    }
    void gates(const float *a, bf16 *to, bf16 *copy) const {
        const int p = s.p, W = s.W;
        for (int q = 0; q < W; q++, a += 2 * p, to += p)
            for (int k = 0; k < p; k += 16) {
                Vec y = gate(load(a + k), load(a + p + k)).y;
                store(to + k, y);
                if (copy) store(copy + q * p + k, y);
            }
    }
    void forward(int b) {
        read(b);
        for (int i = 0; i < s.H; i++) {
            const long row = ((long)b * s.H + i) * s.W * s.p, n = s.W * s.p;
            sums(b, i);
            if (KEPT) keep(((long)b * s.H + i) * s.W);
            gates(ah.data(), l.m.y + row, y_row.data());
            if (s.last) continue;
            gates(av.data(), l.m.v_out + row, nullptr);
            for (int j = 0; j < l.Wp; j += SITES) {
                Product residual = l.r.with(&y_row[j * s.p]);
                multiply(&out[j * s.p], tiles(s.p), &residual, 1, s.W - j, l.m.bias_r);
            }
            const bf16 *from = &h[l.above(i) * s.in];
            for (long k = 0; k < n; k += 16)
                store(l.m.h_out + row + k, s.first ? load(&out[k]) : load(&out[k]) + load(from + k));
        }
    }
};

struct Backward {
    const Layer &l;
    const Sizes &s;
    const Tensors &m;
    Image im;
    const long flat;  // sites of the image in cache
    Array<bf16> dav, dah, dh_row, vT, hT, cT, avT, yT, dav_pairs, dah_pairs, dh_pairs;  // T: channels first
    Array<float> back;
    explicit Backward(const Layer &l)
        : l(l), s(l.s), m(l.m), im(l), flat((long)s.H * l.Wp), dav(l.lines * l.P), dah(l.lines * l.P),
          dh_row((l.Wp + SITES) * s.p), vT(l.lines * tiles(s.in) * 16), hT(vT.size()), cT(l.lines * tiles(s.D) * 16),
          avT(flat * l.P), yT(flat * s.p), dav_pairs(flat * l.P), dah_pairs(flat * l.P), dh_pairs(flat * s.p),
          back(l.Wp * std::max({l.P, tiles(s.in) * 16, tiles(s.D) * 16})) {}
    void run(int b, float *sums) {
        im.read(b);
        std::fill_n(m.dbias_v + (long)b * l.P, l.P, 0.f), std::fill_n(m.dbias_h + (long)b * l.P, l.P, 0.f);
        if (!s.last) std::fill_n(m.dbias_r + (long)b * s.p, s.p, 0.f);
        for (int i = s.H - 1; i >= 0; i--) {  // upwards: v of a row enters that row and rows below
            const long row = ((long)b * s.H + i) * s.W;
            if (KEPT) im.recall(row);
            else im.sums(b, i);
            horizontal(b, i, row), vertical(b, i, row), inputs(i, row), turn(i);
        }
        weights(sums);
    }
    void horizontal(int b, int i, long row) {  // da_h, and y again
        const int p = s.p, P = l.P, W = s.W, last = s.last;
        if (!last) memcpy(dh_row.data(), m.dh_out + row * p, W * p * 2);
        for (int j = 0; j < l.Wp && !last; j += SITES) {
            Product residual = l.r.against(&dh_row[j * p]);
            multiply(&back[j * p], tiles(p), &residual, 1, W - j);
        }
        for (int k = 0; k < p; k += 16) {
            Vec sf = set(0), sg = set(0), sr = set(0);
            const float *a = &im.ah[k], *e = &back[k];
            const bf16 *dy = m.dy + row * p + k, *dh = &dh_row[k];
            bf16 *to = &dah[l.below(i) * P + k], *y = &im.y_row[k];
            for (int q = 0; q < W; q++, a += P, e += p, dy += p, dh += p, to += P, y += p) {
                Gate g = gate(load(a), load(a + p));
                Vec d = load(dy);
                if (!last) d += load(e), sr += load(dh);
                Vec df = d * (g.s - g.y * g.t), dg = d * (g.y - g.y * g.s);
                sf += df, sg += dg;
                store(to, df), store(to + p, dg), store(y, g.y);
            }
            add(m.dbias_h + (long)b * P + k, sf), add(m.dbias_h + (long)b * P + p + k, sg);
            if (!last) add(m.dbias_r + (long)b * p + k, sr);
        }
    }
    void vertical(int b, int i, long row) {  // da_v = W_vh^T da_h, plus the gradient through v'
        const int p = s.p, P = l.P, W = s.W, last = s.last;
        for (int j = 0; j < l.Wp; j += SITES) {
            Product across = l.vh.against(&dah[(l.below(i) + j) * P]);
            multiply(&back[j * P], tiles(P), &across, 1, W - j);
        }
        for (int k = 0; k < p; k += 16) {
            Vec sf = set(0), sg = set(0);
            const float *a = &im.av[k], *e = &back[k];
            bf16 *to = &dav[l.below(i) * P + k];
            for (int q = 0; q < W; q++, a += P, e += P, to += P) {
                Vec df = load(e), dg = load(e + p);
                if (!last) {
                    Gate g = gate(load(a), load(a + p));
                    Vec d = load(m.dv_out + (row + q) * p + k);
                    df += d * (g.s - g.y * g.t), dg += d * (g.y - g.y * g.s);
                }
                sf += df, sg += dg;
                store(to, df), store(to + p, dg);
            }
            add(m.dbias_v + (long)b * P + k, sf), add(m.dbias_v + (long)b * P + p + k, sg);
        }
    }
    void product(Product *products, int count, bf16 *to, int channels, bool residual) {
        const int ld = tiles(channels) * 16, W = s.W, p = s.p;
        for (int j = 0; j < l.Wp; j += SITES) {
            multiply(&back[j * ld], tiles(channels), products, count, W - j);
            for (int k = 0; k < count; k++) products[k].a += SITES * l.P;
        }
        for (int q = 0; q < W; q++, to += channels)
            for (int k = 0; k < channels; k += 16)
                store(to + k, residual ? load(&back[q * ld + k]) + load(&dh_row[q * p + k]) : load(&back[q * ld + k]));
    }
    void inputs(int i, long row) {  // dc, dh, dv
        Product products[16];
        const long x = l.below(i), P = l.P;
        if (s.D) {
            products[0] = l.cv.against(&dav[x * P]), products[1] = l.ch.against(&dah[x * P]);
            product(products, 2, m.dc + row * s.D, s.D, false);
        }
        if (s.first) return;
        products[0] = l.h.against(&dah[x * P]);
        product(products, 1, m.dh + row * s.in, s.in, !s.last);
        for (int r = 0; r < s.rows; r++) products[r] = l.v.against(&dav[(l.below(i + r) - l.half) * P], r);
        product(products, s.rows, m.dv + row * s.in, s.in, false);
    }
    void turn(int i) {  // sites along the rows, the layout for the gradients of the weights
        for (int j = 0; j < l.Wp; j += SITES) {
            const long x = l.above(i) + j, u = l.below(i) + j, q = (long)i * l.Wp + j;
            transposed(&im.v[x * s.in], s.in, &vT[x], l.lines), transposed(&im.h[x * s.in], s.in, &hT[x], l.lines);
            if (s.D) transposed(&im.c[x * s.D], s.D, &cT[x], l.lines);
            transposed(&im.av_row[j * l.P], l.P, &avT[q], flat);
            paired(&dav[u * l.P], l.P, &dav_pairs[q * l.P]), paired(&dah[u * l.P], l.P, &dah_pairs[q * l.P]);
            if (s.last) continue;
            transposed(&im.y_row[j * s.p], s.p, &yT[q], flat), paired(&dh_row[j * s.p], s.p, &dh_pairs[q * s.p]);
        }
    }
    void weights(float *sums) {
        const long x = l.above(0);
        auto tap = [&](const Weight &w, int t, const bf16 *a, long pitch, const Array<bf16> &d) {
            gradient(sums + w.at + t * w.tap(), tiles(w.in), tiles(w.out), a, pitch, d.data(), s.H, l.Wp, s.W);
        };
        for (int t = 0; t < s.rows * s.columns; t++) {
            const long r = s.rows - 1 - t / s.columns;
            tap(l.v, t, &vT[x - r * l.Wp + t % s.columns - l.half], l.lines, dav_pairs);
        }
        for (int t = 0; t < s.taps; t++) tap(l.h, t, &hT[x + t - (s.taps - 1)], l.lines, dah_pairs);
        tap(l.vh, 0, avT.data(), flat, dah_pairs);
        if (!s.last) tap(l.r, 0, yT.data(), flat, dh_pairs);
        if (s.D) tap(l.cv, 0, &cT[x], l.lines, dav_pairs), tap(l.ch, 0, &cT[x], l.lines, dah_pairs);
    }
};

extern "C" int gated_keeps() { return KEPT; }

extern "C" void gated_forward(const Sizes *s, const Tensors *m) {
    const Layer layer(*s, *m);
#pragma omp parallel num_threads(s->threads)
    {
        Tiles configured;
        Image image(layer);
#pragma omp for schedule(static)
        for (int b = 0; b < s->B; b++) image.forward(b);
    }
}

extern "C" void gated_backward(const Sizes *s, const Tensors *m) {
    const Layer layer(*s, *m);
    std::vector<Array<float>> sums(GROUPS);
#pragma omp parallel num_threads(s->threads)
    {
        Tiles configured;
        Backward image(layer);
#pragma omp for schedule(static)
        for (int g = 0; g < GROUPS; g++) {
            sums[g].assign(layer.size, 0);
            for (int b = s->B * g / GROUPS; b < s->B * (g + 1) / GROUPS; b++) image.run(b, sums[g].data());
        }
    }
    for (int g = 1; g < GROUPS; g++)
        for (size_t i = 0; i < layer.size; i++) sums[0][i] += sums[g][i];
    for (const Weight *w : {&layer.v, &layer.h, &layer.vh, &layer.r, &layer.cv, &layer.ch})
        if (w->gradient) w->write(sums[0].data());
}
