"""A part of a workload in JAX + optax, as an expert would write it: jit(vmap(scan)), one function for each optimizer.

    python jax_side.py WORKLOAD.npz PART PARTS STATISTICS

Started by benchmarks/peers.py with the Python of .venv-peers, so it imports nothing of the project's. Eight steps a call,
buffers donated, batches cut on the device, no Python between the steps. T trials, L layers, B samples, S statistics.

All columns of the project's statistics table are taken, by the formulas of workers/contract/statistics.py in float32. They are
cheaper than the project's own: nothing is brought into range first, so deep gradients underflow, and a deviation of the
gradient is mean square less squared mean.
"""

# mypy: ignore-errors
# (JAX is not in the environment that is checked)

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = 8
"""In one call."""
SATURATED, DEAD, ROUNDING = 0.1, 1e-6, 32

RULES = {
    "adam": lambda lr: optax.adam(lr),
    "rmsprop": lambda lr: optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    "rprop": lambda lr: optax.rprop(lr),
    "sgd": lambda lr: optax.sgd(lr, momentum=0.9),
}


def forward(parameters, offsets, x):
    """The output, and input and value of every layer. The gradient with respect to `offsets`, zeros, is δ."""
    seen = []
    for (weight, bias), offset in zip(parameters, offsets, strict=True):
        z = x @ weight + bias + offset
        a = jnp.tanh(z) if len(seen) < len(parameters) - 1 else z
        seen.append((x, a))
        x = a
    return x, seen


def loss(parameters, offsets, x, y):
    output, seen = forward(parameters, offsets, x)
    return optax.softmax_cross_entropy_with_integer_labels(output, y).mean(), seen


def trainer(kind, measured):
    """Takes STEPS steps of all trials. Returns what goes on, and statistics [T, STEPS, S, L] if `measured`."""

    def train(carry, lr, batches, start, x, y):
        """Of one trial. Layers are unrolled: scanning through them compiles sooner, but was slower with statistics."""
        rule = RULES[kind](lr)

        def step(carry, count):
            parameters, state, before = carry
            rows = batches[count % len(batches)]
            offsets = [jnp.zeros((len(rows), len(bias))) for _, bias in parameters]
            if not measured:
                gradient, _ = jax.grad(loss, has_aux=True)(parameters, offsets, x[rows], y[rows])
                updates, state = rule.update(gradient, state, parameters)
                return (optax.apply_updates(parameters, updates), state, before), None
            (gradient, deltas), seen = jax.grad(loss, (0, 1), has_aux=True)(parameters, offsets, x[rows], y[rows])
            updates, state = rule.update(gradient, state, parameters)
            shares = dominated(kind, state, parameters)
            columns = statistics(parameters, updates, gradient, before, deltas, seen, shares)
            return (optax.apply_updates(parameters, updates), state, gradient), columns

        return jax.lax.scan(step, carry, start + jnp.arange(STEPS))

    return jax.vmap(train, in_axes=(0, 0, 0, None, None, None))


def dominated(kind, state, parameters):
    """How many elements have an eps above √v, [L]; NaN for rules without an eps."""
    if kind not in ("adam", "rmsprop"):
        return jnp.full(len(parameters), jnp.nan)
    correction = jnp.sqrt(1 - 0.999 ** optax.tree.get(state, "count")) if kind == "adam" else 1.0
    layers = optax.tree.get(state, "nu")
    return jnp.stack([total(lambda v: jnp.sqrt(v) < correction * 1e-8, layer) for layer in layers])


def total(function, *layers):
    """Sum of the function over weights and biases."""
    return sum(function(*leaves).sum() for leaves in zip(*layers, strict=True))


def statistics(parameters, updates, gradient, before, deltas, seen, eps_dominated):
    """[S, L], in the order of the contract's table."""
    layers = zip(parameters, updates, gradient, before, deltas, seen, strict=True)
    sums = [_sums(depth < len(parameters) - 1, *layer) for depth, layer in enumerate(layers)]
    s = jax.tree.map(lambda *scalars: jnp.stack(scalars), *sums)
    norm, rms, mean = jnp.sqrt(s["square"]), jnp.sqrt(s["square"] / s["n"]), s["sum"] / s["n"]
    noise = s["sample_square"] - s["square"]
    measurable = noise > ROUNDING * jnp.finfo(jnp.float32).eps * s["sample_square"]
    weight_norm, update_norm = jnp.sqrt(s["weight_square"]), jnp.sqrt(s["update_square"])
    return jnp.stack(
        [
            norm,
            rms,
            mean,
            jnp.sqrt(jnp.maximum(s["square"] / s["n"] - mean**2, 0)),
            s["peak"],
            jnp.where(rms == 0, jnp.nan, jnp.log10(rms)),
            s["zeros"] / s["n"],
            s["nonfinite"] / s["n"],
            jnp.where(measurable, s["square"] / noise, jnp.nan),
            s["flips"] / s["n"],
            _quotient(s["product"], norm * jnp.sqrt(s["square_before"])),
            jnp.sqrt(s["delta_square"]),
            s["activation_mean"],
            jnp.sqrt(s["within"] + s["across"]),
            jnp.sqrt(s["within"]),
            s["saturated"],
            s["slope"],
            s["dead"],
            weight_norm,
            update_norm,
            _quotient(update_norm, weight_norm),
            _quotient(update_norm, norm),
            eps_dominated / s["n"],
            jnp.full(eps_dominated.shape, jnp.nan),  # of an estimate's cosine: these rules estimate none
        ]
    )


