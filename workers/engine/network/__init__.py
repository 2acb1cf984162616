"""The layers, one visible table from kind to implementation."""

from workers.engine.network.activation import Activation
from workers.engine.network.dropout import Dropout
from workers.engine.network.layer import Layer, Slots
from workers.engine.network.linear import Linear

LAYERS: dict[str, type[Layer]] = {"linear": Linear, "activation": Activation, "dropout": Dropout}

__all__ = ["LAYERS", "Activation", "Dropout", "Layer", "Linear", "Slots"]
