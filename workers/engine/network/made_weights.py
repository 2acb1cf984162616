"""Weights that are made of what is learned: W = f(V, g). T trials, O rows of n numbers."""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.seeding import torch_generator

STARTING_ITERATIONS = 15
"""Of the power iteration, before training: as torch."""

State = dict[str, Tensor]


def weight_norm(v: Tensor, g: Tensor, spec: specs.WeightNorm, state: State) -> Tensor:
    """Rows of length g (Salimans & Kingma 2016)."""
    return g[..., None] * rows_of_one(v)


def standardized(v: Tensor, g: Tensor, spec: specs.WeightStandardization, state: State) -> Tensor:
    """Rows without a mean, of length g (Qiao et al. 2019): dividing by √n·std is dividing by the centred row's length."""
    return g[..., None] * rows_of_one(v - v.mean(2, keepdim=True))


def spectral(v: Tensor, spec: specs.SpectralNorm, state: State) -> Tensor:
    """V over uᵀVv, u and v held fixed (Miyato et al. 2018)."""
    stretched = torch.bmm(v, state["right"][..., None])[..., 0]
    return v * (spec.bound / (state["left"] * stretched).sum(1))[:, None, None]


MADE: dict[str, Callable[..., Tensor]] = {
    "weight": weight_norm,
    "weight_standardization": standardized,
    "spectral": spectral,
}


class MadeWeights:
    """Of one layer. Keeps what the pass backward needs of the last pass forward."""

    def __init__(
        self, spec: specs.WeightNormalizationSpec, parameters: list[Tensor], gradients: list[Tensor], slots: Slots
    ) -> None:
        """
        Args:
            parameters, gradients: V [T, O, ...], and g [T, O] where it is learned.
        """
        self.spec, self.make, self.seeds = spec, MADE[spec.kind], slots.seeds
        self.parameters, self.gradients = parameters, gradients
        trials, out = parameters[0].shape[:2]
        self.state: State = {}
        if isinstance(spec, specs.SpectralNorm):
            width = parameters[0][0, 0].numel()
            self.state = {
                "left": parameters[0].new_zeros(trials, out),
                "right": parameters[0].new_zeros(trials, width),
            }
        self.recorded: Recorded

    def initialise(self, path: str) -> None:
        """Once V has its start."""
        v = self.parameters[0].flatten(2)
        if isinstance(self.spec, specs.SpectralNorm):
            for seed, rows in trials_by_seed(self.seeds).items():
                drawn = torch.randn(
                    v.shape[2], generator=torch_generator(seed, "init", path, "spectral"), dtype=torch.float64
                )
                self.state["right"][rows] = rows_of_one(drawn).to(v)
            for _ in range(STARTING_ITERATIONS):
                self._iterate(v)
            return
        start = (
            torch.linalg.vector_norm(v, dim=2)
            if isinstance(self.spec, specs.WeightNorm)
            else torch.ones_like(self.parameters[1])
        )
        if isinstance(self.spec, specs.WeightNorm) and self.spec.start == "unit":
            start = torch.ones_like(start)
        gain = self.spec.gain if isinstance(self.spec, specs.WeightStandardization) else 1.0
        self.parameters[1].copy_(start * gain)

    def value(self, training: bool) -> Tensor:
        """W, in V's shape."""
        v = self.parameters[0]
        if training and self.state:
            self._iterate(v.flatten(2))
        if not training:
            return self._function(*self.parameters)
        self.recorded = Recorded(self._function, *self.parameters)
        return self.recorded.value.detach()

    def _function(self, v: Tensor, *gains: Tensor) -> Tensor:
        # of its own: what is remembered may move on before the pass backward
        state = {name: tensor.clone() for name, tensor in self.state.items()}
        return self.make(v.flatten(2), *gains, self.spec, state).view(v.shape)

    def _iterate(self, v: Tensor) -> None:
        """One step of power iteration, in torch's order."""
        self.state["left"].copy_(rows_of_one(torch.bmm(v, self.state["right"][..., None])[..., 0]))
        self.state["right"].copy_(rows_of_one(torch.bmm(v.mT, self.state["left"][..., None])[..., 0]))

    def pull(self, gradient: Tensor) -> None:
        """∂L/∂W -> the gradients of V and g."""
        for own, found in zip(self.gradients, self.recorded.pull(gradient), strict=True):
            own.copy_(found)


def made_weights(layer: ExpandedLayer, slots: Slots) -> MadeWeights | None:
    """Of a dense or convolutional layer; None where its weights are learned themselves."""
    assert isinstance(layer.spec, specs.Linear | specs.Conv1d | specs.Conv2d)
    if (spec := layer.spec.weight_normalization) is None:
        return None
    parts = (views(flat, layer.tensors) for flat in (slots.parameters, slots.gradient))
    parameters, gradients = ([part[0], *(part[-1:] if spec.gains else [])] for part in parts)
    return MadeWeights(spec, parameters, gradients, slots)


def rows_of_one(x: Tensor) -> Tensor:
    """x/‖x‖ over the last axis; zero stays zero."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(torch.finfo(x.dtype).tiny)
