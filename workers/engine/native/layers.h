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
