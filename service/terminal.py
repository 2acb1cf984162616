"""A result for the terminal: the ranking, and the gradient layer by layer. Both read without colour, in 100 columns."""

from math import ceil, floor, log10
from typing import NamedTuple

from rich import box
from rich.table import Table

from workers.contract.results import Arm, Interval, LayerDiagnosis, Result

BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a cell."""
MARK = "○"
EDGE = "*"
MIN_BAR, MAX_BAR = 6, 24
NUMBER = 6
"""Width of the power of ten behind a bar, with its gap."""


def ranking(result: Result) -> Table:
    """The arms by rank: how well they did on the reported seeds, and the verdict on their signal."""
    several = len({arm.variant for arm in result.arms}) > 1
    accuracies = any(arm.test_accuracy for arm in result.arms)
    divergences = any(arm.trials.diverged for arm in result.arms)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left")
    if any(arm.at_edge for arm in result.arms):
        table.caption = f"{EDGE} an edge of what was searched: beyond it may be better ones"
    for heading, right in (
        ("#", True),
        *([("variant", False)] if several else []),
        ("optimizer", False),
        ("setting", False),
        ("test loss [95 %]", True),
        *([("accuracy", True)] if accuracies else []),
        (f"beats {result.baseline}", True),
        *([("diverged", True)] if divergences else []),
        ("signal", False),
    ):
        table.add_column(heading, justify="right" if right else "left", no_wrap=right)
    for arm in result.arms:
        versus = arm.versus_baseline
        diverged = arm.trials.diverged
        table.add_row(
            "–" if arm.rank is None else str(arm.rank),
            *([arm.variant] if several else []),
            arm.optimizer,
            _setting(arm),
            _interval(arm.test_loss),
            *([_percent(arm.test_accuracy)] if accuracies else []),
            f"{versus.probability_of_improvement:.0%}" if versus else "–",
            *([f"{diverged} of {diverged + arm.trials.completed}"] if divergences else []),
            _verdicts(arm),
        )
    return table


def _setting(arm: Arm) -> str:
    names = list(arm.searched) or (["lr"] if "lr" in arm.hyperparameters else [])
    edge = dict.fromkeys(arm.at_edge, EDGE)
    return ", ".join(f"{name} {arm.hyperparameters[name]:.3g}{edge.get(name, '')}" for name in names)


def _interval(interval: Interval) -> str:
    if interval.iqm is None:
        return "∞"
    low, high = (f"{value:.3g}" if value is not None else "∞" for value in (interval.low, interval.high))
    return f"{interval.iqm:.3g} [{low}, {high}]"


def _percent(interval: Interval | None) -> str:
    return "–" if interval is None or interval.iqm is None else f"{interval.iqm:.1%}"


def _verdicts(arm: Arm) -> str:
    end = arm.diagnosis
    if end is None:
        return "–"
    start = end.at_step_0
    before = f"{start.verdict} → " if start and start.verdict != end.verdict else ""
    return before + end.verdict


def reasons(result: Result) -> list[str]:
    """What the diagnosis of the baseline and of the best arm rests on, in sentences."""
    best = next((arm for arm in result.arms if arm.rank == 1), None)
    told = [arm for arm in result.arms if arm is best or arm.optimizer == result.baseline]
    return [
        "\n".join([f"{arm.variant}, {arm.optimizer}:", *(f"  {sentence}" for sentence in arm.diagnosis.evidence)])
        for arm in reversed(told)
        if arm.diagnosis and arm.diagnosis.evidence
    ]


class Column(NamedTuple):
    """One optimizer's layers, from the input upwards: name → (norm at step 0, norm at the end)."""

    heading: str
    layers: dict[str, tuple[float | None, float | None]]


def pictures(result: Result, *, width: int = 100) -> list[str]:
    """The gradient of every layer, one picture per variant, wide comparisons in several: a bar to where it is at the end of
    training, a circle where it was at step 0, both on one logarithmic scale.
    """
    found = []
    for variant in dict.fromkeys(arm.variant for arm in result.arms):
        columns = [_column(arm) for arm in result.arms if arm.variant == variant and arm.diagnosis]
        if columns:
            found += _variant(variant, columns, width)
    return found


def _column(arm: Arm) -> Column:
    assert arm.diagnosis is not None
    start = {layer.layer: layer for layer in (arm.diagnosis.at_step_0.layers if arm.diagnosis.at_step_0 else [])}
    layers = {layer.layer: (_norm(start.get(layer.layer)), _norm(layer)) for layer in arm.diagnosis.layers}
    return Column(arm.optimizer, layers)


def _norm(layer: LayerDiagnosis | None) -> float | None:
    return layer.error_signal_norm if layer else None


def _variant(variant: str, columns: list[Column], width: int) -> list[str]:
    names = list(columns[0].layers)
    powers = [
        log10(norm) for column in columns for pair in column.layers.values() for norm in pair if norm and norm > 0
    ]
    if not powers:
        return []
    low, high = floor(min(powers)), max(ceil(max(powers)), floor(min(powers)) + 1)
    label = max(len(name) for name in names) + 2
    fitting = max(1, (width - label) // (MIN_BAR + NUMBER + 2))
    rows = ceil(len(columns) / fitting)
    size = ceil(len(columns) / rows)
    bar = min(MAX_BAR, (width - label) // size - NUMBER - 2)
    title = f"{variant}: log₁₀ of the error signal's norm, 1e{low} to 1e{high}: █ at the end, {MARK} at step 0"
    drawn = []
    for first in range(0, len(columns), size):
        group = columns[first : first + size]
        lines = [title, " " * label + "".join(f"{_cut(c.heading, bar + NUMBER):<{bar + NUMBER + 2}}" for c in group)]
        for name in reversed(names):
            cells = (_cell(*column.layers.get(name, (None, None)), low, high, bar) for column in group)
            lines.append(f"{name:<{label}}" + "  ".join(cells).rstrip())
        drawn.append("\n".join(lines))
    return drawn


def _cell(start: float | None, end: float | None, low: int, high: int, bar: int) -> str:
    """A bar of `bar` characters and the power of ten it stands for."""
    filled = _share(end, low, high) * bar
    full = int(filled)
    drawn = list(f"{'█' * full}{BLOCKS[int((filled - full) * 8)] if full < bar else ''}".ljust(bar))
    if start is not None and start > 0:
        drawn[min(bar - 1, int(_share(start, low, high) * bar))] = MARK
    number = "–" if end is None else "0" if end == 0 else f"{log10(end):.1f}"
    return "".join(drawn) + f"{number:>{NUMBER}}"


def _share(norm: float | None, low: int, high: int) -> float:
    if norm is None or norm <= 0:
        return 0.0
    return min(1.0, max(0.0, (log10(norm) - low) / (high - low)))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
