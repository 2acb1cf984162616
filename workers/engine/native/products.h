// Matrix products of the sizes that layers have. A BLAS packs its operands and clears the result first, which pays for matrices that
// outgrow the caches and not for those of narrow layers.
//
// Matrices are row by row. W numbers fill a register; a tile of the result stays in registers while it is summed.
#pragma once
#include "vectors.h"
#include <type_traits>

constexpr Count WIDEST_TILE = REGISTER_BYTES == 64 ? 4 : 2;  // of 32 registers 24 hold sums, of 16 12
constexpr Count TILE_ROWS = 6, NARROW_TILE_ROWS = 8;
template <class T> constexpr T NOTHING[WIDEST_TILE * REGISTER<T>] = {};  // what is added to a tile where nothing is

// A matrix whose rows start so far apart, or its transpose.
template <class T, bool TURNED = false> struct View {
    const T* at;
    Count apart;
    View below(Count rows) const { return {at + rows * (TURNED ? 1 : apart), apart}; }
};

// How long rows of n numbers are where they are read register by register.
template <class T> Count padded(Count n) { return std::max(n, REGISTER<T>); }

// Rows of n numbers as they are, or copied to rows of a register.
template <class T> const T* readable(const T* x, Count rows, Count n, T* room) {
    constexpr Count W = REGISTER<T>;
    if (n >= W) return x;
    for (Count m = 0; m < rows; m++) std::memcpy(room + m * W, x + m * n, n * sizeof(T));
    return room;
}

// Of a result: where it lies, how long a row is, and what is added, to every row the same where its rows are 0 apart; null: nothing.
template <class T> struct Result {
    T* at;
    Count row;
    const T* offset;
    Count offset_row;
    Result right(Count columns) const { return {at + columns, row, offset ? offset + columns : nullptr, offset_row}; }
    Result below(Count rows) const { return {at + rows * row, row, offset ? offset + rows * offset_row : nullptr, offset_row}; }
};

// What is to be read once the product is there, fetched to the caches while the core multiplies: a cache line in each step, of one place after
// another.
constexpr Count LINE = 64;
struct Ahead {
    const char *next[8], *end[8];
    Count places = 0, place = 0;
    template <class T> void add(const T* x, Count n) {
        next[places] = (const char*)x, end[places++] = (const char*)(x + n);
    }
    // Where the next so many lines are; null: all have been told.
    const char* lines(Count so_many) {
        if (place == places) return nullptr;
        const char* found = next[place];
        if ((next[place] += so_many * LINE) >= end[place]) place++;
        return found;
    }
};
struct NothingAhead {
    const char* lines(Count) const { return nullptr; }
};

// R rows and V registers of columns of c = a·b + offset; of a result narrower than a register, V is 1, `width` columns.
template <int R, int V, class T, bool TURNED, class A>
__attribute__((always_inline)) inline void tile(Count K, View<T, TURNED> a, const T* b, Count b_row, Result<T> c, Count width, A& ahead) {
    constexpr Count W = REGISTER<T>;
    constexpr bool FETCHES = std::is_same_v<A, Ahead>;
    const char* fetched = ahead.lines(K);
    Count line = fetched ? LINE : 0;
    if (!fetched) fetched = (const char*)b;
    const T* start = c.offset ? c.offset : NOTHING<T>;
    Count apart = c.offset ? c.offset_row : 0;
    Register<T> sum[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) sum[r][v] = held(start + r * apart + v * W);
    for (Count k = 0; k < K; k++) {
        if (FETCHES) __builtin_prefetch(fetched, 1, 3), fetched += line;
        Register<T> own[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) own[v] = held(b + v * W);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            T factor = a.at[r * (TURNED ? 1 : a.apart)];
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) sum[r][v] += factor * own[v];
        }
        a.at += TURNED ? a.apart : 1, b += b_row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            V == 1 && width < W ? (void)std::memcpy(c.at + r * c.row, &sum[r][v], width * sizeof(T)) : put(c.at + r * c.row + v * W, sum[r][v]);
}

// All rows of V registers of columns. The last tile is moved up to end with the last row: some are computed twice, and no smaller
// tile is needed.
template <int R, int V, class T, bool TURNED, class A>
__attribute__((noinline)) void strip(Count M, Count K, View<T, TURNED> a, const T* b, Count b_row, Result<T> c, Count width, A& ahead) {
    if (M < R) {
        for (Count m = 0; m < M; m++) tile<1, V>(K, a.below(m), b, b_row, c.below(m), width, ahead);
        return;
    }
    for (Count m = 0; m < M; m += R) {
        Count at = std::min(m, M - R);
        tile<R, V>(K, a.below(at), b, b_row, c.below(at), width, ahead);
    }
}

