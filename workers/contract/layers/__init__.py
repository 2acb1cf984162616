"""The layers, a file a family."""

from typing import Annotated

from pydantic import Field

from workers.contract.base import ByKind
from workers.contract.layers.attention import Attention, PositionalEncoding
from workers.contract.layers.containers import HOLDING, Dense, Highway, Repeat, Residual, Sequential, channel_axis
from workers.contract.layers.convolutions import Conv1d, Conv2d
from workers.contract.layers.dense import Linear
from workers.contract.layers.elementwise import Activation, Dropout, Flatten, Unflatten
from workers.contract.layers.embedding import Embedding
from workers.contract.layers.layer import MAX_LAYERS, MAX_WIDTH, DoesNotFit, Layer, Shape, Weighted, features, words
from workers.contract.layers.normalizations import (
    NORMALIZATIONS,
    ActNorm,
    BatchNorm,
    CriticalBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Normalization,
    NormalizationSpec,
    RmsNorm,
)
from workers.contract.layers.pooling import AveragePool, GlobalPool, MaxPool
from workers.contract.layers.radial import Rbf
from workers.contract.layers.recurrent import Gru, Lstm, Rnn
from workers.contract.layers.weight_normalizations import (
    WEIGHT_NORMALIZATIONS,
    NormPropagation,
    SpectralNorm,
    WeightNorm,
    WeightNormalizationSpec,
    WeightStandardization,
)

LAYERS = (
    Linear, Embedding, Rbf, Rnn, Gru, Lstm, Attention, PositionalEncoding,
    Conv1d, Conv2d, Activation, Dropout, Flatten, Unflatten, MaxPool, AveragePool, GlobalPool, Normalization, Sequential,
    Repeat, Residual, Highway, Dense,
)  # fmt: skip

LayerSpec = Annotated[
    Linear
    | Embedding
    | Rbf
    | Rnn
    | Gru
    | Lstm
    | Attention
    | PositionalEncoding
    | Conv1d
    | Conv2d
    | Activation
    | Dropout
    | Flatten
    | Unflatten
    | MaxPool
    | AveragePool
    | GlobalPool
    | Normalization
    | Sequential
    | Repeat
    | Residual
    | Highway
    | Dense,
    Field(discriminator="kind"),
    ByKind,
]

for _container in (Sequential, Repeat, *HOLDING):
    _container.model_rebuild(_types_namespace={"LayerSpec": LayerSpec})

__all__ = [
    "HOLDING",
    "LAYERS",
    "MAX_LAYERS",
    "MAX_WIDTH",
    "NORMALIZATIONS",
    "WEIGHT_NORMALIZATIONS",
    "ActNorm",
    "Activation",
    "Attention",
    "AveragePool",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "CriticalBatchNorm",
    "Dense",
    "DoesNotFit",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalPool",
    "GroupNorm",
    "Gru",
    "Highway",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LayerSpec",
    "Linear",
    "Lstm",
    "MaxPool",
    "NormPropagation",
    "Normalization",
    "NormalizationSpec",
    "PositionalEncoding",
    "Rbf",
    "Repeat",
    "Residual",
    "RmsNorm",
    "Rnn",
    "Sequential",
    "Shape",
    "SpectralNorm",
    "Unflatten",
    "WeightNorm",
    "WeightNormalizationSpec",
    "WeightStandardization",
    "Weighted",
    "channel_axis",
    "features",
    "words",
]
