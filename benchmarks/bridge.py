"""Every optimizer class of torch.optim and pytorch_optimizer, tried: what its constructor takes, whether it can run here, what it does.

    python -m benchmarks.bridge            train each at its defaults on digits, and print which of them learn: benchmarks/figures/bridge.md
    python -m benchmarks.bridge --write    renew workers/contract/optimizers/signatures.json from what is installed

To be offered a class must train from gradients alone: it is run on a small network, saved and restored in the middle, and must come
out bit for bit where an undisturbed one does. What its constructor accepts is found by giving it values. R rows, P parameters.
"""

import argparse
import inspect
import io
import json
import random
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from enum import Enum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.invariance import DECADES, LAYOUT, PARAMETERS, range_of
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import Optimizer
from workers.contract.optimizers.bridged import BRIDGED, REFUSED, Class
from workers.contract.plan import Execution
from workers.engine.optimizers.bridge import SETTLED_BY_US, Row, bridged, class_of, drawing_from
from workers.engine.shard import Training

PACKAGES = {"torch.optim": "torch", "pytorch_optimizer": "pytorch_optimizer"}
TABLE = Path(__file__).parents[1] / "workers" / "contract" / "optimizers" / "signatures.json"
STEPS, SAVED_AT = 24, 9
NUMBERS = (-1e12, -1.0, -1e-6, 0.0, 1e-6, 0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 10.0, 1000.0, 1e12)
WHOLE = (-1000, -1, 0, 1, 2, 10, 1000, 100_000)
LEARNS = 0.8
"""Accuracy on the test split of digits that counts as having learnt."""

REASONS = {
    "closure": "its step evaluates the loss again by itself, through a closure",
    "does not require grad": "it differentiates the gradient once more, and no graph of it is kept",
    "dense gradients": "it takes sparse gradients only",
    "2D param": "it takes matrices only, and biases are none",
    "need to install": "it needs another package: {error}",
    "process group": "it distributes a training over processes",
    "checkpoint": "a training could not be resumed: {error}",
}
"""A word of the error to what it means."""

