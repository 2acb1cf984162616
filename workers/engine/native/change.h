// What a layer's gradient does, in one pass over its elements: the sums that statistics are made of, the rule's step, what that moved. An element
// of the gradient, of the one before, of the weights and of what the rule remembers is read once, and written once.
//
// Some elements at a time, and the sums lane by lane until the layer's end: so a number does not depend on where pieces of the gradient
// lie.
#pragma once
#include "rules.h"
#include "units.h"

enum Look { AT_NOTHING, AT_CORE, AT_ALL };  // AT_ALL: with moments, and how the gradient agrees with the one before

// The sums over a layer, side by side in lanes; of float64 in units of 2^exponent. The spread round the mean is taken from the first
// element, as deviations are in look_at_units.
struct Sums {
    double exponent = 0, exponent_before = 0;
    bool started = false;
    Wide origin{};
    Wide square{}, shifted{}, shifted_square{}, product{}, square_before{}, weight_square{}, moved_square{};
    Wide highest{}, zeros{}, bad{}, flips{}, dominated{};

    // Before there is a step before, `before` is zero and what is compared with it is not told.
    void write(Count n, Look look, bool has_before, Raw& raw) const {
        raw.exponent = exponent, raw.square = total(square), raw.zeros = total(zeros);
        if (has_before) raw.flips = total(flips);
        if (look < AT_ALL) return;
        double wrong = total(bad), shift = total(shifted) / n, largest = 0;
        for (Count i = 0; i < LANES; i++) largest = std::fmax(largest, highest[i]);
        raw.peak = wrong == 0 ? largest : std::isnan(raw.square) ? NAN : INFINITY;
        raw.nonfinite = wrong, raw.mean = origin[0] + shift, raw.centred_square = not_negative(total(shifted_square) - shift * shift * n);
        if (has_before) raw.product = total(product), raw.square_before = total(square_before);
    }
};

// Consecutive elements of a layer.
template <class T> struct Piece {
    T* theta;
    const T* gradient;
    T *previous, *state[STATES];
    Count count;
    bool keep;  // whether the next step is compared with this one
};

// How many are NaN or infinite, of whole vectors, by lane.
template <class T> __attribute__((noinline)) Wide nonfinite(const T* x, Count n) {
    Lanes<T> found{};
    for (Count i = 0; i < n; i += LANES) found += counted<T>(~(magnitude<T>(lanes(x + i)) <= std::numeric_limits<T>::max()));
    return wide(found);
}

// Of whole vectors. MOVED: whether it is looked at what moves; of float64 that is the caller's, since its range is known only afterwards.
template <class R, Look LOOK, bool MOVED, class T> void pass(const void* update, const Piece<T>& of, Sums& all) {
    typedef Lanes<T> V;
    const Piece<T> piece = of;
    const R rule = *(const R*)update;
    Wide square = all.square, shifted = all.shifted, shifted_square = all.shifted_square, product = all.product;
    Wide square_before = all.square_before, weight_square = all.weight_square, moved_square = all.moved_square, origin = all.origin;
    V highest{}, zeros{}, nothing{}, flips{}, dominated{};
    double unit = power(-all.exponent), unit_before = power(-all.exponent_before);
    for (Count i = 0; i < piece.count; i += LANES) {
        V g = lanes(piece.gradient + i);
        if (LOOK) {
            V before = lanes(piece.previous + i);
            Wide x = wide(g);
            if (needs_range<T>) x *= unit;
            square += x * x;
            zeros += counted<T>(g == 0);
            V lower = g < before ? g : before, upper = g > before ? g : before;  // of a NaN neither
            flips += counted<T>((lower < 0) & (upper > 0));
            if (LOOK == AT_ALL) {
                V size = magnitude<T>(g);
                highest = size > highest ? size : highest;
                Wide deviation = x - origin, y = wide(before);
                if (needs_range<T>) y *= unit_before;
                shifted += deviation, shifted_square += deviation * deviation;
                product += x * y, square_before += y * y;
            }
        }
        if (__builtin_expect(piece.keep, LOOK != AT_NOTHING)) put_lanes(piece.previous + i, g);
        nothing += g * 0;
        V theta = lanes(piece.theta + i), start = theta, state[R::states + 1];
        for (int s = 0; s < R::states; s++) state[s] = lanes(piece.state[s] + i);
        rule.update(theta, g, state);
        for (int s = 0; s < R::states; s++) put_lanes(piece.state[s] + i, state[s]);
        if (R::moves) put_lanes(piece.theta + i, theta);
        if (!MOVED) continue;
        if (R::has_eps) dominated += counted<T>(rule.dominated(state));
        if (needs_range<T>) continue;
        Wide weight = wide(start), moved = wide(theta - start);
        weight_square += weight * weight, moved_square += moved * moved;
    }
    all.square = square, all.shifted = shifted, all.shifted_square = shifted_square, all.product = product;
    all.square_before = square_before, all.weight_square = weight_square, all.moved_square = moved_square;
    all.highest = wide(highest) > all.highest ? wide(highest) : all.highest;
    all.zeros += wide(zeros), all.flips += wide(flips), all.dominated += wide(dominated);
    if (total(wide(nothing)) != 0) all.bad += nonfinite(piece.gradient, piece.count);
}

