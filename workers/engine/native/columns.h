// The columns of the statistics table from a layer's sums: as backward_columns, forward_columns and update_columns in statistics/, which are the
// definition.
#pragma once
#include "layers.h"

// In this order in __init__.py.
enum Column {
    GRADIENT_NORM, GRADIENT_RMS, GRADIENT_MEAN, GRADIENT_STD, GRADIENT_MAX_ABS, GRADIENT_LOG10_RMS, GRADIENT_ZERO_FRACTION,
    GRADIENT_NONFINITE_FRACTION, GRADIENT_SNR, SIGN_FLIP_RATE, GRADIENT_COSINE, ERROR_SIGNAL_NORM,
    ACTIVATION_MEAN, ACTIVATION_STD, ACTIVATION_SAMPLE_STD, SATURATION_FRACTION, DERIVATIVE_MEAN, DEAD_FRACTION,
    WEIGHT_NORM, UPDATE_NORM, UPDATE_TO_WEIGHT_RATIO, EFFECTIVE_LR, EPS_DOMINANCE
};

constexpr double ROUNDING = 32;  // as in statistics/backward.py

// Of one layer at one step. Those that have a place among the columns recorded are written, `apart` numbers from each other.
template <class T> void write_columns(const Raw& raw, const LayerSpec& layer, Count B, const Count* places, Count apart, double* to) {
    auto tell = [places, apart, to](Column column, auto value) {
        if (places[column] >= 0) to[places[column] * apart] = value();
    };
    auto ratio = [](double x, double y) { return y > 0 ? x / y : NAN; };
    double n = double(layer.count), u = double(layer.steps * layer.out), samples = double(B);
    double unit = power(raw.exponent), gradient_norm = std::sqrt(raw.square) * unit, rms = std::sqrt(raw.square / n);
    tell(GRADIENT_NORM, [&] { return gradient_norm; });
    tell(GRADIENT_RMS, [&] { return rms * unit; });
    tell(GRADIENT_MEAN, [&] { return raw.mean * unit; });
    tell(GRADIENT_STD, [&] { return std::sqrt(raw.centred_square / n) * unit; });
    tell(GRADIENT_MAX_ABS, [&] { return raw.peak; });
    tell(GRADIENT_LOG10_RMS, [&] { return rms == 0 ? NAN : std::log10(rms) + raw.exponent * std::log10(2.0); });
    tell(GRADIENT_ZERO_FRACTION, [&] { return raw.zeros / n; });
    tell(GRADIENT_NONFINITE_FRACTION, [&] { return raw.nonfinite / n; });
    tell(GRADIENT_SNR, [&] {
        double signal = raw.square * power(2 * (raw.exponent - raw.delta_exponent)), noise = raw.sample_square - signal;
        return noise > ROUNDING * std::numeric_limits<T>::epsilon() * raw.sample_square ? signal / noise : NAN;
    });
    tell(SIGN_FLIP_RATE, [&] { return raw.flips / n; });
    tell(GRADIENT_COSINE, [&] { return ratio(raw.product, std::sqrt(raw.square * raw.square_before)); });
    tell(ERROR_SIGNAL_NORM, [&] { return std::sqrt(raw.delta_square) * power(raw.delta_exponent); });

    double within = raw.sample_deviation / std::sqrt(samples * u), across = raw.unit_deviation / std::sqrt(u);
    tell(ACTIVATION_MEAN, [&] { return raw.activation_mean + raw.nothing; });
    tell(ACTIVATION_STD, [&] { return std::hypot(within, across) + raw.nothing; });
    tell(ACTIVATION_SAMPLE_STD, [&] { return within + raw.nothing; });
    tell(SATURATION_FRACTION, [&] { return raw.saturated / (samples * u) + raw.nothing; });
    tell(DERIVATIVE_MEAN, [&] { return raw.slope_sum / (samples * u) + raw.nothing; });
    tell(DEAD_FRACTION, [&] { return raw.dead / u + raw.nothing; });

    tell(WEIGHT_NORM, [&] { return raw.weight_norm; });
    tell(UPDATE_NORM, [&] { return raw.update_norm; });
    tell(UPDATE_TO_WEIGHT_RATIO, [&] { return ratio(raw.update_norm, raw.weight_norm); });
    tell(EFFECTIVE_LR, [&] { return ratio(raw.update_norm, gradient_norm); });
    tell(EPS_DOMINANCE, [&] { return raw.eps_dominated / n; });
}
