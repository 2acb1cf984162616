"""The answer in plain words, from a result alone."""

import json
from collections.abc import Mapping

from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Scalar
from workers.contract.results import Advice, Arm, Diagnosis, Interval, Rescue, Result, SelfCheck, Verdict

Names = Mapping[tuple[str, str, str], str]
"""By problem, variant and optimizer."""
TOLD = 6
"""Names listed before the rest is counted."""


RESCUES: dict[Rescue, str] = {
    "not_needed": "From where it started steps that do not depend on the gradient's size gain nothing: nothing was lost.",
    "helps": "From where it started an optimizer whose steps do not depend on the gradient's size can train it: only size was lost.",
    "may_help": "From where it started an optimizer whose steps do not depend on the gradient's size may help, or may not.",
    "cannot_help": "From where it started no optimizer can train it by ignoring the gradient's size: more than size was lost.",
}


def answer(result: Result, names: Names) -> str:
    """A paragraph: who wins, by how much, who is not told apart, what the signal does, and what to doubt.

    Args:
        names: of the arms, by problem, variant and optimizer.
    """
    problems = dict.fromkeys(arm.problem for arm in result.arms)
    each = [
        result.model_copy(update={"arms": [a for a in result.arms if a.problem == problem]}) for problem in problems
    ]
    sentences = [
        *_over_all(result, len(each)),
        *(
            f"On {one.arms[0].problem}: {sentence}" if len(each) > 1 else sentence
            for one in each
            for sentence in _winner(one, names)
        ),
        *_others(result, names),
        *_signal(result, names),
        *_doubts(result, names),
    ]
    return " ".join(sentences)


def number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}".replace("%", " %")


def with_interval(found: Interval) -> str:
    return f"{number(found.iqm)} [{number(found.low)}, {number(found.high)}]"


def training(spec: ComparisonSpec) -> str:
    """How long, of each optimizer where that differs."""
    if spec.equal == "steps":
        return f"{spec.steps:,} steps"
    each = ", ".join(f"{optimizer.label} {spec.steps_of(optimizer):,} steps" for optimizer in spec.optimizers)
    return f"on equal evaluations, those of {spec.steps:,} gradients: {each}"


def standing(arm: Arm) -> str:
    """Against the baseline: better, worse, or not told apart."""
    versus = arm.versus_baseline
    if versus is None:
        return "baseline"
    if versus.low > 0.5:
        return "better"
    return "worse" if versus.high < 0.5 else "not told apart"


def setting(arm: Arm) -> str:
    """What was searched; the learning rate where nothing was."""
    told = list(arm.searched) or [name for name in ("lr",) if name in arm.hyperparameters]
    return ", ".join(f"{name} {_short(arm.hyperparameters[name])}" for name in told)


def _short(value: Scalar) -> str:
    """Three digits: a logarithmic grid has twelve."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def course(diagnosis: Diagnosis | None) -> str:
    """`vanishing → healthy`, from step 0 to the end."""
    if diagnosis is None:
        return "–"
    start, end = (diagnosis.at_step_0 or diagnosis).verdict, spoken(diagnosis.verdict)
    return end if start == diagnosis.verdict else f"{spoken(start)} → {end}"


def spoken(verdict: Verdict) -> str:
    return verdict.replace("_", " ")


def reasons(diagnosis: Diagnosis) -> list[str]:
    """What a verdict rests on, and whether ignoring the gradient's size can help: sentences."""
    rescue = diagnosis.magnitude_independent_optimizer
    return [*diagnosis.evidence, *([RESCUES[rescue]] if rescue else [])]


def advised(advice: Advice) -> str:
    """The remedy, how to write it, and what speaks for it."""
    how = f" ({json.dumps(advice.variant, ensure_ascii=False)})" if advice.variant else ""
    how += f" ({', '.join(advice.optimizers)})" if advice.optimizers else ""
    return f"{advice.remedy}{how}: {advice.because}."


def self_checks(result: Result, names: Names) -> list[str]:
    """The methods that lost to what they contain, and how many did not."""
    lost = [checked(check, names) for check in result.self_checks if check.verdict == "violated"]
    held = len(result.self_checks) - len(lost)
    kept = (
        f"In {_counted(held, 'other pair' if lost else 'pair')} the method that contains the other is not told worse."
    )
    return [*lost, *([kept] if held else [])]


def checked(check: SelfCheck, names: Names) -> str:
    """That a method lost to its special case, and what that says of its search: a sentence."""
    general, special = (names[check.problem, check.variant, name] for name in (check.general, check.special))
    left_out = f", it left out {_listed(check.unsearched)}" if check.unsearched else ""
    return f"{general} did worse than {special}, which it contains ({check.at}): its search was too small{left_out}."


def _over_all(result: Result, problems: int) -> list[str]:
    """Who is best over several problems."""
    best = [one for one in result.overall if one.rank == 1]
    if not best:
        return []
    variants = {one.variant for one in result.overall}
    who = _listed([one.optimizer if len(variants) == 1 else f"{one.variant} · {one.optimizer}" for one in best])
    does = "does" if len(best) == 1 else "do equally"
    rank = f"a mean rank of {best[0].mean_rank:.2g}, 95 % interval {best[0].low:.2g} to {best[0].high:.2g}"
    return [f"Over {problems} problems {who} {does} best of {_counted(len(result.overall), 'arm')}: {rank}."]


