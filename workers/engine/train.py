"""The training loop. T trials, B samples in a batch, P parameters, L layers with parameters, S statistics."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workers.contract.optimizers import GRADIENT_FREE, Pattern
from workers.contract.statistics import STATISTICS
from workers.engine.bartlett import due, sampled_gradient, squared
from workers.engine.curvature import bbprop
from workers.engine.evaluation import evaluate
from workers.engine.occasional import measured_now, remember
from workers.engine.optimizers import Gradients
from workers.engine.optimizers.wrappers import clip
from workers.engine.program import Group, Program
from workers.engine.recording import Recording
from workers.engine.regularizers import recentre
from workers.engine.scaling import cosines
from workers.engine.statistics import Signal, backward, forward, update
from workers.engine.statistics.counting import numbers

Columns = dict[str, Tensor]
"""By statistic: float64 [L, T], layers with parameters from the input upwards."""


Take = Callable[[Program, Tensor, Tensor, int, bool, bool], Columns | None]
"""As `take`."""


@torch.no_grad()
def advance(program: Program, recording: Recording, start: int, until: int, taken: Take | None = None) -> None:
    """Trains from `start` updates to `until`, recording on the way.

    Step k stands for k updates made: its statistics are those of the parameters that k updates gave, on the batch of the
    next; what that next update moves belongs to the same row. At the last step of all there is no next: it is measured on the
    batch that would follow, nothing moves, and the test split is looked at for the first time.

    Args:
        taken: in the place of `take`, the same step in another way.
    """
    last = program.shard.steps
    for step in range(start, until + (until == last)):
        if step in recording.evaluated:
            training, validation = evaluate(program, program.data.training), evaluate(program, program.data.validation)
            recording.evaluation(step, training, validation)
        advance_once(program, recording, step, taken or take)
    if until == last:
        recording.test(evaluate(program, program.data.test))


def advance_once(program: Program, recording: Recording, step: int, taken: Take) -> None:
    """One step of `advance`, which evaluates whole splits before it."""
    program.step.fill_(step)
    x, y = program.batches.at(step)
    if recentre(program.shard.regularizers, program.hidden, step):
        program.forward(x, training=False)
    columns = taken(program, x, y, step, step in recording.steps, step + 1 in recording.steps)
    if columns is not None:
        recording.of_step(step, columns)


def take(program: Program, x: Tensor, y: Tensor, step: int, recorded: bool, kept: bool) -> Columns | None:
    """One step, from a batch to what it moved. Nothing is read back and no shape depends on values: a graph can hold it.

    Args:
        recorded: whether this step is; only then there are columns.
        kept: whether the next one is, which looks at the gradient of this one.
    """
    loss = differentiate(program, x, y) if wanted(program, recorded or kept) else glance(program, x, y)
    outputs = [place.layer.output for place in program.measured]
    columns = measure(program, step) | measured_now(program, step, loss) if recorded else None
    if kept:
        program.previous.copy_(program.gradient)
    remember(program, step)
    give(program)
    program.watch.look(outputs, program.of_layers(in_use(program)), loss, program.step)
    if step == program.shard.steps:
        return columns and measure_update(program, columns, program.theta)
    gradients = LOOKS[program.shard.pattern](program, x, y, step)
    before = program.theta.clone() if recorded else None
    estimates: list[Tensor | None] = []
    for group in program.groups:
        own = of_rows(gradients, group.rows)
        if group.candidates is not None:
            own = look_around(program, group, own, x, y)
        estimate = group.rule.estimate if recorded else None
        estimates.append(estimate(own, group.state, group.hyper, **group.flags) if estimate else None)
        group.rule.update(program.theta[group.rows], own, group.state, group.hyper, **group.flags)
    if columns is not None and before is not None:
        columns |= measure_update(program, columns, before)
        columns["estimate_cosine"] = estimate_cosine(program, estimates, before)
    return columns


def gradient_free(program: Program) -> bool:
    """Whether its rules are not given the gradient: backpropagation only measures."""
    return program.shard.pattern in GRADIENT_FREE


def wanted(program: Program, measured: bool) -> bool:
    """Whether the gradient of a step is: by its rules, or because it or the next one is `measured`."""
    return not gradient_free(program) or (program.shard.backpropagation and measured)


def in_use(program: Program) -> Tensor:
    """What has to stay finite beside activations and loss, [T, P]. A gradient that nobody is given ends no trial."""
    return program.theta if gradient_free(program) else program.gradient


def glance(program: Program, x: Tensor, y: Tensor) -> Tensor:
    """A pass forward only. Returns the loss [T]."""
    return program.loss.value(program.forward(x, training=True), y).mean(1)


def differentiate(program: Program, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the mean loss over the batch, into `program.gradient`. Returns the loss [T]."""
    output = program.forward(x, training=True)
    for head in program.heads:
        head.target = y
    program.backward(program.loss.gradient(output, y))
    return program.loss.value(output, y).mean(1)


