// Convolutions, samples innermost (windows.h): z[o, p] = b[o] + Σ_ck W[o, c, k] x[c, q] over the pairs (p, q) that k brings together, each
// of these a register of samples. The definition is workers/engine/network/convolution.py.
//
// C/O channels in and out, K places of the kernel. theta and gradient are a trial's flat parameters.
#pragma once
#include "layers.h"
#include "windows.h"

constexpr Count TILE_SIDE = 4, FIRST_CACHE = 24 * 1024;

// What goes over a layer's windows in the order of what is written, and weights as they are read.
template <class T> struct Convolving {
    Pairs up, down, across;  // at each place out: (k, in); at each place in: (k, out); of each k: (out, in)
    std::vector<T> weight;
    Room<T> sums;  // of a tile's weights, lane by lane
    void fit(const LayerSpec& layer) {
        const Window& w = *layer.windows;
        constexpr Count W = REGISTER<T>;
        Count in = steps_in(w).place * W, out = steps_out(w).place * W, C = w.channels, O = w.out_channels;
        up = Pairs::of(w, w.out_places(), [](Count p, Count, Count) { return p; }, [=](Count, Count k, Count q) { return Pair{k * O, q * in}; });
        down = Pairs::of(w, w.places(), [](Count, Count, Count q) { return q; }, [=](Count p, Count k, Count) { return Pair{k * C, p * out}; });
        across = Pairs::of(w, w.kernel(), [](Count, Count k, Count) { return k; }, [=](Count p, Count, Count q) { return Pair{p * out, q * in}; });
        sums.resize(w.kernel() * TILE_SIDE * TILE_SIDE * W);
        weight.resize(std::max(C, O + 1) * std::max(O, C) * w.kernel());
    }
};

// R channels of V blocks at one place: Σ over M channels and the pairs of w·x, + offset. w [M, K, N].
template <class T, int R, int V>
void tile_of_channels(const Pair* begin, const Pair* end, Count M, const T* w, Count w_channel, const T* x, Count x_channel, Count x_block,
                      const T* offset, T* out, Count out_channel, Count out_block) {
    Register<T> sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) sum[r][v] = Register<T>{} + (offset ? offset[r] : T(0));
    for (Count m = 0; m < M; m++, w += w_channel, x += x_channel)
        for (const Pair* pair = begin; pair < end; pair++) {
            const T *weights = w + pair->one, *seen = x + pair->other;
            Register<T> own[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) own[v] = held(seen + v * x_block);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                T factor = weights[r];
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) sum[r][v] += factor * own[v];
            }
        }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) put(out + r * out_channel + v * out_block, sum[r][v]);
}

// N channels at `places` from M others: every place as its pairs say.
template <class T, int V>
void over_places(const Pairs& pairs, Count places, Count N, Count M, Count K, const T* w, const T* bias, const T* x, Apart from, Count x_block,
                 T* out, Apart to, Count out_block) {
    constexpr Count W = REGISTER<T>;
    for (Count p = 0; p < places; p++)
        for (Count n = 0, rows; n < N; n += rows) {
            rows = N - n >= 8 ? 8 : N - n >= 4 ? 4 : N - n >= 2 ? 2 : 1;
            auto tile = rows == 8 ? tile_of_channels<T, 8, V> : rows == 4 ? tile_of_channels<T, 4, V> : rows == 2 ? tile_of_channels<T, 2, V> : tile_of_channels<T, 1, V>;
            tile(pairs.begin(p), pairs.end(p), M, w + n, K * N, x, from.channel * W, x_block, bias ? bias + n : nullptr,
                 out + (n * to.channel + p * to.place) * W, to.channel * W, out_block);
        }
}
template <class T>
void over_blocks(const Pairs& pairs, Count places, Count N, Count M, Count K, const T* w, const T* bias, const T* x, Apart from, Count x_block,
                 T* out, Apart to, Count out_block, Count blocks) {
    Count b = 0;
    for (; b + 1 < blocks; b += 2)
        over_places<T, 2>(pairs, places, N, M, K, w, bias, x + b * x_block, from, x_block, out + b * out_block, to, out_block);
    if (b < blocks) over_places<T, 1>(pairs, places, N, M, K, w, bias, x + b * x_block, from, x_block, out + b * out_block, to, out_block);
}

template <class T> void convolve(const LayerSpec& layer, const T* theta, const T* x, T* z, Count B, Convolving<T>& room) {
    const Window& w = *layer.windows;
    Count C = w.channels, O = w.out_channels, K = w.kernel(), W = REGISTER<T>;
    T* turned = room.weight.data();
    transpose(theta + layer.weight, O, C * K, turned, O);
    over_blocks(room.up, w.out_places(), O, C, K, turned, layer.bias < 0 ? nullptr : theta + layer.bias, x, steps_in(w), w.into() * W, z,
                steps_out(w), w.out() * W, blocks_of<T>(B));
}

