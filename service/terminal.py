"""A result for the terminal: the ranking, and the gradient layer by layer. Both read without colour, in 100 columns."""

import re
import sys
from dataclasses import dataclass
from math import ceil, floor, log10
from textwrap import fill
from typing import NamedTuple

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from service.report import words
from service.report.names import named
from workers.contract.plan import Scalar
from workers.contract.results import Arm, Diagnosis, Interval, LayerDiagnosis, Result

BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a cell."""
MARK = "○"
EDGE = "*"
MIN_BAR, MAX_BAR = 6, 24
BASELINE = 12
"""Width of the baseline's name in a heading."""
NUMBER = 6
"""Width of the power of ten behind a bar, with its gap."""


@dataclass(frozen=True)
class Fitting:
    """Of two tables the wide one where it fits, else the narrow one."""

    wide: Table
    narrow: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=sys.maxsize)
        yield self.wide if console.measure(self.wide, options=unbounded).maximum <= options.max_width else self.narrow


def ranking(result: Result) -> Fitting:
    """The arms by rank: how well they did on the reported seeds, and the verdict on their signal."""
    return Fitting(_table(result, " "), _table(result, "\n"))


def _table(result: Result, gap: str) -> Table:
    """The ranking; `gap` stands between a number and its interval, and wherever else a narrow table goes on below."""
    several = len({arm.variant for arm in result.arms}) > 1
    problems = len({arm.problem for arm in result.arms}) > 1
    lengths = len({arm.steps for arm in result.arms}) > 1
    accuracies = any(arm.test_accuracy for arm in result.arms)
    divergences = any(arm.trials.diverged for arm in result.arms)
    padding = (0, 1 if gap == " " else 0, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, caption_justify="left")
    if any(arm.at_edge for arm in result.arms):
        table.caption = f"{EDGE} an edge of what was searched: beyond it may be better ones"
    for heading, right in (
        ("#", True),
        *([("problem", False)] if problems else []),
        *([("variant", False)] if several else []),
        ("optimizer", False),
        ("setting", False),
        *([("steps", True)] if lengths else []),
        (f"test loss{gap}[95 %]", True),
        *([("accuracy", True)] if accuracies else []),
        (f"beats{gap}{_cut(result.baseline, BASELINE)}", True),
        *([("diverged", True)] if divergences else []),
        ("signal", False),
    ):
        justify: JustifyMethod = "right" if right else "left"
        table.add_column(Text(heading), justify=justify, no_wrap=right or heading == "signal", overflow="fold")
    for arm in result.arms:
        versus = arm.versus_baseline
        diverged = arm.trials.diverged
        cells = (
            "–" if arm.rank is None else str(arm.rank),
            *([_plain(arm.problem)] if problems else []),
            *([_plain(arm.variant)] if several else []),
            _plain(arm.optimizer),
            _setting(arm, gap),
            *([f"{arm.steps:,}"] if lengths else []),
            "–" if arm.rank is None else _interval(arm.test_loss, gap),
            *([_percent(arm.test_accuracy)] if accuracies else []),
            f"{versus.probability_of_improvement:.0%}" if versus else "–",
            *([f"{diverged} of {diverged + arm.trials.completed}"] if divergences else []),
            _verdicts(arm, gap),
        )
        table.add_row(*map(Text, cells))  # not strings: a name may have brackets, which would be read as markup
    return table


def _setting(arm: Arm, gap: str) -> str:
    names = list(arm.searched) or (["lr"] if "lr" in arm.hyperparameters else [])
    edge = dict.fromkeys(arm.at_edge, EDGE)
    return f",{gap}".join(f"{name} {_number(arm.hyperparameters[name])}{edge.get(name, '')}" for name in names)


def _interval(interval: Interval, gap: str) -> str:
    if interval.iqm is None:
        return "∞"
    low, high = ("∞" if value is None else _number(value) for value in (interval.low, interval.high))
    return f"{_number(interval.iqm)}{gap}[{low}, {high}]"


def _number(value: Scalar) -> str:
    """Three digits, and an exponent without padding: 1.23e-5."""
    if not isinstance(value, int | float):
        return str(value)
    return re.sub(r"e\+?(-?)0?", r"e\1", f"{value:.3g}")


def _percent(interval: Interval | None) -> str:
    return "–" if interval is None or interval.iqm is None else f"{interval.iqm:.1%}"


def _verdicts(arm: Arm, gap: str) -> str:
    return words.course(arm.diagnosis).replace(" → ", f" →{gap}")


def reasons(result: Result) -> list[str]:
    """What the diagnosis of the baseline and of the best arm rests on, and what would help, in sentences."""
    best = next((arm for arm in result.arms if arm.rank == 1), None)
    told = [arm for arm in result.arms if arm is best or arm.optimizer == result.baseline]
    return [
        "\n".join(
            [f"{_where(arm, result)}, {arm.optimizer}:", *(f"  {sentence}" for sentence in _sentences(arm.diagnosis))]
        )
        for arm in reversed(told)
        if arm.diagnosis and arm.diagnosis.evidence
    ]


