// A non-linearity on a layer's units: the pass up, the pass down, the statistics. Compiled once for each formula.
// B samples, O units; z is the pre-activation, a the value.
#pragma once
#include "functions.h"
#include "vectors.h"

constexpr double SATURATED = 0.1, DEAD = 1e-6;  // as in statistics/forward.py

// What is recorded of a trial, step and layer; the names, in this order, are in __init__.py.
struct Raw {
    double peak, exponent, square, mean, centred_square, zeros, nonfinite;  // of the gradient, in range but for the peak
    double flips, product, square_before;                                   // against the step before
    double delta_exponent, delta_square, sample_square;                     // of single samples, on δ's scale
    double nothing, activation_mean, sample_deviation, unit_deviation, saturated, slope_sum, dead;
    double weight_norm, update_norm, eps_dominated;
};

// False if a pre-activation is not finite. Where the slope can be had from the value, z and a are the same place.
template <class T, class F> bool activate(T* z, T* a, Count n) {
    T nothing = 0;
#pragma omp simd reduction(+ : nothing)
    for (Count i = 0; i < n; i++) {
        T own = z[i];
        nothing += own * 0;
        a[i] = F::value(own);
    }
    return nothing == 0;
}

// δ at the pre-activation from δ at the value, in place.
template <class T, class F> void descend(T* delta, const T* z, const T* a, Count n) {
#pragma omp simd
    for (Count i = 0; i < n; i++) delta[i] *= F::slope(z[i], a[i]);
}

// Rounding may take a sum of squares below zero; a NaN stays one.
inline double not_negative(double x) { return x < 0 ? 0 : x; }

constexpr Count ROWS_AT_ONCE = 256;  // sums in T stay exact enough

struct UnitSums {
    Wide saturated{}, dead{}, slopes{}, within{}, mean{};
};

// Of as many units as there are lanes, or of the n that are left. In one pass: deviations from the first sample's value, in
// float64, so that they do not drown in the mean where all samples have collapsed together.
template <class T, class F, bool ALL>
void look_at_lanes(const T* z, const T* a, Count B, Count O, Count left, double steepest, double unit, double* means, UnitSums& sums) {
    Count n = ALL ? LANES : left;
    Lanes<T> bound = Lanes<T>{} + T(SATURATED * steepest), one = Lanes<T>{} + T(1), zero{};
    Lanes<T> first = lanes(a, n), saturated{}, highest{};
    Wide slopes{}, shifted{}, shifted_square{};
    for (Count start = 0; start < B; start += ROWS_AT_ONCE) {
        Lanes<T> sum{};
        for (Count b = start; b < std::min(B, start + ROWS_AT_ONCE); b++) {
            Lanes<T> value = lanes(a + b * O, n), pre = F::from_value ? value : lanes(z + b * O, n), slope;
#pragma omp simd
            for (Count i = 0; i < LANES; i++) slope[i] = std::fabs(F::slope(pre[i], value[i]));
            sum += slope;
            saturated += slope < bound ? one : zero;
            highest = slope > highest ? slope : highest;
            Wide deviation = wide(value - first);
            if (needs_range<T>) deviation *= unit;
            shifted += deviation;
            shifted_square += deviation * deviation;
        }
        slopes += wide(sum);
    }
    auto kept = [n](Wide x) { return ALL ? x : first_of(x, n); };
    Wide shift = shifted / double(B), mean = wide(first) * unit + shift;
    std::memcpy(means, &mean, n * sizeof(double));
    sums.within += kept(shifted_square - shifted * shift), sums.mean += kept(mean), sums.slopes += kept(slopes);
    sums.saturated += kept(wide(saturated)), sums.dead += kept(wide(highest < T(DEAD) ? one : zero));
}

// The statistics of forward.py.
template <class T, class F>
void look_at_units(const T* z, const T* a, Count B, Count O, double steepest, double* means, Raw& raw) {
    double exponent = needs_range<T> ? range_of([a](Count i) { return a[i]; }, B * O) : 0, unit = power(-exponent);
    UnitSums sums;
    Count j = 0;
    for (; j + LANES <= O; j += LANES) look_at_lanes<T, F, true>(z + j, a + j, B, O, LANES, steepest, unit, means + j, sums);
    if (j < O) look_at_lanes<T, F, false>(z + j, a + j, B, O, O - j, steepest, unit, means + j, sums);
    double mean = total(sums.mean) / O, across = 0;
#pragma omp simd reduction(+ : across)
    for (Count i = 0; i < O; i++) across += (means[i] - mean) * (means[i] - mean);
    raw.activation_mean = mean / unit;
    raw.sample_deviation = std::sqrt(not_negative(total(sums.within))) / unit;
    raw.unit_deviation = std::sqrt(across) / unit;
    raw.saturated = total(sums.saturated), raw.slope_sum = total(sums.slopes), raw.dead = total(sums.dead);
}

template <class T> struct NonLinearity {
    bool (*activate)(T*, T*, Count);
    void (*descend)(T*, const T*, const T*, Count);
    void (*look)(const T*, const T*, Count, Count, double, double*, Raw&);
    bool from_value;
};

template <class T, class F> constexpr NonLinearity<T> entry() {
    return {activate<T, F>, descend<T, F>, look_at_units<T, F>, F::from_value};
}

