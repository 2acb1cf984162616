// A layer of weights as the compiled steps see it. S steps of a sequence, 1 for features; I/O features in and out of each.
#pragma once
#include "units.h"
#include "windows.h"
#include <memory>
#include <new>
#include <vector>

extern "C" struct LayerSpec {
    Count steps, into, out;               // S, I, O
    Count weight, through, bias, count;   // columns of the flat parameters: W, U of a recurrent layer, b; -1: it has none; how many
    Count last;                           // whether what goes up is the last step alone
    Count gates;                          // pre-activations of a unit: 1, or an LSTM's 4
    const void *kernels, *gate_kernels;   // NonLinearity<T> of units.h; the latter an LSTM's
    double steepest;
    const Window* windows;                // of a convolution: its own, and those of the pooling above it; null of others
    Count pools;                          // how many of these

    bool recurrent() const { return through >= 0; }
    bool features() const { return steps == 1 && !recurrent() && !windows; }  // a dense layer, not on a sequence
    Count given() const { return last ? 1 : steps; }  // steps of what goes up
    Count given_out() const { return windows ? windows[pools].out() : out; }  // features of each
};

// Memory that nobody reads before it is written: to clear what a sequence takes would cost as much as a step. It starts with a cache line: a
// compiler may take the first elements of a loop one by one, up to a boundary, and round those otherwise; so a training that is resumed by
// another process finds the same boundaries.
template <class T> struct Unset : std::allocator<T> {
    static constexpr std::align_val_t LINE{64};
    T* allocate(std::size_t n) { return (T*)::operator new(n * sizeof(T), LINE); }
    void deallocate(T* place, std::size_t) { ::operator delete(place, LINE); }
    template <class U> struct rebind {
        typedef Unset<U> other;
    };
    template <class U> void construct(U* place) { ::new ((void*)place) U; }
    template <class U, class... A> void construct(U* place, A&&... given) { ::new ((void*)place) U(std::forward<A>(given)...); }
};
template <class T> using Room = std::vector<T, Unset<T>>;

template <class T> const NonLinearity<T>& non_linearity(const LayerSpec& layer) { return *(const NonLinearity<T>*)layer.kernels; }
template <class T> const NonLinearity<T>& gate_non_linearity(const LayerSpec& layer) { return *(const NonLinearity<T>*)layer.gate_kernels; }
