"""What would help an arm, as changes that can be written into a request. The theory tries those of the network before they are named."""

from collections.abc import Callable, Iterator

from workers.analysis.predicted import predict
from workers.contract.activations import ActivationSpec, Normalised, Scaled, Shaped, held
from workers.contract.base import Spec
from workers.contract.checks import expanded
from workers.contract.comparison import ComparisonSpec
from workers.contract.initialisers import Orthogonal, ScaledUniformOrthogonal
from workers.contract.invariance import MEASURED
from workers.contract.layers import Activation
from workers.contract.network import Layers, Mlp, Variant, vary
from workers.contract.nonlinearities import CentredSigmoid, Sigmoid
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Scalar
from workers.contract.results import Advice, Diagnosis, Stage, Verdict
from workers.contract.shapes import ExpandedLayer, Misfit, expand, walk
from workers.theory.critical import complaint
from workers.theory.refusal import Refused
from workers.theory.resolution import resolved

FINE: tuple[Verdict, ...] = ("healthy", "growing", "weakening", "unknown")
HELPED: tuple[Verdict, ...] = ("healthy", "growing", "weakening")
"""What a remedy of the network must make of it."""
SIZE_BLIND = ("signum", "rprop", "lion", "normalized_gradient")
"""Optimizers to name, of those whose steps are the same at any size of the gradient."""
ANY_SIZE = 1e-30
RULED = 0.5
"""Share of a layer's elements that eps decides."""


def advice(
    spec: ComparisonSpec,
    optimizer: OptimizerSpec,
    setting: dict[str, Scalar],
    found: Diagnosis,
    of_network: Callable[[], list[Advice]],
) -> list[Advice]:
    """What is worth trying, the most promising first; nothing where the signal is well at the end.

    Args:
        setting: the hyper-parameters that the diagnosis is of.
        of_network: `network_remedies` of the arm's variant and batch size, asked for where they may help.
    """
    if found.verdict in FINE:
        return []
    start = found.at_step_0 or found
    return [
        *_inputs(start),
        *([] if start.verdict in FINE else of_network()),
        *_optimizer(optimizer, found),
        *_eps(found, setting),
        *_precision(spec, found),
        *_rate(setting, start, found),
    ]


def _inputs(start: Stage) -> Iterator[Advice]:
    """Where the first layer already has it, and no other began it."""
    for finding in start.findings:
        if start.layers and finding.first_layer == start.layers[0].layer and start.verdict == finding.verdict:
            layer = start.layers[0]
            if finding.verdict == "saturated" and finding.layers == 1 and layer.saturation is not None:
                because = f"only in {layer.layer} most derivatives, {layer.saturation:.0%}, are below a tenth of their maximum"
                yield Advice(remedy="smaller inputs, or a smaller gain of the first layer", because=because)
            if finding.verdict == "collapsed" and layer.correlation is not None:
                because = f"already in {layer.layer} two samples correlate by 1 − {1 - layer.correlation:.1g}"
                yield Advice(remedy="inputs that differ more: centre and whiten them", because=because)


def network_remedies(spec: ComparisonSpec, variant: str, batch_size: int) -> list[Advice]:
    """Changes that leave the non-linearity what it is up to constants, of which the theory says that δ keeps within two decades."""
    network, layers = spec.networks()[variant], expanded(spec)[variant]
    before = predict(resolved(layers), spec.problem, batch_size, spec.precision)
    if before.verdict in FINE:
        return []  # what is wrong is nothing that the theory knows of
    found = []
    for remedy, change in _changes(network, layers):
        changed = _layers(spec, vary(network, Variant.model_validate(change)))
        after = predict(changed, spec.problem, batch_size, spec.precision) if changed is not None else None
        if after is not None and after.verdict in HELPED and after.decades_per_layer is not None:
            rate = _signed(after.decades_per_layer)
            because = f"mean-field theory predicts {rate} decades per layer at step 0 with it, {after.verdict}"
            if before.decades_per_layer is not None:
                because += f", where it predicts {_signed(before.decades_per_layer)} without"
            found.append(Advice(remedy=remedy, because=because, variant=change))
    return found