def _where(arm: Arm, result: Result) -> str:
    """The variant, on which problem where there are several."""
    return f"{arm.problem}, {arm.variant}" if len({other.problem for other in result.arms}) > 1 else arm.variant


def overall(result: Result) -> Table | None:
    """The ranking over several problems."""
    if not result.overall:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    for heading, right in (
        ("#", True),
        ("over all problems", False),
        ("mean rank [95 %]", True),
        ("beats the baseline", True),
    ):
        table.add_column(heading, justify="right" if right else "left")
    single = len({one.variant for one in result.overall}) == 1
    for one in result.overall:
        chance = one.probability_of_improvement
        table.add_row(
            str(one.rank),
            Text(_plain(one.optimizer if single else f"{one.variant}, {one.optimizer}")),
            f"{one.mean_rank:.3g} [{one.low:.3g}, {one.high:.3g}]",
            "–" if chance is None else f"{chance:.0%}",
        )
    return table


def _sentences(diagnosis: Diagnosis) -> list[str]:
    return [*words.reasons(diagnosis), *(f"To try: {words.advised(one)}" for one in diagnosis.advice)]


def warnings(result: Result) -> list[str]:
    """Methods that lost to what they contain, in sentences."""
    names = {(arm.problem, arm.variant, arm.optimizer): named(arm, result) for arm in result.arms}
    return [words.checked(check, names) for check in result.self_checks if check.verdict == "violated"]


class Column(NamedTuple):
    """One optimizer's layers, from the input upwards: name → (norm at step 0, norm at the end)."""

    heading: str
    layers: dict[str, tuple[float | None, float | None]]


def pictures(result: Result, *, width: int = 100) -> list[str]:
    """The gradient of every layer, one picture per variant, wide comparisons in several: a bar to where it is at the end of
    training, a circle where it was at step 0, both on one logarithmic scale.
    """
    found = []
    for place in dict.fromkeys(_where(arm, result) for arm in result.arms):
        columns = [_column(arm) for arm in result.arms if _where(arm, result) == place and arm.diagnosis]
        if columns:
            found += _variant(place, columns, width)
    return found


def _column(arm: Arm) -> Column:
    assert arm.diagnosis is not None
    start = {layer.layer: layer for layer in (arm.diagnosis.at_step_0.layers if arm.diagnosis.at_step_0 else [])}
    layers = {layer.layer: (_norm(start.get(layer.layer)), _norm(layer)) for layer in arm.diagnosis.layers}
    return Column(arm.optimizer, layers)


def _norm(layer: LayerDiagnosis | None) -> float | None:
    return layer.error_signal_norm if layer else None


def _variant(variant: str, columns: list[Column], width: int) -> list[str]:
    names = list(max(columns, key=lambda column: len(column.layers)).layers)
    powers = [
        log10(norm) for column in columns for pair in column.layers.values() for norm in pair if norm and norm > 0
    ]
    if not powers:
        return []
    low, high = floor(min(powers)), max(ceil(max(powers)), floor(min(powers)) + 1)
    label = min(max(map(cell_len, names)), width // 3) + 2
    fitting = max(1, (width - label) // (MIN_BAR + NUMBER + 2))
    rows = ceil(len(columns) / fitting)
    size = ceil(len(columns) / rows)
    bar = max(MIN_BAR, min(MAX_BAR, (width - label) // size - NUMBER - 2))
    scale = f"log₁₀ of the error signal's norm, 1e{low} to 1e{high}: █ at the end, {MARK} at step 0"
    title = f"{_plain(variant)}: {scale}"
    if cell_len(title) > width:
        title = f"{_cut(variant, width - 1)}:\n{fill(scale, width)}"
    drawn = []
    for first in range(0, len(columns), size):
        group = columns[first : first + size]
        headings = (set_cell_size(_cut(column.heading, bar + NUMBER), bar + NUMBER + 2) for column in group)
        lines = [title, (" " * label + "".join(headings)).rstrip()]
        for name in reversed(names):
            cells = (_cell(*column.layers.get(name, (None, None)), low, high, bar) for column in group)
            lines.append(set_cell_size(_cut_start(name, label - 2), label) + "  ".join(cells).rstrip())
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


def _plain(name: str) -> str:
    """In one line, and without what would steer the terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in name)


def _cut(name: str, width: int) -> str:
    name = _plain(name)
    return name if cell_len(name) <= width else set_cell_size(name, width - 1).rstrip() + "…"


def _cut_start(path: str, width: int) -> str:
    """Keeps the end, where layers differ."""
    return path if cell_len(path) <= width else "…" + _cut(path[::-1], width)[-2::-1]
