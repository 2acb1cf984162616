// Whole training steps of dense networks, convolutions, RNNs and LSTMs: forward, backward, statistics, update; one trial after the other, several steps of
// each, so that what a trial needs stays in the core's own cache. The same arithmetic as train.py, network/, losses.py,
// divergence.py, statistics/ and optimizers/: they are the definition.
//
// B samples of a batch, I/O features in and out of a layer, P parameters of a trial, K steps, T trials, L layers.
// Matrices are row by row: x [B, I], W [O, I], z [B, O]; of a sequence of S steps there are S·B rows. Around convolutions samples lie innermost.
#include "convolution.h"
#include "extended.h"
#include "layers.h"
#include "lstm.h"
#include "pooling.h"
#include "products.h"
#include "recurrent.h"
#include "rules.h"
#include "samples.h"
#include "units.h"
#include <algorithm>
#include <cstring>
#include <vector>

namespace {

template <class T> struct Gemm;
template <> struct Gemm<float> {
    using Function = void (*)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                              const int*, const float*, const int*, const float*, float*, const int*);
};
template <> struct Gemm<double> {
    using Function = void (*)(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                              const int*, const double*, const int*, const double*, double*, const int*);
};

}  // namespace

extern "C" {

struct Task {
    Count trials, parameters, layer_count, samples, batch, step_count, loss, first_step;  // samples: in the split
    Count passes;                // a bit for each of Pass below
    Count moves;                 // whether the steps end in an update; the last of all, which is only looked at, does not
    const void* gemm;
    const LayerSpec* layers;
    const Rule* rules;           // [T]
    const void* x;               // [N, F], sequences [N, S, F]
    const void* targets;         // int64 [N] for classes, [N, O] in the network's precision
    const Count* rows;           // [T, K, B] which samples; null: all of them
    const unsigned char* record; // [K] whether a step's statistics are wanted
    const unsigned char* keep;   // [K] whether the step after it is recorded
    void *theta, *gradient, *previous;  // [T, P]
    double* raw;                        // [recorded of K, T, L] of Raw
    Count *diverged_step, *diverged_layer;
    double* last_loss;  // [T], state of divergence.py
    const Extended* extended;  // null: the standard range
};
}

