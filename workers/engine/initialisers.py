"""How weights start, one visible table. O out-features, I in-features; every function draws [O, I] in float64 on the CPU.

Gain g multiplies the standard deviation. A convolution's I counts every place of its kernel, and so does what Glorot calls fan_out: as in
torch.nn.init.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from workers.contract.initialisers import Identity, InitSpec
from workers.engine.seeding import torch_generator

Draw = Callable[[int, int, float, torch.Generator, int], Tensor]
"""(O, I, gain, generator, fan_out) -> [O, I]"""


def _normal(variance: Callable[[int, int], float]) -> Draw:
    def draw(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
        deviation = gain * math.sqrt(variance(fan_out, into))
        return torch.randn(out, into, generator=generator, dtype=torch.float64).mul_(deviation)

    return draw


def _uniform(variance: Callable[[int, int], float]) -> Draw:
    def draw(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
        bound = gain * math.sqrt(3 * variance(fan_out, into))
        return (torch.rand(out, into, generator=generator, dtype=torch.float64) * 2 - 1) * bound

    return draw


def _orthogonal(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
    """Q of a normal matrix, with the signs of R's diagonal taken out so that Q is uniform (Mezzadri 2007)."""
    normal = torch.randn(max(out, into), min(out, into), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    q *= torch.sign(torch.diagonal(r))
    oriented: Tensor = q if out >= into else q.T
    return gain * oriented


def _scaled_uniform_orthogonal(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
    """Orthogonal, and where columns are orthonormal scaled so that E(Wx)² = E x² there, too (Martens et al. 2021)."""
    return _orthogonal(out, into, gain * math.sqrt(max(out / into, 1)), generator, fan_out)


def _in_the_middle(weight: Tensor, fan_out: int, into: int) -> Tensor:
    """[O, C] -> [O, C·places], zero elsewhere."""
    places = fan_out // len(weight)
    kernel = weight.new_zeros(len(weight), into // places, places)
    kernel[..., places // 2] = weight
    return kernel.flatten(1)


def _delta_orthogonal(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
    return _in_the_middle(_orthogonal(out, into * out // fan_out, gain, generator, fan_out), fan_out, into)


def _identity(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
    return _in_the_middle(gain * torch.eye(out, into * out // fan_out, dtype=torch.float64), fan_out, into)


def _zeros(out: int, into: int, gain: float, generator: torch.Generator, fan_out: int) -> Tensor:
    return torch.zeros(out, into, dtype=torch.float64)


def _glorot(fan_out: int, into: int) -> float:
    return 2 / (into + fan_out)


def _fan_in(fan_out: int, into: int) -> float:
    return 1 / into


def _torch_default(fan_out: int, into: int) -> float:
    return 1 / (3 * into)


INITIALISERS: dict[str, Draw] = {
    "xavier_uniform": _uniform(_glorot),
    "xavier_normal": _normal(_glorot),
    "lecun_uniform": _uniform(_fan_in),
    "lecun_normal": _normal(_fan_in),
    "kaiming_uniform": _uniform(_fan_in),
    "kaiming_normal": _normal(_fan_in),
    "orthogonal": _orthogonal,
    "scaled_uniform_orthogonal": _scaled_uniform_orthogonal,
    "delta_orthogonal": _delta_orthogonal,
    "identity": _identity,
    "zeros": _zeros,
    "lsuv": _orthogonal,
    "torch": _uniform(_torch_default),
}


def draw_weight(init: InitSpec, out: int, into: int, seed: int, path: str, places: int = 1) -> Tensor:
    """Initial weights [O, I] of the layer at `path` for one seed, float64; `places` of a kernel."""
    generator = torch_generator(seed, "init", path, "weight")
    weight = INITIALISERS[init.kind](out, into, init.number(), generator, out * places)
    if isinstance(init, Identity) and init.noise:
        weight += torch.randn(out, into, generator=generator, dtype=torch.float64) * init.noise
    return weight


def draw_bias(init: InitSpec, weight: Tensor, seed: int, path: str) -> Tensor:
    """Initial biases [O] beside weights [O, I]: zero, unless a standard deviation is given or the kind is torch's own; less m Σ_j W_ij."""
    out, into = weight.shape
    if init.bias_std is not None:
        generator = torch_generator(seed, "init", path, "bias")
        bias = torch.randn(out, generator=generator, dtype=torch.float64) * init.bias_std
    elif init.kind == "torch":
        generator = torch_generator(seed, "init", path, "bias")
        bias = (torch.rand(out, generator=generator, dtype=torch.float64) * 2 - 1) * (init.number() / math.sqrt(into))
    else:
        bias = torch.zeros(out, dtype=torch.float64)
    return bias - init.input_mean * weight.sum(1) if init.input_mean else bias
