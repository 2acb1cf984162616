// Whole training steps of dense networks, convolutions, RNNs and LSTMs: forward, backward, statistics, update; one trial after the other, several steps of
// each, so that what a trial needs stays in the core's own cache. The same arithmetic as train.py, network/, losses.py,
// divergence.py, statistics/ and optimizers/: they are the definition.
//
// B samples of a batch, I/O features in and out of a layer, P parameters of a trial, K steps, T trials, L layers.
// Matrices are row by row: x [B, I], W [O, I], z [B, O]; of a sequence of S steps there are S·B rows. Around convolutions samples lie innermost.
#include "change.h"
#include "columns.h"
#include "convolution.h"
#include "extended.h"
#include "layers.h"
#include "lstm.h"
#include "pooling.h"
#include "products.h"
#include "recurrent.h"
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
    Count recorded_count;        // of the K steps
    const void* gemm;
    const LayerSpec* layers;
    const Rule* rules;           // [T]
    const void* x;               // [N, F], sequences [N, S, F]
    const void* targets;         // int64 [N] for classes, [N, O] in the network's precision
    const Count* rows;           // [T, K, B] which samples; null: all of them
    const unsigned char* record; // [K] whether a step's statistics are wanted
    const unsigned char* keep;   // [K] whether the step after it is recorded
    void *theta, *gradient, *previous;  // [T, P]
    const Count* places;                // [Column] among the columns recorded; -1: it is not
    double* found;                      // [columns recorded, T, recorded_count, L]; of an evaluation [T, 2]
    Count *diverged_step, *diverged_layer;
    double* last_loss;  // [T], state of divergence.py
    const Extended* extended;  // null: the standard range
};
}

namespace {

// What recorded statistics need, as in the contract's statistics.py.
enum Pass { GRADIENT, MOMENTS, SIGNS, AGREEMENT, ERROR_SIGNAL, SAMPLES, ACTIVATION, SLOPE, WEIGHT, MOVEMENT, EPS };

// A gradient is made some rows at a time, of so many elements about, and makes its update while it is in the first caches.
constexpr Count PIECE = 4096, PIECE_ROWS = 24;  // rows: whole tiles, but for the last piece
// Elements that float32 counts exactly, of one that is there already.
constexpr Count COUNTABLE = 1 << 20;

constexpr Count LARGEST = 1024;  // layers beyond outgrow the caches: their products are the BLAS's

inline bool small(const LayerSpec& layer) { return std::max(layer.into, layer.out) <= LARGEST; }

// Whether nothing has to be known of the whole gradient of a layer before its elements can make their update.
template <class T> bool in_pieces(const Task& task, const LayerSpec& layer) {
    return !needs_range<T> && !task.extended && small(layer) && layer.features();
}

inline Count piece_rows(const LayerSpec& layer) { return std::max<Count>(1, PIECE / layer.into / PIECE_ROWS) * PIECE_ROWS; }

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
    Room<T> input, delta, below;
    Room<T> piece, before;  // of a gradient; the weights before they move
    std::vector<T> turned;  // an operand of a product: transposed weights, or rows that are shorter than a register
    std::vector<Room<T>> z, a;         // a is empty where the non-linearity works in place; h_0 of a recurrent layer comes first
    std::vector<Room<T>> laid;          // what a layer sees, where the one below gives it in another shape
    std::vector<Cells<T>> cells;       // of LSTMs
    std::vector<Convolving<T>> convolving;
    std::vector<Pools<T>> pools;       // above convolutions
    std::vector<Count> first;          // where a layer's first step is among its values
    Room<double> sums;                 // one for each unit, or each sample
    std::vector<Raw> raw;              // of each layer
    Room<T> reach;                     // ‖x‖² of each sample
    Steps<T> through_time;
    explicit Scratch(const Task& task)
        : input(task.rows || task.layers[0].steps > 1 ? task.batch * task.layers[0].steps * task.layers[0].into : 0),
          delta(filled_up<T>(task) * widest(task)), below(delta.size()), sums(std::max(widest(task), task.batch)),
          raw(task.layer_count), reach(task.batch + REGISTER<T>) {
        Count largest = 0, rows = 0, piece = 0, samples = filled_up<T>(task);
        for (Count l = 0; l < task.layer_count; l++) {
            const auto& layer = task.layers[l];
            Count before = layer.recurrent() ? task.batch * layer.out : 0, size = before + layer.steps * samples * layer.out;
            if (needs_range<T>) largest = std::max(largest, layer.count);
            if (in_pieces<T>(task, layer)) piece = std::max(piece, (piece_rows(layer) + TILE_ROWS) * layer.into + layer.out);
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
        before.resize(largest), this->piece.resize(piece), turned.resize(rows);
    }
    T* pre(Count l) { return z[l].data() + (a[l].empty() ? first[l] : 0); }
    T* value(Count l) { return a[l].empty() ? pre(l) : a[l].data() + first[l]; }
};

template <class T> void look_at_error_signal(const T* delta, Count n, Raw& raw) {
    auto element = [delta](Count i) { return delta[i]; };
    raw.delta_exponent = needs_range<T> ? range_of(element, n) : 0;
    raw.delta_square = squares<T>(element, n, raw.delta_exponent);
}

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

