"""Regularizers: their gradients beside autograd's of the whole objective, what statistics see of them, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import assert_same, layers, mlp, program, train, train_interrupted
from reference.networks import Recurrent, flat_gradient, sequential, total
from torch import Tensor, nn

from service.errors import Problem
from service.previews import preview
from service.validation import read_comparison
from workers.analysis.protocol import first_round
from workers.contract.checks import Limits
from workers.contract.layers import Activation
from workers.contract.plan import Shard
from workers.contract.regularizers import REGULARIZERS
from workers.contract.shapes import walk
from workers.engine import native
from workers.engine.activations import non_linearity
from workers.engine.network import Linear
from workers.engine.program import Program
from workers.engine.recording import Recording
from workers.engine.train import advance, differentiate, give, measure

SAMPLES: dict[str, dict[str, Any]] = {
    "soft_orthogonality": {"weight": 0.3, "gain": 1.5},
    "spectral_bound": {"weight": 0.4, "bound": 0.7},
    "vanishing_gradient": {"weight": 0.2},
    "activation_scale": {"weight": 0.5, "target": 0.9},
    "saturation": {"weight": 0.6},
    "auxiliary_loss": {"weight": 0.7, "every": 2},
    "recentring": {"every": 2, "gain": 1.3},
}
THETA: dict[str, Any] = {"kind": "activation", "activation": "gaussian"}
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": mlp("tanh", depth=5, width=6, init={"kind": "lecun_normal", "gain": 2.0}),
    "residual": mlp("sigmoid", depth=4, width=6, shortcut="residual"),
    "convolution": layers(
        {"kind": "linear", "out_features": 24},
        {"kind": "unflatten", "shape": [2, 4, 3]},
        {"kind": "conv2d", "out_channels": 3},
        THETA,
        {"kind": "conv2d", "out_channels": 2, "bias": False},
        THETA,
        "flatten",
    ),
    "recurrent": layers(
        {"kind": "linear", "out_features": 12},
        {"kind": "unflatten", "shape": [4, 3]},
        THETA,
        {"kind": "gru", "hidden_size": 5, "output": "sequence"},
        {"kind": "lstm", "hidden_size": 4},
    ),
    "rnn": layers(
        {"kind": "linear", "out_features": 12},
        {"kind": "unflatten", "shape": [4, 3]},
        THETA,
        {"kind": "rnn", "hidden_size": 4, "recurrent_init": "lecun_normal"},
    ),
}


def regularized(network: str, *kinds: str, optimizer: Any = "sgd", **more: Any) -> Shard:
    asked = [{"kind": kind, **SAMPLES[kind]} for kind in kinds]
    body = {"problem": "wine", "network": {**NETWORKS[network], "regularizers": asked}, "optimizers": [optimizer]}
    spec = read_comparison({**body, "seeds": 2, "tuning": None, "precision": "float64", **more}, Limits())
    return first_round(spec).shards[0]


def penalty(twin: nn.Module, running: Program, kept: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Of one trial, from the formulas."""
    found = torch.zeros((), dtype=torch.float64)
    for asked in running.shard.regularizers:
        spec: Any = asked
        for weight in matrices(twin) if spec.kind in ("soft_orthogonality", "spectral_bound") else []:
            if spec.kind == "spectral_bound":
                over = (torch.linalg.svdvals(weight) - spec.bound).clamp_min(0)
                found = found + spec.weight * over.square().sum()
            else:
                square = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
                apart = square - spec.gain**2 * torch.eye(len(square), dtype=torch.float64)
                found = found + spec.weight * apart.square().sum()
        for z, a in kept.values() if spec.kind in ("activation_scale", "saturation") else []:
            if spec.kind == "activation_scale":
                found = found + spec.weight * (a.square().mean().sqrt() - spec.target) ** 2
            else:
                (slope,) = torch.autograd.grad(a.sum(), z, create_graph=True)
                steepest = next(
                    non_linearity(layer.spec.activation).steepest
                    for layer in walk(running.shard.network)
                    if isinstance(layer.spec, Activation)
                )
                found = found + spec.weight * (1 - (slope / steepest) ** 2).mean()
    return found


def matrices(twin: nn.Module) -> list[Tensor]:
    """Of all layers below the output."""
    found = []
    for name, module in twin.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and "output" not in name and "auxiliary" not in name:
            found.append(module.weight.flatten(1))
        if isinstance(module, Recurrent):
            found += module.own[1].split(module.spec.hidden_size)
    return found


