// Vectors of floats, and the functions of the gates.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#if !defined(__FMA__) && !defined(__aarch64__)
#error "this processor has no fused multiply-add"
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int BUDGET = 12;  // vectors of sums; two chains of them fit into 32 registers
#else
constexpr int BUDGET = 6;
#endif

namespace {

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

inline Vec load(const float* from) {
    Vec v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }
inline Vec all(float x) { return x - Vec{}; }
inline Vec limited(Vec x, float low, float high) {
    x = x < low ? all(low) : x;
    return x > high ? all(high) : x;
}

// Prevents the fusion of a product into the next sum, where either of two could be fused.
#if defined(__clang__)
#define rounded(x) __arithmetic_fence(x)
#else
#define rounded(x) __builtin_assoc_barrier(x)
#endif

// e^x within 2 ulp, x in [-87, 88]: x = n ln 2 + r, e^r by its series, 2^n by the exponent bits.
inline Vec exponential(Vec x) {
    const Vec shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;  // rounds to an integer
    Vec r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vec p = r * 1.98412698e-4f + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return reinterpret_cast<Vec>(reinterpret_cast<Ints>(p) + (reinterpret_cast<Ints>(shifted) << 23));
}

// 1 / x of a normal x > 0: an estimate from the exponent bits, then two steps, each of which cubes the error.
inline Vec reciprocal(Vec x) {
    Vec y = reinterpret_cast<Vec>(0x7EF311C7 - reinterpret_cast<Ints>(x));
    for (int i = 0; i < 2; ++i) {
        const Vec error = 1.0f - x * y;
        y = y + y * (error * error + error);
    }
    return y;
}

// ln x of a normal x > 0: the exponent, and 2 atanh((m - 1) / (m + 1)) of the mantissa m in [0.7, 1.4).
inline Vec logarithm(Vec x) {
    const Ints bits = reinterpret_cast<Ints>(x) - 0x3F3504F3, n = bits >> 23;
    const Vec m = reinterpret_cast<Vec>((bits & 0x7FFFFF) + 0x3F3504F3), z = (m - 1.0f) * reciprocal(m + 1.0f), q = z * z;
    Vec p = q * 0.222222222f + 0.285714286f;
    p = p * q + 0.4f;
    p = p * q + 0.666666667f;
    p = p * q + 2.0f;
    return __builtin_convertvector(n, Vec) * 0.693147181f + rounded(z * p);
}

inline Vec sigmoid(Vec x) { return reciprocal(exponential(limited(-x, -40, 40)) + 1.0f); }

// tanh(f) sigmoid(g) = (1 - A) / ((1 + A) (1 + B)), A = e^-2f, B = e^-g: one reciprocal for both.
inline Vec gate(Vec f, Vec g) {
    const Vec a = exponential(limited(f, -9, 9) * -2.0f), b = exponential(limited(-g, -40, 40));
    return (1.0f - a) * reciprocal((1.0f + a) * (1.0f + b));
}

// ln sigmoid(x), without overflow at either end.
inline Vec log_sigmoid(Vec x) {
    const Vec size = x < 0 ? x : -x;
    return (x < 0 ? x : Vec{}) - logarithm(exponential(limited(size, -87, 0)) + 1.0f);
}

}  // namespace
