"""The layers, a file a family."""

from typing import Annotated

from pydantic import Field

from workers.contract.base import ByKind
from workers.contract.layers.containers import Highway, Repeat, Residual, Sequential
from workers.contract.layers.dense import Linear
from workers.contract.layers.elementwise import Activation, Dropout, Flatten
from workers.contract.layers.layer import MAX_LAYERS, MAX_WIDTH, DoesNotFit, Layer, Shape, Weighted, features, words
from workers.contract.layers.normalizations import (
    NORMALIZATIONS,
    BatchNorm,
    LayerNorm,
    Normalization,
    NormalizationSpec,
    RmsNorm,
)

LAYERS = (Linear, Activation, Dropout, Flatten, Normalization, Sequential, Repeat, Residual, Highway)

LayerSpec = Annotated[
    Linear | Activation | Dropout | Flatten | Normalization | Sequential | Repeat | Residual | Highway,
    Field(discriminator="kind"),
    ByKind,
]

for _container in (Sequential, Repeat, Residual, Highway):
    _container.model_rebuild(_types_namespace={"LayerSpec": LayerSpec})

__all__ = [
    "LAYERS",
    "MAX_LAYERS",
    "MAX_WIDTH",
    "NORMALIZATIONS",
    "Activation",
    "BatchNorm",
    "DoesNotFit",
    "Dropout",
    "Flatten",
    "Highway",
    "Layer",
    "LayerNorm",
    "LayerSpec",
    "Linear",
    "Normalization",
    "NormalizationSpec",
    "Repeat",
    "Residual",
    "RmsNorm",
    "Sequential",
    "Shape",
    "Weighted",
    "features",
    "words",
]