namespace {

// What recorded statistics need, as in the contract's statistics.py.
enum Pass { GRADIENT, MOMENTS, SIGNS, AGREEMENT, ERROR_SIGNAL, SAMPLES, ACTIVATION, SLOPE, WEIGHT, MOVEMENT, EPS };

// Elements of a layer's gradient that are looked at, make their update and are looked at again together, in the first cache.
// Of float64, which is brought into range by its largest element first, all.
template <class T> constexpr Count BLOCK = needs_range<T> ? std::numeric_limits<Count>::max() / 2 : 2048;

// The size of blocks that are all about as large, and whole cache lines.
template <class T> Count block(Count n) {
    Count parts = (n - 1) / BLOCK<T> + 1;
    return ((n - 1) / parts / 16 + 1) * 16;
}

constexpr Count LARGEST = 1024;  // layers beyond outgrow the caches: their products are the BLAS's

inline bool small(const LayerSpec& layer) { return std::max(layer.into, layer.out) <= LARGEST; }

inline Count widest(const Task& task) {
    Count found = 0;
    for (Count l = 0; l < task.layer_count; l++) {
        const auto& layer = task.layers[l];
        found = std::max(found, layer.steps * std::max(layer.into, layer.out));
    }
    return found;
}

// Whether samples lie innermost in what it sees and not in what arrives, or the other way round.
inline bool turned_over(const Task& task, Count l) { return (task.layers[l].windows != nullptr) != (l && task.layers[l - 1].windows); }

// Samples of a batch, with those that fill up a register where samples lie innermost.
template <class T> Count filled_up(const Task& task) {
    auto convolves = [](const LayerSpec& layer) { return layer.windows != nullptr; };
    bool any = std::any_of(task.layers, task.layers + task.layer_count, convolves);
    return any ? blocks_of<T>(task.batch) * REGISTER<T> : task.batch;
}

// What one trial needs while it takes its steps; the next one uses it again.
template <class T> struct Scratch {
    Room<T> input, delta, below, before;
    std::vector<T> turned;  // an operand of a product: transposed weights, or rows that are shorter than a register
    std::vector<Room<T>> z, a;         // a is empty where the non-linearity works in place; h_0 of a recurrent layer comes first
    std::vector<Room<T>> laid;          // what a layer sees, where the one below gives it in another shape
    std::vector<Cells<T>> cells;       // of LSTMs
    std::vector<Convolving<T>> convolving;
    std::vector<Pools<T>> pools;       // above convolutions
    std::vector<Count> first;          // where a layer's first step is among its values
    Room<double> sums;                 // one for each unit, or each sample
    Room<T> reach;                     // ‖x‖² of each sample
    Steps<T> through_time;
    explicit Scratch(const Task& task)
        : input(task.rows || task.layers[0].steps > 1 ? task.batch * task.layers[0].steps * task.layers[0].into : 0),
          delta(filled_up<T>(task) * widest(task)), below(delta.size()), sums(std::max(widest(task), task.batch)),
          reach(task.batch + REGISTER<T>) {
        Count largest = 0, rows = 0, samples = filled_up<T>(task);
        for (Count l = 0; l < task.layer_count; l++) {
            const auto& layer = task.layers[l];
            Count before = layer.recurrent() ? task.batch * layer.out : 0, size = before + layer.steps * samples * layer.out;
            largest = std::max(largest, block<T>(layer.count));
            bool in_place = layer.gates == 1 && non_linearity<T>(layer).from_value;
            if (layer.recurrent()) through_time.fit(layer, task.batch);
            cells.emplace_back();
            if (layer.gates > 1) cells[l].fit(layer, task.batch);
            convolving.emplace_back(), pools.emplace_back();
            if (layer.windows) convolving[l].fit(layer), pools[l].fit(layer, samples);
            if (turned_over(task, l)) rows = std::max(rows, layer.into * REGISTER<T>);
            if (small(layer) && !layer.windows) rows = std::max({rows, (layer.into + 1) * padded<T>(layer.out), std::max(task.batch, layer.out) * REGISTER<T>});
            z.emplace_back(in_place ? size : layer.gates * (size - before));
            a.emplace_back(in_place ? 0 : size);
            bool other = turned_over(task, l) || (l && task.layers[l - 1].given_out() != layer.into);
            laid.emplace_back(other ? layer.steps * samples * layer.into : 0);
            first.push_back(before);
            std::fill(value(l) - before, value(l), T(0));
        }
        before.resize(largest), turned.resize(rows);
    }
    T* pre(Count l) { return z[l].data() + (a[l].empty() ? first[l] : 0); }
    T* value(Count l) { return a[l].empty() ? pre(l) : a[l].data() + first[l]; }
};

template <class T> void look_at_error_signal(const T* delta, Count n, Raw& raw) {
    auto element = [delta](Count i) { return delta[i]; };
    raw.delta_exponent = needs_range<T> ? range_of(element, n) : 0;
    raw.delta_square = squares<T>(element, n, raw.delta_exponent);
}

// Sums over a layer's gradient, block by block; the spread round the mean is taken from the first element, as deviations are in
// look_at_units. WHOLE: with what is not in `core`. Before there is a step before, `before` is zero and what it is compared by is not told.
template <class T, bool WHOLE> struct GradientSums {
    double exponent = 0, first, shifted = 0, shifted_square = 0, square = 0, product = 0, square_before = 0;
    double largest = 0, size = 0, zeros = 0, bad = 0, flips = 0;

    void add(const T* g, const T* before, Count n, bool from_start) {
        if (needs_range<T>) exponent = range_of([g](Count i) { return g[i]; }, n);
        double exponent_before = needs_range<T> && WHOLE ? range_of([before](Count i) { return before[i]; }, n) : 0;
        double unit = power(-exponent), unit_before = power(-exponent_before);
        if (from_start) first = g[0] * unit;
        double origin = first, deviations = 0, deviation_squares = 0, squares = 0, products = 0, squares_before = 0;
        T highest = 0, sizes = 0, nothings = 0, wrong = 0, turned = 0;
#pragma omp simd reduction(+ : deviations, deviation_squares, squares, products, squares_before, sizes, nothings, wrong, turned) reduction(max : highest)
        for (Count i = 0; i < n; i++) {
            T own = g[i];
            double x = needs_range<T> ? own * unit : double(own);
            squares += x * x;
            nothings += own == 0 ? T(1) : T(0);
            turned += sign(own) * before[i] < 0 ? T(1) : T(0);
            if (!WHOLE) continue;
            T magnitude = std::fabs(own);
            double deviation = x - origin;
            deviations += deviation;
            deviation_squares += deviation * deviation;
            highest = magnitude > highest ? magnitude : highest;
            sizes += magnitude;
            wrong += magnitude <= std::numeric_limits<T>::max() ? T(0) : T(1);
            double y = needs_range<T> ? before[i] * unit_before : double(before[i]);
            products += x * y;
            squares_before += y * y;
        }
        shifted += deviations, shifted_square += deviation_squares, square += squares;
        product += products, square_before += squares_before;
        largest = std::fmax(largest, double(highest)), size += sizes, zeros += nothings, bad += wrong, flips += turned;
    }

    void write(Count n, bool has_before, Raw& raw) const {
        raw.exponent = exponent, raw.square = square, raw.zeros = zeros;
        if (has_before) raw.flips = flips;
        if (!WHOLE) return;
        double shift = shifted / n;
        raw.peak = bad == 0 ? largest : std::isnan(size) ? NAN : INFINITY;
        raw.nonfinite = bad, raw.mean = first + shift, raw.centred_square = not_negative(shifted_square - shifted * shift);
        if (has_before) raw.product = product, raw.square_before = square_before;
    }
};

// The loss of the batch, and ∂(mean loss)/∂output into delta. A logit that is NaN makes its sample's sum one.
template <class T> double cross_entropy(const T* output, const Count* classes, const Count* rows, T* delta, double* sums, Count B, Count O) {
    double loss = 0;
    for (Count b = 0; b < B; b++) {
        const T* z = output + b * O;
        T highest = z[0];
        for (Count j = 1; j < O; j++) highest = z[j] > highest ? z[j] : highest;
        for (Count j = 0; j < O; j++) delta[b * O + j] = z[j] - highest;
        loss -= delta[b * O + classes[rows ? rows[b] : b]];
    }
#pragma omp simd
    for (Count i = 0; i < B * O; i++) delta[i] = formula::exp(delta[i]);
    for (Count b = 0; b < B; b++) {
        T *d = delta + b * O, sum = 0;
        for (Count j = 0; j < O; j++) sum += d[j];
        sums[b] = sum;
        T share = T(1) / (sum * B);
        for (Count j = 0; j < O; j++) d[j] *= share;
        d[classes[rows ? rows[b] : b]] -= T(1) / B;
    }
#pragma omp simd reduction(+ : loss)
    for (Count b = 0; b < B; b++) loss += formula::log(sums[b]);
    return loss / B;
}

template <class T> double mean_squared_error(const T* output, const T* targets, const Count* rows, T* delta, Count B, Count O) {
    double loss = 0;
    for (Count b = 0; b < B; b++) {
        const T *z = output + b * O, *y = targets + (rows ? rows[b] : b) * O;
        for (Count j = 0; j < O; j++) {
            T error = z[j] - y[j];
            loss += double(error) * error;
            delta[b * O + j] = error * T(2) / (T(B) * O);
        }
    }
    return loss / (double(B) * O);
}

// ‖x‖₂, block by block.
template <class T> struct Norm {
    double exponent = 0, square = 0;
    template <class X> void add(X x, Count n) {
        if (needs_range<T>) exponent = range_of(x, n);
        square += squares<T>(x, n, exponent);
    }
    double value() const { return std::sqrt(square) * power(exponent); }
};

// A rule that torch runs, later.
template <class T> struct ByTorch {
    static ByTorch of(const Rule&) { return {}; }
    void update(T*, const T*, Count, Count) const {}
    static constexpr bool has_eps = false;
    bool dominated(Count) const { return false; }
};

// The first of the highest; a NaN is higher than any number, as in torch.
template <class T> Count highest(const T* z, Count O) {
    Count best = 0;
    for (Count j = 1; j < O; j++)
        if (z[j] > z[best] || (z[j] != z[j] && z[best] == z[best])) best = j;
    return best;
}

template <class T> class Trial {
  public:
    Trial(const Task& task, Scratch<T>& scratch, Count trial)
        : task(task), s(scratch), trial(trial), L(task.layer_count), B(task.batch), rule(task.rules[trial]),
          theta((T*)task.theta + trial * task.parameters), gradient((T*)task.gradient + trial * task.parameters),
          previous((T*)task.previous + trial * task.parameters), gemm((typename Gemm<T>::Function)task.gemm) {}

    void step(Count k, Raw* raw) {
        rows = task.rows ? task.rows + (trial * task.step_count + k) * B : nullptr;
        bad_output = bad_gradient = -1;
        if (rule.step && !task.moves) *rule.step -= 1;
        if (rule.rates) rule.hyper[0] = rule.rates[k];
        bottom = gathered((const T*)task.x);
        forward(raw);
        T loss = T(descend_from_loss());  // beyond its format a trial has diverged
        backward(k, raw);
        watch(loss, task.first_step + k);
        if (rule.step) *rule.step += 1;
        if (!task.extended) keep(k);
    }

    // As evaluation.py: the sum of the split's losses, and how many of its samples are classified correctly.
    void evaluate(double* loss, double* correct) {
        Count features = task.layers[0].steps * task.layers[0].into, outputs = task.layers[L - 1].out;
        rows = nullptr;
        *loss = *correct = 0;
        for (Count start = 0; start < task.samples; start += task.batch) {
            B = std::min(task.batch, task.samples - start);
            bottom = gathered((const T*)task.x + start * features);
            forward(nullptr);
            const T* output = s.value(L - 1);
            if (task.loss == 0) {
                const Count* classes = (const Count*)task.targets + start;
                *loss += B * cross_entropy(output, classes, rows, s.delta.data(), s.sums.data(), B, outputs);
                for (Count b = 0; b < B; b++) *correct += highest(output + b * outputs, outputs) == classes[b];
            } else {
                *loss += B * mean_squared_error(output, (const T*)task.targets + start * outputs, rows, s.delta.data(), B, outputs);
            }
        }
    }

  private:
    const Task& task;
    Scratch<T>& s;
    Count trial, L, B;
    Rule rule;
    T *theta, *gradient, *previous;
    typename Gemm<T>::Function gemm;
    const Count* rows;
    Count bad_output, bad_gradient;  // the first layer, from the input up and from the top down, with a NaN or an infinity; -1: none
    const T* bottom;

    // z [R, O] = x [R, I] · Wᵀ + b, of R rows
    void rise(const LayerSpec& layer, const T* x, T* z) {
        Count I = layer.into, O = layer.out, R = layer.steps * B, row = padded<T>(O);
        const T *w = theta + layer.weight, *bias = layer.bias < 0 ? nullptr : theta + layer.bias;
        if (!small(layer)) {
            by_blas('T', 'N', O, R, I, w, I, x, I, z);
            for (Count r = 0; bias && r < R; r++) add(z + r * O, bias, O);
            return;
        }
        T* turned = s.turned.data();
        transpose(w, O, I, turned, row);
        if (bias) bias = (const T*)std::memcpy(turned + I * row, bias, O * sizeof(T));
        product<T>(R, O, I, {x, I, 1}, turned, row, z, bias);
    }

    // ∂L/∂b, with what is recorded of samples, and ∂L/∂W [O, I] = δᵀ [O, R] · x [R, I]; those of sequences outgrow the caches
    void weigh(const LayerSpec& layer, const T* delta, const T* x, Raw* raw) {
        Count I = layer.into, O = layer.out, R = layer.steps * B;
        T *found = gradient + layer.weight, *bias = layer.bias < 0 ? nullptr : gradient + layer.bias;
        if (raw && layer.features() && wanted(SAMPLES)) look_at_samples<T, OF_SAMPLES>(delta, x, layer, B, bias, s.reach.data(), *raw);
        else if (raw && layer.features() && wanted(ERROR_SIGNAL)) look_at_samples<T, OF_SIGNAL>(delta, x, layer, B, bias, nullptr, *raw);
        else if (bias) sum_over_samples(delta, R, O, bias);
        if (!small(layer) || layer.steps > 1) return by_blas('N', 'T', I, O, R, x, I, delta, O, found);
        product<T>(O, I, R, {delta, 1, O}, readable(x, R, I, s.turned.data()), padded<T>(I), found);
    }

    // ∂L/∂x [R, I] = δ [R, O] · W
    void fall(const LayerSpec& layer, const T* delta, T* below) {
        Count I = layer.into, O = layer.out, R = layer.steps * B;
        const T* w = theta + layer.weight;
        if (!small(layer)) return by_blas('N', 'N', I, R, O, w, I, delta, O, below);
        product<T>(R, I, O, {delta, O, 1}, readable(w, O, I, s.turned.data()), padded<T>(I), below);
    }

    // Its matrices are column by column: (m, n) are those of the transposed result.
    void by_blas(char ta, char tb, Count m, Count n, Count k, const T* A, Count lda, const T* C, Count ldc, T* out) {
        int im = int(m), in = int(n), ik = int(k), ia = int(lda), ic = int(ldc);
        T one = 1, zero = 0;
        gemm(&ta, &tb, &im, &in, &ik, &one, A, &ia, C, &ic, &zero, out, &im);
    }

    // The gradient that the next step is compared with changes places with the one before; after the last step both are where others
    // look for them. In the extended range `apply` has copied it, before it is what the rule sees.
    void keep(Count k) {
        T *home = (T*)task.gradient + trial * task.parameters, *latest = gradient;
        if (task.keep[k]) std::swap(gradient, previous);
        if (k < task.step_count - 1) return;
        if (latest != home) std::memcpy(home, latest, task.parameters * sizeof(T));
        else if (task.keep[k]) std::memcpy(gradient, latest, task.parameters * sizeof(T));
    }

    bool wanted(Pass pass) const { return task.passes >> pass & 1; }
    bool moving() const { return wanted(MOVEMENT) && task.moves; }

    // The batch as the first layer sees it.
    const T* gathered(const T* whole) {
        const auto& first = task.layers[0];
        if (!rows && first.steps == 1) return whole;
        lay_out(whole, first.steps * first.into, rows, s.input.data(), first.steps, first.into, B);
        return s.input.data();
    }

    // What goes up from layer l: all it gives, or its last step.
    const T* top(Count l) {
        const auto& layer = task.layers[l];
        if (layer.pools) return s.pools[l].values.back().data();
        return s.value(l) + (layer.steps - layer.given()) * B * layer.out;
    }

    // What layer l sees, in its shape.
    const T* seen(Count l) { return !s.laid[l].empty() ? s.laid[l].data() : l == 0 ? bottom : top(l - 1); }

    // What arrives at layer l, in the shape in which it is seen.
    void lay(Count l) {
        if (s.laid[l].empty()) return;
        const auto& layer = task.layers[l];
        T* laid = s.laid[l].data();
        if (!turned_over(task, l)) lay_out(top(l - 1), task.layers[l - 1].out, nullptr, laid, layer.steps, layer.into, B);
        else if (!layer.windows) to_rows(top(l - 1), layer.steps, layer.into, B, laid);
        else if (l == 0) to_columns(bottom, 1, layer.into, B, true, laid, s.turned.data());
        else to_columns(top(l - 1), task.layers[l - 1].given(), task.layers[l - 1].out, B, true, laid, s.turned.data());
    }

    // δ at what arrives at layer l, in the shape of what the one below gives, from the shape in which it is seen.
    void lay_back(Count l, const T* delta, T* laid) {
        const auto &layer = task.layers[l], &giving = task.layers[l - 1];
        if (!turned_over(task, l)) lay_out(delta, layer.into, nullptr, laid, giving.given(), giving.out, B);
        else if (layer.windows) to_rows(delta, giving.given(), giving.out, B, laid);
        else to_columns(delta, layer.steps, layer.into, B, false, laid, s.turned.data());
    }

    // Of all samples, before pooling.
    Count numbers(const LayerSpec& layer) const { return layer.steps * (layer.windows ? blocks_of<T>(B) * REGISTER<T> : B) * layer.out; }

    void forward(Raw* raw) {
        for (Count l = 0; l < L; l++) {
            const auto& layer = task.layers[l];
            const auto& theta_of = non_linearity<T>(layer);
            T *z = s.pre(l), *a = s.value(l);
            lay(l);
            bool finite, sound;
            if (layer.recurrent()) {
                finite = layer.gates == 1 ? forward_through_time(layer, theta, seen(l), z, a, B, s.through_time)
                                          : forward_through_cells(layer, theta, seen(l), z, a, s.cells[l], B, s.through_time);
                sound = all_finite(top(l), layer.given() * B * layer.out);
            } else {
                layer.windows ? convolve(layer, theta, seen(l), z, B, s.convolving[l]) : rise(layer, seen(l), z);
                finite = sound = theta_of.activate(z, a, numbers(layer));
                pool(layer, a, B, s.pools[l]);
            }
            if (!sound && bad_output < 0) bad_output = l;
            if (!raw) continue;
            raw[l].nothing = finite ? 0 : NAN;
            if (!wanted(ACTIVATION) && !wanted(SLOPE)) continue;
            if (layer.gates > 1) {
                Count candidate = CANDIDATE * layer.steps * B * layer.out;
                z += candidate, a = s.cells[l].gates(s.pre(l)) + candidate;
            }
            if (layer.windows) {
                T *other = s.delta.data(), *value = a == z ? other : s.below.data();
                to_rows(z, 1, layer.out, B, other);
                if (a != z) to_rows(a, 1, layer.out, B, value);
                z = other, a = value;
            }
            if (layer.steps > 1) look_through_time(layer, z, a, B, s.sums.data(), raw[l]);
            else theta_of.look(z, a, B, layer.out, layer.steepest, s.sums.data(), raw[l]);
        }
    }

    double descend_from_loss() {
        const auto& top = task.layers[L - 1];
        const T* output = s.value(L - 1);
        T* delta = s.delta.data();
        if (task.loss == 0) return cross_entropy(output, (const Count*)task.targets, rows, delta, s.sums.data(), B, top.out);
        return mean_squared_error(output, (const T*)task.targets, rows, delta, B, top.out);
    }

    void backward(Count k, Raw* raw) {
        T *delta = s.delta.data(), *below = s.below.data();
        double carried = 0;
        bool silent = false;
        for (Count l = L - 1; l >= 0; l--) {
            const auto& layer = task.layers[l];
            Count n = numbers(layer);
            Raw* own = raw ? raw + l : nullptr;
            const T *x = seen(l), *a = s.value(l);
            T* z = s.pre(l);
            if (task.extended && (L - 1 - l) % BETWEEN == 0) carried += bring_in_range(delta, n / layer.out * layer.given_out(), silent);
            if (layer.gates > 1) {
                back_through_cells(layer, theta, gradient, delta, x, z, a, s.cells[l], B, l ? below : nullptr, s.through_time);
            } else if (layer.recurrent()) {
                back_through_time(layer, theta, gradient, delta, x, z, a, B, s.through_time);
            } else {
                pool_back(layer, a, delta, below, B, s.pools[l]);
                non_linearity<T>(layer).descend(delta, z, a, n);
                layer.windows ? weigh_places(layer, gradient, delta, x, B, s.convolving[l]) : weigh(layer, delta, x, own);
            }
            if (l && layer.windows) convolve_back(layer, theta, delta, below, B, s.convolving[l]);
            else if (l && layer.gates == 1) fall(layer, delta, below);
            if (own && wanted(ERROR_SIGNAL) && !layer.features()) look_at_error_signal(layer.gates > 1 ? z : delta, layer.gates * n, *own);
            Change change{l, k, layer.weight, layer.count, own};
            if (task.extended) change.given = rebase(*task.extended, l * task.trials + trial, task.extended->free[trial], carried, silent);
            update_by(change);
            if (own) own->peak *= power(carried), own->exponent += carried, own->delta_exponent += carried;
            std::swap(delta, below);
            if (l && !s.laid[l].empty()) lay_back(l, delta, below), std::swap(delta, below);
        }
    }

    // What a layer's gradient does.
    struct Change {
        Count layer, step, start, count;  // where its parameters start, how many they are
        Raw* raw;                         // null where nothing is recorded
        Given given{0, 0};
    };

    void update_by(const Change& change) {
        switch (rule.kind) {  // in the order of KERNELS in rules.py
            case 0: return look_by(change, Sgd<T>::of(rule));
            case 1: return look_by(change, RmsProp<T>::of(rule));
            case 2: return look_by(change, Adam<T>::of(rule));
            case 3: return look_by(change, Rprop<T>::of(rule));
            case 4: return look_by(change, SignSgd<T>::of(rule));
            case 5: return look_by(change, Signum<T>::of(rule));
            case 6: return look_by(change, Smorms3<T>::of(rule));
            default: return look_by(change, ByTorch<T>{});
        }
    }

    template <class R> void look_by(const Change& change, const R& update) {
        if (!change.raw) return apply<R, false, false>(change, update);
        if (!wanted(MOMENTS) && !wanted(AGREEMENT)) return apply<R, true, false>(change, update);
        apply<R, true, true>(change, update);
    }

    // Block by block: look at the gradient, keep it, update, look at what moved.
    template <class R, bool LOOK, bool WHOLE> void apply(const Change& change, const R& update) {
        Count n = change.count;
        GradientSums<T, WHOLE> sums;
        Norm<T> weights, moved;
        double dominated = 0;
        T* before = s.before.data();
        for (Count done = 0, step = block<T>(n); done < n; done += step) {
            Count at = change.start + done, m = std::min(step, n - done);
            T *w = theta + at, *g = gradient + at;
            if (LOOK) {
                sums.add(g, previous + at, m, done == 0);
                if (wanted(WEIGHT)) weights.add([w](Count i) { return w[i]; }, m);
                if (moving()) std::memcpy(before, w, m * sizeof(T));
            }
            if (task.extended) {
                if (task.keep[change.step]) std::memcpy(previous + at, g, m * sizeof(T));
                present(change.given, rule, g, at, m);
            }
            if (bad_gradient < 0 && !all_finite(g, m)) bad_gradient = change.layer;
            if (task.moves) update.update(w, g, at, m);
            if (LOOK && moving()) moved.add([w, before](Count i) { return w[i] - before[i]; }, m);
            if (LOOK && R::has_eps && wanted(EPS)) {
                T held = 0;
#pragma omp simd reduction(+ : held)
                for (Count i = 0; i < m; i++) held += update.dominated(at + i) ? T(1) : T(0);
                dominated += held;
            }
        }
        if (!LOOK) return;
        sums.write(n, task.first_step + change.step > 0, *change.raw);
        if (wanted(WEIGHT)) change.raw->weight_norm = weights.value();
        if (moving()) change.raw->update_norm = moved.value();
        if (R::has_eps && wanted(EPS)) change.raw->eps_dominated = dominated;
    }

    // As Watch.look: pre-activations from the input upwards, the loss, gradients from the top down.
    void watch(T loss, Count step) {
        if (task.diverged_step[trial] >= 0) return;
        Count layer = bad_output >= 0 ? bad_output : !std::isfinite(loss) ? L - 1 : bad_gradient;
        if (layer >= 0) {
            task.diverged_step[trial] = step;
            task.diverged_layer[trial] = layer;
        }
        if (std::isfinite(loss)) task.last_loss[trial] = loss;
    }
};

template <class T> void train(const Task& task) {
    Scratch<T> scratch(task);
    for (Count t = 0; t < task.trials; t++) {
        Trial<T> trial(task, scratch, t);
        Raw* raw = (Raw*)task.raw + t * task.layer_count;
        for (Count k = 0; k < task.step_count; k++) {
            trial.step(k, task.record[k] ? raw : nullptr);
            if (task.record[k]) raw += task.trials * task.layer_count;
        }
    }
}

// Into raw: [T, 2], loss and correct answers.
template <class T> void evaluate(const Task& task) {
    Scratch<T> scratch(task);
    for (Count t = 0; t < task.trials; t++) Trial<T>(task, scratch, t).evaluate(task.raw + 2 * t, task.raw + 2 * t + 1);
}

}  // namespace

extern "C" {
// REAL, the precision, is said by build.py: each is compiled where a shard has it.
void train_trials(const Task* task) { train<REAL>(*task); }
void evaluate_trials(const Task* task) { evaluate<REAL>(*task); }
}
