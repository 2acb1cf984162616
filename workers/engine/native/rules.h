// The update rules that have a kernel here: element i of θ and of the rule's state from element i of the gradient g.
// The definitions, with formulas and sources, are the rules of workers/engine/optimizers; the tests compare. Numbers of a
// whole trial are computed in float64 and rounded once, as there.
#pragma once
#include "vectors.h"

// A trial's rule: hyper-parameters and state in the order of the table in rules.py.
struct Rule {
    Count kind;
    double hyper[8];
    void* state[4];  // [P] each, null where the rule keeps none
    Count degree[4]; // by which power of the gradient's scale each of them grows; 0 throughout where the magnitude matters
    double* step;    // updates made, null where the rule does not count
    const double* rates;  // [K] learning rates of these steps, in the place of hyper[0]; null where that holds throughout
};

template <class T> inline T towards(T from, T to, T share) { return from + share * (to - from); }
// What a square is below where its root is below eps. No number lies between zero and the least one.
template <class T> inline T square_below(double eps) {
    return eps > 0 ? std::max(T(eps * eps), std::numeric_limits<T>::denorm_min()) : T(0);
}
template <class T> inline T nonzero(double eps) { return T(std::fmax(eps, double(std::numeric_limits<T>::min()))); }

template <class T> struct Sgd {
    T lr, momentum, taken, decay;
    T* velocity;
    bool nesterov;
    static Sgd of(const Rule& r) {
        bool undamped = !r.step || *r.step == 0 || r.hyper[1] == 0;
        return {T(r.hyper[0]), T(r.hyper[1]), T(undamped ? 1.0 : 1.0 - r.hyper[2]), T(r.hyper[3]), (T*)r.state[0], r.hyper[4] != 0};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        if (!velocity) {
#pragma omp simd
            for (Count i = 0; i < n; i++) theta[i] -= lr * (g[i] + decay * theta[i]);
            return;
        }
        T* v = velocity + offset;
        T ahead = nesterov ? momentum : T(1), own = nesterov ? T(1) : T(0);
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            T direction = g[i] + decay * theta[i];
            v[i] = v[i] * momentum + direction * taken;
            theta[i] -= lr * (own * direction + ahead * v[i]);
        }
    }
    static constexpr bool has_eps = false;
    bool dominated(Count) const { return false; }
};

template <class T> struct RmsProp {
    T lr, fresh, eps, momentum, decay, below;
    T *square, *velocity;
    static RmsProp of(const Rule& r) {
        return {T(r.hyper[0]), T(1 - r.hyper[1]), nonzero<T>(r.hyper[2]), T(r.hyper[3]), T(r.hyper[4]), square_below<T>(r.hyper[2]),
                (T*)r.state[0], (T*)r.state[1]};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        T* s = square + offset;
        if (!velocity) {
#pragma omp simd
            for (Count i = 0; i < n; i++) {
                T own = g[i] + decay * theta[i];
                s[i] = towards(s[i], own * own, fresh);
                theta[i] -= lr * (own / (std::sqrt(s[i]) + eps));
            }
            return;
        }
        T* v = velocity + offset;
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            T own = g[i] + decay * theta[i];
            s[i] = towards(s[i], own * own, fresh);
            v[i] = v[i] * momentum + own / (std::sqrt(s[i]) + eps);
            theta[i] -= lr * v[i];
        }
    }
    static constexpr bool has_eps = true;
    bool dominated(Count i) const { return square[i] < below; }
};

template <class T> struct Adam {
    T length, fresh1, fresh2, eps, decay, below;
    T *mean, *square;
    static Adam of(const Rule& r) {
        double k = *r.step + 1, root = std::sqrt(1 - std::pow(r.hyper[2], k));
        return {T(r.hyper[0] * root / (1 - std::pow(r.hyper[1], k))), T(1 - r.hyper[1]), T(1 - r.hyper[2]),
                nonzero<T>(root * r.hyper[3]), T(r.hyper[4]), square_below<T>(root * r.hyper[3]), (T*)r.state[0], (T*)r.state[1]};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        T *m = mean + offset, *s = square + offset;
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            T own = g[i] + decay * theta[i];
            m[i] = towards(m[i], own, fresh1);
            s[i] = towards(s[i], own * own, fresh2);
            theta[i] -= length * (m[i] / (std::sqrt(s[i]) + eps));
        }
    }
    static constexpr bool has_eps = true;
    bool dominated(Count i) const { return square[i] < below; }
};

template <class T> struct Rprop {
    T grow, shrink, least, most;
    T *previous, *length;
    static Rprop of(const Rule& r) {
        return {T(r.hyper[0]), T(r.hyper[1]), T(r.hyper[2]), T(r.hyper[3]), (T*)r.state[0], (T*)r.state[1]};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        T *before = previous + offset, *steps = length + offset;
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            T own = sign(g[i]), agreement = before[i] * own;
            T factor = agreement > 0 ? grow : T(1);
            factor = agreement < 0 ? shrink : factor;
            T next = steps[i] * factor;
            next = next < least ? least : next;
            next = next > most ? most : next;
            steps[i] = next;
            own = agreement < 0 ? T(0) : own;
            before[i] = own;
            theta[i] -= own * next;
        }
    }
    static constexpr bool has_eps = false;
    bool dominated(Count) const { return false; }
};

template <class T> struct SignSgd {
    T lr, kept;
    static SignSgd of(const Rule& r) { return {T(r.hyper[0]), T(1 - r.hyper[0] * r.hyper[1])}; }
    void update(T* theta, const T* g, Count, Count n) const {
#pragma omp simd
        for (Count i = 0; i < n; i++) theta[i] = theta[i] * kept - lr * sign(g[i]);
    }
    static constexpr bool has_eps = false;
    bool dominated(Count) const { return false; }
};

template <class T> struct Signum {
    T lr, fresh, kept;
    T* mean;
    static Signum of(const Rule& r) {
        return {T(r.hyper[0]), T(1 - r.hyper[1]), T(1 - r.hyper[0] * r.hyper[2]), (T*)r.state[0]};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        if (!mean) return SignSgd<T>{lr, kept}.update(theta, g, offset, n);
        T* m = mean + offset;
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            m[i] = towards(m[i], g[i], fresh);
            theta[i] = theta[i] * kept - lr * sign(m[i]);
        }
    }
    static constexpr bool has_eps = false;
    bool dominated(Count) const { return false; }
};

template <class T> struct Smorms3 {
    T lr, eps, bare_eps;
    T *mean, *square, *memory;
    static Smorms3 of(const Rule& r) {
        return {T(r.hyper[0]), nonzero<T>(r.hyper[1]), T(r.hyper[1]), (T*)r.state[0], (T*)r.state[1], (T*)r.state[2]};
    }
    void update(T* theta, const T* g, Count offset, Count n) const {
        T *m = mean + offset, *s = square + offset, *old = memory + offset;
#pragma omp simd
        for (Count i = 0; i < n; i++) {
            T fresh = T(1) / (old[i] + T(1));
            m[i] = towards(m[i], g[i], fresh);
            s[i] = towards(s[i], g[i] * g[i], fresh);
            T signal = m[i] * m[i] / (s[i] + eps);
            old[i] = old[i] - old[i] * signal + T(1);
            T rate = signal > lr ? lr : signal;  // a NaN stays one
            theta[i] -= g[i] * (rate / (std::sqrt(s[i]) + eps));
        }
    }
    static constexpr bool has_eps = true;
    bool dominated(Count i) const { return square[i] < bare_eps; }
};
