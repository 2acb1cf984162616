// Sequences: of each step all samples side by side, [S, B, F]. So a dense layer on a sequence is one of S·B rows, and a recurrent layer
// goes from step to step in products of B rows. The definition is workers/engine/network/recurrent.py.
//
// S steps, B samples, I/H features in and units. `multiply` is Trial's in step.cpp; theta and gradient are a trial's flat parameters.
#pragma once
#include "layers.h"
#include <numeric>

// Every sample's numbers in the same order, from [·, B, I] to [S, B, O].
template <class T> void lay_out(const T* x, Count I, const Count* rows, T* out, Count S, Count O, Count B) {
    Count piece = std::gcd(I, O);
    for (Count k = 0; k < S * O; k += piece) {
        const T* from = x + k / I * B * I + k % I;
        T* to = out + k / O * B * O + k % O;
        for (Count b = 0; b < B; b++) std::memcpy(to + b * O, from + (rows ? rows[b] : b) * I, piece * sizeof(T));
    }
}

// z_t = W x_t + U h_{t−1} and h_t = θ(z_t + b), into z and a [S, B, H]; `start` is h_0, zeros. Returns whether every z is finite.
template <class T, class Multiply>
bool forward_through_time(const LayerSpec& layer, const T* theta, const T* x, T* z, T* a, const T* start, Count B, Multiply multiply) {
    Count H = layer.out, step = B * H;
    const T* bias = layer.bias < 0 ? nullptr : theta + layer.bias;
    bool finite = true;
    multiply('T', 'N', H, layer.steps * B, layer.into, theta + layer.weight, layer.into, x, layer.into, z, T(0));
    for (Count s = 0; s < layer.steps; s++) {
        const T* before = s ? a + (s - 1) * step : start;
        multiply('T', 'N', H, B, H, theta + layer.through, H, before, H, z + s * step, T(1));
        finite &= non_linearity<T>(layer).activate(z + s * step, bias, a + s * step, B, H);
    }
    return finite;
}

// δ at the pre-activations [S, B, H] from δ at the values, in place; of those [B, H] of the last step if that alone goes up. And the
// gradients of b and U: sums over a step each, [H] in `sums`, which rounding harms less than one over all of them.
template <class T, class Multiply>
void back_through_time(const LayerSpec& layer, const T* theta, T* gradient, T* delta, const T* z, const T* a, const T* start, T* sums, Count B,
                       Multiply multiply) {
    Count H = layer.out, step = B * H, last = layer.steps - 1;
    T* bias_gradient = layer.bias < 0 ? nullptr : gradient + layer.bias;
    if (bias_gradient) std::fill(bias_gradient, bias_gradient + H, T(0));
    if (layer.last && last) std::memcpy(delta + last * step, delta, step * sizeof(T));
    for (Count s = last; s >= 0; s--) {
        T* own = delta + s * step;
        if (s < last) multiply('N', 'N', H, B, H, theta + layer.through, H, own + step, H, own, T(layer.last ? 0 : 1));
        non_linearity<T>(layer).descend(own, z + s * step, a + s * step, bias_gradient ? sums : nullptr, B, H);
        for (Count j = 0; bias_gradient && j < H; j++) bias_gradient[j] += sums[j];
    }
    multiply('N', 'T', H, H, B, start, H, delta, H, gradient + layer.through, T(0));
    multiply('N', 'T', H, H, last * B, a, H, delta + step, H, gradient + layer.through, T(1));
}

// The statistics of look_at_units where every unit counts once at every step: what is within steps, and between them.
template <class T>
void look_through_time(const LayerSpec& layer, const T* z, const T* a, Count B, double* means, Raw& raw) {
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
