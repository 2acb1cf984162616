"""From a parsed body to a checked comparison, or to everything that is wrong with it, in words for people."""

from collections.abc import Callable
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from service.errors import invalid
from service.locations import Place, locate
from workers.analysis.protocol import together
from workers.contract.base import Violation
from workers.contract.checks import Limits, check, over_memory
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import BRIDGED, REFUSED
from workers.contract.problems import Dataset, DatasetFacts, ProblemSpec
from workers.theory.resolution import refusals

MOST = 50
"""Violations told at once."""

NOUNS = {
    "optimizers": "optimizer",
    "activation": "activation",
    "init": "initialisation",
    "output_init": "initialisation",
    "problem": "problem",
    "problems": "problem",
    "network": "network",
    "layers": "layer",
}

Details = dict[str, Any]
FactsOf = Callable[[str], DatasetFacts | None]


def none_known(_: str) -> None:
    """Where no data sets are kept."""


def read_comparison(body: object, limits: Limits, facts_of: FactsOf = none_known) -> ComparisonSpec:
    """The comparison a body asks for.

    Args:
        facts_of: what the data set of an id is; None if there is none.

    Raises:
        Problem: 422 with everything that is wrong: types and bounds first, then references, shapes and limits.
    """
    looked_up = _with_facts(body, facts_of)
    try:
        spec = ComparisonSpec.model_validate(looked_up)
    except ValidationError as error:
        raise invalid(violations(error, looked_up)) from None
    if wrong := _false_facts(spec, facts_of) or _several(spec) or _on_each(spec, lambda one: check(one, limits)):
        raise invalid(wrong[:MOST])
    if wrong := _on_each(spec, refusals):
        raise invalid(wrong[:MOST])
    return spec


def _on_each(spec: ComparisonSpec, complaints: Callable[[ComparisonSpec], list[Violation]]) -> list[Violation]:
    """What is wrong with the comparison on any of its problems, each place once; of several the first that it is wrong on is named."""
    found: dict[tuple[str, str], Violation] = {}
    for problem, own in spec.alone.items():
        for violation in complaints(own):
            told = f"on {problem}: {violation.message}" if spec.problems else violation.message
            found.setdefault((violation.pointer, violation.code), violation.model_copy(update={"message": told}))
    return list(found.values())


def over_memory_on_any(spec: ComparisonSpec, limits: Limits) -> list[Violation]:
    """Of a checked comparison: what would not fit into a worker's memory."""
    counts = together(spec)
    return _on_each(spec, lambda one: over_memory(one, counts, limits))


def _several(spec: ComparisonSpec) -> list[Violation]:
    """What is wrong with the list of problems."""
    if not spec.problems:
        return []
    found = []
    if spec.problem != spec.problems[0]:
        message = "`problem` and `problems` are both there, and it is not the first of them: leave `problem` out"
        found.append(Violation(pointer="/problem", message=message, code="inconsistent"))
    for index, problem in enumerate(spec.problems):
        if problem in spec.problems[:index]:
            message = "the same problem stands twice: it would count twice over all problems; leave it out"
            found.append(Violation(pointer=f"/problems/{index}", message=message, code="repeated"))
        if isinstance(problem, Dataset) and any(
            isinstance(other, Dataset) and other.id != problem.id for other in spec.problems[:index]
        ):
            message = "only one uploaded data set in a comparison so far: put the others into comparisons of their own"
            found.append(Violation(pointer=f"/problems/{index}/id", message=message, code="several_datasets"))
    return found


def _with_facts(body: object, facts_of: FactsOf) -> object:
    """The body with what its data set is, where it leaves that out.

    Raises:
        Problem: there is no such data set.
    """
    if not isinstance(body, dict):
        return body
    found = dict(body)
    if "problem" in body:
        found["problem"] = _told_facts(body["problem"], "/problem", facts_of)
    if isinstance(body.get("problems"), list):
        found["problems"] = [
            _told_facts(problem, f"/problems/{index}", facts_of) for index, problem in enumerate(body["problems"])
        ]
    return found


def _told_facts(problem: object, pointer: str, facts_of: FactsOf) -> object:
    if not isinstance(problem, dict) or problem.get("kind") != "dataset" or not isinstance(problem.get("id"), str):
        return problem
    facts = facts_of(problem["id"])
    if facts is None:
        raise invalid([unknown_dataset(problem["id"], pointer)])
    return problem if problem.get("about") is not None else {**problem, "about": facts.model_dump(mode="json")}


