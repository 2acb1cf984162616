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

// The statistics of forward.py in one pass: deviations from the first sample's value, in float64, so that they do not drown
// in the mean where all samples have collapsed together.
template <class T, class F>
void look_at_units(const T* z, const T* a, Count B, Count O, double steepest, double* means, Raw& raw) {
    double exponent = needs_range<T> ? range_of([a](Count i) { return a[i]; }, B * O) : 0, unit = power(-exponent);
    Lanes<T> bound = Lanes<T>{} + T(SATURATED * steepest), one = Lanes<T>{} + T(1), zero{};
    double saturations = 0, dead = 0, slopes = 0, within = 0, mean = 0;
    for (Count j = 0; j < O; j += LANES) {
        Count n = std::min(LANES, O - j);
        Lanes<T> first = lanes(a + j, n), saturated{}, highest{};
        Wide slope_sum{}, shifted{}, shifted_square{};
        for (Count start = 0; start < B; start += ROWS_AT_ONCE) {
            Lanes<T> sum{};
            for (Count b = start; b < std::min(B, start + ROWS_AT_ONCE); b++) {
                Lanes<T> value = lanes(a + b * O + j, n), pre = F::from_value ? value : lanes(z + b * O + j, n), slope;
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
            slope_sum += wide(sum);
        }
        Wide shift = shifted / double(B);
        within += total(shifted_square - shifted * shift, n);
        slopes += total(slope_sum, n);
        saturations += total(saturated, n);
        for (Count i = 0; i < n; i++) {
            dead += highest[i] < T(DEAD) ? 1 : 0;
            means[j + i] = first[i] * unit + shift[i];
            mean += means[j + i];
        }
    }
    mean /= O;
    double across = 0;
#pragma omp simd reduction(+ : across)
    for (Count j = 0; j < O; j++) across += (means[j] - mean) * (means[j] - mean);
    raw.activation_mean = mean / unit;
    raw.sample_deviation = std::sqrt(not_negative(within)) / unit;
    raw.unit_deviation = std::sqrt(across) / unit;
    raw.saturated = saturations, raw.slope_sum = slopes, raw.dead = dead;
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