def _winner(result: Result, names: Names) -> list[str]:
    ranked = [arm for arm in result.arms if arm.rank is not None]
    if not ranked:
        return ["No arm has a reported trial yet."]
    best = [arm for arm in ranked if arm.rank == 1]
    if best[0].test_loss.iqm is None:
        return ["No arm trains: too many of the trials of each diverged for a finite mean loss."]
    first = best[0]
    accuracy = f" and an accuracy of {percent(first.test_accuracy.iqm)}" if first.test_accuracy else ""
    does = "does" if len(best) == 1 else "do equally"
    loss = f"a test loss of {number(first.test_loss.iqm)}, 95 % interval {number(first.test_loss.low)} to {number(first.test_loss.high)}"
    partial = "So far, " if result.partial else ""
    return [f"{partial}{_listed(_names(best, names))} {does} best of {_counted(len(ranked), 'arm')}: {loss}{accuracy}."]


def _others(result: Result, names: Names) -> list[str]:
    groups: dict[str, list[Arm]] = {}
    for arm in result.arms:
        if arm.versus_baseline is not None:
            groups.setdefault(standing(arm), []).append(arm)
    told = []
    if better := groups.get("better"):
        told.append(f"{_listed(_names(better, names))} beat{'s' if len(better) == 1 else ''} {result.baseline}")
    if worse := groups.get("worse"):
        told.append(f"{_listed(_names(worse, names))} {_is(worse)} worse than {result.baseline}")
    if even := groups.get("not told apart"):
        told.append(f"{_listed(_names(even, names))} {_is(even)} not told apart from {result.baseline} by these seeds")
    return [f"On paired seeds {'; '.join(told)}."] if told else []


def _signal(result: Result, names: Names) -> list[str]:
    told = []
    starts: dict[tuple[str, str], str] = {}
    for arm in result.arms:
        start = arm.diagnosis.at_step_0 if arm.diagnosis else None
        place = arm.problem, arm.variant
        if start is not None and start.decades_per_layer is not None and place not in starts:
            several = [len({getattr(a, name) for a in result.arms}) > 1 for name in ("problem", "variant")]
            told_of = [name for name, more in zip(place, several, strict=True) if more]
            where = f" of {' · '.join(told_of)}" if told_of else ""
            starts[place] = _start(where, spoken(start.verdict), start.decades_per_layer, start.decades)
    told += list(starts.values())[:TOLD]
    ends: dict[Verdict, list[Arm]] = {}
    for arm in result.arms:
        if arm.diagnosis is not None:
            ends.setdefault(arm.diagnosis.verdict, []).append(arm)
    if ends:
        parts = [f"{spoken(verdict)} under {_listed(_names(arms, names))}" for verdict, arms in ends.items()]
        told.append(f"At the end of training it is {'; '.join(parts)}.")
    return told


def _start(where: str, verdict: str, rate: float, decades: float | None) -> str:
    if abs(rate) < 0.005:
        return f"Before the first update the error signal{where} keeps its size from layer to layer ({verdict})."
    moves = "loses" if rate < 0 else "gains"
    left = ""
    if decades is not None and abs(decades) > 0.3:
        factor = f"{float(f'{10 ** abs(decades):.2g}'):,.6g}" if abs(decades) < 6 else f"10^{abs(decades):.0f}"
        left = f": what reaches the first hidden layer is {factor} times {'smaller' if decades < 0 else 'larger'} than at the last"
    return f"Before the first update the error signal{where} {moves} {abs(rate):.2f} decades per layer on its way down{left} ({verdict})."


def _doubts(result: Result, names: Names) -> list[str]:
    told = []
    diverged = sum(arm.trials.diverged for arm in result.arms)
    if diverged:
        told.append(f"{_counted(diverged, 'reported trial')} diverged, counted as infinitely bad.")
    if inside := [arm for arm in result.arms if arm.widened and not arm.at_edge]:
        told.append(
            f"{_listed(_names(inside, names))} did best at an edge of what was searched, until that was widened: now inside."
        )
    if edges := [arm for arm in result.arms if arm.at_edge]:
        also = ", widened or not" if any(arm.widened for arm in edges) else ""
        told.append(
            f"The best setting of {_listed(_names(edges, names))} lies at an edge of what was searched{also}: beyond it may be better "
            "ones, which `tuning.widen` looks for."
        )
    told += [checked(check, names) for check in result.self_checks if check.verdict == "violated"]
    few = min((arm.trials.completed + arm.trials.diverged for arm in result.arms if arm.rank is not None), default=0)
    if few and few < 5:
        told.append(f"With {_counted(few, 'seed')} an arm these intervals are wide; five or more tell more apart.")
    return told


def _names(arms: list[Arm], names: Names) -> list[str]:
    return [names[arm.problem, arm.variant, arm.optimizer] for arm in arms]


def _listed(names: list[str]) -> str:
    if len(names) > TOLD:
        return f"{', '.join(names[:TOLD])} and {len(names) - TOLD} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _is(arms: list[Arm]) -> str:
    return "is" if len(arms) == 1 else "are"