def _changes(network: Mlp | Layers, layers: list[ExpandedLayer]) -> Iterator[tuple[str, dict[str, object]]]:
    activations = list(dict.fromkeys(_activations(layers)))
    if len(activations) != 1:
        return  # a variant has one non-linearity for all layers
    activation = activations[0]
    critical = _written(Orthogonal(gain="critical"))
    if not isinstance(activation, Shaped):
        if complaint(activation) is None:
            yield "orthogonal weights at the edge of chaos", {"init": critical}
        for name, changed in _recentred(activation):
            if complaint(changed) is None:
                yield (
                    f"{name} and orthogonal weights at the edge of chaos",
                    {"activation": _written(changed), "init": critical},
                )
    if not isinstance(activation, Scaled | Normalised | Shaped):
        init = _written(ScaledUniformOrthogonal())
        yield (
            "deep kernel shaping of the non-linearity",
            {"activation": {"kind": "shaped", "of": _written(activation)}, "init": init},
        )
    if isinstance(network, Mlp):
        if network.normalization is None:
            yield "batch normalisation", {"normalization": "batch"}
        if network.normalization is None or network.normalization.kind == "batch":
            norm = {"kind": "critical_batch", "position": "before"}
            yield "a batch norm whose scale and shift fit the non-linearity", {"normalization": norm}
        if network.shortcut is None:
            yield "residual layers", {"shortcut": {"kind": "residual", "scale": "depth"}}


def _recentred(activation: ActivationSpec) -> Iterator[tuple[str, ActivationSpec]]:
    if isinstance(activation, Sigmoid):
        yield "the centred sigmoid", CentredSigmoid()
    elif not isinstance(activation, Normalised):
        try:
            yield (
                "the non-linearity normalised to zero mean and unit variance",
                Normalised.model_validate({"of": held(activation).model_dump()}),
            )
        except ValueError:
            return  # it has no moments


def _layers(spec: ComparisonSpec, network: Mlp | Layers) -> list[ExpandedLayer] | None:
    """None where the theory finds no constants or no gain for a layer, or where the change does not fit."""
    try:
        return resolved(expand(network, spec.problem.shape, spec.problem.output_shape))
    except (Refused, Misfit):
        return None


def _activations(layers: list[ExpandedLayer]) -> Iterator[ActivationSpec]:
    for layer in walk(layers):
        if isinstance(layer.spec, Activation):
            yield layer.spec.activation


def _optimizer(optimizer: OptimizerSpec, found: Diagnosis) -> Iterator[Advice]:
    measured = MEASURED.get(optimizer.kind)  # nobody has measured the bridged ones
    down_to = measured.down_to if measured is not None else None
    if found.magnitude_independent_optimizer not in ("helps", "may_help") or (down_to or 1) <= ANY_SIZE:
        return
    helps = found.magnitude_independent_optimizer == "helps"
    because = "the signal's size is lost, its direction is not" if helps else "its direction is not quite gone"
    if measured is not None:
        reach = "at no other size of the gradient" if down_to is None else f"down to {down_to:g} of its gradients' size"
        because += f"; the steps of {optimizer.label} are the same {reach}, those of these at any"
    remedy = "an optimizer whose steps do not depend on the gradient's size" + ("" if helps else ", perhaps")
    yield Advice(remedy=remedy, because=because, optimizers=[kind for kind in SIZE_BLIND if kind != optimizer.kind])


def _eps(found: Diagnosis, setting: dict[str, Scalar]) -> Iterator[Advice]:
    ruled = [layer for layer in found.layers if layer.eps_dominance is not None and layer.eps_dominance > RULED]
    if ruled and "eps" in setting:
        because = f"at step {found.step} eps, {setting['eps']:g}, exceeds √v for most parameters of {len(ruled)} layers"
        yield Advice(remedy="a smaller eps, such as 1e-30", because=because)


def _precision(spec: ComparisonSpec, found: Diagnosis) -> Iterator[Advice]:
    zeros = [
        finding
        for stage in (found.at_step_0, found)
        if stage is not None
        for finding in stage.findings
        if finding.verdict == "underflowed"
    ]
    if zeros and spec.precision == "float32":
        because = f"δ is exactly zero in {zeros[0].layers} layers, {zeros[0].first_layer} the first; float64 has 278 decades more"
        yield Advice(remedy='"precision": "float64"', because=because)


def _rate(setting: dict[str, Scalar], start: Stage, found: Diagnosis) -> Iterator[Advice]:
    """Where it went wrong while training."""
    lr = setting.get("lr")
    went_wrong = found.verdict == "diverged" or (
        found.verdict in ("saturated", "dead", "exploding") and start.verdict in FINE
    )
    if went_wrong and isinstance(lr, float):
        because = (
            f"it was {_words(start.verdict)} at step 0 and {_words(found.verdict)} at step {found.step}, with lr {lr:g}"
        )
        yield Advice(remedy=f"a smaller learning rate, such as {lr / 10:g}", because=because)


def _words(verdict: Verdict) -> str:
    return verdict.replace("_", " ")


def _written(spec: Spec) -> str | dict[str, object]:
    """As in a request, defaults left out."""
    said = {
        name: _written(value) if isinstance(value, Spec) else value
        for name, value in spec
        if name == "kind" or value != type(spec).model_fields[name].default
    }
    return str(said["kind"]) if len(said) == 1 else said


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
