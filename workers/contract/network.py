"""Networks: the short form `mlp`, the long form `layers`, and named changes to either (variants)."""

from typing import Annotated, Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec
from workers.contract.base import ByKind, Fraction, Spec, Whole
from workers.contract.initialisers import InitSpec, XavierNormal
from workers.contract.nonlinearities import Tanh

MAX_LAYERS = 2000
"""Layers after expansion, counted before anything is expanded."""
MAX_WIDTH = 1_000_000
"""Bound of a single number; what a network may weigh in all is a setting (`max_parameters`)."""

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^./\s][^./]*$")]


class Linear(Spec):
    """z = W x + b."""

    kind: Literal["linear"] = "linear"
    out_features: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[64])
    """Units."""
    in_features: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] | None = Field(default=None, examples=[64])
    """Checked against what arrives, if given."""
    bias: bool = Field(default=True, strict=True, examples=[True])
    """Whether b is there."""
    init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """The network's `init` if null."""
    name: Name | None = Field(default=None, examples=["encoder"])
    """Its place in paths; `layers.INDEX.linear` if null. The output layer is `output` in any case."""
    output: bool = Field(default=False, strict=True, examples=[False])
    """True on the last layer says that it is the output layer, so that none is added."""


class Activation(Spec):
    """a = θ(z), elementwise."""

    kind: Literal["activation"] = "activation"
    activation: ActivationSpec = Field(examples=["sigmoid"])
    """The non-linearity."""
    name: Name | None = Field(default=None, examples=["squash"])
    """Its place in paths."""


class Dropout(Spec):
    """During training sets each input to zero with probability p and divides the others by 1−p."""

    kind: Literal["dropout"] = "dropout"
    p: Fraction = Field(default=0.5, examples=[0.1])
    """Probability of being dropped."""
    name: Name | None = Field(default=None, examples=["noise"])
    """Its place in paths."""


class Repeat(Spec):
    """The layers inside, one copy after another, each with its own parameters."""

    kind: Literal["repeat"] = "repeat"
    times: Annotated[Whole, Field(ge=1, le=MAX_LAYERS)] = Field(examples=[6])
    """Copies."""
    layers: list["LayerSpec"] = Field(
        min_length=1,
        max_length=MAX_LAYERS,
        examples=[[{"kind": "linear", "out_features": 64}, {"kind": "activation", "activation": "sigmoid"}]],
    )
    """What is repeated."""
    name: Name | None = Field(default=None, examples=["hidden"])
    """Its place in paths: `hidden.3.linear` is the linear layer of the fourth copy."""


LAYERS = (Linear, Activation, Dropout, Repeat)

LayerSpec = Annotated[Linear | Activation | Dropout | Repeat, Field(discriminator="kind"), ByKind]

Repeat.model_rebuild()


class Mlp(Spec):
    """The short form: `depth` hidden layers of `width` units, each a linear layer and the non-linearity."""

    kind: Literal["mlp"] = "mlp"
    depth: Annotated[Whole, Field(ge=1, le=MAX_LAYERS // 2)] = Field(examples=[6])
    """Hidden layers; the output layer comes on top."""
    width: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[64])
    """Units in each hidden layer."""
    activation: ActivationSpec = Field(default=Tanh(), examples=["sigmoid"])
    """The non-linearity of the hidden layers."""
    init: InitSpec = Field(default=XavierNormal(), examples=["xavier_normal"])
    """How the hidden layers start."""
    output_init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """How the output layer starts; the same kind as `init` with gain 1 if null."""


class Layers(Spec):
    """The long form: a list of layers. An output layer that fits the problem is added unless the last one is it."""

    kind: Literal["layers"] = "layers"
    layers: list[LayerSpec] = Field(
        min_length=1,
        max_length=MAX_LAYERS,
        examples=[[{"kind": "linear", "out_features": 64}, {"kind": "activation", "activation": "sigmoid"}, "dropout"]],
    )
    """From the input upwards."""
    init: InitSpec = Field(default=XavierNormal(), examples=["xavier_normal"])
    """How linear layers start that say nothing themselves."""
    output_init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """How the output layer starts; the same kind as `init` with gain 1 if null."""


NetworkSpec = Annotated[Mlp | Layers, Field(discriminator="kind")]


class Variant(Spec):
    """A named change to the network: what is given replaces what the network says."""

    activation: ActivationSpec | None = Field(default=None, examples=["tanh"])
    """Another non-linearity, in every activation layer."""
    init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """Another initialisation of the hidden layers that state none of their own."""
    output_init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """Another initialisation of the output layer."""
    network: NetworkSpec | None = Field(default=None, examples=[{"kind": "mlp", "depth": 6, "width": 32}])
    """Another network altogether."""


def vary(network: Mlp | Layers, variant: Variant) -> Mlp | Layers:
    """The network with the variant's changes."""
    changed = variant.network or network
    update: dict[str, object] = {
        field: value for field in ("init", "output_init") if (value := getattr(variant, field)) is not None
    }
    if variant.activation is not None and isinstance(changed, Mlp):
        update["activation"] = variant.activation
    elif variant.activation is not None and isinstance(changed, Layers):
        update["layers"] = [_with_activation(layer, variant.activation) for layer in changed.layers]
    return changed.model_copy(update=update)


def _with_activation(layer: LayerSpec, activation: ActivationSpec) -> LayerSpec:
    if isinstance(layer, Activation):
        return layer.model_copy(update={"activation": activation})
    if isinstance(layer, Repeat):
        return layer.model_copy(update={"layers": [_with_activation(inner, activation) for inner in layer.layers]})
    return layer
