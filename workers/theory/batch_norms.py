"""Critical batch norms of a network: γ and β for the non-linearity behind each, as batch norms that start there."""

from collections.abc import Sequence

from workers.contract.activations import ActivationSpec
from workers.contract.layers import Activation, BatchNorm, CriticalBatchNorm, Dropout, Normalization
from workers.contract.shapes import ExpandedLayer, walk
from workers.theory.refusal import Refused
from workers.theory.shaping import Unshapeable, critical_batch


class NoCriticalBatchNorm(Refused):
    """There is no γ and β for a layer."""

    code = "no_critical_batch_norm"


def with_batch_norms(layers: Sequence[ExpandedLayer]) -> list[ExpandedLayer]:
    """The layers with every critical batch norm worked out, each for its share `target`^(1/L) of the growth, L their number.

    Raises:
        NoCriticalBatchNorm: for the first that cannot be.
    """
    count = sum(_asked(layer) is not None for layer in walk(layers))
    return _worked_out(layers, count) if count else list(layers)


def _asked(layer: ExpandedLayer) -> CriticalBatchNorm | None:
    spec = layer.spec.normalization if isinstance(layer.spec, Normalization) else None
    return spec if isinstance(spec, CriticalBatchNorm) else None


def _worked_out(layers: Sequence[ExpandedLayer], count: int) -> list[ExpandedLayer]:
    found = []
    for place, layer in enumerate(layers):
        update: dict[str, object] = {"layers": _worked_out(layer.layers, count)} if layer.layers else {}
        if asked := _asked(layer):
            norm = _solved(layer, asked, _behind(layer, layers[place + 1 :]), count)
            update["spec"] = layer.spec.model_copy(update={"normalization": norm})
        found.append(layer.model_copy(update=update) if update else layer)
    return found


def _behind(layer: ExpandedLayer, following: Sequence[ExpandedLayer]) -> ActivationSpec:
    for other in following:
        if isinstance(other.spec, Activation):
            return other.spec.activation
        if not isinstance(other.spec, Dropout):
            break
    raise NoCriticalBatchNorm(
        layer,
        f"γ and β are for the non-linearity right behind, and behind {layer.path!r} there is none: put one there, or use "
        'a "batch" norm',
    )


def _solved(layer: ExpandedLayer, asked: CriticalBatchNorm, theta: ActivationSpec, count: int) -> BatchNorm:
    try:
        constants = critical_batch(theta, asked.target ** (1 / count))
    except Unshapeable as reason:
        raise NoCriticalBatchNorm(layer, f"{reason}: a larger target, or fewer layers") from None
    return BatchNorm(
        eps=asked.eps,
        affine=asked.affine,
        position=asked.position,
        momentum=asked.momentum,
        gamma=constants.gamma,
        beta=constants.beta,
    )