def give(program: Program) -> None:
    """What `differentiate` left, as the rules are to see it: in the extended range, and with penalties on weights, statistics see less."""
    for penalty in program.penalties:
        penalty.add()
    extended = program.extended
    if extended is None or gradient_free(program):
        return
    shift = extended.rebase()
    for group in program.groups:
        extended.carry(group.state, group.rule.degrees or {}, group.rows, shift)
    extended.present(program.gradient)


def of_rows(gradients: Gradients, rows: slice) -> Gradients:
    """What one optimizer's rows know."""
    own: dict[str, Any] = {name: value[rows] for name, value in vars(gradients).items() if isinstance(value, Tensor)}
    return replace(gradients, **own)


def the_gradient(program: Program, *_: Tensor | int) -> Gradients:
    exponents = program.extended.given() if program.extended else None
    loss = program.watch.state["loss"][:, None]
    return Gradients(program.gradient, program.shard.batch_size, program.layout, loss, exponents)


def sample_squares(program: Program) -> Tensor:
    """[T, P] mean over samples of their own gradients' squares; NaN where they are not known."""
    squares = torch.full_like(program.gradient, torch.nan)
    for place, columns in zip(program.measured, program.columns, strict=True):
        if (linear := place.dense) is not None:
            linear.sample_squares(squares[:, columns])
    if program.extended:
        program.extended.present(squares, degree=2)
    return squares


def look_twice(program: Program, x: Tensor, y: Tensor, step: int) -> Gradients:
    """A second gradient of the same samples, where the rule asks for it; θ and the gradient are put back."""
    squares = sample_squares(program)
    theta, mean = program.theta.clone(), program.gradient.clone()
    running = [(tensor, tensor.clone()) for layer in program.remembering for tensor in layer.state.values()]
    for group in program.groups:
        assert group.rule.probe is not None
        own = of_rows(the_gradient(program), group.rows)
        program.theta[group.rows] += group.rule.probe(theta[group.rows], own, group.state, group.hyper, **group.flags)
    displacement = program.theta - theta
    differentiate(program, x, y)
    give(program)
    at_probe = program.gradient.clone()
    program.theta.copy_(theta)
    program.gradient.copy_(mean)
    for tensor, before in running:
        tensor.copy_(before)
    return replace(
        the_gradient(program), mean=mean, at_probe=at_probe, displacement=displacement, sample_squares=squares
    )


def look_at_curvature(program: Program, *_: Tensor | int) -> Gradients:
    """The same samples' curvature, by another pass backward."""
    return replace(the_gradient(program), sample_squares=sample_squares(program), curvature=bbprop(program))


def look_around(program: Program, group: Group, own: Gradients, x: Tensor, y: Tensor) -> Gradients:
    """The losses of the same samples where a gradient-free rule asks for them."""
    assert group.rule.ask is not None and group.candidates is not None
    theta, rows = program.theta[group.rows], group.rows
    tried = group.rule.ask(theta, group.state, group.hyper, group.draws, **group.flags)
    running = [{name: tensor[rows] for name, tensor in layer.state.items()} for layer in program.remembering]
    losses = group.candidates.losses(theta, tried, x[rows], y[rows], program.loss, running)
    return replace(own, tried=tried, losses=losses)