// ∂L/∂x
template <class T> void convolve_back(const LayerSpec& layer, const T* theta, const T* delta, T* below, Count B, Convolving<T>& room) {
    const Window& w = *layer.windows;
    Count C = w.channels, O = w.out_channels, K = w.kernel(), W = REGISTER<T>;
    T* turned = room.weight.data();
    for (Count o = 0; o < O; o++) transpose(theta + layer.weight + o * C * K, C, K, turned + o * C * K, C);
    over_blocks(room.down, w.places(), C, O, K, turned, (const T*)nullptr, delta, steps_out(w), w.out() * W, below, steps_in(w), w.into() * W,
                blocks_of<T>(B));
}

// Every number plus the one S places further.
template <class T, int S> inline Register<T> paired(Register<T> x) {
    constexpr int W = REGISTER<T>;
    Order<T> other;
    for (int i = 0; i < W; i++) other[i] = i ^ S;
    return x + __builtin_shuffle(x, other);
}
template <class T> inline T sum_of(Register<T> x) {
    if constexpr (REGISTER<T> > 8) x = paired<T, 8>(x);
    if constexpr (REGISTER<T> > 4) x = paired<T, 4>(x);
    if constexpr (REGISTER<T> > 2) x = paired<T, 2>(x);
    return paired<T, 1>(x)[0];
}

// ∂L/∂W of R by Q channels and one place of the kernel, lane by lane: + Σ over the pairs and some blocks of δ·x.
template <class T, int R, int Q>
void tile_of_weights(const Pair* begin, const Pair* end, Count blocks, const T* delta, Count d_channel, Count d_block, const T* x, Count x_channel,
                     Count x_block, T* found) {
    constexpr Count W = REGISTER<T>;
    Register<T> sum[R][Q];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int q = 0; q < Q; q++) sum[r][q] = held(found + (r * Q + q) * W);
    for (Count b = 0; b < blocks; b++, delta += d_block, x += x_block)
        for (const Pair* pair = begin; pair < end; pair++) {
            const T *one = delta + pair->one, *other = x + pair->other;
            Register<T> own[Q], above[R];  // loaded here, or GCC reads them from memory for every product
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++) own[q] = held(other + q * x_channel);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) above[r] = held(one + r * d_channel);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
#pragma GCC unroll 4
                for (int q = 0; q < Q; q++) sum[r][q] += above[r] * own[q];
        }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int q = 0; q < Q; q++) put(found + (r * Q + q) * W, sum[r][q]);
}

// ∂L/∂W [O, C, K] and ∂L/∂b. What one tile sees of some blocks stays in the first cache from one place of the kernel to the next.
template <class T> void weigh_places(const LayerSpec& layer, T* gradient, const T* delta, const T* x, Count B, Convolving<T>& room) {
    const Window& w = *layer.windows;
    Apart in = steps_in(w), out = steps_out(w);
    Count C = w.channels, O = w.out_channels, K = w.kernel(), W = REGISTER<T>, blocks = blocks_of<T>(B);
    T* sums = room.sums.data();
    for (Count o = 0, rows; o < O; o += rows) {
        rows = O - o >= TILE_SIDE ? TILE_SIDE : 1;
        for (Count c = 0, columns; c < C; c += columns) {
            columns = C - c >= TILE_SIDE ? TILE_SIDE : 1;
            auto tile = rows > 1 ? columns > 1 ? tile_of_weights<T, TILE_SIDE, TILE_SIDE> : tile_of_weights<T, TILE_SIDE, 1>
                                 : columns > 1 ? tile_of_weights<T, 1, TILE_SIDE> : tile_of_weights<T, 1, 1>;
            Count seen = (rows * w.out_places() + columns * w.places()) * REGISTER_BYTES;
            Count together = seen > FIRST_CACHE ? blocks : FIRST_CACHE / seen, n = rows * columns;
            std::fill(sums, sums + K * n * W, T(0));
            for (Count b = 0; b < blocks; b += together)
                for (Count k = 0; k < K; k++)
                    tile(room.across.begin(k), room.across.end(k), std::min(together, blocks - b), delta + (b * w.out() + o * out.channel) * W,
                         out.channel * W, w.out() * W, x + (b * w.into() + c * in.channel) * W, in.channel * W, w.into() * W, sums + k * n * W);
            const T* found = sums;
            for (Count k = 0; k < K; k++)
                for (Count r = 0; r < rows; r++)
                    for (Count q = 0; q < columns; q++, found += W)
                        gradient[layer.weight + ((o + r) * C + c + q) * K + k] = sum_of<T>(held(found));
        }
    }
    if (layer.bias < 0) return;
    for (Count o = 0; o < O; o++) {
        Register<T> even{}, odd{};  // of places: one need not wait for the other
        for (Count b = 0; b < blocks; b++) {
            const T* own = delta + (b * w.out() + o * out.channel) * W;
            Count p = 0, next = out.place * W;
            for (; p + 1 < w.out_places(); p += 2, own += 2 * next) even += held(own), odd += held(own + next);
            if (p < w.out_places()) even += held(own);
        }
        gradient[layer.bias + o] = sum_of<T>(even + odd);
    }
}
