"""Networks: the short form `mlp`, the long form `layers`, and named changes to either (variants)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec, Normalised, Shaped, held
from workers.contract.base import ByKind, NonNegative, Number, Spec, Whole
from workers.contract.initialisers import InitSpec, XavierNormal
from workers.contract.layers import (
    HOLDING,
    MAX_LAYERS,
    MAX_WIDTH,
    NORMALIZATIONS,
    WEIGHT_NORMALIZATIONS,
    Activation,
    ActNorm,
    BatchNorm,
    CriticalBatchNorm,
    Dense,
    GroupNorm,
    Gru,
    Highway,
    InstanceNorm,
    LayerNorm,
    LayerSpec,
    Linear,
    Lstm,
    Normalization,
    NormPropagation,
    Repeat,
    Residual,
    RmsNorm,
    Rnn,
    Sequential,
    SpectralNorm,
    WeightNorm,
    WeightNormalizationSpec,
    WeightStandardization,
)
from workers.contract.nonlinearities import Tanh
from workers.contract.regularizers import Regularizers


class ResidualShortcut(Spec):
    """Each hidden layer is x + s·F(x), where F is its linear layer, normalisation and non-linearity."""

    kind: Literal["residual"] = "residual"
    scale: NonNegative | Literal["depth"] = Field(default=1.0, examples=[1.0])
    """s; "depth" is 1/√(hidden layers that have the shortcut)."""
    normalized: bool = Field(default=False, strict=True, examples=[False])
    """Whether the sum is divided by √(1 + s²), as shaped non-linearities need it."""
    source: ClassVar[str] = "He et al. 2016; 1/√L: Hayou et al. 2021; normalized: Martens et al. 2021"

    def around(self, layers: list[LayerSpec]) -> Residual | Highway:
        return Residual(layers=layers, scale=self.scale, normalized=self.normalized, where_shapes_change="leave_out")


class RezeroShortcut(Spec):
    """Each hidden layer is x + s·F(x), s a learned number that starts at `start`: the network starts as the identity."""

    kind: Literal["rezero"] = "rezero"
    start: NonNegative = Field(default=0.0, examples=[0.0])
    """s before training."""
    source: ClassVar[str] = "Bachlechner et al. 2020 (ReZero), eq. 2; De & Smith 2020 (SkipInit)"

    def around(self, layers: list[LayerSpec]) -> Residual | Highway:
        return Residual(layers=layers, scale=self.start, trainable=True, where_shapes_change="leave_out")


class HighwayShortcut(Spec):
    """Each hidden layer is t·F(x) + (1 − t)·x with the gate t = σ(W x + b)."""

    kind: Literal["highway"] = "highway"
    transform_bias: Number = Field(default=-2.0, ge=-50, le=50, examples=[-2.0])
    """Where b starts; negative carries x through."""
    source: ClassVar[str] = "Srivastava, Greff & Schmidhuber 2015, eq. 3"

    def around(self, layers: list[LayerSpec]) -> Residual | Highway:
        return Highway(layers=layers, transform_bias=self.transform_bias, where_shapes_change="leave_out")


class DenseShortcut(Spec):
    """Each hidden layer reads the input and all hidden layers before it, side by side."""

    kind: Literal["dense"] = "dense"
    source: ClassVar[str] = "Huang et al. 2017 (DenseNet), eq. 2"

    def around(self, layers: list[LayerSpec]) -> Dense:
        return Dense(layers=layers)


class FixupShortcut(Spec):
    """Blocks of hidden layers, x + s·F(x) with s learned from 1, that start by Fixup's rules; see a residual layer's `fixup`.

    F ends with its last layer's weights: no non-linearity stands between them and the sum, and no bias, since those of all blocks would
    add up. Blocks are counted from the top: the first layer, and what does not fill a block, has no shortcut.
    """

    kind: Literal["fixup"] = "fixup"
    layers: Annotated[Whole, Field(ge=2, le=64)] = Field(default=2, examples=[2])
    """m, hidden layers in a block."""
    source: ClassVar[str] = "Zhang, Dauphin & Ma 2019, section 3.3"

    def around(self, layers: list[LayerSpec]) -> Residual:
        last = layers[0].model_copy(update={"bias": False})
        inside: list[LayerSpec] = [Repeat(times=self.layers - 1, layers=layers, name="layer"), last]
        return Residual(layers=inside, scale=1.0, trainable=True, fixup=True, where_shapes_change="leave_out")


HIDDEN_NORMALIZATIONS = (*NORMALIZATIONS, *WEIGHT_NORMALIZATIONS, NormPropagation)

HiddenNormalizationSpec = Annotated[
    BatchNorm
    | CriticalBatchNorm
    | LayerNorm
    | RmsNorm
    | GroupNorm
    | InstanceNorm
    | ActNorm
    | WeightNorm
    | WeightStandardization
    | SpectralNorm
    | NormPropagation,
    Field(discriminator="kind"),
    ByKind,
]
"""What the short form may say: a normalisation of activations, which is a layer, or of weights, which a linear layer says itself."""

SHORTCUTS = (ResidualShortcut, RezeroShortcut, FixupShortcut, HighwayShortcut, DenseShortcut)

ShortcutSpec = Annotated[
    ResidualShortcut | RezeroShortcut | FixupShortcut | HighwayShortcut | DenseShortcut,
    Field(discriminator="kind"),
    ByKind,
]


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
    normalization: HiddenNormalizationSpec | None = Field(default=None, examples=["batch"])
    """In every hidden layer, before the non-linearity unless its `position` says after; or of its weights."""
    regularizers: Regularizers = Field(default=[], examples=[[{"kind": "soft_orthogonality", "weight": 0.01}]])
    """What keeps the signal while it trains."""
    shortcut: ShortcutSpec | None = Field(default=None, examples=["residual"])
    """Round every hidden layer: those that add what it receives, where it gives as many features."""


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
    regularizers: Regularizers = Field(default=[], examples=[[{"kind": "soft_orthogonality", "weight": 0.01}]])
    """What keeps the signal while it trains."""
    output_init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """How the output layer starts; the same kind as `init` with gain 1 if null."""


NetworkSpec = Annotated[Mlp | Layers, Field(discriminator="kind")]


class Variant(Spec):
    """A named change to the network: what is given replaces what the network says."""

    activation: ActivationSpec | None = Field(default=None, examples=["tanh"])
    """Another non-linearity, in every activation layer, and of the units of recurrent ones, whose constants do not learn; their gates
    stay."""
    init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """Another initialisation of the hidden layers that state none of their own."""
    output_init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """Another initialisation of the output layer."""
    normalization: HiddenNormalizationSpec | None = Field(default=None, examples=["layer"])
    """Another normalisation of the hidden layers; of an `mlp` only."""
    shortcut: ShortcutSpec | None = Field(default=None, examples=["residual"])
    """Another shortcut round the hidden layers; of an `mlp` only."""
    regularizers: Regularizers | None = Field(default=None, examples=[[{"kind": "saturation", "weight": 0.1}]])
    """Other regularizers; an empty list is none."""
    network: NetworkSpec | None = Field(default=None, examples=[{"kind": "mlp", "depth": 6, "width": 32}])
    """Another network altogether."""


SHORT_FORM_ONLY = ("normalization", "shortcut")
"""What a variant can change of an `mlp` only: in a list of layers these are layers themselves."""


def vary(network: Mlp | Layers, variant: Variant) -> Mlp | Layers:
    """The network with the variant's changes."""
    changed = variant.network or network
    fields = ("init", "output_init", "regularizers", *(SHORT_FORM_ONLY if isinstance(changed, Mlp) else ()))
    update: dict[str, object] = {field: value for field in fields if (value := getattr(variant, field)) is not None}
    if variant.activation is not None and isinstance(changed, Mlp):
        update["activation"] = variant.activation
    elif variant.activation is not None and isinstance(changed, Layers):
        update["layers"] = [_with_activation(layer, variant.activation) for layer in changed.layers]
    return changed.model_copy(update=update)


