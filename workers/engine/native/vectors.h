// Loops over vectors that must not lose numbers: sums of float64 over elements brought into range by a power of two.
// T is float or double. No -ffast-math anywhere: NaN and infinity have to survive. Reductions say so, loop by loop.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

using Count = std::int64_t;

// Squares of float32 are at home in float64; those of float64 are not, so its elements are brought into range first.
template <class T> constexpr bool needs_range = sizeof(T) == 8;

inline double power(double exponent) { return exponent == 0 ? 1 : std::exp2(exponent); }

// The exponent e of the largest |x|, so that 2^-e·x is in range; 0 where all are zero, or one is not finite.
inline double range(double largest) {
    int exponent;
    std::frexp(std::isfinite(largest) ? largest : 0, &exponent);
    return std::fmax(exponent, -1022);
}

template <class X> double range_of(X x, Count n) {
    double largest = 0, bad = 0;
#pragma omp simd reduction(max : largest) reduction(+ : bad)
    for (Count i = 0; i < n; i++) {
        double size = std::fabs(x(i));
        largest = size > largest ? size : largest;
        bad += x(i) * 0;
    }
    return bad == 0 ? range(largest) : 0;
}

// Σ x² of n numbers x(i), in units of 2^2e. T is what they are made of.
template <class T, class X> double squares(X x, Count n, double exponent = 0) {
    double sum = 0, unit = needs_range<T> ? power(-exponent) : 1;
#pragma omp simd reduction(+ : sum)
    for (Count i = 0; i < n; i++) {
        double own = needs_range<T> ? x(i) * unit : double(x(i));
        sum += own * own;
    }
    return sum;
}

// ‖x‖₂ of n numbers x(i).
template <class T, class X> double norm(X x, Count n) {
    double exponent = needs_range<T> ? range_of(x, n) : 0;
    return std::sqrt(squares<T>(x, n, exponent)) * power(exponent);
}

#if defined(__AVX512F__)
constexpr Count REGISTER_BYTES = 64;
#elif defined(__AVX__)
constexpr Count REGISTER_BYTES = 32;
#else
constexpr Count REGISTER_BYTES = 16;
#endif
template <class T> constexpr Count REGISTER = REGISTER_BYTES / sizeof(T);
template <class T> struct Registers {
    typedef T type __attribute__((vector_size(REGISTER_BYTES)));
    typedef T anywhere __attribute__((vector_size(REGISTER_BYTES), aligned(sizeof(T)), may_alias));
    typedef T quarter __attribute__((vector_size(16), aligned(sizeof(T)), may_alias));
};
template <class T> using Register = typename Registers<T>::type;
template <class T> using Order = decltype(Register<T>{} < Register<T>{});  // which number goes where, of a shuffle

template <class T> inline Register<T> held(const T* x) { return *(const typename Registers<T>::anywhere*)x; }
template <class T> inline void put(T* x, Register<T> own) { *(typename Registers<T>::anywhere*)x = own; }

// The register's numbers up to x[end], and zeros before x[0]. So are the columns read that fill no register: the others are passed over.
template <class T> inline Register<T> held_before(const T* x, Count end) {
    if (end >= REGISTER<T>) return held(x + end - REGISTER<T>);
    T found[REGISTER<T>] = {};
    std::memcpy(found + REGISTER<T> - end, x, end * sizeof(T));
    return held(found);
}

// The register's last n numbers.
template <class T> inline void put_last(T* x, Register<T> own, Count n) {
    constexpr Count W = REGISTER<T>;
    n == W ? put(x, own) : (void)std::memcpy(x, (T*)&own + W - n, n * sizeof(T));
}

constexpr Count TERMS = 16;  // of a sum in T before it becomes part of one in float64

// Whether a sum of squares in T is what it should be: it is no infinity, and what vanishes at most, so many times the least number, is below rounding.
template <class T> inline bool holds(double sum, double vanishing) {
    typedef std::numeric_limits<T> Limits;
    return std::isfinite(sum) && vanishing * Limits::min() <= sum * Limits::epsilon();
}

// So many numbers side by side as there are float64 in a register: GCC takes wider vectors apart, element by element.
constexpr Count LANES = std::max<Count>(4, REGISTER_BYTES / sizeof(double));
template <class T> struct Vector {
    typedef T type __attribute__((vector_size(LANES * sizeof(T))));
};
template <class T> using Lanes = typename Vector<T>::type;
using Wide = Lanes<double>;
template <class T> using Which = decltype(Lanes<T>{} < Lanes<T>{});  // of a comparison: all bits of a lane or none

// The n numbers at x, and zeros behind them.
template <class T> inline Lanes<T> lanes(const T* x, Count n) {
    Lanes<T> found{};
    n >= LANES ? std::memcpy(&found, x, sizeof found) : std::memcpy(&found, x, n * sizeof(T));
    return found;
}

template <class T> inline Lanes<T> lanes(const T* x) { return lanes(x, LANES); }
template <class T, class V> inline void put_lanes(T* x, V own) { std::memcpy(x, &own, sizeof own); }

inline Wide wide(Lanes<double> x) { return x; }
inline Wide wide(Lanes<float> x) {
#if defined(__AVX512F__)
    Wide found;  // GCC 12 makes four instructions of the conversion below, and takes longer to read its header of intrinsics than the rest
    asm("vcvtps2pd %1, %0" : "=v"(found) : "vm"(x));
    return found;
#else
    return __builtin_convertvector(x, Wide);
#endif
}

template <class T> inline Lanes<T> magnitude(Lanes<T> x) {
#pragma omp simd
    for (Count i = 0; i < LANES; i++) x[i] = std::fabs(x[i]);
    return x;
}

template <class T> inline Lanes<T> root(Lanes<T> x) {
#pragma omp simd
    for (Count i = 0; i < LANES; i++) x[i] = std::sqrt(x[i]);
    return x;
}

// One where it is so.
template <class T> inline Lanes<T> counted(Which<T> found) { return found ? Lanes<T>{} + T(1) : Lanes<T>{}; }

// The first n lanes, and zeros behind them.
template <class V> inline V first_of(V x, Count n) {
    for (Count i = n; i < LANES; i++) x[i] = 0;
    return x;
}

inline double total(Wide x) {
    double found = 0;
    for (Count i = 0; i < LANES; i++) found += x[i];
    return found;
}

template <class T> bool all_finite(const T* x, Count n) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Count i = 0; i < n; i++) sum += x[i] * 0;
    return sum == 0;
}

template <class T> inline Lanes<T> sign(Lanes<T> x) { return counted<T>(x > 0) - counted<T>(x < 0); }