WRAPPED = {
    "model": "it hooks into the modules of a torch model",
    "optimizer": "it wraps another optimizer",
    "base_optimizer": "it wraps another optimizer and takes a second gradient",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the table in the contract")
    parser.add_argument("--steps", type=int, default=200, help="updates on digits (%(default)s)")
    arguments = parser.parse_args()
    if arguments.write:
        TABLE.write_text(written(*examine(measured=True)), encoding="utf-8")
    else:
        print_table(arguments.steps)


def kinds() -> Iterator[str]:
    """Every class there is, both packages, by name."""
    for package in PACKAGES:
        module = __import__(package, fromlist=["*"])
        for name in sorted(dir(module), key=str.lower):
            found = getattr(module, name)
            if (
                inspect.isclass(found)
                and issubclass(found, torch.optim.Optimizer)
                and found is not torch.optim.Optimizer
            ) and not inspect.isabstract(found):
                yield f"{package}/{name}"


def examine(measured: bool) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Classes that can run, with their arguments; and the others, with the reason.

    Args:
        measured: also the ranges of scales, which take most of the time.
    """
    classes, refused = {}, {}
    for kind in kinds():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, of deprecations and of numbers they find odd
            try:
                classes[kind] = about(kind, measured)
            except Refusal as refusal:
                refused[kind] = str(refusal)
    return classes, refused


class Refusal(Exception):  # noqa: N818 - an answer
    pass


def about(kind: str, measured: bool) -> dict[str, Any]:
    """Of a class that can run.

    Raises:
        Refusal: of one that cannot.
    """
    cls = class_of(kind)
    parameters = list(inspect.signature(cls).parameters.values())
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name in WRAPPED:
            raise Refusal(WRAPPED[parameter.name])
    arguments = arguments_in(cls)
    setting: dict[str, Any] = {name: 1000 for name, own in arguments.items() if own.get("required")}
    found = behaviour(cls, setting)
    grouped = found.get("grouped", False)
    arguments = {name: own for name, own in arguments.items() if works(cls, setting, name, own, grouped)}
    for name, own in arguments.items():
        own |= bounds(cls, setting, name, own, grouped)
    if hasattr(cls, "eval"):
        found["averaged"] = True
    if measured:
        rows = len(DECADES)
        rule = bridged(kind, Class("", {}, **found), [setting] * rows, [0] * rows)
        found["down_to"], found["up_to"] = range_of(rule, {}, {})
    return {"description": summary(cls), **found, "arguments": arguments}


def arguments_in(cls: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """What the constructor takes beside parameters, by name: type, default, words. What an optimizer here has a field of that name for
    keeps its default.
    """
    words = described(cls)
    return {
        each.name: own | ({"description": words[each.name]} if each.name in words else {})
        for each in list(inspect.signature(cls).parameters.values())[1:]
        if each.name not in {*SETTLED_BY_US, *Optimizer.model_fields}
        and each.kind is each.POSITIONAL_OR_KEYWORD
        and (own := argument(each))
    }


def argument(parameter: inspect.Parameter) -> dict[str, Any] | None:
    """Type and default as the contract says them; None of what JSON cannot give: functions, formats, tensors."""
    default, annotation = parameter.default, str(parameter.annotation)
    if isinstance(default, Enum):
        default = default.value
    choices = re.search(r"Literal\[('[^]]*')\]", annotation)
    if default is parameter.empty:
        return {"type": "integer", "required": True} if parameter.annotation is int else None
    if isinstance(default, bool):
        return {"type": "boolean", "default": default}
    if isinstance(default, int | float):
        if isinstance(default, float) or "float" in annotation:
            return {"type": "number", **({"default": float(default)} if np.isfinite(default) else {})}
        return {"type": "integer", "default": default}
    if isinstance(default, tuple) and all(isinstance(item, int | float) for item in default) and "float" in annotation:
        return {"type": "numbers", "default": [float(item) for item in default], "length": len(default)}
    if default is not None and not isinstance(default, str):
        return None
    given = {} if default is None else {"default": default}
    if choices:
        return {"type": "string", "choices": [word.strip("' ") for word in choices[1].split(",")], **given}
    if default is None and ("float" in annotation or "int" in annotation):
        return {"type": "number" if "float" in annotation else "integer"}
    return None


def described(cls: Callable[..., Any]) -> dict[str, str]:
    """The first sentence on each argument, of a docstring's Args."""
    text = inspect.getdoc(cls) or ""
    _, found, rest = text.partition("Args:")
    words: dict[str, str] = {}
    for match in re.finditer(r"^ +(\w+)(?: \([^\n]*?\))?: (.+(?:\n {6,}.+)*)", rest if found else "", re.MULTILINE):
        words.setdefault(match[1], sentence(match[2]))
    return words


def summary(cls: Callable[..., Any]) -> str:
    return sentence((inspect.getdoc(cls) or "").split("Args:")[0].removeprefix("Implements "))


def sentence(text: str) -> str:
    """The first one, on one line, without markup and without what the table says anyway."""
    plain = re.sub(r":\w+:", "", re.sub(r"[`*]", "", " ".join(text.partition(".. math")[0].split())))
    plain = re.sub(r" ?\(default: [^)]*\)", "", plain)
    first = re.split(r"(?<=[.])\s+(?=[A-Z])", plain)[0]
    return first if len(first) <= 160 else first[:157].rsplit(" ", 1)[0] + " ..."


class Trained:
    """θ [P] and the object that updates it."""

    def __init__(
        self, cls: Callable[..., Any], setting: dict[str, Any], grouped: bool, dtype: torch.dtype = torch.float32
    ) -> None:
        self.theta = (0.3 * torch.randn(PARAMETERS, generator=torch.Generator().manual_seed(0))).to(dtype)
        views = [self.theta[columns].view(shape) for columns, shape in LAYOUT.parts]
        self.row = Row(cls, setting, views, grouped)
        self.drew = False

    def step(self) -> None:
        """Downhill on a quadratic with waves on it."""
        k = self.row.step
        gradient = 0.1 * self.theta + 0.05 * torch.sin(torch.arange(PARAMETERS) * (k + 1.0))
        with drawing_from(0, k):
            before = generators()
            self.row.update([gradient[columns].view(shape) for columns, shape in LAYOUT.parts], None)
            self.drew |= generators() != before

    def resumed_in(self, other: "Trained") -> "Trained":
        kept = io.BytesIO()
        torch.save(self.row.save(), kept)
        kept.seek(0)
        other.theta.copy_(self.theta)
        other.row.load(torch.load(kept, weights_only=True))
        return other


def generators() -> list[Any]:
    """Where the global generators are."""
    words: Any = np.random.get_state(legacy=False)
    return [torch.get_rng_state().tolist(), words["state"]["pos"], words["state"]["key"].tolist(), random.getstate()]


@torch.no_grad()
def behaviour(cls: Callable[..., Any], setting: dict[str, Any]) -> dict[str, Any]:
    """How it must be handled, and what it remembers.

    Raises:
        Refusal: if it cannot be run, saved and resumed.
    """
    try:
        grouped = wants_groups(cls, setting)
        undisturbed, other = Trained(cls, setting, grouped), Trained(cls, setting, grouped)
        for k in range(STEPS):
            undisturbed.step()
            other.step()
            if k == SAVED_AT:
                other = other.resumed_in(Trained(cls, setting, grouped))
        if not torch.equal(undisturbed.theta.nan_to_num(), other.theta.nan_to_num()):
            raise Refusal("a training could not be resumed: it does not keep all that it remembers in its state")
    except Refusal:
        raise
    except Exception as error:  # whatever it is, it is the answer
        raise Refusal(reason(error)) from None
    found: dict[str, Any] = {"remembered_per_parameter": round(numbers_in(undisturbed.row.save()) / PARAMETERS, 2)}
    single = float32_only(cls, setting, grouped)
    told = {"random": undisturbed.drew, "grouped": grouped, "float32_only": single}
    return found | {name: True for name, yes in told.items() if yes}


def float32_only(cls: Callable[..., Any], setting: dict[str, Any], grouped: bool) -> bool:
    """Whether it fails on parameters in float64."""
    double = Trained(cls, setting, grouped, torch.float64)
    try:
        for _ in range(STEPS):
            double.step()
    except Exception:  # whatever it is, it is the answer
        return True
    return False


def wants_groups(cls: Callable[..., Any], setting: dict[str, Any]) -> bool:
    try:
        Trained(cls, setting, grouped=False)
    except RuntimeError as error:
        if "__contains__" not in str(error):  # it looks for "use_muon" in what should be a group
            raise
        return True
    return False


def reason(error: Exception) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return next((told.format(error=text) for word, told in REASONS.items() if word in text), f"it fails: {text}")


def numbers_in(saved: Any) -> int:
    """Elements of all tensors of more than one element."""
    if isinstance(saved, Tensor):
        return saved.numel() if saved.numel() > 1 else 0
    inner = saved.values() if isinstance(saved, dict) else saved if isinstance(saved, list) else ()
    return sum(map(numbers_in, inner))


def bounds(
    cls: Callable[..., Any], setting: dict[str, Any], name: str, own: dict[str, Any], grouped: bool
) -> dict[str, float]:
    """The interval round the default that the constructor accepts, of the values tried."""
    if own["type"] not in ("number", "integer", "numbers"):
        return {}

    def accepts(value: Any) -> bool:
        try:
            Trained(cls, setting | {name: value}, grouped)
        except Exception:  # whatever it is, the constructor does not take it
            return False
        return True

    if own["type"] == "numbers":
        default = own["default"]

        def replaced(place: int, value: float) -> bool:
            return accepts([*default[:place], value, *default[place + 1 :]])

        found = [interval(partial(replaced, place), NUMBERS, centre) for place, centre in enumerate(default)]
        together = {
            bound: (max if bound in ("minimum", "above") else min)(each[bound] for each in found if bound in each)
            for bound in {bound for each in found for bound in each}
        }
        return together if all(within(value, together) for value in default) else {}
    tried = NUMBERS if own["type"] == "number" else WHOLE
    centre = own.get("default")
    if centre is None:
        centre = next((value for value in reversed(tried) if accepts(value)), None)
    if centre is None:
        return {}
    found_bounds = interval(accepts, tried, centre)
    if name == "lr" and own["type"] == "number":  # nothing trains at a rate of zero, and no grid stands round it
        found_bounds.pop("minimum", None)
        found_bounds["above"] = max(0.0, found_bounds.get("above", 0.0))
    return found_bounds


def works(cls: Callable[..., Any], setting: dict[str, Any], name: str, own: dict[str, Any], grouped: bool) -> bool:
    """Whether every choice of a switch that the constructor takes also survives some steps."""
    choices = own.get("choices", [not own["default"]] if own["type"] == "boolean" else [])
    for choice in choices:
        try:
            trained = Trained(cls, setting | {name: choice}, grouped)
        except Exception:  # noqa: S112 - together with another argument it may
            continue
        try:
            with torch.no_grad():
                for _ in range(STEPS):
                    trained.step()
        except Exception:  # whatever it is, nobody should be offered it
            return False
    return True


def within(value: float, found: dict[str, float]) -> bool:
    return found.get("minimum", value) <= value <= found.get("maximum", value) and found.get(
        "above", -np.inf
    ) < value < found.get("below", np.inf)


def interval(accepts: Callable[[Any], bool], tried: tuple[Any, ...], centre: float) -> dict[str, float]:
    """Bounds of the accepted values round `centre`; a value beside the first that is refused is the bound, or that one is, left open."""
    below = [value for value in tried if value < centre][::-1]
    above = [value for value in tried if value > centre]
    found: dict[str, float] = {}
    for side, closed, opened in ((below, "minimum", "above"), (above, "maximum", "below")):
        last = centre
        for value in side:
            if not accepts(value):
                if isinstance(value, float) and value in (0.0, 1.0):
                    found[opened] = value
                else:
                    found[closed] = last
                break
            last = value
    return found


def written(classes: dict[str, dict[str, Any]], refused: dict[str, str]) -> str:
    """The table, an argument a line."""
    parts = []
    for kind, known in classes.items():
        lines = [
            f"    {json.dumps(name)}: {json.dumps(own, ensure_ascii=False)}" for name, own in known["arguments"].items()
        ]
        rest = {name: value for name, value in known.items() if name != "arguments"}
        head = json.dumps(rest, ensure_ascii=False)[:-1]
        inner = ",\n".join(lines)
        parts.append(f'  {json.dumps(kind)}: {head}, "arguments": {{\n{inner}\n  }}}}')
    versions = {package: version(package).partition("+")[0] for package in PACKAGES.values()}
    told = ",\n".join(f"  {json.dumps(kind)}: {json.dumps(why)}" for kind, why in refused.items())
    listed = ",\n".join(parts)
    return f'{{"versions": {json.dumps(versions)},\n"classes": {{\n{listed}\n}},\n"refused": {{\n{told}\n}}}}\n'


def print_table(steps: int) -> None:
    """What each makes of digits, at its defaults, as Markdown."""
    installed = ", ".join(
        f"{package} {version(package).partition('+')[0]}" for package in sorted(set(PACKAGES.values()))
    )
    print(f"""# What the bridged optimizers make of digits

`python -m benchmarks.bridge --steps {steps}`, {date.today()}, {installed}: two hidden tanh layers of 32, batches of 128, {steps} steps, one
seed, float32, each class at its own defaults. It learns here if its accuracy on the test split comes to {LEARNS}; many that do not have a
default learning rate for other networks, or for more steps.

| class | accuracy | loss | |
|---|---|---|---|""")
    learnt = 0
    for kind in BRIDGED:
        accuracy, loss = on_digits(kind, steps)
        learnt += accuracy >= LEARNS
        verdict = "learns" if accuracy >= LEARNS else "diverges" if loss != loss else ""
        print(f"| {kind} | {accuracy:.3f} | {loss:.3g} | {verdict} |", flush=True)
    print(f"\n{learnt} of {len(BRIDGED)} learn.\n\nRefused at the door:\n\n| class | reason |\n|---|---|")
    for kind, why in REFUSED.items():
        print(f"| {kind} | {why} |")


def on_digits(kind: str, steps: int) -> tuple[float, float]:
    """(accuracy, loss) on the test split at the end; (0, NaN) where it diverges."""
    required = {name: steps for name, argument in BRIDGED[kind].arguments.items() if argument.required}
    spec = ComparisonSpec.model_validate(
        {
            "problem": "digits",
            "network": {"kind": "mlp", "depth": 2, "width": 32, "activation": "tanh"},
            "optimizers": [{"kind": kind, **required}],
            "tuning": None,
            "seeds": 1,
            "steps": steps,
            "record": {"points": 2},
        }
    )
    (planned,) = first_round(spec).shards
    training = Training(planned, Execution(device="cpu", threads=1, chunks=[1]))
    training.advance(steps)
    (ending,) = training.endings()
    return ending.test_accuracy or 0.0, float("nan") if ending.test_loss is None else ending.test_loss


if __name__ == "__main__":
    main()