def _with_activation(layer: LayerSpec, activation: ActivationSpec) -> LayerSpec:
    if isinstance(layer, Activation):
        return layer.model_copy(update={"activation": activation})
    if isinstance(layer, Rnn | Gru | Lstm):
        return layer.model_copy(update={"activation": held(activation)})
    if isinstance(layer, (Sequential, Repeat, *HOLDING)):
        return layer.model_copy(update={"layers": [_with_activation(inner, activation) for inner in layer.layers]})
    return layer


def to_layers(network: Mlp) -> Layers:
    """The long form of the short form."""
    norm, activation = network.normalization, network.activation
    of_weights: WeightNormalizationSpec | None = None
    if isinstance(norm, NormPropagation):
        of_weights = WeightNorm(start="unit")
        activation = activation if isinstance(activation, Normalised | Shaped) else Normalised(of=activation)
    elif isinstance(norm, WEIGHT_NORMALIZATIONS):
        of_weights = norm
    block: list[LayerSpec] = [
        Linear(out_features=network.width, weight_normalization=of_weights),
        Activation(activation=activation),
    ]
    if isinstance(norm, NORMALIZATIONS):
        block.insert(1 if norm.position == "before" else 2, Normalization(normalization=norm))
    layers: list[LayerSpec] = [Repeat(times=network.depth, layers=block, name="hidden")]
    if isinstance(network.shortcut, FixupShortcut):
        blocks, plain = divmod(network.depth - 1, network.shortcut.layers)
        layers = [Repeat(times=plain + 1, layers=block, name="hidden")]
        if blocks:
            layers.append(Repeat(times=blocks, layers=[network.shortcut.around(block)], name="block"))
    elif network.shortcut is not None:
        layers = [Repeat(times=network.depth, layers=[network.shortcut.around(block)], name="hidden")]
    return Layers(
        layers=layers,
        init=network.init,
        output_init=network.output_init,
        regularizers=network.regularizers,
    )
