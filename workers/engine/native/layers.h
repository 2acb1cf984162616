// A layer of weights as the compiled steps see it. S steps of a sequence, 1 for features; I/O features in and out of each.
#pragma once
#include "units.h"

extern "C" struct LayerSpec {
    Count steps, into, out;               // S, I, O
    Count weight, through, bias, count;   // columns of the flat parameters: W, U of a recurrent layer, b; -1: it has none; how many
    Count last;                           // whether what goes up is the last step alone
    const void* kernels;                  // NonLinearity<T> of units.h
    double steepest;

    bool recurrent() const { return through >= 0; }
    Count given() const { return last ? 1 : steps; }  // steps of what goes up
};

template <class T> const NonLinearity<T>& non_linearity(const LayerSpec& layer) { return *(const NonLinearity<T>*)layer.kernels; }

// Σ_b δ_b, unit by unit; two sums of every second sample, so that one need not wait for the other.
template <class T> void sum_over_samples(const T* delta, Count B, Count O, T* found) {
    for (Count j = 0; j < O; j += LANES) {
        Lanes<T> even{}, odd{};
        for (Count b = 0; b < B - 1; b += 2) even += lanes(delta + b * O + j, O - j), odd += lanes(delta + (b + 1) * O + j, O - j);
        if (B % 2) even += lanes(delta + (B - 1) * O + j, O - j);
        even += odd;
        std::memcpy(found + j, &even, std::min(LANES, O - j) * sizeof(T));
    }
}