def unknown_dataset(dataset_id: str, pointer: str = "/problem") -> Violation:
    message = f"there is no data set {_shown(dataset_id)}: POST /v1/datasets keeps one, GET /v1/datasets lists them"
    return Violation(pointer=f"{pointer}/id", message=message, code="unknown_dataset")


def _false_facts(spec: ComparisonSpec, facts_of: FactsOf) -> list[Violation]:
    problems = {f"/problems/{index}": problem for index, problem in enumerate(spec.problems)} or {
        "/problem": spec.problem
    }
    return [violation for pointer, problem in problems.items() for violation in _false(problem, pointer, facts_of)]


def _false(problem: ProblemSpec, pointer: str, facts_of: FactsOf) -> list[Violation]:
    if not isinstance(problem, Dataset):
        return []
    stated, known = (facts.model_dump(mode="json") for facts in (problem.facts, facts_of(problem.id) or problem.facts))
    return [
        Violation(
            pointer=f"{pointer}/about/{name}",
            message=f"{name} is said to be {_shown(value)}, and of this data set it is {known[name]}: leave `about` out",
            code="inconsistent",
        )
        for name, value in stated.items()
        if value != known[name]
    ]


def violations(error: ValidationError, body: object) -> list[Violation]:
    """One violation for each place at fault. Of a union's complaints only the one that fits the value is told."""
    # of several problems the first is `problem`, too: what is wrong with it is told where it was written
    copied = isinstance(body, dict) and "problem" not in body and bool(body.get("problems"))
    found = [
        (locate(ComparisonSpec, item["loc"], body), item["type"], item.get("ctx", {}))
        for item in error.errors(include_url=False)
        if not (copied and item["loc"][:1] == ("problem",))
    ]
    told = []
    for _, group in groupby(found, key=lambda entry: entry[0].pointer):
        place, kind, details = _relevant(list(group))
        told.append(_tell(place, kind, details))
    return told[:MOST]


def _relevant(group: list[tuple[Place, str, Details]]) -> tuple[Place, str, Details]:
    """A number that is out of bounds is not told that it could have been a word, and the other way round."""
    if len(group) == 1:
        return group[0]
    place = group[0][0]
    if isinstance(place.value, int | float) and not isinstance(place.value, bool):
        return next((entry for entry in group if entry[1] != "literal_error"), group[0])
    words = [str(details["expected"]) for _, kind, details in group if kind == "literal_error"]
    return place, "number_or_word", {"expected": " or ".join(words)}


def _tell(place: Place, kind: str, details: Details) -> Violation:
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tell_kind(place, details)
    code, words = MESSAGES.get(kind, ("invalid", lambda place, _: f"{_shown(place.value)} cannot stand here"))
    return Violation(pointer=place.pointer, message=words(place, details), code=code)


def _tell_kind(place: Place, details: Details) -> Violation:
    """An object that does not say what it is, or says something there is not."""
    available = list(place.schema.get("discriminator", {}).get("mapping", ()))
    noun = NOUNS.get(place.named, "kind")
    if "tag" not in details:
        message = f'say what it is: "kind" is missing, one of {_listed(available)}'
        return Violation(pointer=place.pointer, message=message, code="missing")
    asked = place.value.get("kind") if isinstance(place.value, dict) else place.value
    pointer = f"{place.pointer}/kind" if isinstance(place.value, dict) else place.pointer
    if isinstance(asked, str) and asked in REFUSED:
        message = f"{asked} cannot run here: {REFUSED[asked]}. The catalogue lists what can, under `bridged`"
        return Violation(pointer=pointer, message=message, code="cannot_run")
    message = f"there is no {noun} {_shown(asked)}{_nearest(asked, available)} There is: {_listed(available)}"
    return Violation(pointer=pointer, message=message, code=f"unknown_{noun}")


def _listed(available: list[str]) -> str:
    """Kinds in words; of the many that are classes of others only where they stand."""
    own = ", ".join(kind for kind in available if kind not in BRIDGED)
    bridged = any(kind in BRIDGED for kind in available)
    return own + (", and classes of torch.optim and pytorch_optimizer: see the catalogue" if bridged else "")


