// The extended range: exponents of two beside the error signal. The definition is workers/engine/extended.py.
#pragma once
#include "rules.h"

constexpr Count BETWEEN = 4;
constexpr double DRIFT = 24;

struct Extended {
    const unsigned char* free;  // [T] whether the rule's steps do not depend on the gradient's magnitude
    double *reference, *shift;  // [L, T]: R, and R_old - R_new of the last step
};

template <class T> constexpr int MOST = std::numeric_limits<T>::max_exponent - 1;

// x·2^e, rounded once.
template <class T> void scale(T* x, Count n, double exponent) {
    if (exponent == 0) return;
    double last = std::fmin(std::fmax(exponent, 1 - MOST<T>), MOST<T>);
    double rest = std::fmin(std::fmax(exponent - last, 1 - MOST<T>), MOST<T>);
    T first = T(power(rest)), second = T(power(last));
#pragma omp simd
    for (Count i = 0; i < n; i++) x[i] = x[i] * first * second;
}

// Brings δ in range; returns its exponent. `silent` where it is zero.
template <class T> double bring_in_range(T* delta, Count n, bool& silent) {
    T largest = 0, bad = 0;
#pragma omp simd reduction(max : largest) reduction(+ : bad)
    for (Count i = 0; i < n; i++) {
        T size = std::fabs(delta[i]);
        largest = size > largest ? size : largest;
        bad += delta[i] * 0;
    }
    silent = bad == 0 && largest == 0;
    double exponent = bad == 0 ? std::fmax(range(largest), 1 - MOST<T>) : 0;
    scale(delta, n, -exponent);
    return exponent;
}

// By which powers of two a layer's ĝ, and what the rule remembers on the same scale, are to be multiplied.
struct Given {
    double gradient, remembered;
};

inline Given rebase(const Extended& extended, Count place, bool free, double exponent, bool silent) {
    double before = extended.reference[place], now = before;
    if (!silent && !(std::fabs(exponent - before) <= DRIFT)) now = exponent;
    double shift = std::isnan(before) ? 0 : before - now;
    extended.reference[place] = now;
    extended.shift[place] = shift;
    return {!free ? exponent : std::isnan(now) ? 0 : exponent - now, shift};
}

// ĝ as the rule is to see it, in place, and what the rule remembers.
template <class T> void present(const Given& given, const Rule& rule, T* g, Count offset, Count n) {
    scale(g, n, given.gradient);
    for (Count i = 0; i < 4; i++)
        if (rule.state[i] && rule.degree[i]) scale((T*)rule.state[i] + offset, n, double(rule.degree[i]) * given.remembered);
}
