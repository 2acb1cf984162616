// Pooling, samples innermost (windows.h): of every window the largest, or the mean. The definition is workers/engine/network/pooling.py.
#pragma once
#include "layers.h"
#include "windows.h"

// f(places that a window sees, where they start among the block's features, where the window's own place is), for every window and block.
template <class F> void each_window(const Window& w, const Pairs& pairs, Count blocks, F f) {
    Apart in = steps_in(w), out = steps_out(w);
    for (Count b = 0; b < blocks; b++)
        for (Count c = 0; c < w.channels; c++)
            for (Count p = 0; p < w.out_places(); p++)
                f(pairs.begin(p), pairs.end(p), b * w.into() + c * in.channel, b * w.out() + c * out.channel + p * out.place);
}

// By lane; a NaN is larger than any number.
template <class T> Register<T> larger(Register<T> x, Register<T> than) {
    Register<T> found = x > than ? x : than;
    return x != x ? x : found;
}

template <class T> void pool(const Window& w, const Pairs& pairs, const T* x, T* found, Count blocks) {
    constexpr Count W = REGISTER<T>;
    T share = T(1) / T(w.kernel());
    each_window(w, pairs, blocks, [&](const Pair* begin, const Pair* end, Count in, Count out) {
        auto seen = [&](const Pair* pair) { return held(x + (in + pair->other) * W); };
        Register<T> own = seen(begin);
        if (w.kind == MEAN) {
            for (const Pair* pair = begin + 1; pair < end; pair++) own += seen(pair);
            own *= share;
        } else {
            for (const Pair* pair = begin + 1; pair < end; pair++) own = larger<T>(seen(pair), own);
        }
        put(found + out * W, own);
    });
}

// Whether every place is seen once.
inline bool parts(const Window& w) {
    return w.side[0] == w.stride && (w.side[1] == w.stride || w.from[1] == 1) && w.out_places() * w.kernel() == w.places();
}

// δ at what came in, x, from δ at what went out, found: to the first of the largest, to all the largest in equal shares, or
// to all places.
template <class T> void pool_back(const Window& w, const Pairs& pairs, const T* x, const T* found, const T* delta, T* below, Count blocks) {
    constexpr Count W = REGISTER<T>;
    T share = T(1) / T(w.kernel());
    bool once = parts(w);
    if (!once) std::fill(below, below + blocks * w.into() * W, T(0));
    each_window(w, pairs, blocks, [&](const Pair* begin, const Pair* end, Count in, Count out) {
        Register<T> above = held(delta + out * W), zero{};
        auto add = [&](const Pair* pair, Register<T> own) {
            T* to = below + (in + pair->other) * W;
            put(to, once ? own : held(to) + own);
        };
        if (w.kind == MEAN) {
            for (const Pair* pair = begin; pair < end; pair++) add(pair, above * share);
            return;
        }
        Register<T> largest = held(found + out * W);
        if (w.kind == ALL_LARGEST) {
            Register<T> one = zero + T(1), many{};
            auto is = [&](const Pair* pair) { return held(x + (in + pair->other) * W) == largest ? one : zero; };
            for (const Pair* pair = begin; pair < end; pair++) many += is(pair);
            for (const Pair* pair = begin; pair < end; pair++) add(pair, above * is(pair) / many);
            return;
        }
        for (const Pair* pair = begin; pair < end; pair++) {
            Register<T> own = held(x + (in + pair->other) * W), given = own == largest ? above : zero, left = own == largest ? zero : above;
            add(pair, own != own ? above : given);
            above = own != own ? zero : left;
        }
    });
}

// Above a layer, one after another: which places each sees, and what it gives.
template <class T> struct Pools {
    std::vector<Pairs> seen;
    std::vector<Room<T>> values;
    void fit(const LayerSpec& layer, Count samples) {
        for (const Window* w = layer.windows + 1; w <= layer.windows + layer.pools; w++) {
            Count apart = steps_in(*w).place;
            seen.push_back(Pairs::of(*w, w->out_places(), [](Count p, Count, Count) { return p; }, [=](Count, Count k, Count q) { return Pair{k, q * apart}; }));
            values.emplace_back(samples * w->out());
        }
    }
    const T* below(Count i, const T* value) const { return i ? values[i - 1].data() : value; }
};

template <class T> void pool(const LayerSpec& layer, const T* value, Count B, Pools<T>& room) {
    for (Count i = 0; i < layer.pools; i++)
        pool(layer.windows[i + 1], room.seen[i], room.below(i, value), room.values[i].data(), blocks_of<T>(B));
}

// δ at the layer's value from δ at what goes up; the two change places at every pool.
template <class T> void pool_back(const LayerSpec& layer, const T* value, T*& delta, T*& below, Count B, const Pools<T>& room) {
    for (Count i = layer.pools - 1; i >= 0; i--, std::swap(delta, below))
        pool_back(layer.windows[i + 1], room.seen[i], room.below(i, value), room.values[i].data(), delta, below, blocks_of<T>(B));
}
