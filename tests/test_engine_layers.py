"""Layers, non-linearities and losses of the batched program against torch.nn and autograd, in float64."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import pytest
import torch
from engine_samples import DROPPING, TEACHER, layers, mlp, only, parameters, program, shard, training
from reference.networks import ACTIVATIONS, LOSSES, Recurrent, flat_gradient, sequential
from torch import Tensor

from workers.contract.layers import Dense
from workers.contract.shapes import ExpandedLayer, walk
from workers.engine.activations import NON_LINEARITIES
from workers.engine.evaluation import evaluate
from workers.engine.network import Activation, Dropout, Linear
from workers.engine.network.pooling import Pool
from workers.engine.program import Program, every
from workers.engine.train import differentiate

LINEAR: dict[str, Any] = {"kind": "linear", "out_features": 5}

SIGMOID = {"kind": "activation", "activation": "sigmoid"}


OF_WEIGHTS: list[dict[str, Any]] = [
    {"kind": "weight"},
    {"kind": "weight", "start": "unit"},
    {"kind": "weight_standardization", "gain": 2.0},
    {"kind": "spectral", "bound": 3.0},
]


def norm(kind: str | dict[str, Any]) -> dict[str, Any]:
    return {"kind": "normalization", "normalization": kind}


def learning(of: str, *names: str, **constants: Any) -> dict[str, Any]:
    return {"kind": "activation", "activation": {"kind": "scaled", "of": of, "trainable": list(names), **constants}}


def sequence(steps: int, features: int) -> list[Any]:
    """Layers that make a sequence of what comes in."""
    return [{"kind": "linear", "out_features": steps * features}, {"kind": "unflatten", "shape": [steps, features]}]


def recurrent(kind: str, size: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "hidden_size": size, **more}


def image(*shape: int) -> list[Any]:
    return [{"kind": "linear", "out_features": prod(shape)}, {"kind": "unflatten", "shape": list(shape)}]


NETWORKS: dict[str, dict[str, Any]] = {
    "linear": layers(LINEAR),
    "linear without bias": layers({**LINEAR, "bias": False}),
    "no bias anywhere": layers(
        {**LINEAR, "bias": False}, {"kind": "linear", "out_features": 3, "bias": False, "output": True}
    ),
    "a single layer": layers({"kind": "linear", "out_features": 3, "output": True}),
    "a single unit": layers({"kind": "linear", "out_features": 1}, {"kind": "activation", "activation": "sin"}),
    "non-linearity first": layers({"kind": "activation", "activation": "tanh"}, LINEAR),
    "two non-linearities": layers(
        LINEAR, {"kind": "activation", "activation": "sin"}, {"kind": "activation", "activation": "gaussian"}
    ),
    "dropout everywhere": layers("dropout", LINEAR, "dropout", {"kind": "activation", "activation": "silu"}, "dropout"),
    "every kind": layers(*DROPPING),
    **{f"{kind} norm": mlp("tanh", normalization=kind) for kind in ("batch", "layer", "rms")},
    "norm without parameters, after": mlp(
        "sigmoid", normalization={"kind": "batch", "affine": False, "position": "after"}
    ),
    "batch norm that starts elsewhere": mlp("gaussian", normalization={"kind": "batch", "gamma": 0.4, "beta": -1.0}),
    "batch norm that stays elsewhere": mlp(
        "gaussian", normalization={"kind": "batch", "gamma": 0.4, "beta": 1.5, "affine": False}
    ),
    "critical batch norm": mlp("sigmoid", normalization="critical_batch"),
    **{f"{norm['kind']} norm, {place}": mlp("tanh", normalization=norm) for place, norm in enumerate(OF_WEIGHTS)},
    "group norm": mlp("sigmoid", normalization={"kind": "group", "groups": 3}),
    "actnorm": mlp("gaussian", normalization="actnorm"),
    "norms over steps": layers(
        *sequence(4, 6), norm("instance"), SIGMOID, norm({"kind": "group", "groups": 2, "affine": False}), "flatten"
    ),
    "norms of images": layers(
        *image(4, 3, 2), norm("instance"), SIGMOID, norm({"kind": "group", "groups": 2}), {"kind": "global_pool"}
    ),
    "convolutions of made weights": layers(
        *image(2, 4, 3),
        {"kind": "conv2d", "out_channels": 3, "weight_normalization": "weight"},
        SIGMOID,
        {"kind": "conv2d", "out_channels": 10, "weight_normalization": "spectral", "bias": False},
        SIGMOID,
        {"kind": "conv2d", "out_channels": 9, "weight_normalization": "weight_standardization"},
        {"kind": "global_pool"},
    ),
    "norm first": layers(norm("layer"), LINEAR, SIGMOID),
    "constants that learn": layers(
        learning("tanh", "b", c=0.3),
        LINEAR,
        learning("sigmoid", "a", "b", "c", "d", a=2.0, b=0.7, c=-0.4, d=-1.0),
        LINEAR,
    ),
    "constants of units": layers(
        LINEAR,
        learning("gaussian", "c", "a", per="unit", a=1.5, c=0.6),
        LINEAR,
        norm("layer"),
        learning("erf", "b", "d", per="unit"),
    ),
    "constants of images": layers(
        *image(2, 4, 3),
        learning("tanh", "a", "d"),
        {"kind": "conv2d", "out_channels": 3},
        learning("sin", "b", "c"),
        "flatten",
    ),
    "residual": mlp("tanh", shortcut="residual"),
    "residual by depth": mlp("gaussian", shortcut={"kind": "residual", "scale": "depth"}, normalization="layer"),
    "residual, normalised": mlp("gaussian", shortcut={"kind": "residual", "scale": 0.5, "normalized": True}),
    "fixup": mlp("sigmoid", depth=4, shortcut="fixup"),
    "rezero": mlp("sigmoid", shortcut={"kind": "rezero", "start": 0.5}),
    "highway": mlp("sigmoid", shortcut={"kind": "highway", "transform_bias": -1}),
    "shortcuts in shortcuts": layers(
        LINEAR,
        {
            "kind": "residual",
            "trainable": True,
            "layers": [norm("rms"), SIGMOID, {"kind": "highway", "layers": [LINEAR, "dropout", SIGMOID]}, LINEAR],
        },
    ),
    "recurrent": layers(
        *sequence(4, 3), recurrent("rnn", 5, output="sequence"), recurrent("rnn", 4, activation="sigmoid", bias=False)
    ),
    "gated recurrent units": layers(
        *sequence(4, 3),
        recurrent("gru", 5, output="sequence", activation="gaussian"),
        recurrent("gru", 4, bias=False, gate_activation="hard_sigmoid"),
    ),
    "long short-term memory": layers(
        *sequence(4, 3),
        recurrent("lstm", 5, output="sequence"),
        {"kind": "residual", "layers": [recurrent("lstm", 5, output="sequence", activation="erf")]},
        recurrent("lstm", 4, bias=False, forget_bias=0),
    ),
    "convolution over steps": layers(
        *sequence(6, 3),
        {"kind": "conv1d", "out_channels": 4},
        SIGMOID,
        {"kind": "max_pool", "kernel_size": 3, "stride": 1},
        {"kind": "conv1d", "out_channels": 9, "padding": 2, "kernel_size": 4, "stride": 2, "bias": False},
        SIGMOID,
        {"kind": "average_pool"},
        "flatten",
    ),
    "convolution over images": layers(
        *image(2, 7, 5),
        {"kind": "conv2d", "out_channels": 3, "padding": 2, "kernel_size": 2, "dilation": 2},
        SIGMOID,
        {"kind": "average_pool", "stride": 1},
        {"kind": "conv2d", "out_channels": 4, "stride": 2, "padding": 1},
        SIGMOID,
        {"kind": "max_pool", "kernel_size": 2},
        "flatten",
    ),
    "convolutions in groups": layers(
        *image(8, 4, 3),
        {"kind": "conv2d", "out_channels": 8, "padding": 1, "stride": 2},
        SIGMOID,
        {"kind": "conv2d", "out_channels": 16, "padding": 1, "bias": False},
        SIGMOID,
        {"kind": "global_pool", "of": "max"},
    ),
    "wide convolutions": layers(
        *image(10, 3, 3),
        {"kind": "conv2d", "out_channels": 11},
        SIGMOID,
        {"kind": "conv2d", "out_channels": 9, "padding": 0, "bias": False},
        SIGMOID,
        {"kind": "global_pool", "of": "average"},
    ),
    "pooled all over": layers(
        *sequence(4, 3), {"kind": "conv1d", "out_channels": 10}, {"kind": "global_pool", "of": "max"}
    ),
    "dense": mlp("sigmoid", depth=3, shortcut="dense"),
    "dense in a residual layer": layers(
        LINEAR,
        {"kind": "residual", "layers": [{"kind": "dense", "layers": [SIGMOID, LINEAR]}, SIGMOID, LINEAR]},
    ),
    "a dense image": layers(
        *image(2, 3, 3),
        {
            "kind": "repeat",
            "times": 2,
            "layers": [{"kind": "dense", "layers": [{"kind": "conv2d", "out_channels": 3}, SIGMOID]}],
        },
        {"kind": "global_pool", "of": "average"},
    ),
    "a dense sequence": layers(
        *sequence(4, 3), {"kind": "dense", "layers": [{"kind": "conv1d", "out_channels": 2}]}, "flatten"
    ),
    "a residual image": layers(
        *image(2, 3, 3),
        {"kind": "residual", "layers": [{"kind": "conv2d", "out_channels": 2}, SIGMOID]},
        {"kind": "global_pool", "of": "max"},
    ),
    **{
        f"radial, {distance}": layers(
            {"kind": "rbf", "out_features": 6, "distance": distance},
            {"kind": "activation", "activation": "gaussian"},
            {"kind": "rbf", "out_features": 5, "distance": distance, "centres": "k_means", "trainable": ["widths"]},
            {"kind": "activation", "activation": "inverse_multiquadric"},
        )
        for distance in ("euclidean", "scaled", "unit_sphere", "log")
    },
    "attention": layers(
        *sequence(4, 6),
        {"kind": "positional_encoding", "encoding": "learned"},
        {"kind": "residual", "layers": [{"kind": "attention", "heads": 3}]},
        SIGMOID,
        {"kind": "attention", "heads": 2, "causal": True, "bias": False},
        SIGMOID,
        "flatten",
    ),
    "positions": layers(*sequence(5, 3), "positional_encoding", {"kind": "attention"}, {"kind": "global_pool"}),
    "radial, frozen": layers(
        LINEAR,
        {"kind": "rbf", "out_features": 4, "trainable": []},
        {"kind": "activation", "activation": "multiquadric"},
        {"kind": "rbf", "out_features": 4, "trainable": ["centres"]},
        {"kind": "activation", "activation": "gaussian"},
    ),
    "radial, at every step": layers(
        *sequence(4, 3),
        {"kind": "rbf", "out_features": 5, "distance": "scaled", "width": "dimension"},
        {"kind": "activation", "activation": "gaussian"},
        "flatten",
    ),
    **{kind: mlp(kind, init={"kind": "xavier_normal", "bias_std": 0.5}) for kind in NON_LINEARITIES},
}

KINKS = {"relu": 0.0, "hard_sigmoid": 3.0}
"""The |z| where there is no derivative to compare with, or rounding decides on which side of a kink z + 3 lies."""


def differentiated(planned: Program, step: int = 0) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """(inputs, targets, loss, dropout masks by path) of the batch at a step, gradients in the program."""
    planned.step.fill_(step)
    x, y = planned.batches.at(step)
    loss = differentiate(planned, x, y)
    masks = {
        spec.path: layer.mask
        for spec, layer in zip(walk(planned.shard.network), every(planned.layers), strict=True)
        if isinstance(layer, Dropout) and layer.mask is not None
    }
    return x, y, loss, masks


@pytest.mark.parametrize("problem", ["wine", TEACHER], ids=["cross_entropy", "mean_squared_error"])
@pytest.mark.parametrize("network", NETWORKS)
def test_is_torch_nn_for_every_trial(network: str, problem: str | dict[str, Any]) -> None:
    """Outputs, losses and gradients of each trial are those of an nn.Sequential of its weights, by autograd."""
    planned = program(shard(NETWORKS[network], "sgd", "adam", seeds=(0, 1), problem=problem))
    for step in (0, 9):
        x, y, loss, masks = differentiated(planned, step)
        output = planned.layers[-1]
        assert isinstance(output, Linear)
        for row in range(len(planned.trials)):
            twin = sequential(planned, row, {path: mask[row] for path, mask in masks.items()})
            expected = LOSSES[planned.shard.problem.loss]()(twin(x[row]), y[row])
            torch.testing.assert_close(output.output[row], twin(x[row]), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(loss[row], expected, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(planned.gradient[row], flat_gradient(twin, expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_chunk_that_copies_its_start_trains_as_if_alone(network: str) -> None:
    """Bit for bit: weights of seeds that an earlier chunk has drawn, and what a layer starts with besides."""
    given = shard(NETWORKS[network], "sgd", "adam", seeds=(0, 1), steps=2)
    together, alone = training(given, [2, 2]), training(only(given, 2, 3))
    for running in (together, alone):
        running.advance(1)
    assert torch.equal(parameters(together)[2:], parameters(alone))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_error_signal_is_the_gradient_at_the_pre_activation(network: str) -> None:
    """What every linear layer keeps as δ is what autograd finds at its output; a row's is that of the outermost shortcut's output."""
    planned = program(shard(NETWORKS[network], seeds=(0, 1)))
    x, y, _, masks = differentiated(planned)
    for row in range(len(planned.trials)):
        twin = sequential(planned, row, {path: mask[row] for path, mask in masks.items()})
        kept = outputs(twin)
        loss = LOSSES["cross_entropy"]()(twin(x[row]), y[row])
        for place in planned.measured:
            own, outermost = names(planned.shard.network, place.path)
            for found, name in ((place.layer.error_signal, own), (place.error_signal, outermost)):
                expected = at_pre_activation(twin, name, loss, kept)
                torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-12)


def at_pre_activation(twin: torch.nn.Module, name: str, loss: Tensor, kept: dict[str, Tensor]) -> Tensor:
    """δ at what a module gives; of a recurrent one at its pre-activations, of every step."""
    module = next(found for path, found in twin.named_modules() if path.replace("inside.", "") == name)
    if not isinstance(module, Recurrent):
        return torch.autograd.grad(loss, kept[name], retain_graph=True)[0]
    steps = [torch.cat(torch.autograd.grad(loss, parts, retain_graph=True), 1) for parts in module.pre]
    return torch.stack(steps, 1)


def outputs(twin: torch.nn.Module) -> dict[str, Tensor]:
    """What every module gives in the next pass, by its name among the engine's."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: torch.nn.Module, __: object, output: Tensor) -> None:
            kept[name] = output

        return hook

    for name, module in twin.named_modules():
        module.register_forward_hook(keep(name.replace("inside.", "")))
    return kept