// c [M, N] = a [M, K] · b [K, N] + offset, [N] or [M, N] elsewhere. A row of b, and of the offset, has at least a register's numbers behind
// its start. As with rows, the last columns may be computed twice.
template <class T, bool TURNED, class A = NothingAhead>
void product(Count M, Count N, Count K, View<T, TURNED> a, const T* b, Count b_row, T* c, const T* offset = nullptr, Count offset_row = 0,
             A ahead = A()) {
    constexpr Count W = REGISTER<T>;
    constexpr int FEWEST = WIDEST_TILE == 2 ? TILE_ROWS : NARROW_TILE_ROWS;
    for (Count n = 0, wide; n < N; n += wide * W) {
        wide = std::min(WIDEST_TILE, std::max<Count>(1, (N - n) / W));
        Count at = N < W ? 0 : std::min(n, N - wide * W);
        Result<T> there = Result<T>{c, N, offset, offset_row}.right(at);
        switch (wide) {
            case 4: strip<TILE_ROWS, 4>(M, K, a, b + at, b_row, there, W, ahead); break;
            case 3: strip<NARROW_TILE_ROWS, 3>(M, K, a, b + at, b_row, there, W, ahead); break;
            case 2: strip<FEWEST, 2>(M, K, a, b + at, b_row, there, W, ahead); break;
            default: strip<NARROW_TILE_ROWS, 1>(M, K, a, b + at, b_row, there, std::min(N, W), ahead);
        }
    }
}

// Quarters of a register from places `apart` from each other.
template <class T> inline Register<T> gathered(const T* x, Count apart) {
    auto at = [x, apart](int place) { return *(const typename Registers<T>::quarter*)(x + place * apart); };
    if constexpr (REGISTER_BYTES == 16) return at(0);
    else if constexpr (REGISTER<T> == 16) {
        auto low = __builtin_shufflevector(at(0), at(1), 0, 1, 2, 3, 4, 5, 6, 7);
        auto high = __builtin_shufflevector(at(2), at(3), 0, 1, 2, 3, 4, 5, 6, 7);
        return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    } else if constexpr (REGISTER_BYTES == 64) {
        auto low = __builtin_shufflevector(at(0), at(1), 0, 1, 2, 3), high = __builtin_shufflevector(at(2), at(3), 0, 1, 2, 3);
        return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    } else if constexpr (sizeof(T) == 4) return __builtin_shufflevector(at(0), at(1), 0, 1, 2, 3, 4, 5, 6, 7);
    else return __builtin_shufflevector(at(0), at(1), 0, 1, 2, 3);
}

// Of each square of 2 by 2 blocks of S numbers, whose upper rows are in p and lower rows in q, exchanges the two off the diagonal.
template <class T, int S> inline void exchange(Register<T>& p, Register<T>& q) {
    constexpr int W = REGISTER<T>;
    Order<T> upper, lower;
    for (int i = 0; i < W; i++) upper[i] = i & S ? W + i - S : i, lower[i] = i & S ? W + i : i + S;
    Register<T> before = p;
    p = __builtin_shuffle(before, q, upper), q = __builtin_shuffle(before, q, lower);
}

// x [M, N] -> y [N, M], a row of y being y_row long. W rows by Q columns at a time: Q registers hold quarters of the rows, each of
// which is a block of Q by Q numbers with those beside it.
template <class T> void transpose(const T* x, Count M, Count N, T* y, Count y_row) {
    constexpr Count W = REGISTER<T>, Q = 16 / sizeof(T);
    if (M < W || N < Q) {
        for (Count m = 0; m < M; m++)
            for (Count n = 0; n < N; n++) y[n * y_row + m] = x[m * N + n];
        return;
    }
    for (Count m = 0; m < M; m += W)
        for (Count n = 0; n < N; n += Q) {
            Count i = std::min(m, M - W), j = std::min(n, N - Q);
            Register<T> block[Q];
            for (Count q = 0; q < Q; q++) block[q] = gathered(x + (i + q) * N + j, Q * N);
            if constexpr (Q == 4) exchange<T, 2>(block[0], block[2]), exchange<T, 2>(block[1], block[3]);
            for (Count q = 0; q < Q; q += 2) exchange<T, 1>(block[q], block[q + 1]);
            for (Count q = 0; q < Q; q++) put(y + (j + q) * y_row + i, block[q]);
        }
}
