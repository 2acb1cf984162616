// Windows over places, as convolutions and pooling have them: which places of what comes in every place of what goes out sees. Places have
// two directions; a sequence is one place wide.
//
// Samples lie innermost, a register of them at a time: [B/W, F, W], F features in the order that a sample has them. So neither the kernel's
// size nor stride, dilation and padding are seen by an inner loop: they say which rows of W samples belong together. Where B is no multiple
// of W the last sample fills up the register, and nothing comes down to what fills it up.
#pragma once
#include "products.h"
#include <vector>

enum Windowed { CONVOLUTION, LARGEST, MEAN, ALL_LARGEST };

// From C channels at so many places to O channels at others.
extern "C" struct Window {
    Count kind;
    Count channels, out_channels;
    Count sequence;                       // whether channels lie innermost, as in a sequence; else places do, as in an image
    Count from[2], to[2], side[2], margin[2];  // places in and out, the kernel's, zeros put on each side
    Count stride, dilation;

    Count places() const { return from[0] * from[1]; }
    Count out_places() const { return to[0] * to[1]; }
    Count kernel() const { return side[0] * side[1]; }
    Count into() const { return channels * places(); }
    Count out() const { return out_channels * out_places(); }
};

// How far apart neighbours are, in features.
struct Apart {
    Count channel, place;
};
inline Apart steps_in(const Window& w) { return w.sequence ? Apart{1, w.channels} : Apart{w.places(), 1}; }
inline Apart steps_out(const Window& w) { return w.sequence ? Apart{1, w.out_channels} : Apart{w.out_places(), 1}; }

// f(place that goes out, place of the kernel, place that comes in), of all that see one another.
template <class F> void each_pair(const Window& w, F f) {
    for (Count i = 0; i < w.to[0]; i++)
        for (Count j = 0; j < w.to[1]; j++)
            for (Count k = 0; k < w.side[0]; k++)
                for (Count l = 0; l < w.side[1]; l++) {
                    Count y = i * w.stride + k * w.dilation - w.margin[0], x = j * w.stride + l * w.dilation - w.margin[1];
                    if (y < 0 || y >= w.from[0] || x < 0 || x >= w.from[1]) continue;
                    f(i * w.to[1] + j, k * w.side[1] + l, y * w.from[1] + x);
                }
}

// Two numbers of each pair, those of one place, by which they are sorted, together.
struct Pair {
    Count one, other;
};
struct Pairs {
    std::vector<Pair> all;
    std::vector<Count> first;  // of place p: from first[p] to first[p + 1]

    const Pair* begin(Count p) const { return all.data() + first[p]; }
    const Pair* end(Count p) const { return all.data() + first[p + 1]; }

    // place(out, kernel, in) says where a pair belongs, of `places`; pair(out, kernel, in) what it is.
    template <class P, class Q> static Pairs of(const Window& w, Count places, P place, Q pair) {
        Pairs found;
        found.first.assign(places + 1, 0);
        each_pair(w, [&](Count out, Count kernel, Count in) { found.first[place(out, kernel, in) + 1]++; });
        for (Count p = 0; p < places; p++) found.first[p + 1] += found.first[p];
        found.all.resize(found.first[places]);
        std::vector<Count> next(found.first);
        each_pair(w, [&](Count out, Count kernel, Count in) { found.all[next[place(out, kernel, in)]++] = pair(out, kernel, in); });
        return found;
    }
};

template <class T> Count blocks_of(Count B) { return (B - 1) / REGISTER<T> + 1; }

// [S, B, F] -> [B/W, S·F, W], filled up with the last sample or with zeros; `room` holds a block's rows.
template <class T> void to_columns(const T* x, Count S, Count F, Count B, bool repeat, T* out, T* room) {
    constexpr Count W = REGISTER<T>;
    for (Count start = 0; start < B; start += W, out += S * F * W)
        for (Count s = 0; s < S; s++) {
            const T* from = x + (s * B + start) * F;
            if (Count n = B - start; n < W) {
                std::memcpy(room, from, n * F * sizeof(T));
                for (Count b = n; b < W; b++) repeat ? (void)std::memcpy(room + b * F, room + (n - 1) * F, F * sizeof(T)) : (void)std::fill(room + b * F, room + (b + 1) * F, T(0));
                from = room;
            }
            transpose(from, W, F, out + s * F * W, W);
        }
}

// [B/W, S·F, W] -> [S, B, F]; behind it there is room for as many rows as fill up the last register.
template <class T> void to_rows(const T* x, Count S, Count F, Count B, T* out) {
    constexpr Count W = REGISTER<T>;
    for (Count s = 0; s < S; s++)
        for (Count start = 0; start < B; start += W) transpose(x + start * S * F + s * F * W, F, W, out + (s * B + start) * F, F);
}
