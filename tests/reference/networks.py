"""A row of a batched program as a network of torch.nn, differentiated by autograd."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.contract import network as specs
from workers.engine.program import Program


class Elementwise(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Masked(nn.Module):
    """Dropout whose draw is known: [B, F] to multiply by, or nothing."""

    def __init__(self, mask: Tensor | None) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return x if self.mask is None else x * self.mask


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "erf": lambda: Elementwise(torch.erf),
    "sin": lambda: Elementwise(torch.sin),
    "gaussian": lambda: Elementwise(lambda z: torch.exp(-(z**2))),
    "centred_sigmoid": lambda: Elementwise(lambda z: torch.sigmoid(z) - 0.5),
    "lecun_tanh": lambda: Elementwise(lambda z: 1.7159 * torch.tanh(2 / 3 * z)),
    # not nn.Hardsigmoid, whose backward takes 1/6 in float32
    "hard_sigmoid": lambda: Elementwise(lambda z: nn.functional.relu6(z + 3) / 6),
    "hard_tanh": nn.Hardtanh,
    "arctan": lambda: Elementwise(torch.atan),
    "gaussian_half": lambda: Elementwise(lambda z: torch.exp(-(z**2) / 2)),
    "mexican_hat": lambda: Elementwise(lambda z: (1 - z**2) * torch.exp(-(z**2) / 2)),
    "bent_identity": lambda: Elementwise(lambda z: (torch.sqrt(z**2 + 1) - 1) / 2 + z),
    "mish": nn.Mish,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}

LOSSES: dict[str, Callable[[], nn.Module]] = {"cross_entropy": nn.CrossEntropyLoss, "mean_squared_error": nn.MSELoss}


def sequential(program: Program, row: int, masks: dict[str, Tensor] | None = None) -> nn.Sequential:
    """The network of one trial with the parameters it has now, float64, modules named by path with dashes for dots.

    Args:
        program: any.
        row: which trial of it.
        masks: what the dropout layer at each path multiplies by, [B, F]; those not there drop nothing.
    """
    network = nn.Sequential()
    theta, start = program.theta[row].double(), 0
    for layer in program.shard.network:
        spec = layer.spec
        module: nn.Module
        if isinstance(spec, specs.Linear):
            out, into = spec.out_features, layer.in_shape[0]
            module = nn.Linear(into, out, bias=spec.bias, dtype=torch.float64)
            with torch.no_grad():
                module.weight.copy_(theta[start : start + out * into].view(out, into))
                if spec.bias:
                    module.bias.copy_(theta[start + out * into : start + out * into + out])
            start += layer.parameters
        elif isinstance(spec, specs.Activation):
            module = ACTIVATIONS[spec.activation.kind]()
        else:
            module = Masked((masks or {}).get(layer.path))
        network.add_module(layer.path.replace(".", "-"), module)
    return network


def flat(tensors: list[Tensor]) -> Tensor:
    """Parameters or their gradients in the program's order: of each layer the weights row by row, then the biases."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def flat_gradient(network: nn.Module, loss: Tensor) -> Tensor:
    """∂loss/∂θ by autograd."""
    return flat(list(torch.autograd.grad(loss, list(network.parameters()))))
