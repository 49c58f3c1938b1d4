// Draws and probabilities of one channel of one site, by Categorical and DiscretizedLogisticMixture.
#pragma once
#include <vector>
#include "numbers.h"
#include "stack.h"

namespace {

enum Law { SOFTMAX, MIXTURE };

class Chooser {
  public:
    Chooser(int law, int levels, int channels, int components, float temperature)
        : law(law), K(levels), C(channels), M(components), temperature(temperature),
          padded((M + LANES) / LANES * LANES), least(law == MIXTURE ? 32 : levels <= 1024 ? 16 : 1),
          shared(SLOTS - least * levels), logits(K + LANES), masses(K + LANES), weights(padded), means(padded),
          precisions(padded), logs(padded), starts(K + 1) {}

    int64_t draw(const float* params, const int64_t* x, int c, float u) {
        if (law == MIXTURE && temperature == 1) {  // search the cumulative distribution
            mix(params, x, c);
            int64_t low = 0, high = K - 1;
            while (low < high) {
                const int64_t middle = (low + high) / 2;
                (u < cumulative(middle) ? high : low) = u < cumulative(middle) ? middle : middle + 1;
            }
            return low;
        }
        return pick(all_logits(params, x, c), u);
    }

    float log_prob(const float* params, const int64_t* x, int c) {
        if (law == MIXTURE) {
            mix(params, x, c);
            return log_level(x[c]);
        }
        if (K == 2) return log_sigmoid(all(x[c] ? params[c] : -params[c]))[0];
        const float* l = params + c * K;
        const float high = highest(l);
        return l[x[c]] - high - logarithm(all(mass(l, high, 1)))[0];
    }

    // Prepares intervals of the levels of one channel of one site: integers that add up to 2^24, none of them 0.
    void prepare(const float* params, const int64_t* x, int c) {
        if (law == MIXTURE) return mix(params, x, c);  // its cumulative distribution gives single intervals
        const float* l = all_logits(params, x, c);
        mass(l, highest(l), 1);
        uint64_t total = 0, used = 0;
        int most = 0;
        for (int k = 0; k < K; ++k) {
            total += whole(masses[k]);
            if (masses[k] > masses[most]) most = k;
        }
        for (int k = 0; k < K; ++k) used += size_of(k, total);
        starts[0] = 0;  // the most probable level takes the remainder due to rounding
        for (int k = 0; k < K; ++k)
            starts[k + 1] = starts[k] + uint32_t(size_of(k, total) + (k == most ? SLOTS - used : 0));
    }

    Interval interval(int64_t k) {
        const uint32_t from = start(k);
        return {from, start(k + 1) - from};
    }

    int64_t find(uint32_t slot) {  // the level whose interval holds the slot
        int64_t low = 0, high = K - 1;
        while (low < high) {
            const int64_t middle = (low + high + 1) / 2;
            const bool above = start(middle) <= slot;
            (above ? low : high) = above ? middle : middle - 1;
        }
        return low;
    }

  private:
    static uint64_t whole(float p) { return p > 0 ? uint64_t((p < 1 ? p : 1) * 1073741824.0f) : 0; }
    uint64_t size_of(int k, uint64_t total) const { return least + (total ? whole(masses[k]) * shared / total : 0); }

    uint32_t start(int64_t k) {
        if (law == SOFTMAX) return starts[k];
        if (k == 0 || k == K) return k ? SLOTS : 0;
        return uint32_t(least * k + (whole(cumulative(k - 1)) * shared >> 30));
    }

    const float* all_logits(const float* params, const int64_t* x, int c) {
        if (law == SOFTMAX && K > 2) return params + c * K;
        if (law == SOFTMAX) logits[0] = 0, logits[1] = params[c];
        if (law == MIXTURE) mix(params, x, c);
        for (int k = 0; law == MIXTURE && k < K; ++k) logits[k] = log_level(k);
        return logits.data();
    }

    float highest(const float* l) const {
        float high = l[0];
        for (int k = 1; k < K; ++k) high = l[k] > high ? l[k] : high;
        return high;
    }

    float mass(const float* l, float high, float scale) {  // of all levels; of each in masses
        for (int k = 0; k < K; k += LANES) {
            Vec v = all(high);
            std::memcpy(&v, l + k, (K - k < LANES ? K - k : LANES) * sizeof(float));
            store(&masses[k], exponential(limited((v - high) * scale, -87, 0)));
        }
        float total = 0;
        for (int k = 0; k < K; k += 16) total += some(k);
        return total;
    }

