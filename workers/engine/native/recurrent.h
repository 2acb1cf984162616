// Sequences: of each step all samples side by side, [S, B, F]. So a dense layer on a sequence is one of S·B rows, and a recurrent layer
// goes from step to step in products of B rows. The definition is workers/engine/network/recurrent.py.
//
// S steps, B samples, I/H features in and units. theta and gradient are a trial's flat parameters.
#pragma once
#include "layers.h"
#include "products.h"
#include <numeric>
#include <vector>

constexpr Count ROWS_OF_A_SUM = 256;  // of a product that sums over samples and steps: what it reads stays in the cache

// Every sample's numbers in the same order, from [·, B, I] to [S, B, O].
template <class T> void lay_out(const T* x, Count I, const Count* rows, T* out, Count S, Count O, Count B) {
    Count piece = std::gcd(I, O);
    for (Count k = 0; k < S * O; k += piece) {
        const T* from = x + k / I * B * I + k % I;
        T* to = out + k / O * B * O + k % O;
        for (Count b = 0; b < B; b++) std::memcpy(to + b * O, from + (rows ? rows[b] : b) * I, piece * sizeof(T));
    }
}

// Rows of n numbers as they are, or copied to rows of a register.
template <class T> const T* readable(const T* x, Count rows, Count n, T* room) {
    constexpr Count W = REGISTER<T>;
    if (n >= W) return x;
    for (Count m = 0; m < rows; m++) std::memcpy(room + m * W, x + m * n, n * sizeof(T));
    return room;
}

template <class T> void add(T* sum, const T* x, Count n) {
#pragma omp simd
    for (Count i = 0; i < n; i++) sum[i] += x[i];
}

// What the steps of a trial need.
template <class T> struct Steps {
    std::vector<T> weight, through;  // W, with b behind it, and U as their products read them
    std::vector<T> rows, product, sums;
    void fit(const LayerSpec& layer, Count batch) {
        Count H = layer.out, I = layer.into, W = REGISTER<T>, wide = std::max({H, I, W});
        grow(weight, (I + 1) * wide), grow(through, H * wide), grow(sums, H);
        grow(rows, std::max(batch, ROWS_OF_A_SUM) * W), grow(product, std::max(H, batch) * wide + W);
    }

  private:
    static void grow(std::vector<T>& room, Count n) {
        if (Count(room.size()) < n) room.resize(n);
    }
};

// z_t = W x_t + b + U h_{t−1} and h_t = θ(z_t), into z and a [S, B, H]; before a lies h_0. Returns whether every z is finite.
template <class T> bool forward_through_time(const LayerSpec& layer, const T* theta, const T* x, T* z, T* a, Count B, Steps<T>& room) {
    Count H = layer.out, I = layer.into, row = padded<T>(H), step = B * H;
    T *weight = room.weight.data(), *through = room.through.data(), *entering = room.product.data();
    const T* bias = layer.bias < 0 ? nullptr : (const T*)std::memcpy(weight + I * row, theta + layer.bias, H * sizeof(T));
    transpose(theta + layer.weight, H, I, weight, row);
    transpose(theta + layer.through, H, H, through, row);
    bool finite = true;
    for (Count s = 0; s < layer.steps; s++, x += B * I, z += step, a += step) {
        product<T>(B, H, I, {x, I, 1}, weight, row, entering, bias);
        product<T>(B, H, H, {a - step, H, 1}, through, row, z, entering, H);
        finite &= non_linearity<T>(layer).activate(z, a, step);
    }
    return finite;
}

// sum [M, N] (+)= aᵀ [M, K] · b [K, N]
template <class T> void add_product(Count M, Count N, Count K, const T* a, const T* b, T* sum, bool first, Steps<T>& room) {
    T* found = first ? sum : room.product.data();
    product<T>(M, N, K, {a, 1, M}, readable(b, K, N, room.rows.data()), padded<T>(N), found);
    if (!first) add(sum, found, M * N);
}

// δ at the pre-activations [S, B, H] from δ at the values, in place; of those [B, H] of the last step where that alone goes up. And the
// gradients of W, U and b: sums over some steps each, which rounding harms less than one over all of them.
template <class T>
void back_through_time(const LayerSpec& layer, const T* theta, T* gradient, T* delta, const T* x, const T* z, const T* a, Count B,
                       Steps<T>& room) {
    Count H = layer.out, I = layer.into, step = B * H, last = layer.steps - 1, together = std::max<Count>(1, ROWS_OF_A_SUM / B);
    const T* through = readable(theta + layer.through, H, H, room.through.data());
    if (layer.last && last) std::memcpy(delta + last * step, delta, step * sizeof(T));
    for (Count s = last, end = layer.steps; s >= 0; s--) {
        T* own = delta + s * step;
        if (s < last) {
            const T* above = layer.last ? nullptr : (const T*)std::memcpy(room.product.data(), own, step * sizeof(T));
            product<T>(B, H, H, {own + step, H, 1}, through, padded<T>(H), own, above, H);
        }
        non_linearity<T>(layer).descend(own, z + s * step, a + s * step, step);
        if (end - s < together && s) continue;
        bool first = end == layer.steps;
        Count rows = (end - s) * B;
        add_product(H, I, rows, own, x + s * B * I, gradient + layer.weight, first, room);
        add_product(H, H, rows, own, a + (s - 1) * step, gradient + layer.through, first, room);
        if (layer.bias >= 0) {
            T *sum = gradient + layer.bias, *found = first ? sum : room.sums.data();
            sum_over_samples(own, rows, H, found);
            if (!first) add(sum, found, H);
        }
        end = s;
    }
}

// The statistics of look_at_units where every unit counts once at every step: what is within steps, and between them.
template <class T> void look_through_time(const LayerSpec& layer, const T* z, const T* a, Count B, double* means, Raw& raw) {
    Raw own;
    double mean = 0, within = 0, across = 0, saturated = 0, slopes = 0, dead = 0, O = double(layer.out);
    for (Count s = 0; s < layer.steps; s++) {
        Count at = s * B * layer.out;
        non_linearity<T>(layer).look(z + at, a + at, B, layer.out, layer.steepest, means, own);
        double apart = own.activation_mean - mean, steps = double(s + 1);
        mean += apart / steps;
        within = std::hypot(within, own.sample_deviation);
        across = std::hypot(std::hypot(across, own.unit_deviation), apart * std::sqrt(O * double(s) / steps));
        saturated += own.saturated, slopes += own.slope_sum, dead += own.dead;
    }
    raw.activation_mean = mean, raw.sample_deviation = within, raw.unit_deviation = across;
    raw.saturated = saturated, raw.slope_sum = slopes, raw.dead = dead;
}
