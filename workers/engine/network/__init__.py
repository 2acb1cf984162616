"""The layers, one visible table from kind to implementation. Repeats and sequential blocks are written out before they get here."""

from workers.engine.network.activation import Activation
from workers.engine.network.attention import Attention, PositionalEncoding
from workers.engine.network.convolution import Convolution
from workers.engine.network.dropout import Dropout
from workers.engine.network.embedding import Embedding
from workers.engine.network.head import AuxiliaryHead
from workers.engine.network.layer import Layer, Slots, Weighted
from workers.engine.network.linear import Linear
from workers.engine.network.normalization import Normalization
from workers.engine.network.pooling import GlobalPool, Pool
from workers.engine.network.radial import Rbf
from workers.engine.network.recurrent import Gru, Lstm, Rnn, Units
from workers.engine.network.reshape import Reshape
from workers.engine.network.shortcuts import HOLDING, Dense, Highway, Residual

LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    "embedding": Embedding,
    "rbf": Rbf,
    "rnn": Rnn,
    "gru": Gru,
    "lstm": Lstm,
    "attention": Attention,
    "positional_encoding": PositionalEncoding,
    "activation": Activation,
    "dropout": Dropout,
    "flatten": Reshape,
    "unflatten": Reshape,
    "conv1d": Convolution,
    "conv2d": Convolution,
    "max_pool": Pool,
    "average_pool": Pool,
    "global_pool": GlobalPool,
    "normalization": Normalization,
    "residual": Residual,
    "highway": Highway,
    "dense": Dense,
    "auxiliary_head": AuxiliaryHead,
}

__all__ = [
    "HOLDING",
    "LAYERS",
    "Activation",
    "AuxiliaryHead",
    "Dropout",
    "Highway",
    "Layer",
    "Linear",
    "Lstm",
    "Residual",
    "Rnn",
    "Slots",
    "Units",
    "Weighted",
]