    // Its place among the steps recorded, -1 where it is not one.
    void step(Count k, Count place) {
        Raw* raw = place < 0 ? nullptr : s.raw.data();
        if (raw) std::fill((double*)raw, (double*)(raw + L), NAN);
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
        if (!raw) return;
        Count each = task.recorded_count * L;
        double* found = task.found + trial * each + place * L;
        for (Count l = 0; l < L; l++) write_columns<T>(raw[l], task.layers[l], B, task.places, task.trials * each, found + l);
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
        Ahead ahead;
        if (&layer != task.layers + L - 1) ahead.add(theta + (&layer + 1)->weight, (&layer + 1)->count);
        product(R, O, I, View<T>{x, I}, turned, row, z, bias, 0, ahead);
    }

    // ∂L/∂b, with what is recorded of samples
    void weigh_samples(const LayerSpec& layer, const T* delta, const T* x, Raw* raw) {
        T* bias = layer.bias < 0 ? nullptr : gradient + layer.bias;
        if (raw && layer.features() && wanted(SAMPLES)) look_at_samples<T, OF_SAMPLES>(delta, x, layer, B, bias, s.reach.data(), *raw);
        else if (raw && layer.features() && wanted(ERROR_SIGNAL)) look_at_samples<T, OF_SIGNAL>(delta, x, layer, B, bias, nullptr, *raw);
        else if (bias) sum_over_samples(delta, layer.steps * B, layer.out, bias);
    }

    // ∂L/∂W [O, I] = δᵀ [O, R] · x [R, I], of a layer that is not `in_pieces`; those of sequences outgrow the caches
    void weigh(const LayerSpec& layer, const T* delta, const T* x) {
        Count I = layer.into, O = layer.out, R = layer.steps * B;
        T* found = gradient + layer.weight;
        if (!small(layer) || layer.steps > 1) return by_blas('N', 'T', I, O, R, x, I, delta, O, found);
        product(O, I, R, View<T, true>{delta, O}, readable(x, R, I, s.turned.data()), padded<T>(I), found);
    }

    // ∂L/∂x [R, I] = δ [R, O] · W
    void fall(const LayerSpec& layer, const T* delta, T* below, const T* x) {
        Count I = layer.into, O = layer.out, R = layer.steps * B;
        const T* w = theta + layer.weight;
        if (!small(layer)) return by_blas('N', 'N', I, R, O, w, I, delta, O, below);
        Ahead ahead;
        ahead.add(x, R * I), ahead.add(theta + (&layer - 1)->weight, (&layer - 1)->count);
        product(R, I, O, View<T>{delta, O}, readable(w, O, I, s.turned.data()), padded<T>(I), below, (const T*)nullptr, 0, ahead);
    }

