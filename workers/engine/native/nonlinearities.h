// The non-linearities: the value of z, and the slope from z and the value a. The same as the table in activations.py, and
// compared with it by the tests. FROM_VALUE: the slope needs only a, so that z need not be kept.
#pragma once
#include "vectors.h"

#define NON_LINEARITY(NAME, FROM_VALUE, VALUE, SLOPE)                        \
    struct NAME {                                                            \
        static constexpr bool from_value = FROM_VALUE;                       \
        template <class T> static inline T value(T z) { return VALUE; }      \
        template <class T> static inline T slope([[maybe_unused]] T z, [[maybe_unused]] T a) { return SLOPE; } \
    };

// The quotient of polynomials that Eigen and XLA use: right to some units in the last place, also near zero.
inline float fast_tanh(float z) {
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
inline double fast_tanh(double z) { return tanh(z); }

inline float exponential(float z) { return expf(z); }
inline double exponential(double z) { return exp(z); }
inline float error_function(float z) { return erff(z); }
inline double error_function(double z) { return erf(z); }
inline float sine(float z) { return sinf(z); }
inline double sine(double z) { return sin(z); }
inline float cosine(float z) { return cosf(z); }
inline double cosine(double z) { return cos(z); }
inline float log_plus_one(float z) { return log1pf(z); }
inline double log_plus_one(double z) { return log1p(z); }

template <class T> inline T logistic(T z) { return T(1) / (T(1) + exponential(-z)); }
template <class T> inline T size(T z) { return z < 0 ? -z : z; }
template <class T> inline T distribution(T z) { return T(0.5) * (T(1) + error_function(z * T(0.70710678118654752440))); }
template <class T> inline T density(T z) { return exponential(T(-0.5) * z * z) * T(0.39894228040143267794); }

NON_LINEARITY(Identity, true, z, T(1))
NON_LINEARITY(Sigmoid, true, logistic(z), a * (T(1) - a))
NON_LINEARITY(Tanh, true, fast_tanh(z), T(1) - a * a)
NON_LINEARITY(Softplus, false, (z > 0 ? z : T(0)) + log_plus_one(exponential(-size(z))), logistic(z))
NON_LINEARITY(Softsign, false, z / (T(1) + size(z)), T(1) / ((T(1) + size(z)) * (T(1) + size(z))))
NON_LINEARITY(Erf, false, error_function(z), exponential(-z * z) * T(1.12837916709551257390))
NON_LINEARITY(Sin, false, sine(z), cosine(z))
NON_LINEARITY(Gaussian, false, exponential(-z * z), T(-2) * z * a)
NON_LINEARITY(Relu, true, z < 0 ? T(0) : z, a > 0 ? T(1) : T(0))
NON_LINEARITY(Gelu, false, z * distribution(z), distribution(z) + z * density(z))
NON_LINEARITY(Silu, false, z * logistic(z), logistic(z) * (T(1) + z * (T(1) - logistic(z))))
