// A non-linearity on a layer's units: the pass up, the pass down, the statistics. Compiled once for each formula.
// B samples, O units; z is the pre-activation, a the value.
#pragma once
#include "functions.h"
#include "vectors.h"

constexpr double SATURATED = 0.1, DEAD = 1e-6;  // as in statistics/forward.py

// What statistics of a trial, step and layer are made of, float64; NaN: it is not known.
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

// Over as many units as fill a register, of n units that have not been counted before: the last columns before `end`.
struct UnitSums {
    double squares = 0, within = 0, slopes = 0, saturated = 0, dead = 0;

    // Whether they tell the deviation of so many numbers: the first sample must not lie so far from the others that what is left is rounding.
    template <class T> bool sound(Count n) const { return holds<T>(squares, n) && within > squares / 16; }

    template <class T, class F> void add(const T* z, const T* a, Count B, Count O, Count end, Count n, double steepest, double* means) {
        constexpr Count W = REGISTER<T>, STREAMS = 2;
        typedef Register<T> V;
        V bound = V{} + T(SATURATED * steepest), one = V{} + T(1), none{}, first = held_before(a, end);
        V highest[STREAMS]{};
        decltype(one < one) saturated[STREAMS]{};
        double slopes[W]{}, shifted[W]{}, squares[W]{};  // deviations from the first sample's value
        for (Count start = 0, past; start < B; start = past) {
            past = std::min(B, start + STREAMS * TERMS);
            V slope_sum[STREAMS]{}, deviation_sum[STREAMS]{}, square_sum[STREAMS]{};
            auto add = [&](V pre, V value, int s) {
                V slope, deviation = value - first;
#pragma omp simd
                for (Count i = 0; i < W; i++) slope[i] = std::fabs(F::slope(pre[i], value[i]));
                saturated[s] -= slope < bound;  // true is -1
                highest[s] = slope > highest[s] ? slope : highest[s];
                slope_sum[s] += slope, deviation_sum[s] += deviation, square_sum[s] += deviation * deviation;
            };
            Count b = start;
            for (; b < past && (b * O + end < W || (past - b) % STREAMS); b++)
                add(held_before(z, b * O + end), held_before(a, b * O + end), 0);
            for (; b < past; b += STREAMS)
#pragma GCC unroll 2
                for (int s = 0; s < STREAMS; s++) add(held(z + (b + s) * O + end - W), held(a + (b + s) * O + end - W), s);
            V slope = slope_sum[0] + slope_sum[1], deviation = deviation_sum[0] + deviation_sum[1], square = square_sum[0] + square_sum[1];
#pragma omp simd
            for (Count i = 0; i < W; i++) slopes[i] += slope[i], shifted[i] += deviation[i], squares[i] += square[i];
        }
        auto counted = saturated[0] + saturated[1];
        V flat = (highest[0] < T(DEAD)) & (highest[1] < T(DEAD)) ? one : none;
        double mean[W], square_total = 0, within = 0, slope_total = 0, saturated_total = 0, dead_total = 0;
#pragma omp simd reduction(+ : square_total, within, slope_total, saturated_total, dead_total)
        for (Count i = 0; i < W; i++) {
            bool new_one = i >= W - n;
            double shift = shifted[i] / B;
            mean[i] = first[i] + shift;
            square_total += new_one ? squares[i] : 0;
            within += new_one ? squares[i] - shifted[i] * shift : 0;
            slope_total += new_one ? slopes[i] : 0;
            saturated_total += new_one ? double(counted[i]) : 0;
            dead_total += new_one ? double(flat[i]) : 0;
        }
        n == W ? std::memcpy(means + end - W, mean, sizeof mean) : std::memcpy(means + end - n, mean + W - n, n * sizeof(double));
        this->squares += square_total, this->within += within, this->slopes += slope_total, this->saturated += saturated_total, dead += dead_total;
    }
};

// Means of the units, and the norm of what deviates from them, whatever it is.
template <class T> double deviation(const T* a, Count B, Count O, double* means) {
    double largest = 0;
    for (Count b = 0; b < B; b++) {
#pragma omp simd reduction(max : largest)
        for (Count j = 0; j < O; j++) {
            double size = std::fabs(double(a[b * O + j]) - double(a[j]));
            largest = size > largest ? size : largest;
        }
    }
    double exponent = range(largest), unit = power(-exponent), square = 0;
    std::fill(means, means + O, 0);
    for (Count b = 0; b < B; b++) {
#pragma omp simd reduction(+ : square)
        for (Count j = 0; j < O; j++) {
            double deviation = (double(a[b * O + j]) - double(a[j])) * unit;
            means[j] += deviation, square += deviation * deviation;
        }
    }
#pragma omp simd reduction(+ : square)
    for (Count j = 0; j < O; j++) {
        double shift = means[j] / B;
        square -= means[j] * shift;
        means[j] = a[j] + shift / unit;
    }
    return std::sqrt(not_negative(square)) / unit;
}

// The statistics of forward.py.
template <class T, class F>
void look_at_units(const T* z, const T* a, Count B, Count O, double steepest, double* means, Raw& raw) {
    UnitSums sums;
    for (Count j = 0; j < O; j += REGISTER<T>) {
        Count end = std::min(O, j + REGISTER<T>);
        sums.add<T, F>(z, a, B, O, end, end - j, steepest, means);
    }
    raw.sample_deviation = sums.sound<T>(B * O) ? std::sqrt(sums.within) : deviation(a, B, O, means);
    double mean = 0;
#pragma omp simd reduction(+ : mean)
    for (Count i = 0; i < O; i++) mean += means[i];
    mean /= O;
    raw.activation_mean = mean;
    raw.unit_deviation = norm<T>([means, mean](Count i) { return means[i] - mean; }, O);
    raw.saturated = sums.saturated, raw.slope_sum = sums.slopes, raw.dead = sums.dead;
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

