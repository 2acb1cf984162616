// Sums over the samples of a layer of weights: of its error signal δ [B, O], and of what it sees, x [B, I].
#pragma once
#include "layers.h"

// Numbers whose sums change places with their lanes: more than eight would take longer to do so than to add.
template <class T> constexpr int PLACES = std::min<Count>(REGISTER<T>, 8);
template <class T> struct Places {
    typedef T type __attribute__((vector_size(PLACES<T> * sizeof(T))));
};
template <class T> using Side = typename Places<T>::type;

// Sums of neighbours S lanes apart: where a lane has S in its number those of q, else of p.
template <class T, int S> inline Side<T> folded(Side<T> p, Side<T> q) {
    constexpr int W = PLACES<T>;
    decltype(p < q) near{}, far{};
    for (int i = 0; i < W; i++) near[i] = i & S ? W + i - S : i, far[i] = i & S ? W + i : i + S;
    return __builtin_shuffle(p, q, near) + __builtin_shuffle(p, q, far);
}

// In lane i what the lanes of x[i] add up to.
template <class T, int N = PLACES<T>> inline Side<T> totals(const Side<T>* x) {
    if constexpr (N == 1) return *x;
    else return folded<T, N / 2>(totals<T, N / 2>(x), totals<T, N / 2>(x + N / 2));
}

// ‖x_b·unit‖² of each of B rows of n numbers, some rows at a time; what is found is as long as whole registers.
template <class T, bool SCALED> void squares_of_rows(const T* x, Count B, Count n, T unit, T* found) {
    constexpr Count W = PLACES<T>;
    typedef Side<T> V;
    auto in_unit = [unit](auto own) { return SCALED ? own * unit : own; };
    if (n < W) {
        for (Count b = 0; b < B; b++, x += n) {
            found[b] = 0;
            for (Count i = 0; i < n; i++) found[b] += in_unit(x[i]) * in_unit(x[i]);
        }
        return;
    }
    V behind;  // of what is read once more than the others
    for (Count i = 0; i < W; i++) behind[i] = i >= W - n % W;
    for (Count b = 0; b < B; b += W) {
        Count rows = std::min(W, B - b);
        V sum[W];
        auto read = [&](Count row, Count i) {
            V own;
            std::memcpy(&own, x + (b + std::min(row, rows - 1)) * n + i, sizeof own);
            return in_unit(own);
        };
#pragma GCC unroll 8
        for (Count row = 0; row < W; row++) sum[row] = V{};
        for (Count i = 0; i <= n - W; i += W)
#pragma GCC unroll 8
            for (Count row = 0; row < W; row++) {
                V own = read(row, i);
                sum[row] += own * own;
            }
        if (n % W)
#pragma GCC unroll 8
            for (Count row = 0; row < W; row++) {
                V own = read(row, n - W);
                sum[row] += behind != 0 ? own * own : behind;
            }
        V all = totals<T>(sum);
        std::memcpy(found + b, &all, sizeof all);
    }
}

enum Squares { NONE, OF_SIGNAL, OF_SAMPLES };

struct SampleSquares {
    double signal = 0, samples = 0;  // Σ_b ‖δ_b‖², Σ_b ‖δ_b‖² r_b, of δ·unit
};

// Σ_b δ_b, unit by unit, into `sum`, if it is somewhere.
template <class T, Squares WHICH = NONE, bool SCALED = false>
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
            auto add = [&](V own, Count b, int s) {
                sums[s] += own;
                if (WHICH == NONE) return;
                if (SCALED) own *= unit;
                own *= own;
                squares[s] += own;
                if (WHICH == OF_SAMPLES) weighted[s] += own * reach[b];
            };
            Count b = start;
            for (; b < past && (b * O + end < W || (past - b) % STREAMS); b++) add(held_before(delta, b * O + end), b, 0);
            for (; b < past; b += STREAMS)
#pragma GCC unroll 4
                for (int s = 0; s < STREAMS; s++) add(held(delta + (b + s) * O + end - W), b + s, s);
            if (WHICH == NONE) continue;
            V square = (squares[0] + squares[1]) + (squares[2] + squares[3]), sample = (weighted[0] + weighted[1]) + (weighted[2] + weighted[3]);
#pragma omp simd
            for (Count i = 0; i < W; i++) signal[i] += square[i], samples[i] += sample[i];
        }
        V all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        if (sum) put_last(sum + j, all, n);
        double own_signal = 0, own_samples = 0;
#pragma omp simd reduction(+ : own_signal, own_samples)
        for (Count i = 0; i < W; i++) own_signal += i >= W - n ? signal[i] : 0, own_samples += i >= W - n ? samples[i] : 0;
        found.signal += own_signal, found.samples += own_samples;
    }
    return found;
}

// Σ_b δ_b into `bias`, and the squares of the error signal and, where WHICH says so, of the gradients that single samples leave,
// B² Σ_b ‖δ_b‖² (‖x_b‖² + 1): of numbers as they are, or, where T would not hold that, in range.
template <class T, Squares WHICH>
void look_at_samples(const T* delta, const T* x, const LayerSpec& layer, Count B, T* bias, T* reach, Raw& raw) {
    Count I = layer.into, O = layer.out;
    if (WHICH == OF_SAMPLES) squares_of_rows<T, false>(x, B, I, 1, reach);
    SampleSquares found = sum_over_samples<T, WHICH>(delta, B, O, bias, 1, reach);
    double exponent = 0, x_exponent = 0, reaches = 0;
    if (WHICH == OF_SAMPLES)
#pragma omp simd reduction(+ : reaches)
        for (Count b = 0; b < B; b++) reaches += reach[b];
    bool held = holds<T>(found.signal, B * O) && (WHICH != OF_SAMPLES || holds<T>(found.samples, found.signal * I + reaches * O));
    if (!held) {
        constexpr double LEAST = 2 - std::numeric_limits<T>::max_exponent;
        exponent = std::fmax(range_of([delta](Count i) { return delta[i]; }, B * O), LEAST);
        if (WHICH == OF_SAMPLES) {
            x_exponent = std::fmax(range_of([x](Count i) { return x[i]; }, B * I), LEAST);
            squares_of_rows<T, true>(x, B, I, T(power(-x_exponent)), reach);
        }
        found = sum_over_samples<T, WHICH, true>(delta, B, O, bias, T(power(-exponent)), reach);
    }
    raw.delta_exponent = exponent, raw.delta_square = found.signal;
    if (WHICH == OF_SAMPLES) raw.sample_square = (found.samples * power(2 * x_exponent) + (layer.bias >= 0 ? found.signal : 0)) * B;
}
