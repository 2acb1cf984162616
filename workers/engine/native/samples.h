// Sums over the samples of a layer of weights: of its error signal δ [B, O], and of what it sees, x [B, I].
#pragma once
#include "layers.h"

// Sums of neighbours S lanes apart: where a lane has S in its number those of q, else of p.
template <class T, int S> inline Register<T> folded(Register<T> p, Register<T> q) {
    constexpr int W = REGISTER<T>;
    decltype(p < q) near{}, far{};
    for (int i = 0; i < W; i++) near[i] = i & S ? W + i - S : i, far[i] = i & S ? W + i : i + S;
    return __builtin_shuffle(p, q, near) + __builtin_shuffle(p, q, far);
}

// In lane i what the lanes of x[i] add up to.
template <class T, int N = REGISTER<T>> inline Register<T> totals(const Register<T>* x) {
    if constexpr (N == 1) return *x;
    else return folded<T, N / 2>(totals<T, N / 2>(x), totals<T, N / 2>(x + N / 2));
}

// ‖x_b·unit‖² of each of B rows of n numbers; as many at a time as a register holds.
template <class T> void squares_of_rows(const T* x, Count B, Count n, T unit, T* found) {
    constexpr Count W = REGISTER<T>;
    typedef Register<T> V;
    Count whole = n / W * W;
    V rest;
    for (Count i = 0; i < W; i++) rest[i] = i < W - (n - whole) ? T(0) : unit;
    for (Count b = 0; b < B; b += W) {
        Count rows = std::min(W, B - b);
        V sum[W];
#pragma GCC unroll 16
        for (Count row = 0; row < W; row++) sum[row] = V{};
        for (Count i = 0; i < whole; i += W)
#pragma GCC unroll 16
            for (Count row = 0; row < W; row++) {
                V own = held(x + (b + std::min(row, rows - 1)) * n + i) * unit;
                sum[row] += own * own;
            }
        if (whole < n)
#pragma GCC unroll 16
            for (Count row = 0; row < W; row++) {
                V own = held_before(x, (b + std::min(row, rows - 1) + 1) * n);
                own = rest != 0 ? own * rest : rest;
                sum[row] += own * own;
            }
        V all = totals<T>(sum);
        std::memcpy(found + b, &all, rows * sizeof(T));
    }
}

enum Squares { NONE, OF_SIGNAL, OF_SAMPLES };

struct SampleSquares {
    double signal = 0, samples = 0;  // Σ_b ‖δ_b‖², Σ_b ‖δ_b‖² r_b, of δ·unit
};

// Σ_b δ_b, unit by unit, into `sum`, if it is somewhere.
template <class T, Squares WHICH = NONE>
SampleSquares sum_over_samples(const T* delta, Count B, Count O, T* sum, T unit = 1, const T* reach = nullptr) {
    constexpr Count W = REGISTER<T>, STREAMS = 4;
    typedef Register<T> V;
    SampleSquares found;
    for (Count j = 0; j < O; j += W) {
        Count end = std::min(O, j + W), n = end - j;
        V sums[STREAMS]{};
        double signal[W]{}, samples[W]{};
        for (Count start = 0, past; start < B; start = past) {
            past = std::min(B, start + STREAMS * TERMS);
            V squares[STREAMS]{}, weighted[STREAMS]{};
            auto row = [&](Count b, int s) {
                V own = held_before(delta, b * O + end);
                sums[s] += own;
                if (WHICH == NONE) return;
                own *= unit, own *= own, squares[s] += own;
                if (WHICH == OF_SAMPLES) weighted[s] += own * reach[b];
            };
            Count b = start;
            for (; b + STREAMS <= past; b += STREAMS) row(b, 0), row(b + 1, 1), row(b + 2, 2), row(b + 3, 3);
            for (; b < past; b++) row(b, 0);
            if (WHICH == NONE) continue;
            V square = (squares[0] + squares[1]) + (squares[2] + squares[3]), sample = (weighted[0] + weighted[1]) + (weighted[2] + weighted[3]);
#pragma omp simd
            for (Count i = 0; i < W; i++) signal[i] += square[i], samples[i] += sample[i];
        }
        V all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        if (sum) std::memcpy(sum + j, (T*)&all + W - n, n * sizeof(T));
        double own_signal = 0, own_samples = 0;
#pragma omp simd reduction(+ : own_signal, own_samples)
        for (Count i = 0; i < W; i++) own_signal += i >= W - n ? signal[i] : 0, own_samples += i >= W - n ? samples[i] : 0;
        found.signal += own_signal, found.samples += own_samples;
    }
    return found;
}

// Σ_b δ_b into `bias`, and the squares of the error signal and, where WHICH says so, of the gradients that single samples leave,
// B² Σ_b ‖δ_b‖² (‖x_b‖² + 1): as they are, or, where T would not hold them, in units of a power of two.
template <class T, Squares WHICH>
void look_at_samples(const T* delta, const T* x, const LayerSpec& layer, Count B, T* bias, T* reach, Raw& raw) {
    Count I = layer.into, O = layer.out;
    auto in_range = [](const T* of, Count n) {
        return std::fmax(range_of([of](Count i) { return of[i]; }, n), 2 - std::numeric_limits<T>::max_exponent);
    };
    double exponent = 0, x_exponent = 0, reaches = 0;
    auto look = [&] {
        if (WHICH == OF_SAMPLES) squares_of_rows(x, B, I, T(power(-x_exponent)), reach);
        return sum_over_samples<T, WHICH>(delta, B, O, bias, T(power(-exponent)), reach);
    };
    SampleSquares found = look();
    for (Count b = 0; WHICH == OF_SAMPLES && b < B; b++) reaches += reach[b];
    bool held = holds<T>(found.signal, B * O);
    if (WHICH == OF_SAMPLES) held &= holds<T>(found.samples, found.signal * I + reaches * O);
    if (!held) {
        exponent = in_range(delta, B * O), x_exponent = WHICH == OF_SAMPLES ? in_range(x, B * I) : 0;
        found = look();
    }
    raw.delta_exponent = exponent, raw.delta_square = found.signal;
    if (WHICH == OF_SAMPLES) raw.sample_square = (found.samples * power(2 * x_exponent) + (layer.bias >= 0 ? found.signal : 0)) * B;
}
