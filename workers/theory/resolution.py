"""What a request leaves to the theory, worked out for each of its networks: shaped non-linearities first, then batch norms, then
gains.

Whatever plans, builds or forecasts a network gets it from here, with numbers in it.
"""

from collections.abc import Sequence
from typing import Any

from workers.contract.base import Violation
from workers.contract.checks import escape, expanded, pointer_to
from workers.contract.comparison import BASE, ComparisonSpec
from workers.contract.layers import Activation, Linear, Normalization, Weighted
from workers.contract.shapes import ExpandedLayer
from workers.theory.batch_norms import with_batch_norms
from workers.theory.gains import NotCritical, with_gains
from workers.theory.refusal import Refused
from workers.theory.shaped import shaped


def networks(spec: ComparisonSpec) -> dict[str, list[ExpandedLayer]]:
    """Every variant's layers by name, nothing in them left open. Raises where `check` and `refusals` would have told."""
    return {name: resolved(layers) for name, layers in expanded(spec).items()}


def resolved(layers: Sequence[ExpandedLayer]) -> list[ExpandedLayer]:
    """One network's.

    Raises:
        Refused: for the first layer that cannot be.
    """
    return with_gains(with_batch_norms(shaped(layers)))


def refusals(spec: ComparisonSpec) -> list[Violation]:
    """Where a request asks for what there is not, or what would not help."""
    found: dict[str, Violation] = {}
    for name, layers in expanded(spec).items():
        try:
            resolved(layers)
        except Refused as refusal:
            pointer = _pointer(spec, name, refusal)
            found.setdefault(pointer, Violation(pointer=pointer, message=str(refusal), code=refusal.code))
    return list(found.values())


def _pointer(spec: ComparisonSpec, variant: str, refusal: Refused) -> str:
    to = _to_gain if isinstance(refusal, NotCritical) else _to_part
    return to(spec, variant, refusal.layer)


def _to_part(spec: ComparisonSpec, variant: str, layer: ExpandedLayer) -> str:
    """To the first place that asks for this layer's non-linearity or normalisation."""
    assert isinstance(layer.spec, Activation | Normalization)
    field, asked = (
        ("activation", layer.spec.activation)
        if isinstance(layer.spec, Activation)
        else ("normalization", layer.spec.normalization)
    )
    if variant != BASE and getattr(spec.variants[variant], field) == asked:
        return f"/variants/{escape(variant)}/{field}"
    network = pointer_to(spec, variant)
    own = spec.variants[variant].network if variant != BASE else None
    return network + (_place((own or spec.network).model_dump(), asked.model_dump()) or "")


def _place(document: Any, wanted: Any) -> str | None:
    """JSON pointer to the first part of a document that equals what is wanted."""
    if document == wanted:
        return ""
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, part in parts:
        if (inside := _place(part, wanted)) is not None:
            return f"/{escape(str(key))}{inside}"
    return None


def _to_gain(spec: ComparisonSpec, variant: str, layer: ExpandedLayer) -> str:
    """To what says that the gain is critical, or to the network where that is a layer of its own."""
    output = isinstance(layer.spec, Linear) and layer.spec.output
    own = isinstance(layer.spec, Weighted) and layer.spec.init is not None and not output
    field = "output_init" if output else "init"
    if variant != BASE and getattr(spec.variants[variant], field) is not None and not own:
        return f"/variants/{escape(variant)}/{field}/gain"
    network = pointer_to(spec, variant)
    return network if own else f"{network}/{field}/gain"
