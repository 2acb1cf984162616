"""The layers, one visible table from kind to implementation. Repeats and sequential blocks are written out before they get here."""

from workers.engine.network.activation import Activation
from workers.engine.network.dropout import Dropout
from workers.engine.network.flatten import Flatten
from workers.engine.network.layer import Layer, Slots, Weighted
from workers.engine.network.linear import Linear
from workers.engine.network.normalization import Normalization
from workers.engine.network.shortcuts import Highway, Residual

LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    "activation": Activation,
    "dropout": Dropout,
    "flatten": Flatten,
    "normalization": Normalization,
    "residual": Residual,
    "highway": Highway,
}

__all__ = ["LAYERS", "Activation", "Dropout", "Highway", "Layer", "Linear", "Residual", "Slots", "Weighted"]
