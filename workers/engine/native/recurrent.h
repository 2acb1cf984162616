// Sequences: of each step all samples side by side, [S, B, F]. So a dense layer on a sequence is one of S·B rows, and a recurrent layer
// goes from step to step in products of B rows. The definition is workers/engine/network/recurrent.py.
//
// S steps, B samples, I/H features in and units. theta and gradient are a trial's flat parameters.
#pragma once
#include "products.h"
#include "samples.h"
#include <numeric>

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

template <class T> void add(T* sum, const T* x, Count n) {
#pragma omp simd
    for (Count i = 0; i < n; i++) sum[i] += x[i];
}

// What the steps of a trial need.
template <class T> struct Steps {
    std::vector<T> weight, through;  // W, with b behind it, and U as their products read them, one gate after another
    std::vector<T> rows, product, other, sums;
    std::vector<T> back, at_cell, at_gates;  // an LSTM's
    void fit(const LayerSpec& layer, Count batch) {
        Count H = layer.out, I = layer.into, G = layer.gates, W = REGISTER<T>, wide = std::max({H, I, W});
        grow(weight, G * (std::max(H, I) + 1) * wide), grow(through, G * H * wide), grow(sums, H);
        grow(rows, std::max(batch, ROWS_OF_A_SUM) * W), grow(product, std::max(H, batch) * wide + W);
        if (G > 1) grow(other, batch * wide + W), grow(back, batch * H), grow(at_cell, batch * H), grow(at_gates, G * batch * H);
    }

  private:
    static void grow(std::vector<T>& room, Count n) {
        if (Count(room.size()) < n) room.resize(n);
    }
};

// Lays out the weights for `weigh`, once for all steps.
template <class T> void turn_weights(const LayerSpec& layer, const T* theta, Steps<T>& room) {
    Count H = layer.out, I = layer.into, row = padded<T>(H);
    for (Count g = 0; g < layer.gates; g++) {
        T* weight = room.weight.data() + g * (I + 1) * row;
        transpose(theta + layer.weight + g * H * I, H, I, weight, row);
        transpose(theta + layer.through + g * H * H, H, H, room.through.data() + g * H * row, row);
        if (layer.bias >= 0) std::memcpy(weight + I * row, theta + layer.bias + g * H, H * sizeof(T));
    }
}

// z [B, H] of a gate at one step: W x + b + U h, h of the step before.
template <class T> void weigh(const LayerSpec& layer, Count g, const T* x, const T* h, T* z, Count B, Steps<T>& room) {
    Count H = layer.out, I = layer.into, row = padded<T>(H);
    const T* weight = room.weight.data() + g * (I + 1) * row;
    product(B, H, I, View<T>{x, I}, weight, row, room.product.data(), layer.bias < 0 ? nullptr : weight + I * row);
    product(B, H, H, View<T>{h, H}, room.through.data() + g * H * row, row, z, room.product.data(), H);
}

// sum [M, N] (+)= aᵀ [M, K] · b [K, N]
template <class T> void add_product(Count M, Count N, Count K, const T* a, const T* b, T* sum, bool first, Steps<T>& room) {
    T* found = first ? sum : room.product.data();
    product(M, N, K, View<T, true>{a, M}, readable(b, K, N, room.rows.data()), padded<T>(N), found);
    if (!first) add(sum, found, M * N);
}

// Adds to the gradients of a gate's W, U and b what some steps of so many rows leave: δ, x, and h of the steps before. Sums over some
// steps each, which rounding harms less than one over all of them.
template <class T>
void add_gradients(const LayerSpec& layer, Count g, T* gradient, const T* delta, const T* x, const T* h, Count rows, bool first, Steps<T>& room) {
    Count H = layer.out, I = layer.into;
    add_product(H, I, rows, delta, x, gradient + layer.weight + g * H * I, first, room);
    add_product(H, H, rows, delta, h, gradient + layer.through + g * H * H, first, room);
    if (layer.bias < 0) return;
    T *sum = gradient + layer.bias + g * H, *found = first ? sum : room.sums.data();
    sum_over_samples(delta, rows, H, found);
    if (!first) add(sum, found, H);
}

inline Count steps_of_a_sum(Count B) { return std::max<Count>(1, ROWS_OF_A_SUM / B); }

// h_t = θ(z_t), z_t = W x_t + b + U h_{t−1}, into a and z [S, B, H]; before a lies h_0. Returns whether every z is finite.
template <class T> bool forward_through_time(const LayerSpec& layer, const T* theta, const T* x, T* z, T* a, Count B, Steps<T>& room) {
    Count step = B * layer.out;
    turn_weights(layer, theta, room);
    bool finite = true;
    for (Count s = 0; s < layer.steps; s++, x += B * layer.into, z += step, a += step) {
        weigh(layer, 0, x, a - step, z, B, room);
        finite &= non_linearity<T>(layer).activate(z, a, step);
    }
    return finite;
}

// δ at the pre-activations [S, B, H] from δ at the values, in place; of those [B, H] of the last step where that alone goes up. And the
// parameters' gradients.
template <class T>
void back_through_time(const LayerSpec& layer, const T* theta, T* gradient, T* delta, const T* x, const T* z, const T* a, Count B,
                       Steps<T>& room) {
    Count H = layer.out, step = B * H, last = layer.steps - 1;
    const T* through = readable(theta + layer.through, H, H, room.through.data());
    if (layer.last && last) std::memcpy(delta + last * step, delta, step * sizeof(T));
    for (Count s = last, end = layer.steps; s >= 0; s--) {
        T* own = delta + s * step;
        if (s < last) {
            const T* above = layer.last ? nullptr : (const T*)std::memcpy(room.product.data(), own, step * sizeof(T));
            product(B, H, H, View<T>{own + step, H}, through, padded<T>(H), own, above, H);
        }
        non_linearity<T>(layer).descend(own, z + s * step, a + s * step, step);
        if (end - s < steps_of_a_sum(B) && s) continue;
        add_gradients(layer, 0, gradient, own, x + s * B * layer.into, a + (s - 1) * step, (end - s) * B, end == layer.steps, room);
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