def names(layers: Sequence[ExpandedLayer], path: str) -> tuple[str, str]:
    """The twin's names of the layer at a path and of the outermost shortcut round it, or of itself."""
    for layer in layers:
        dashed = layer.path.replace(".", "-")
        if layer.path == path:
            return dashed, dashed
        if path in {inner.path for inner in walk(layer.layers)}:
            own, outermost = names(layer.layers, path)
            return f"{dashed}.{own}", f"{dashed}.{outermost}" if isinstance(layer.spec, Dense) else dashed
    raise KeyError(path)


def test_running_statistics_are_those_of_torch() -> None:
    """After some batches the running mean and variance, and what evaluation makes of them, are BatchNorm1d's."""
    planned = program(shard(mlp("tanh", normalization="batch"), seeds=(0,)))
    twin = sequential(planned, 0)
    for step in range(4):
        x, _ = planned.batches.at(step)
        planned.forward(x, training=True)
        twin(x[0])
    x, _ = planned.batches.at(9)
    torch.testing.assert_close(planned.forward(x, training=False)[0], twin.eval()(x[0]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", NON_LINEARITIES)
def test_value_and_derivative_of_a_non_linearity(kind: str) -> None:
    """Value, θ′ and the fused product δ·θ′ are torch's own and autograd's, from the flanks to the middle."""
    z = torch.linspace(-18, 18, 3601, dtype=torch.float64)
    z = z[(z.abs() - KINKS[kind]).abs() > 1e-12] if kind in KINKS else z
    own = NON_LINEARITIES[kind]
    asked = z.clone().requires_grad_()
    value = ACTIVATIONS[kind]()(asked)
    (slope,) = torch.autograd.grad(value.sum(), asked)
    a, delta = own.value(z), torch.sin(7 * z)
    torch.testing.assert_close(a, value.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(own.derivative(z, a), slope, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(own.backward(delta, z, a), delta * slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", NON_LINEARITIES)
def test_steepest_is_the_largest_slope(kind: str) -> None:
    """No |θ′| on a fine grid is above `steepest`, and one comes within a hundred-millionth of it."""
    z = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    z = torch.cat([z, torch.tensor([1e5])])  # where the bent identity has all but reached its steepest
    own = NON_LINEARITIES[kind]
    slope = own.derivative(z, own.value(z)).abs().max().item()
    assert own.steepest * (1 - 1e-8) <= slope <= own.steepest * (1 + 1e-12)


@pytest.mark.parametrize("kind", NON_LINEARITIES)
def test_far_out_nothing_becomes_nan(kind: str) -> None:
    """At ±1e4 in float32 value and derivative are finite numbers."""
    z = torch.tensor([-1e4, -100.0, 100.0, 1e4])
    own = NON_LINEARITIES[kind]
    a = own.value(z)
    for found in (a, own.derivative(z, a), own.backward(torch.ones_like(z), z, a)):
        assert found.isfinite().all()


def test_a_backward_pass_changes_no_activation() -> None:
    """δ may share memory with what comes from above, but what the forward pass kept for the statistics stays as it was."""
    planned = program(shard(NETWORKS["every kind"]))
    x, y = planned.batches.at(0)
    output = planned.forward(x, training=True)
    kept = [layer.value for layer in planned.layers if isinstance(layer, Activation)]
    before = [value.clone() for value in [x, output, *kept]]
    planned.backward(planned.loss.gradient(output, y))
    assert all(torch.equal(value, was) for value, was in zip([x, output, *kept], before, strict=True))


def masks(planned: Program, step: int) -> Tensor:
    """Of the only dropout layer, [T, B, F]."""
    (mask,) = differentiated(planned, step)[3].values()
    return mask


def test_arms_of_one_seed_drop_the_same() -> None:
    """A mask depends on the seed and the step: two arms share it, two seeds and two steps do not."""
    planned = program(shard(NETWORKS["every kind"], "sgd", "adam", seeds=(0, 1)))
    first, second = masks(planned, 0), masks(planned, 1)
    assert torch.equal(first[:2], first[2:])
    assert torch.equal(first, masks(planned, 0))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])


def test_layers_drop_independently() -> None:
    """Two dropout layers of one shape do not drop the same units."""
    block = {"kind": "repeat", "times": 2, "layers": [LINEAR, "dropout"]}
    first, second = differentiated(program(shard(layers(block), batch_size=100)))[3].values()
    assert 0.4 < (first == second).double().mean() < 0.6


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_what_it_says_and_the_mean(p: float) -> None:
    """A share of 1 − p stays, within five standard deviations, and is divided by 1 − p."""
    network = layers({"kind": "linear", "out_features": 100}, {"kind": "dropout", "p": p})
    planned = program(shard(network, batch_size=100, seeds=(0, 1)))
    if p == 0:
        assert differentiated(planned)[3] == {}
        return
    drawn = torch.stack([masks(planned, step) for step in range(5)])
    assert set(drawn.unique().tolist()) == {0.0, 1 / (1 - p)}
    deviation = (p * (1 - p) / drawn.numel()) ** 0.5
    assert abs((drawn > 0).double().mean().item() - (1 - p)) < 5 * deviation


def test_evaluation_drops_nothing() -> None:
    """Loss and accuracy over a split are those of the whole network, however often asked."""
    planned = program(shard(NETWORKS["dropout everywhere"], seeds=(0, 1)))
    loss, accuracy = evaluate(planned, planned.data.validation)
    again, _ = evaluate(planned, planned.data.validation)
    assert torch.equal(loss, again)
    x, y = planned.data.validation.x, planned.data.validation.y
    for row in range(2):
        output = sequential(planned, row)(x)
        torch.testing.assert_close(loss[row], LOSSES["cross_entropy"]()(output, y), rtol=1e-10, atol=1e-10)
        assert accuracy[row].item() == pytest.approx((output.argmax(1) == y).double().mean().item())


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (2, 1)])
def test_of_equals_the_first_is_the_largest_as_in_torch(kernel: int, stride: int) -> None:
    """Saturated units tie: of a window's equals one gets the error signal, which one is torch's choice; a NaN is largest of all."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.randint(3, (2, 5, 3, 7, 6), generator=drawn).double()
    x[0, 0, 0, 2, 3] = torch.nan
    pool = {"kind": "max_pool", "kernel_size": kernel, "stride": stride}
    planned = program(shard(layers(*image(3, 7, 6), pool, "flatten")))
    layer = next(layer for layer in planned.layers if isinstance(layer, Pool))
    value = layer.forward(x, training=True)
    delta = torch.rand(value.shape, generator=drawn, dtype=x.dtype)
    theirs = x.flatten(0, 1).requires_grad_()
    expected = torch.nn.functional.max_pool2d(theirs, kernel, stride)
    expected.backward(delta.flatten(0, 1))
    torch.testing.assert_close(value.flatten(0, 1), expected, rtol=0, atol=0, equal_nan=True)
    below = layer.backward(delta, wanted=True)
    assert below is not None
    torch.testing.assert_close(below.flatten(0, 1), theirs.grad, rtol=1e-15, atol=0)