    float some(int from) const {  // mass of up to 16 levels
        float sum = 0;
        for (int k = from; k < from + 16 && k < K; ++k) sum += masses[k];
        return sum;
    }

    int64_t pick(const float* l, float u) {  // the first level whose cumulative probability exceeds u
        const float high = highest(l);
        const float scale = 1 / temperature;
        if (temperature == 0 || scale > 1e30f) {
            for (int k = 0; k < K; ++k)
                if (l[k] == high) return k;
        }
        const float target = u * mass(l, high, scale);
        float below = 0;
        int k = 0;
        for (float next; k + 16 < K && (next = below + some(k)) <= target; k += 16) below = next;
        for (; k < K - 1 && (below += masses[k]) <= target;) ++k;
        return k;
    }

    void mix(const float* params, const int64_t* x, int c) {  // weights and means of channel c, given the channels before
        const float step = 2.0f / (K - 1);
        for (int m = 0; m < padded; ++m) logs[m] = m < M ? params[m] : -1e30f;
        for (int channel = 0; channel <= c; ++channel) {
            const float *mean = params + (1 + channel) * M, *log_scale = params + (1 + C + channel) * M;
            const float* slope = params + (1 + 2 * C + channel * (channel - 1) / 2) * M;
            for (int m = 0; m < padded; ++m) {
                means[m] = m < M ? mean[m] : 0;
                precisions[m] = m < M ? -log_scale[m] : 0;
                for (int d = 0; m < M && d < channel; ++d)
                    means[m] += (2 * sigmoid(all(2 * slope[d * M + m]))[0] - 1) * (x[d] * step - 1);
            }
            for (int m = 0; m < padded; m += LANES)
                store(&precisions[m], exponential(limited(load(&precisions[m]), -7, 7)));
            for (int m = 0; channel < c && m < padded; m += LANES)
                store(&logs[m], load(&logs[m]) + log_levels(x[channel], m));
        }
        float high = logs[0], total = 0;
        for (int m = 1; m < M; ++m) high = logs[m] > high ? logs[m] : high;
        for (int m = 0; m < padded; m += LANES)
            store(&weights[m], exponential(limited(load(&logs[m]) - high, -87, 0)));
        for (int m = 0; m < M; ++m) total += weights[m];
        for (int m = 0; m < padded; ++m) weights[m] = m < M ? weights[m] / total : 0;
    }

    // ln p(x) under each component: ln sigmoid(a) + ln sigmoid(-b) + ln(1 - e^-(a - b)); end levels include the tails.
    Vec log_levels(int64_t x, int m) const {
        const float step = 2.0f / (K - 1), half = step / 2;
        const Vec centred = x * step - 1 - load(&means[m]), precision = load(&precisions[m]), width = step * precision;
        Vec log_p{};
        if (x < K - 1) log_p += log_sigmoid((centred + half) * precision);
        if (x > 0) log_p += log_sigmoid((half - centred) * precision);
        if (x == 0 || x == K - 1) return log_p;
        const Vec series = width * (1.0f - width * (0.5f - width * (0.166666667f - width * 0.0416666667f)));
        return log_p + logarithm(width < 0.1f ? series : 1.0f - exponential(limited(-width, -87, 0)));
    }

    float log_level(int64_t x) {
        float high = -1e38f, total = 0;
        for (int m = 0; m < padded; m += LANES) store(&logs[m], log_levels(x, m));
        for (int m = 0; m < M; ++m) high = logs[m] > high ? logs[m] : high;
        for (int m = 0; m < M; ++m) total += weights[m] * exponential(limited(all(logs[m] - high), -87, 0))[0];
        return high + logarithm(all(total > 1e-37f ? total : 1e-37f))[0];
    }

    float cumulative(int64_t x) {
        const float step = 2.0f / (K - 1), edge = x * step - 1 + step / 2;
        for (int m = 0; m < padded; m += LANES)
            store(&masses[0], sigmoid((edge - load(&means[m])) * load(&precisions[m])) * load(&weights[m])),
                std::memcpy(&logs[m], &masses[0], LANES * sizeof(float));
        float total = 0;
        for (int m = 0; m < M; ++m) total += logs[m];
        return total;
    }

    const int law, K, C, M;
    const float temperature;
    const int padded;
    const uint64_t least, shared;  // least exceeds the rounding of cumulative, so that intervals keep their order
    std::vector<float> logits, masses, weights, means, precisions, logs;
    std::vector<uint32_t> starts;
};

}  // namespace
