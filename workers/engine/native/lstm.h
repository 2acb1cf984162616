// LSTMs: c_t = f c_{t−1} + i g, h_t = o θ(c_t). Of each gate all steps lie together, so that it is handled as an RNN's pre-activations are:
// i, f, g, o, [4, S, B, H]. The definition is workers/engine/network/recurrent.py.
#pragma once
#include "recurrent.h"

constexpr Count CANDIDATE = 2;

// What is kept of all steps of a layer besides the pre-activations and h.
template <class T> struct Cells {
    Room<T> values;       // of the gates; empty where they are in place of the pre-activations
    Room<T> cells, shown; // c, from before the first step; θ(c)
    Count first = 0;             // where the first step is in cells
    void fit(const LayerSpec& layer, Count batch) {
        Count step = batch * layer.out, all = layer.steps * step;
        bool in_place = non_linearity<T>(layer).from_value && gate_non_linearity<T>(layer).from_value;
        values.resize(in_place ? 0 : layer.gates * all);
        first = step, cells.resize(step + all), shown.resize(all);
        std::fill(cells.begin(), cells.begin() + step, T(0));
    }
    T* gates(T* z) { return values.empty() ? z : values.data(); }
};

template <class T> const NonLinearity<T>& of_gate(const LayerSpec& layer, Count g) {
    return g == CANDIDATE ? non_linearity<T>(layer) : gate_non_linearity<T>(layer);
}

// Into z [4, S, B, H] and h [S, B, H], before which lies h_0. Returns whether the candidate's pre-activations are finite.
template <class T>
bool forward_through_cells(const LayerSpec& layer, const T* theta, const T* x, T* z, T* h, Cells<T>& kept, Count B, Steps<T>& room) {
    Count step = B * layer.out, gate = layer.steps * step;
    T *gates = kept.gates(z), *cell = kept.cells.data() + kept.first, *shown = kept.shown.data();
    turn_weights(layer, theta, room);
    bool finite = true;
    for (Count s = 0; s < layer.steps; s++, x += B * layer.into, z += step, gates += step, h += step, cell += step, shown += step) {
        for (Count g = 0; g < layer.gates; g++) {
            weigh(layer, g, x, h - step, z + g * gate, B, room);
            bool sound = of_gate<T>(layer, g).activate(z + g * gate, gates + g * gate, step);
            if (g == CANDIDATE) finite &= sound;
        }
        const T *entering = gates, *keeping = gates + gate, *candidate = gates + 2 * gate, *leaving = gates + 3 * gate, *before = cell - step;
#pragma omp simd
        for (Count j = 0; j < step; j++) cell[j] = keeping[j] * before[j] + entering[j] * candidate[j];
        non_linearity<T>(layer).activate(cell, shown, step);
#pragma omp simd
        for (Count j = 0; j < step; j++) h[j] = leaving[j] * shown[j];
    }
    return finite;
}

// c [B, N] = Σ over the gates of δ [B, H] · b [H, N], + offset
template <class T>
void sum_of_products(const LayerSpec& layer, Count B, Count N, const T* delta, const T* b, T* c, const T* offset, Steps<T>& room) {
    Count H = layer.out, row = padded<T>(N);
    for (Count g = 0; g < layer.gates; g++) {
        T* to = g == layer.gates - 1 ? c : g % 2 ? room.other.data() : room.product.data();
        product(B, N, H, View<T>{delta + g * B * H, H}, b + g * H * row, row, to, offset, N);
        offset = to;
    }
}

// δ at the pre-activations in place of these, from δ at h [S, B, H]; of those [B, H] of the last step where that alone goes up. And the
// parameters' gradients, and what comes down to x where somebody wants it.
template <class T>
void back_through_cells(const LayerSpec& layer, const T* theta, T* gradient, const T* delta, const T* x, T* z, const T* h, Cells<T>& kept,
                        Count B, T* below, Steps<T>& room) {
    Count H = layer.out, I = layer.into, step = B * H, gate = layer.steps * step, last = layer.steps - 1;
    const T* through = readable(theta + layer.through, layer.gates * H, H, room.through.data());
    const T* weight = readable(theta + layer.weight, layer.gates * H, I, room.weight.data());
    T *back = room.back.data(), *at_cell = room.at_cell.data(), *at = room.at_gates.data();
    std::memcpy(back, layer.last ? delta : delta + last * step, step * sizeof(T));
    std::fill(at_cell, at_cell + step, T(0));
    for (Count s = last, end = layer.steps; s >= 0; s--) {
        T *own = z + s * step, *gates = kept.gates(z) + s * step;
        const T *cell = kept.cells.data() + kept.first + s * step, *before = cell - step, *shown = kept.shown.data() + s * step;
        const T *entering = gates, *keeping = gates + gate, *candidate = gates + 2 * gate, *leaving = gates + 3 * gate;
#pragma omp simd
        for (Count j = 0; j < step; j++) at[j] = back[j] * leaving[j];
        non_linearity<T>(layer).descend(at, cell, shown, step);
#pragma omp simd
        for (Count j = 0; j < step; j++) {
            T inside = at_cell[j] + at[j];
            at[j] = inside * candidate[j];
            at[step + j] = inside * before[j];
            at[2 * step + j] = inside * entering[j];
            at[3 * step + j] = back[j] * shown[j];
            at_cell[j] = inside * keeping[j];
        }
        for (Count g = 0; g < layer.gates; g++) {
            of_gate<T>(layer, g).descend(at + g * step, own + g * gate, gates + g * gate, step);
            std::memcpy(own + g * gate, at + g * step, step * sizeof(T));
        }
        if (s) sum_of_products(layer, B, H, at, through, back, layer.last ? nullptr : delta + (s - 1) * step, room);
        if (below) sum_of_products(layer, B, I, at, weight, below + s * B * I, (const T*)nullptr, room);
        if (end - s < steps_of_a_sum(B) && s) continue;
        for (Count g = 0; g < layer.gates; g++)
            add_gradients(layer, g, gradient, own + g * gate, x + s * B * I, h + (s - 1) * step, (end - s) * B, end == layer.steps, room);
        end = s;
    }
}