def look_at_own_labels(program: Program, x: Tensor, y: Tensor, step: int) -> Gradients:
    """The same samples' curvature in the steps in which a rule wants it, by a gradient with labels that the network draws."""
    if not due(program, step):
        return the_gradient(program)
    mean = program.gradient.clone()
    drawn = sampled_gradient(program, x)
    if program.extended:
        program.extended.present(drawn)
    found = squared(drawn.clone(), program.shard.batch_size)
    program.gradient.copy_(mean)
    return replace(the_gradient(program), curvature=found)


LOOKS: dict[Pattern, Callable[[Program, Tensor, Tensor, int], Gradients]] = {
    "one_gradient": the_gradient,
    "two_gradients": look_twice,
    "curvature": look_at_curvature,
    "own_labels": look_at_own_labels,
    "population": the_gradient,
}
"""What a step's rules are told, after `differentiate` of the same x and y; step k stands for k updates made."""


def measure(program: Program, step: int) -> Columns:
    """The groups `backward`, null where no gradient is taken, and `forward`."""
    passes = program.shard.passes
    activities = forward([place.activity for place in program.measured], passes)
    if not program.shard.gradient_taken:
        unknown = torch.full_like(activities["activation_mean"], torch.nan)
        return {name: unknown for name, found in STATISTICS.items() if found.group == "backward"} | activities
    before = program.of_layers(program.previous) if step else None
    gradients = program.of_layers(program.gradient)
    signals = [
        Signal(gradient, place.error_signal, place.samples)
        for place, gradient in zip(program.measured, gradients, strict=True)
    ]
    carried = program.extended.exponents if program.extended else None
    return backward(signals, before, carried, passes) | activities


def measure_update(program: Program, found: Columns, before: Tensor) -> Columns:
    """Joins the group `update`; what moved is NaN at the last step, where `before` is θ itself."""
    moved = program.of_layers(program.theta - before) if before is not program.theta else None
    passes = program.shard.passes
    left = left_by_clipping(program)
    if moved is None:
        left.fill_(torch.nan)
    given = found["gradient_norm"], eps_dominance(program), left
    return found | update(program.of_layers(before), moved, *given, passes)


def estimate_cosine(program: Program, estimates: list[Tensor | None], before: Tensor) -> Tensor:
    """Of what gradient-free rules took the gradient to be with the gradient, float64 [L, T]; NaN for rules that are given it.

    Args:
        estimates: of each group, [R, P]; where there is none what it moved, the other way, stands for it.
    """
    found = torch.full(
        (len(program.columns), len(program.trials)), torch.nan, dtype=torch.float64, device=before.device
    )
    for group, own in zip(program.groups, estimates, strict=True):
        if group.candidates is not None and program.shard.backpropagation:
            estimate = own if own is not None else (before - program.theta)[group.rows]
            pairs = (program.of_layers(each) for each in (estimate, program.gradient[group.rows]))
            found[:, group.rows] = cosines(*pairs)
    return found


def eps_dominance(program: Program) -> Tensor:
    """Share of elements where eps decides, float64 [L, T], NaN for rules without an eps and where nobody records it."""
    shares = program.theta.new_full((len(program.columns), len(program.trials)), torch.nan, dtype=torch.float64)
    parameters = numbers([own.stop - own.start for own in program.columns], shares.device)
    for group in program.groups if "eps" in program.shard.passes else ():
        if group.rule.eps_dominated is not None:
            held = program.of_layers(group.rule.eps_dominated(group.state, group.hyper, program.layout))
            shares[:, group.rows] = torch.stack([mask.sum(1) for mask in held]) / parameters
    return shares


def left_by_clipping(program: Program) -> Tensor:
    """‖clipped g‖/‖g‖ in the last update, float64 [L, T], NaN for rules that nothing clips."""
    left = program.theta.new_full((len(program.columns), len(program.trials)), torch.nan, dtype=torch.float64)
    for group in program.groups:
        if clip.RATIO in group.state:
            left[:, group.rows] = group.state[clip.RATIO].T
    return left