def _unknown_field(place: Place, _: Details) -> str:
    fields = list(place.parent.get("properties", ()))
    owner = place.parent.get("properties", {}).get("kind", {}).get("const")
    where = f"of {owner!r}" if owner else "here"
    return f"there is no field {place.named!r} {where}{_nearest(place.named, fields)} There is: {', '.join(fields)}"


def _missing(place: Place, _: Details) -> str:
    if isinstance(place.value, str):
        return f'{place.value!r} alone is not enough, it needs {place.named!r}: write an object with that and "kind"'
    what = place.schema.get("description", "")
    return f"{place.named!r} is missing{': ' + what if what else ''}"


def _needs_object(place: Place, _: Details) -> str:
    kinds = place.schema.get("discriminator", {}).get("mapping", ())
    hint = f' with a "kind" of {_listed(list(kinds))}' if kinds else ""
    return f"an object is needed here{hint}, and it is {_shown(place.value)}"


def _nearest(asked: object, available: list[str]) -> str:
    lowered = {name.lower(): name for name in available}
    near = get_close_matches(str(asked).lower()[:80], lowered, n=1, cutoff=0.6)
    return f", did you mean {lowered[near[0]]!r}?" if near else "."


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _bound(words: str, key: str) -> Callable[[Place, Details], str]:
    return lambda place, details: f"must be {words} {details[key]:,}, and it is {_shown(place.value)}"


def _count(key: str, words: str) -> Callable[[Place, Details], str]:
    return lambda place, details: f"must have {words} {details[key]}, and it has {_size(place.value)}"


def _size(value: object) -> int:
    return len(value) if isinstance(value, str | list | dict) else 0


def _wanted(words: str) -> Callable[[Place, Details], str]:
    return lambda place, _: f"{words} is needed here, and it is {_shown(place.value)}"


def _one_of(place: Place, details: Details) -> str:
    expected = str(details["expected"])
    named = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
    return f"{_shown(place.value)} is none of {expected}{_nearest(place.value, named)}".removesuffix(".")


MESSAGES: dict[str, tuple[str, Callable[[Place, Details], str]]] = {
    "extra_forbidden": ("unknown_field", _unknown_field),
    "missing": ("missing", _missing),
    "greater_than": ("out_of_bounds", _bound("above", "gt")),
    "greater_than_equal": ("out_of_bounds", _bound("at least", "ge")),
    "less_than": ("out_of_bounds", _bound("below", "lt")),
    "less_than_equal": ("out_of_bounds", _bound("at most", "le")),
    "too_short": ("too_short", _count("min_length", "at least this many entries:")),
    "too_long": ("too_long", _count("max_length", "at most this many entries:")),
    "string_too_short": ("too_short", lambda place, details: f"must have at least {details['min_length']} character"),
    "string_too_long": ("too_long", lambda place, details: f"must have at most {details['max_length']} characters"),
    "string_pattern_mismatch": (
        "bad_characters",
        lambda place, _: f"{_shown(place.value)} has a dot, a slash or a space where none may be",
    ),
    "string_type": ("wrong_type", _wanted("a text")),
    "value_error": ("wrong_type", _wanted("a number")),
    "finite_number": ("not_finite", _wanted("a finite number")),
    "float_type": ("wrong_type", _wanted("a number")),
    "int_type": ("wrong_type", _wanted("a whole number")),
    "int_parsing_size": (
        "out_of_bounds",
        lambda place, _: f"{_shown(place.value)} is beyond every bound that a number has here",
    ),
    "int_from_float": ("wrong_type", _wanted("a whole number")),
    "bool_type": ("wrong_type", _wanted("true or false")),
    "list_type": ("wrong_type", _wanted("a list")),
    "dict_type": ("wrong_type", _wanted("an object")),
    "model_type": ("wrong_type", _needs_object),
    "model_attributes_type": ("wrong_type", _needs_object),
    "literal_error": ("not_a_choice", _one_of),
    "bad_formula": ("bad_formula", lambda _, details: str(details["reason"])),
    "unknown_name": ("unknown_name", lambda _, details: str(details["message"])),
    "number_or_word": (
        "wrong_type",
        lambda place, details: f"a number or {details['expected']} is needed here, and it is {_shown(place.value)}",
    ),
}
"""By pydantic's type of error: our stable code, and what is said."""