def keep(twin: nn.Module, running: Program) -> dict[str, tuple[Tensor, Tensor]]:
    """What goes into every activation layer and what comes out, filled by the next pass."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    wanted = {
        layer.path.replace(".", "-") for layer in walk(running.shard.network) if isinstance(layer.spec, Activation)
    }

    def hook(name: str) -> Callable[..., None]:
        def keeping(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            kept[name] = given[0], output

        return keeping

    for name, module in twin.named_modules():
        if name.replace("inside.", "").split(".")[-1] in wanted:
            module.register_forward_hook(hook(name))
    return kept


def test_every_regularizer_has_a_sample() -> None:
    assert {spec.model_fields["kind"].default for spec in REGULARIZERS} == set(SAMPLES)


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind not in ("recentring", "vanishing_gradient")])
@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_what_the_rules_are_given_is_the_gradient_of_the_whole_objective(network: str, kind: str) -> None:
    """Loss and penalty by autograd on a torch.nn twin of every trial; together with another penalty on weights, too."""
    others = ("soft_orthogonality",) if kind != "soft_orthogonality" else ()
    running = program(regularized(network, kind, *others))
    x, y = running.batches.at(0)
    loss = differentiate(running, x, y)
    plain = program(regularized(network))
    give(running)
    for row in range(2):
        with torch.enable_grad():
            twin = sequential(running, row)
            kept = keep(twin, running)
            objective = total(twin, x[row], y[row], "cross_entropy")
            expected = flat_gradient(twin, objective + penalty(twin, running, kept))
        torch.testing.assert_close(running.gradient[row], expected, rtol=1e-9, atol=1e-11)
    if kind != "auxiliary_loss":
        assert torch.equal(loss, differentiate(plain, x, y)), "the loss that is reported is the problem's alone"


@pytest.mark.parametrize("output", ["last", "sequence"])
@torch.no_grad()
def test_what_keeps_the_error_signal_through_time(output: str) -> None:
    """The loss's gradient, and at U the immediate gradient of Ω: by autograd, with δ from autograd of the loss, δ and θ′ held constant."""
    inside = {
        "kind": "rnn",
        "hidden_size": 4,
        "activation": "sigmoid",
        "recurrent_init": {"kind": "orthogonal", "gain": 2.0},
    }
    after = [] if output == "last" else [THETA, "flatten"]
    network = layers(
        {"kind": "linear", "out_features": 12},
        {"kind": "unflatten", "shape": [4, 3]},
        {**inside, "output": output},
        *after,
        regularizers=[{"kind": "vanishing_gradient", "weight": 0.2}],
    )
    body = {"problem": "wine", "network": network, "optimizers": ["sgd"], "seeds": 2, "tuning": None}
    running = program(first_round(read_comparison({**body, "precision": "float64"}, Limits())).shards[0])
    x, y = running.batches.at(0)
    differentiate(running, x, y)
    give(running)
    for row in range(2):
        with torch.enable_grad():
            twin = sequential(running, row)
            loss = total(twin, x[row], y[row], "cross_entropy")
            (layer,) = (module for module in twin.modules() if isinstance(module, Recurrent))
            pre = [z for (z,) in layer.pre]
            delta = torch.autograd.grad(loss, pre, retain_graph=True)
            omega = torch.zeros((), dtype=torch.float64)
            for z, above in zip(pre, delta[1:], strict=False):
                at = z.detach().requires_grad_()
                (slope,) = torch.autograd.grad(layer.theta(at).sum(), at)
                arrived = slope * (above @ layer.own[1])
                omega = omega + 0.2 * (arrived.norm(dim=1) / above.norm(dim=1) - 1).square().mean()
            expected = flat_gradient(twin, loss + omega)
        torch.testing.assert_close(running.gradient[row], expected, rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_statistics_do_not_see_penalties_on_weights() -> None:
    """They are of the loss's gradient; those on activations are part of the error signal."""
    norms = []
    for kinds in ((), ("soft_orthogonality",), ("saturation",)):
        running = program(regularized("dense", *kinds))
        differentiate(running, *running.batches.at(0))
        norms.append(measure(running, 0)["gradient_norm"])
    assert torch.equal(norms[0], norms[1]) and not torch.equal(norms[0], norms[2])


@pytest.mark.parametrize("network", ["dense", "convolution"])
@torch.no_grad()
def test_re_centring_is_lsuv_again(network: str) -> None:
    """At its steps, and at no other, every hidden layer's W x has the deviation asked for; the output layer is left alone."""
    start = program(regularized(network, "recentring")).measured[-1].layer
    running = program(regularized(network, "recentring", optimizer={"kind": "sgd", "lr": 1e-12}, steps=5))
    recording = Recording(running)
    for step in range(3):
        advance(running, recording, step, step + 1)
        deviations = []
        for place in running.measured[:-1]:
            layer: Any = place.layer
            bias = layer.bias if layer.bias is not None else torch.zeros(1, dtype=torch.float64)
            assert not bias.any() or bias.abs().max() < 1e-10
            deviations.append(layer.output.flatten(1).std(1, correction=0))
        found = torch.stack(deviations)
        expected = torch.full_like(found, 1.3)
        assert torch.allclose(found, expected, rtol=1e-6) == (step == 2)
    output = running.measured[-1].layer
    assert isinstance(start, Linear) and isinstance(output, Linear)
    torch.testing.assert_close(output.weight, start.weight)


@pytest.mark.parametrize("kind", SAMPLES)
def test_interrupted_training_is_the_same_bit_for_bit(kind: str, tmp_path: Path) -> None:
    planned = regularized("rnn" if kind == "vanishing_gradient" else "dense", kind, optimizer="adam", steps=6)
    assert_same(train_interrupted(planned, [1, 4], tmp_path), train(planned))
    assert not native.supports(planned)


def test_penalties_do_what_they_are_for() -> None:
    """Under SGD singular values come nearer to the gain, and fewer units are saturated, than without."""
    for kind, better in (("soft_orthogonality", spread_of_singular_values), ("saturation", saturated)):
        ends = []
        for kinds in ((), (kind,)):
            planned = regularized("dense", *kinds, optimizer={"kind": "sgd", "lr": 0.02}, steps=60)
            running = program(planned)
            recording = Recording(running)
            advance(running, recording, 0, 60)
            ends.append(better(running, recording))
        assert ends[1] < 0.85 * ends[0], kind


def spread_of_singular_values(running: Program, _: Recording) -> float:
    values = [
        torch.linalg.svdvals(place.layer.weight) for place in running.measured[1:-1] if isinstance(place.layer, Linear)
    ]
    return float((torch.cat(values) - 1.5).abs().mean())


def saturated(running: Program, recording: Recording) -> float:
    table = recording.statistics_table()
    assert table is not None
    rows = [row for row in table.to_pylist() if row["layer"] != "output"]
    last = max(row["step"] for row in rows)
    return sum((float(row["saturation_fraction"]) for row in rows if row["step"] == last), 0.0)


def test_heads_stand_behind_every_second_layer_of_weights() -> None:
    """Their paths say which; none stands behind the last hidden layer's neighbour, the output; a preview shows them."""
    spec = read_comparison(
        {
            "problem": "digits",
            "network": mlp("tanh", depth=5, width=6),
            "variants": {"deep": {"regularizers": [{"kind": "auxiliary_loss", "weight": 0.1, "every": 2}]}},
            "optimizers": ["sgd"],
        },
        Limits(),
    )
    shown = preview(spec, Limits(), [])
    assert [layer.layer for layer in shown.variants["deep"].layers if layer.kind == "auxiliary_head"] == [
        "auxiliary.1",
        "auxiliary.3",
    ]
    assert not [layer for layer in shown.layers if layer.kind == "auxiliary_head"]
    assert shown.variants["deep"].parameters == shown.parameters + 2 * 70


def test_what_is_about_steps_needs_an_rnn() -> None:
    """Refused at its place, in the network and in a variant, where a gru is all there is."""
    steps = [{"kind": "vanishing_gradient", "weight": 0.1}]
    gated = layers({"kind": "unflatten", "shape": [8, 8]}, {"kind": "gru", "hidden_size": 4}, regularizers=steps)
    body = {"problem": "digits", "network": gated, "optimizers": ["sgd"], "variants": {"a": {"regularizers": steps}}}
    with pytest.raises(Problem) as refusal:
        read_comparison(body, Limits())
    assert {wrong.pointer for wrong in refusal.value.errors} == {
        "/network/regularizers/0",
        "/variants/a/regularizers/0",
    }


REFUSED = ["sophia", "vsgd_b", "vsgd_l", "random_search"]


@pytest.mark.parametrize("optimizer", REFUSED)
def test_rules_that_look_at_more_than_the_gradient_are_refused(optimizer: str) -> None:
    body = {
        "problem": "digits",
        "network": {**mlp("tanh"), "regularizers": [{"kind": "saturation", "weight": 0.1}]},
        "optimizers": ["sgd", optimizer],
        "gradient_range": "extended",
    }
    with pytest.raises(Problem) as refusal:
        read_comparison(body, Limits())
    assert [wrong.pointer for wrong in refusal.value.errors] == ["/optimizers/1", "/gradient_range"]
