"""A row of a batched program as a network of torch.nn, differentiated by autograd."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workers.contract import layers as specs
from workers.contract.activations import Scaled
from workers.contract.shapes import ExpandedLayer, walk
from workers.engine.network import Linear
from workers.engine.network.convolution import Convolution
from workers.engine.network.radial import Rbf
from workers.engine.program import Program, every


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
    "multiquadric": lambda: Elementwise(lambda z: torch.sqrt(1 + z**2)),
    "inverse_multiquadric": lambda: Elementwise(lambda z: 1 / torch.sqrt(1 + z**2)),
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


class Recurrent(nn.Module):
    """A recurrent layer, every step as its formula says. What torch.nn has of them is compared in test_engine_recurrent.py."""

    def __init__(self, spec: specs.Rnn | specs.Gru | specs.Lstm, into: int) -> None:
        super().__init__()
        self.spec, self.theta = spec, ACTIVATIONS[spec.activation.kind]()
        self.sigma = ACTIVATIONS[spec.gate_activation.kind]() if not isinstance(spec, specs.Rnn) else None
        self.own = nn.ParameterList(torch.empty(shape, dtype=torch.float64) for shape in spec.tensors((1, into)))
        self.pre: list[tuple[Tensor, ...]] = []
        """[B, G·H] of every step of the last pass, in one or two parts."""

    def forward(self, x: Tensor) -> Tensor:
        weight, recurrent, *biases = self.own
        size, self.pre, states = self.spec.hidden_size, [], []
        h = c = x.new_zeros(len(x), size)
        for step in x.unbind(1):
            z = step @ weight.T + (biases[0] if biases else 0)
            recalled = h @ recurrent.T
            if self.sigma is None:
                self.pre.append((z + recalled,))
                h = self.theta(self.pre[-1][0])
            elif len(recurrent) == 4 * size:
                self.pre.append((z + recalled,))
                into, keep, new, out = self.pre[-1][0].split(size, 1)
                c = self.sigma(keep) * c + self.sigma(into) * self.theta(new)
                h = self.sigma(out) * self.theta(c)
            else:
                gates = z[:, : 2 * size] + recalled[:, : 2 * size]
                reset, update = self.sigma(gates).split(size, 1)
                at_new = z[:, 2 * size :] + reset * (recalled[:, 2 * size :] + (biases[1] if biases else 0))
                self.pre.append((gates, at_new))
                h = (1 - update) * self.theta(at_new) + update * h
            states.append(h)
        return torch.stack(states, 1) if self.spec.output == "sequence" else h


class Rescaled(nn.Module):
    """a·θ(b·z + c) + d: a constant that learns is a parameter, of the layer or of each feature."""

    def __init__(self, spec: Scaled, tensors: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.spec, self.theta = spec, ACTIVATIONS[spec.of.kind]()
        for name, shape in zip(spec.trainable, tensors, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(*shape, dtype=torch.float64)))

    def forward(self, z: Tensor) -> Tensor:
        a, b, c, d = (dict(self.named_parameters()).get(name, getattr(self.spec, name)) for name in "abcd")
        return a * self.theta(b * z + c) + d  # type: ignore[no-any-return]


class Dense(nn.Module):
    """x and F(x) side by side."""

    def __init__(self, inside: nn.Module, axis: int) -> None:
        super().__init__()
        self.inside, self.axis = inside, axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inside(x)], self.axis)


class Residual(nn.Module):
    """x + s·F(x), s a number or a parameter after those of F; over √(1 + s²) where normalised."""

    def __init__(self, inside: nn.Module, scale: Tensor | float, normalized: bool) -> None:
        super().__init__()
        self.inside = inside
        self.own = nn.ParameterList([scale] if isinstance(scale, Tensor) else [])
        self.fixed = 1.0 if isinstance(scale, Tensor) else scale
        self.normalized = normalized

    def forward(self, x: Tensor) -> Tensor:
        s: Tensor | float = self.own[0] if len(self.own) else self.fixed
        inside: Tensor = self.inside(x)
        return (x + s * inside) / (1 + s * s) ** 0.5 if self.normalized else x + s * inside


class Highway(nn.Module):
    """t·F(x) + (1 − t)·x, the gate's parameters after those of F."""

    def __init__(self, inside: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        t = torch.sigmoid(self.gate(x))
        inside: Tensor = self.inside(x)
        return t * inside + (1 - t) * x


class Affine(nn.Module):
    """γ·x + β."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.empty(features, dtype=torch.float64)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x + self.beta


class OfMadeWeights(nn.Module):
    """A dense layer or a convolution whose weights are made of what is learned, by the papers' formulas."""

    def __init__(self, spec: specs.WeightNormalizationSpec, module: nn.Module, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.spec, self.state, self.unregistered = spec, state, [module]
        self.own = nn.ParameterList([nn.Parameter(p.detach().clone()) for p in module.parameters()])
        if not isinstance(spec, specs.SpectralNorm):
            self.own.append(nn.Parameter(torch.empty(len(self.own[0]), dtype=torch.float64)))

    def forward(self, x: Tensor) -> Tensor:
        (module,) = self.unregistered
        v = self.own[0].flatten(1)
        if isinstance(self.spec, specs.SpectralNorm):
            made = self.spec.bound * v / (self.state["left"] @ v @ self.state["right"])
        else:
            n = v.shape[1]
            if isinstance(self.spec, specs.WeightStandardization):
                v = (v - v.mean(1, keepdim=True)) / (v.std(1, correction=0, keepdim=True) * math.sqrt(n))
            else:
                v = v / v.square().sum(1, keepdim=True).sqrt()
            made = self.own[-1][:, None] * v
        names = [name for name, _ in module.named_parameters()]
        given = dict(zip(names, [made.view(self.own[0].shape), *list(self.own)[1:]], strict=False))
        found: Tensor = torch.func.functional_call(module, given, (x,))
        return found


class Head(nn.Module):
    """Passes on what it receives, and keeps what its linear layer makes of it."""

    def __init__(self, linear: nn.Module, weight: float) -> None:
        super().__init__()
        self.linear, self.weight = linear, weight
        self.given: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.given = self.linear(x.flatten(1))
        return x


def total(twin: nn.Module, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """The loss of its output and of its auxiliary heads."""
    measure = LOSSES[loss]()
    found: Tensor = measure(twin(x), y)
    for head in twin.modules():
        if isinstance(head, Head):
            found = found + head.weight * measure(head.given, y)
    return found


class Norm(nn.Module):
    """A normalisation of torch.nn that is given what it wants: features last or channels first."""

    def __init__(self, spec: specs.NormalizationSpec, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.per_channel = len(shape) == 3
        features = specs.features(shape)
        self.gamma, self.beta = 1.0, 0.0
        if isinstance(spec, specs.BatchNorm):
            self.norm: nn.Module = nn.BatchNorm1d(
                features, spec.eps, spec.momentum, affine=spec.affine, dtype=torch.float64
            )
            if not spec.affine:
                self.gamma, self.beta = spec.gamma, spec.beta
        elif isinstance(spec, specs.LayerNorm):
            self.norm = nn.LayerNorm(features, spec.eps, spec.affine, dtype=torch.float64)
        elif isinstance(spec, specs.GroupNorm):
            self.norm = nn.GroupNorm(spec.groups, features, spec.eps, spec.affine, dtype=torch.float64)
        elif isinstance(spec, specs.InstanceNorm):
            kind = nn.InstanceNorm2d if self.per_channel else nn.InstanceNorm1d
            self.norm = kind(features, spec.eps, affine=spec.affine, dtype=torch.float64)
        elif isinstance(spec, specs.ActNorm):
            self.norm = Affine(features)
        else:
            assert isinstance(spec, specs.RmsNorm)
            self.norm = nn.RMSNorm(features, spec.eps, spec.affine, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d):
            steps = x.dim() == 3
            found: Tensor = self.norm(x.mT if steps else x)
            return found.mT if steps else found
        assert not self.per_channel
        if isinstance(self.norm, nn.BatchNorm1d):
            return self.norm(x.flatten(0, -2)).view(x.shape) * self.gamma + self.beta  # type: ignore[no-any-return]
        return self.norm(x)  # type: ignore[no-any-return]


class Radial(nn.Module):
    """Distances of x to centres over widths, what is learned in the order of the program."""

    def __init__(self, spec: specs.Rbf, inputs: int, frozen: dict[str, Tensor]) -> None:
        super().__init__()
        self.distance = spec.distance
        parts = {"centres": (spec.out_features, inputs), "widths": (spec.out_features,)}
        for part, shape in parts.items():
            if part in spec.trainable:
                self.register_parameter(part, nn.Parameter(torch.zeros(shape, dtype=torch.float64)))
            else:
                self.register_buffer(part, frozen[part].double())

    def forward(self, x: Tensor) -> Tensor:
        centres: Tensor = self.centres  # type: ignore[assignment]
        inverse_widths: Tensor = self.widths  # type: ignore[assignment]
        rows = x.flatten(0, -2)
        if self.distance == "unit_sphere":
            rows, centres = (nn.functional.normalize(each, dim=1) for each in (rows, centres))
        difference = rows[:, None, :] - centres[None]
        square = difference.square().sum(2)
        if self.distance == "scaled":
            square = square / square.mean(0)
        elif self.distance == "log":
            logarithm = (square + 0.01 * square.mean(0)).log()
            variance, mean = torch.var_mean(logarithm, 0, correction=0)
            square = ((logarithm - mean) / (variance + 1e-6).sqrt()).exp()
        at_centre = square == 0
        r = torch.where(at_centre, 1.0, square).sqrt() * ~at_centre
        return (r * inverse_widths).view(*x.shape[:-1], -1)


class Attention(nn.Module):
    """torch.nn.MultiheadAttention of a sequence to itself."""

    def __init__(self, spec: specs.Attention, width: int) -> None:
        super().__init__()
        self.causal = spec.causal
        self.attention = nn.MultiheadAttention(width, spec.heads, bias=spec.bias, batch_first=True, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        found: Tensor = self.attention(x, x, x, attn_mask=mask, need_weights=True)[0]
        return found


class Positions(nn.Module):
    """x + P, P learned or written out from the paper."""

    def __init__(self, spec: specs.PositionalEncoding, shape: tuple[int, ...]) -> None:
        super().__init__()
        steps, features = shape
        table = torch.zeros(steps, features, dtype=torch.float64)
        if spec.encoding == "learned":
            self.table: Tensor = nn.Parameter(table)
            return
        for s in range(steps):
            for place in range(features):
                angle = s / 10000 ** ((place - place % 2) / features)
                table[s, place] = math.cos(angle) if place % 2 else math.sin(angle)
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class StepsLast(nn.Module):
    """A module of torch.nn that wants [B, F, S] round which everything is [B, S, F]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.module(x.mT)
        return found.mT


class _Parameters:
    """Of one trial, taken one tensor after another."""

    def __init__(self, theta: Tensor, frozen: dict[str, dict[str, Tensor]]) -> None:
        self.theta, self.frozen, self.start = theta, frozen, 0

    def into(self, module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            stop = self.start + parameter.numel()
            parameter.data.copy_(self.theta[self.start : stop].view(parameter.shape))
            self.start = stop
        return module

    def number(self) -> Tensor:
        self.start += 1
        return nn.Parameter(self.theta[self.start - 1 : self.start].clone())


def sequential(program: Program, row: int, masks: dict[str, Tensor] | None = None) -> nn.Sequential:
    """The network of one trial with the parameters it has now, float64, modules named by path with dashes for dots.

    Args:
        program: any.
        row: which trial of it.
        masks: what the dropout layer at each path multiplies by, [B, F]; those not there drop nothing.
    """
    frozen = {
        spec.path: {name: tensor[row] for name, tensor in layer.state.items()}
        for spec, layer in zip(walk(program.shard.network), every(program.layers), strict=True)
        if isinstance(layer, Rbf | Linear | Convolution) and hasattr(layer, "state")
    }
    return _sequential(program.shard.network, _Parameters(program.theta[row].double(), frozen), masks or {})


def _sequential(layers: list[ExpandedLayer], parameters: _Parameters, masks: dict[str, Tensor]) -> nn.Sequential:
    network = nn.Sequential()
    for layer in layers:
        network.add_module(layer.path.replace(".", "-"), _module(layer, parameters, masks))
    return network


def _module(layer: ExpandedLayer, parameters: _Parameters, masks: dict[str, Tensor]) -> nn.Module:
    spec = layer.spec
    if isinstance(spec, specs.Linear):
        dense = nn.Linear(layer.in_shape[-1], spec.out_features, bias=spec.bias, dtype=torch.float64)
        return parameters.into(_made(layer, spec.weight_normalization, dense, parameters))
    if isinstance(spec, specs.Rbf):
        return parameters.into(Radial(spec, layer.in_shape[-1], parameters.frozen[layer.path]))
    if isinstance(spec, specs.AuxiliaryHead):
        outputs, inputs = layer.tensors[0]
        return Head(parameters.into(nn.Linear(inputs, outputs, dtype=torch.float64)), spec.weight)
    if isinstance(spec, specs.Embedding):
        return nn.Sequential(
            Elementwise(lambda x: x.long()),
            parameters.into(nn.Embedding(spec.num_embeddings, spec.embedding_dim, dtype=torch.float64)),
        )
    if isinstance(spec, specs.Rnn | specs.Gru | specs.Lstm):
        return parameters.into(Recurrent(spec, layer.in_shape[-1]))
    if isinstance(spec, specs.Attention):
        return parameters.into(Attention(spec, layer.in_shape[-1]))
    if isinstance(spec, specs.PositionalEncoding):
        return parameters.into(Positions(spec, layer.in_shape))
    if isinstance(spec, specs.Activation):
        of = spec.activation
        return parameters.into(Rescaled(of, layer.tensors)) if isinstance(of, Scaled) else ACTIVATIONS[of.kind]()
    if isinstance(spec, specs.Normalization):
        return parameters.into(Norm(spec.normalization, layer.in_shape))
    if isinstance(spec, specs.Flatten):
        return nn.Flatten()
    if isinstance(spec, specs.Unflatten):
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, tuple(spec.shape)))
    if isinstance(spec, specs.Conv1d | specs.Conv2d):
        kind = nn.Conv1d if isinstance(spec, specs.Conv1d) else nn.Conv2d
        channels = layer.in_shape[1] if isinstance(spec, specs.Conv1d) else layer.in_shape[0]
        convolution = kind(
            channels, spec.out_channels, spec.kernel_size, spec.stride, spec.padding, spec.dilation, bias=spec.bias,
            dtype=torch.float64,
        )  # fmt: skip
        own = parameters.into(_made(layer, spec.weight_normalization, convolution, parameters))
        return StepsLast(own) if isinstance(spec, specs.Conv1d) else own
    if isinstance(spec, specs.MaxPool | specs.AveragePool | specs.GlobalPool):
        return _pool(spec, image=len(layer.in_shape) == 3)
    if isinstance(spec, specs.Residual):
        inside = _sequential(layer.layers, parameters, masks)
        assert spec.scale != "depth"
        return Residual(inside, parameters.number() if spec.trainable else spec.scale, spec.normalized)
    if isinstance(spec, specs.Dense):
        return Dense(_sequential(layer.layers, parameters, masks), 1 if len(layer.in_shape) == 3 else -1)
    if isinstance(spec, specs.Highway):
        inside = _sequential(layer.layers, parameters, masks)
        width = layer.in_shape[-1]
        return Highway(inside, parameters.into(nn.Linear(width, width, dtype=torch.float64)))
    assert isinstance(spec, specs.Dropout)
    return Masked(masks.get(layer.path))


def _made(
    layer: ExpandedLayer, spec: specs.WeightNormalizationSpec | None, module: nn.Module, parameters: _Parameters
) -> nn.Module:
    return OfMadeWeights(spec, module, parameters.frozen.get(layer.path, {})) if spec else module


def _pool(spec: specs.MaxPool | specs.AveragePool | specs.GlobalPool, image: bool) -> nn.Module:
    if isinstance(spec, specs.GlobalPool):
        kinds = {
            ("average", True): nn.AdaptiveAvgPool2d, ("max", True): nn.AdaptiveMaxPool2d,
            ("average", False): nn.AdaptiveAvgPool1d, ("max", False): nn.AdaptiveMaxPool1d,
        }  # fmt: skip
        pool = kinds[spec.of, image](1)
        return nn.Sequential(pool if image else StepsLast(pool), nn.Flatten())
    if image:
        windows = nn.MaxPool2d if isinstance(spec, specs.MaxPool) else nn.AvgPool2d
        return windows(spec.kernel_size, spec.stride)
    of_steps = nn.MaxPool1d if isinstance(spec, specs.MaxPool) else nn.AvgPool1d
    return StepsLast(of_steps(spec.kernel_size, spec.stride or spec.kernel_size))


def flat(tensors: list[Tensor]) -> Tensor:
    """Parameters or their gradients in the program's order: of each layer the weights row by row, then the biases."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def flat_gradient(network: nn.Module, loss: Tensor) -> Tensor:
    """∂loss/∂θ by autograd."""
    return flat(list(torch.autograd.grad(loss, list(network.parameters()))))
