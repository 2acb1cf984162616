// The update rules that have a kernel here: some elements θ, side by side, and what the rule remembers of them from theirs of the gradient, g.
// The definitions, with formulas and sources, are the rules of workers/engine/optimizers; the tests compare. Numbers of a
// whole trial are computed in float64 and rounded once, as there.
//
// Each has: `states`, how many numbers it remembers of an element; `moves`, unless θ stays where it is; has_eps, and `dominated`, where eps is what is divided by.
#pragma once
#include "vectors.h"

constexpr int STATES = 4;

// A trial's rule: hyper-parameters and state in the order of the table in rules.py.
struct Rule {
    Count kind;
    double hyper[8];
    void* state[STATES];  // [P] each, null where the rule keeps none
    Count degree[STATES]; // by which power of the gradient's scale each of them grows; 0 throughout where the magnitude matters
    double* step;    // updates made, null where the rule does not count
    const double* rates;  // [K] learning rates of these steps, in the place of hyper[0]; null where that holds throughout
};

template <class V, class T> inline V towards(V from, V to, T share) { return from + share * (to - from); }
// What a square is below where its root is below eps. No number lies between zero and the least one.
template <class T> inline T square_below(double eps) {
    return eps > 0 ? std::max(T(eps * eps), std::numeric_limits<T>::denorm_min()) : T(0);
}
template <class T> inline T nonzero(double eps) { return T(std::fmax(eps, double(std::numeric_limits<T>::min()))); }

template <class T> struct Moving {
    typedef Lanes<T> V;
    static constexpr bool moves = true, has_eps = false;
    Which<T> dominated(const V*) const { return Which<T>{}; }
};

// A rule that torch runs, later.
template <class T> struct ByTorch : Moving<T> {
    static constexpr bool moves = false;
    static constexpr int states = 0;
    void update(Lanes<T>&, Lanes<T>, Lanes<T>*) const {}
};

template <class T> struct Sgd : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 0;
    T lr, decay;
    explicit Sgd(const Rule& r) : lr(T(r.hyper[0])), decay(T(r.hyper[3])) {}
    void update(V& theta, V g, V*) const { theta -= lr * (g + decay * theta); }
};

template <class T> struct Momentum : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 1;
    T lr, momentum, taken, decay, own, ahead;
    explicit Momentum(const Rule& r) : lr(T(r.hyper[0])), momentum(T(r.hyper[1])), decay(T(r.hyper[3])) {
        bool undamped = !r.step || *r.step == 0 || r.hyper[1] == 0, nesterov = r.hyper[4] != 0;
        taken = T(undamped ? 1.0 : 1.0 - r.hyper[2]), own = nesterov ? T(1) : T(0), ahead = nesterov ? momentum : T(1);
    }
    void update(V& theta, V g, V* velocity) const {
        V direction = g + decay * theta;
        *velocity = *velocity * momentum + direction * taken;
        theta -= lr * (own * direction + ahead * *velocity);
    }
};

// VELOCITY: with a momentum.
template <class T, bool VELOCITY> struct RmsProp : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = VELOCITY ? 2 : 1;
    static constexpr bool has_eps = true;
    T lr, fresh, eps, momentum, decay, below;
    explicit RmsProp(const Rule& r)
        : lr(T(r.hyper[0])), fresh(T(1 - r.hyper[1])), eps(nonzero<T>(r.hyper[2])), momentum(T(r.hyper[3])), decay(T(r.hyper[4])),
          below(square_below<T>(r.hyper[2])) {}
    void update(V& theta, V g, V* state) const {
        V own = g + decay * theta;
        state[0] = towards(state[0], own * own, fresh);
        V length = own / (root<T>(state[0]) + eps);
        if constexpr (VELOCITY) length = state[1] = state[1] * momentum + length;
        theta -= lr * length;
    }
    Which<T> dominated(const V* state) const { return state[0] < below; }
};

template <class T> struct Adam : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 2;
    static constexpr bool has_eps = true;
    T length, fresh1, fresh2, eps, decay, below;
    explicit Adam(const Rule& r) : fresh1(T(1 - r.hyper[1])), fresh2(T(1 - r.hyper[2])), decay(T(r.hyper[4])) {
        double k = *r.step + 1, unbiased = std::sqrt(1 - std::pow(r.hyper[2], k));
        length = T(r.hyper[0] * unbiased / (1 - std::pow(r.hyper[1], k)));
        eps = nonzero<T>(unbiased * r.hyper[3]), below = square_below<T>(unbiased * r.hyper[3]);
    }
    void update(V& theta, V g, V* state) const {
        V own = g + decay * theta;
        state[0] = towards(state[0], own, fresh1);
        state[1] = towards(state[1], own * own, fresh2);
        theta -= length * (state[0] / (root<T>(state[1]) + eps));
    }
    Which<T> dominated(const V* state) const { return state[1] < below; }
};

template <class T> struct Rprop : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 2;  // the sign before, the length
    T grow, shrink, least, most;
    explicit Rprop(const Rule& r) : grow(T(r.hyper[0])), shrink(T(r.hyper[1])), least(T(r.hyper[2])), most(T(r.hyper[3])) {}
    void update(V& theta, V g, V* state) const {
        V own = sign<T>(g), agreement = state[0] * own;
        V factor = agreement > 0 ? grow : T(1);
        factor = agreement < 0 ? V{} + shrink : factor;
        V next = state[1] * factor;
        next = next < least ? V{} + least : next;
        next = next > most ? V{} + most : next;
        own = agreement < 0 ? V{} : own;
        state[0] = own, state[1] = next;
        theta -= own * next;
    }
};

template <class T> struct SignSgd : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 0;
    T lr, kept;
    explicit SignSgd(const Rule& r) : SignSgd(r, r.hyper[1]) {}
    SignSgd(const Rule& r, double decay) : lr(T(r.hyper[0])), kept(T(1 - r.hyper[0] * decay)) {}
    void update(V& theta, V g, V*) const { theta = theta * kept - lr * sign<T>(g); }
};

template <class T> struct Signum : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 1;
    T lr, fresh, kept;
    explicit Signum(const Rule& r) : lr(T(r.hyper[0])), fresh(T(1 - r.hyper[1])), kept(T(1 - r.hyper[0] * r.hyper[2])) {}
    void update(V& theta, V g, V* mean) const {
        *mean = towards(*mean, g, fresh);
        theta = theta * kept - lr * sign<T>(*mean);
    }
};

template <class T> struct Smorms3 : Moving<T> {
    typedef Lanes<T> V;
    static constexpr int states = 3;  // mean, mean square, memory
    static constexpr bool has_eps = true;
    T lr, eps, bare_eps;
    explicit Smorms3(const Rule& r) : lr(T(r.hyper[0])), eps(nonzero<T>(r.hyper[1])), bare_eps(T(r.hyper[1])) {}
    void update(V& theta, V g, V* state) const {
        V fresh = T(1) / (state[2] + T(1));
        state[0] = towards(state[0], g, fresh);
        state[1] = towards(state[1], g * g, fresh);
        V signal = state[0] * state[0] / (state[1] + eps);
        state[2] = state[2] - state[2] * signal + T(1);
        V rate = signal > lr ? V{} + lr : signal;  // a NaN stays one
        theta -= g * (rate / (root<T>(state[1]) + eps));
    }
    Which<T> dominated(const V* state) const { return state[1] < bare_eps; }
};