// Where eps is what is divided by, of n elements.
template <class R, class T> double dominated(const void* rule, const Piece<T>& piece) {
    double found = 0;
    for (Count i = 0; i < piece.count; i += LANES) {
        Lanes<T> state[R::states + 1];
        for (int s = 0; s < R::states; s++) state[s] = lanes(piece.state[s] + i, piece.count - i);
        found += total(wide(first_of(counted<T>(((const R*)rule)->dominated(state)), piece.count - i)));
    }
    return found;
}

// A rule at a step. Its passes are behind pointers, so that what calls them need not be compiled for each.
template <class T> struct Update {
    typedef void (*Pass)(const void*, const Piece<T>&, Sums&);
    const void* rule;
    int states;
    bool has_eps;
    Pass looking[3], moving[2];  // by Look, then with what moves; the step alone, and with what moves, where the gradient has been looked at
    double (*dominated)(const void*, const Piece<T>&);
};

template <class T, class R> Update<T> update_by(const R& rule) {
    return {&rule, R::states, R::has_eps,
            {pass<R, AT_NOTHING, false, T>, pass<R, AT_CORE, true, T>, pass<R, AT_ALL, true, T>},
            {pass<R, AT_NOTHING, false, T>, pass<R, AT_NOTHING, true, T>}, dominated<R, T>};
}

// A pass over a layer's next elements, however many. The last ones are copied to where zeros stand behind them, which are not counted.
template <class T> void go_over(const Update<T>& update, typename Update<T>::Pass pass, Piece<T> piece, Sums& sums) {
    if (!sums.started) sums.started = true, sums.origin += piece.gradient[0] * power(-sums.exponent);
    Count whole = piece.count / LANES * LANES, left = piece.count - whole;
    piece.count = whole;
    if (whole) pass(update.rule, piece, sums);
    if (!left) return;
    Piece<T> last = piece;
    T own[3 + STATES][LANES] = {}, *places[3 + STATES] = {piece.theta + whole, (T*)piece.gradient + whole, piece.previous + whole};
    for (int s = 0; s < update.states; s++) places[3 + s] = piece.state[s] + whole, last.state[s] = own[3 + s];
    for (int p = 0; p < 3 + update.states; p++) std::memcpy(own[p], places[p], left * sizeof(T));
    last.theta = own[0], last.gradient = own[1], last.previous = own[2], last.count = LANES;
    Sums before = sums;
    sums.origin = first_of(sums.origin, left);
    pass(update.rule, last, sums);
    sums.origin = before.origin;
    sums.zeros = before.zeros + first_of(sums.zeros - before.zeros, left);
    sums.dominated = before.dominated + first_of(sums.dominated - before.dominated, left);
    for (int p = 0; p < 3 + update.states; p++)
        if (p != 1) std::memcpy(places[p], own[p], left * sizeof(T));
}
