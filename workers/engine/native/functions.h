// What a formula's functions are in C++, elementwise, T being float or double. They are called in loops over vectors: no branches.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

// The vector versions of the C library's functions (libmvec), which GCC uses by itself only under -ffast-math. They are
// right to 4 units in the last place, NaN and infinity included.
#if defined(VECTOR_LIBRARY)
#define VECTORISED __attribute__((simd("notinbranch"), const))
extern "C" {
VECTORISED double exp(double) noexcept;
VECTORISED double tanh(double) noexcept;
VECTORISED float erff(float) noexcept;
VECTORISED double erf(double) noexcept;
VECTORISED float sinf(float) noexcept;
VECTORISED double sin(double) noexcept;
VECTORISED float cosf(float) noexcept;
VECTORISED double cos(double) noexcept;
VECTORISED float logf(float) noexcept;
VECTORISED double log(double) noexcept;
VECTORISED float log1pf(float) noexcept;
VECTORISED double log1p(double) noexcept;
VECTORISED float atanf(float) noexcept;
VECTORISED double atan(double) noexcept;
VECTORISED float expm1f(float) noexcept;
VECTORISED double expm1(double) noexcept;
VECTORISED float powf(float, float) noexcept;
VECTORISED double pow(double, double) noexcept;
}
#endif

namespace formula {

// The quotient of polynomials that Eigen and XLA use: right to some units in the last place, also near zero.
inline float tanh(float z) {
    z = z < -7.90531110763549805f ? -7.90531110763549805f : z;
    z = z > 7.90531110763549805f ? 7.90531110763549805f : z;
    float s = z * z;
    float p = -2.76076847742355e-16f;
    p = p * s + 2.00018790482477e-13f;
    p = p * s - 8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f;
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return z * p / q;
}
inline double tanh(double z) { return ::tanh(z); }

template <class To, class From> inline To same_bits(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To found;
    std::memcpy(&found, &x, sizeof found);
    return found;
}

// 2^n e^r with r = z - n ln 2, |r| <= (ln 2)/2; e^r = 1 + r + r² q(r), where q is fitted to the least relative error. Right to 9e-8, and where it
// is subnormal to a unit in the last place: 2^n is two factors, each of them a normal number. A NaN stays one.
inline float exp(float z) {
    constexpr float ROUND = 12582912.0f;  // 1.5·2^23: what is added to it becomes a whole number, in its last bits
    z = z < -104.0f ? -104.0f : z;        // beyond these bounds it is zero, or infinite
    z = z > 89.0f ? 89.0f : z;
    float shifted = z * 1.44269504f + ROUND, n = shifted - ROUND;
    float r = z - n * 0.693359375f + n * 2.12194440e-4f;  // ln 2 in two parts, so that n times the first is exact
    float q = 0.00138144672f;
    q = q * r + 0.00836878084f;
    q = q * r + 0.0416683927f;
    q = q * r + 0.166665196f;
    q = q * r + 0.49999994f;
    float near = q * (r * r) + r + 1.0f;
    auto power = [](std::int32_t k) { return same_bits<float>(std::uint32_t(k + 127) << 23); };
    std::int32_t whole = same_bits<std::int32_t>(shifted) - same_bits<std::int32_t>(ROUND), half = whole >> 1;
    return near * power(half) * power(whole - half);
}

// (e^(z/2))², since the library's vector goes over to slow code, element by element, where what it gives is subnormal, zero or infinite: what a
// Gaussian is far out. Between the bounds the square is all of that, and e^(z/2) none of it. A NaN stays one. Compiled with jumps
// threaded GCC would take the constants out of the vector, and ask for e^(z/2) beyond the bounds all the same.
inline double exp(double z) {
    double half = z * 0.5;
    half = half < -400.0 ? -400.0 : half;
    half = half > 400.0 ? 400.0 : half;
    half = ::exp(half);
    return half * half;
}

#define OF_BOTH(NAME, FLOAT, DOUBLE)                        \
    inline float NAME(float z) { return ::FLOAT(z); } \
    inline double NAME(double z) { return ::DOUBLE(z); }

OF_BOTH(expm1, expm1f, expm1)
OF_BOTH(log, logf, log)
OF_BOTH(log1p, log1pf, log1p)
OF_BOTH(erf, erff, erf)
OF_BOTH(arctan, atanf, atan)
OF_BOTH(sin, sinf, sin)
OF_BOTH(cos, cosf, cos)

inline float power(float z, float exponent) { return ::powf(z, exponent); }
inline double power(double z, double exponent) { return ::pow(z, exponent); }

template <class T> inline T sqrt(T z) { return std::sqrt(z); }
template <class T> inline T abs(T z) { return std::fabs(z); }
template <class T> inline T sign(T z) { return T(z > 0) - T(z < 0); }
template <class T> inline T sigmoid(T z) { return T(1) / (T(1) + exp(-z)); }
template <class T> inline T max(T z, T other) { return z > other || z != z ? z : other; }
template <class T> inline T min(T z, T other) { return z < other || z != z ? z : other; }
template <class T> inline T softplus(T z) { return max(z, T(0)) + log1p(exp(-abs(z))); }

}  // namespace formula