    // Its matrices are column by column: (m, n) are those of the transposed result.
    void by_blas(char ta, char tb, Count m, Count n, Count k, const T* A, Count lda, const T* C, Count ldc, T* out) {
        int im = int(m), in = int(n), ik = int(k), ia = int(lda), ic = int(ldc);
        T one = 1, zero = 0;
        gemm(&ta, &tb, &im, &in, &ik, &one, A, &ia, C, &ic, &zero, out, &im);
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
                if (layer.windows) weigh_places(layer, gradient, delta, x, B, s.convolving[l]);
                else weigh_samples(layer, delta, x, own);
                if (!layer.windows && !in_pieces<T>(task, layer)) weigh(layer, delta, x);
            }
            if (l && layer.windows) convolve_back(layer, theta, delta, below, B, s.convolving[l]);
            else if (l && layer.gates == 1) fall(layer, delta, below, x);
            if (own && wanted(ERROR_SIGNAL) && !layer.features()) look_at_error_signal(layer.gates > 1 ? z : delta, layer.gates * n, *own);
            Change change{l, k, delta, x, own};
            if (task.extended) change.given = rebase(*task.extended, l * task.trials + trial, task.extended->free[trial], carried, silent);
            change_by(change);
            if (own) own->peak *= power(carried), own->exponent += carried, own->delta_exponent += carried;
            std::swap(delta, below);
            if (l && !s.laid[l].empty()) lay_back(l, delta, below), std::swap(delta, below);
        }
    }

    // What a layer's gradient does, and what it is made of.
    struct Change {
        Count layer, step;
        const T *delta, *x;
        Raw* raw;  // null where nothing is recorded
        Given given{0, 0};
    };

    void change_by(const Change& change) {
        auto by = [&](const auto& update) { take_effect(change, update_by<T>(update)); };
        switch (rule.kind) {  // in the order of KERNELS in rules.py
            case 0: return rule.state[0] ? by(Momentum<T>(rule)) : by(Sgd<T>(rule));
            case 1: return rule.state[1] ? by(RmsProp<T, true>(rule)) : by(RmsProp<T, false>(rule));
            case 2: return by(Adam<T>(rule));
            case 3: return by(Rprop<T>(rule));
            case 4: return by(SignSgd<T>(rule));
            case 5: return rule.state[0] ? by(Signum<T>(rule)) : by(SignSgd<T>(rule, rule.hyper[2]));
            case 6: return by(Smorms3<T>(rule));
            default: return by(ByTorch<T>());
        }
    }

    // In one pass over every piece; in two, of which the first only looks, where the whole gradient has to be known before it makes its update.
    // The last step of all moves nothing.
    void take_effect(const Change& change, const Update<T>& own) {
        const auto& layer = task.layers[change.layer];
        const ByTorch<T> by_torch;
        const auto still = update_by<T>(by_torch);
        const auto& update = task.moves ? own : still;
        Look look = !change.raw ? AT_NOTHING : wanted(MOMENTS) || wanted(AGREEMENT) ? AT_ALL : AT_CORE;
        Count n = layer.count, at = layer.weight;
        T *w = theta + at, *g = gradient + at;
        Sums looked, moved;
        double weight_norm = 0, update_norm = 0;
        auto over = [&](const Update<T>& by, typename Update<T>::Pass pass, bool keep, Sums& sums) {
            visit(change, by.states, keep, [&](const Piece<T>& piece) { go_over(by, pass, piece, sums); });
        };
        bool keep = task.keep[change.step];
        if (needs_range<T> || task.extended) {
            if (look && needs_range<T>) {
                looked.exponent = range_of([g](Count i) { return g[i]; }, n);
                looked.exponent_before = range_of([this, at](Count i) { return previous[at + i]; }, n);
                weight_norm = norm<T>([w](Count i) { return w[i]; }, n);
                std::memcpy(s.before.data(), w, n * sizeof(T));
            }
            if (look || keep) over(still, still.looking[look], keep, looked);
            if (task.extended) present(change.given, rule, g, at, n);
            over(update, update.moving[look != AT_NOTHING], false, moved);
            if (look && needs_range<T>) update_norm = norm<T>([w, this](Count i) { return w[i] - s.before[i]; }, n);
        } else {
            over(update, update.looking[look], keep, looked);
            moved = looked;
        }
        if (bad_gradient < 0 && total(moved.bad) != 0) bad_gradient = change.layer;
        if (!look) return;
        if (!needs_range<T>) weight_norm = std::sqrt(total(moved.weight_square)), update_norm = std::sqrt(total(moved.moved_square));
        looked.write(n, look, task.first_step + change.step > 0, *change.raw);
        if (wanted(WEIGHT)) change.raw->weight_norm = weight_norm;
        if (moving()) change.raw->update_norm = update_norm;
        if (!own.has_eps || !wanted(EPS)) return;
        change.raw->eps_dominated = task.moves ? total(moved.dominated) : own.dominated(own.rule, piece_of(own.states, g, at, n, false));
    }

    Piece<T> piece_of(int states, const T* g, Count at, Count n, bool keep) const {
        Piece<T> own{theta + at, g, previous + at, {}, n, keep};
        for (int i = 0; i < states; i++) own.state[i] = (T*)rule.state[i] + at;
        return own;
    }

    // A layer's gradient, piece after piece; they are made here where the layer is `in_pieces`. After the last step all are where others look
    // for them.
    template <class F> void visit(const Change& change, int states, bool keep, F to) {
        const auto& layer = task.layers[change.layer];
        bool kept = change.step == task.step_count - 1;
        if (!in_pieces<T>(task, layer)) {
            for (Count done = 0; done < layer.count; done += COUNTABLE) {
                Count at = layer.weight + done;
                to(piece_of(states, gradient + at, at, std::min(COUNTABLE, layer.count - done), keep));
            }
            return;
        }
        Count I = layer.into, O = layer.out, rows = piece_rows(layer);
        const T* x = readable(change.x, B, I, s.turned.data());
        for (Count m = 0, own; m < O; m += own) {
            own = O - m < rows + TILE_ROWS ? O - m : rows;
            Count at = layer.weight + m * I;
            T* g = kept ? gradient + at : s.piece.data();
            auto next = piece_of(states, g, at, own * I, keep);
            Ahead ahead;
            ahead.add(next.theta, next.count);
            if (change.raw || keep) ahead.add(next.previous, next.count);
            for (int i = 0; i < states; i++) ahead.add(next.state[i], next.count);
            product(own, I, B, View<T, true>{change.delta + m, O}, x, padded<T>(I), g, (const T*)nullptr, 0, ahead);
            if (layer.bias >= 0 && m + own == O) {
                if (!kept) std::memcpy(g + own * I, gradient + layer.bias, O * sizeof(T));
                next.count += O;
            }
            to(next);
        }
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
        for (Count k = 0, recorded = 0; k < task.step_count; k++) trial.step(k, task.record[k] ? recorded++ : -1);
    }
}

// Loss and correct answers.
template <class T> void evaluate(const Task& task) {
    Scratch<T> scratch(task);
    for (Count t = 0; t < task.trials; t++) Trial<T>(task, scratch, t).evaluate(task.found + 2 * t, task.found + 2 * t + 1);
}

}  // namespace

extern "C" {
// REAL, the precision, is said by build.py: each is compiled where a shard has it.
void train_trials(const Task* task) { train<REAL>(*task); }
void evaluate_trials(const Task* task) { evaluate<REAL>(*task); }
}