def _sums(hidden, parameters, updates, gradient, before, delta, activity):
    """Scalars of one layer."""
    x, a = activity
    slope = jnp.abs(1 - a * a) if hidden else jnp.ones_like(a)
    delta_squares = (delta**2).sum(1)
    return {
        "n": float(sum(g.size for g in gradient)),
        "square": total(lambda g: g * g, gradient),
        "sum": total(lambda g: g, gradient),
        "peak": jnp.maximum(*(jnp.abs(g).max() for g in gradient)),
        "zeros": total(lambda g: g == 0, gradient),
        "nonfinite": total(lambda g: ~jnp.isfinite(g), gradient),
        "flips": total(lambda g, old: jnp.sign(g) * jnp.sign(old) < 0, gradient, before),
        "product": total(lambda g, old: g * old, gradient, before),
        "square_before": total(lambda old: old * old, before),
        "delta_square": delta_squares.sum(),
        "sample_square": (delta_squares * ((x**2).sum(1) + 1)).sum() * len(x),
        "activation_mean": a.mean(),
        "within": a.var(0).mean(),
        "across": a.mean(0).var(),
        "saturated": (slope < SATURATED).mean(),
        "slope": slope.mean(),
        "dead": (slope.max(0) < DEAD).mean(),
        "weight_square": total(lambda w: w * w, parameters),
        "update_square": total(lambda u: u * u, updates),
    }


def _quotient(numerator, denominator):
    return jnp.where(denominator > 0, numerator / denominator, jnp.nan)


def by_layer(theta, sizes):
    """[T, P], W row by row [O·I] and then b [O] of every layer, to a list of (W [T, I, O], b [T, O])."""
    layers, start = [], 0
    for into, out in sizes:
        weight = theta[:, start : start + into * out].reshape(-1, out, into).transpose(0, 2, 1)
        start += into * out
        layers.append((jnp.asarray(weight), jnp.asarray(theta[:, start : start + out])))
        start += out
    return layers


class Group:
    """The trials of one optimizer."""

    def __init__(self, kind, theta, lr, rows, sizes, measured):
        parameters = by_layer(theta, sizes)
        self.lr, self.rows = jnp.asarray(lr), jnp.asarray(rows)
        state = jax.vmap(lambda own, rate: RULES[kind](rate).init(own))(parameters, self.lr)
        self.carry = parameters, state, jax.tree.map(jnp.zeros_like, parameters) if measured else None
        self.train = jax.jit(trainer(kind, measured), donate_argnums=0)

    def advance(self, start, x, y):
        self.carry, columns = self.train(self.carry, self.lr, self.rows, start, x, y)
        return columns


def main():
    path, part, parts, measured = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
    with np.load(path) as given:
        kinds, sizes = given["kinds"][part::parts], given["sizes"].tolist()
        theta, lr, rows = (given[name][part::parts] for name in ("theta", "lr", "rows"))
        x, y = jnp.asarray(given["x"]), jnp.asarray(given["y"].astype(np.int32))
    groups = []
    for kind in dict.fromkeys(kinds.tolist()):
        own = kinds == kind
        groups.append(Group(kind, theta[own], lr[own], rows[own].astype(np.int32), sizes, measured))
    del theta
    started = time.perf_counter()
    columns = [group.advance(0, x, y) for group in groups]
    jax.block_until_ready(columns)
    first_call_seconds = time.perf_counter() - started
    if measured:  # of the first steps, [T, STEPS, S, L]
        np.save(f"{path}.{part}.npy", np.concatenate([np.asarray(own) for own in columns]))
    print(first_call_seconds, flush=True)
    count = STEPS
    for line in sys.stdin:
        calls = -(-int(line) // STEPS)
        started = time.perf_counter()
        for _ in range(calls):
            columns = [group.advance(count, x, y) for group in groups]
            count += STEPS
        jax.block_until_ready((columns, [group.carry for group in groups]))
        print(len(kinds) * calls * STEPS / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
