"""Radial units: z = r/w, r the distance to a centre. T trials, B samples (steps of a sequence count as such), I in-features, O units.

Distances are taken elementwise, not as ‖x‖² − 2x·c + ‖c‖²: a signal that collapses puts all inputs of a layer close together, and the
subtraction would leave rounding only. Where x is a centre the distance has no derivative, and is given zero: after an even
non-linearity that is the true one.
"""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots, trials_by_seed
from workers.engine.seeding import derive, torch_generator

Moments = tuple[Tensor, ...]
"""[T, 1, O] each, over the batch."""

FLOOR = 0.01
"""Share of the mean square added before the logarithm, so that an input that lies on a centre does not decide the deviation."""

EPS = 1e-6
"""Added to the variance of ln ρ, which is about 2/I."""


def square(d: Tensor) -> Moments:
    """E d²."""
    return (d.square().mean(1, keepdim=True),)


def scaled(d: Tensor, mean_square: Tensor) -> Tensor:
    """The ratio r = d/√(E d²)."""
    return d * mean_square.clamp_min(torch.finfo(d.dtype).tiny).rsqrt()


def logarithmic(d: Tensor) -> Moments:
    """E d², and mean and variance of ln ρ."""
    (mean_square,) = square(d)
    variance, mean = torch.var_mean(_log(d, mean_square), 1, correction=0, keepdim=True)
    return mean_square, mean, variance


def spread(d: Tensor, mean_square: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Distances r = exp(½(ln ρ − E ln ρ)/std ln ρ)."""
    return torch.exp(0.5 * (_log(d, mean_square) - mean) * torch.rsqrt(variance + EPS))


def _log(d: Tensor, mean_square: Tensor) -> Tensor:
    """The logarithm of ρ, ρ = d² + E d²/100; of all inputs on the centre, that of the smallest number."""
    return torch.log((d.square() + FLOOR * mean_square).clamp_min(torch.finfo(d.dtype).tiny))


RUNNING: dict[str, tuple[Callable[[Tensor], Moments], Callable[..., Tensor], tuple[str, ...]]] = {
    "scaled": (square, scaled, ("mean_square",)),
    "log": (logarithmic, spread, ("mean_square", "mean", "variance")),
}
"""Distances with statistics of a batch: what these are, what is made of d with them, and their names in a checkpoint."""


class Rbf:
    """Columns of the flat parameters: c row by row [O·I], then 1/w [O], of each what is trainable; the others are part of the state."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Rbf)
        self.layer, self.spec, self.slots = layer, spec, slots
        self.into = layer.in_shape[-1]
        self.state: dict[str, Tensor] = {}
        self.centres, self.inverse_widths = self._parts(slots.parameters, self.state)
        self.centre_gradient, self.inverse_width_gradient = self._parts(slots.gradient, {})
        if spec.distance in RUNNING:
            of_unit = slots.parameters.new_zeros(len(slots.seeds), 1, spec.out_features)
            self.state |= {name: of_unit.clone() for name in RUNNING[spec.distance][2]}
        self.starting = False
        self.input: Tensor
        self.compared: tuple[Tensor, Tensor]
        self.unit_centres: Recorded
        self.unit_input: Recorded
        self.distances: Tensor
        self.normalised: Recorded
        self.radius: Tensor
        self.output: Tensor
        self.error_signal: Tensor

    def _parts(self, flat: Tensor, frozen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Views [T, O, I] and [T, O] of the columns; what has none is new, and put among the frozen."""
        start, found = 0, []
        for part, shape in (("centres", (self.spec.out_features, self.into)), ("widths", (self.spec.out_features,))):
            if part in self.spec.trainable:
                stop = start + math.prod(shape)
                found.append(flat[:, start:stop].unflatten(1, shape))
                start = stop
            else:
                frozen[part] = flat.new_zeros(len(flat), *shape)
                found.append(frozen[part])
        return found[0], found[1]

    def initialise(self) -> None:
        """Waits for the first input, which says where centres and widths start."""
        self.starting = True

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        rows = x.flatten(1, -2)
        if self.starting:
            self._place_centres(rows)
        r = self._distance(rows, training)
        if self.starting:
            self._choose_widths(r)
            self.starting = False
        self.radius = r
        self.output = (r * self.inverse_widths[:, None, :]).view(*x.shape[:-1], -1)
        return self.output

    def _distance(self, rows: Tensor, training: bool) -> Tensor:
        """[T, B, I] -> r [T, B, O]"""
        x, centres = rows, self.centres
        if self.spec.distance == "unit_sphere":
            self.unit_input, self.unit_centres = Recorded(_unit, x), Recorded(_unit, centres)
            x, centres = self.unit_input.value.detach(), self.unit_centres.value.detach()
        self.compared = x, centres
        self.distances = d = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist")
        if self.spec.distance not in RUNNING:
            return d
        moments, function, names = RUNNING[self.spec.distance]
        if not training:
            return function(d, *(self.state[name] for name in names))
        for name, moment in zip(names, moments(d), strict=True):
            self.state[name].lerp_(moment, 1.0 if self.starting else self.spec.momentum)
        self.normalised = Recorded(lambda d: function(d, *moments(d)), d)
        return self.normalised.value.detach()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        rows = delta.flatten(1, -2)
        torch.sum(rows * self.radius, 1, out=self.inverse_width_gradient)
        below = rows * self.inverse_widths[:, None, :]
        if self.spec.distance in RUNNING:
            (below,) = self.normalised.pull(below)
        x, centres = self.compared
        # ∂d/∂x = (x − c)/d: sums over x and over c apart, both seen from the middle of the centres, where they are of the size of d
        pull = torch.where(self.distances > 0, below / self.distances, 0.0)
        middle = centres.mean(1, keepdim=True)
        x, centres = x - middle, centres - middle
        of_centres = pull.sum(1)[..., None] * centres - torch.bmm(pull.mT, x)
        of_input = pull.sum(2, keepdim=True) * x - torch.bmm(pull, centres) if wanted else None
        if self.spec.distance == "unit_sphere":
            (of_centres,) = self.unit_centres.pull(of_centres)
            of_input = self.unit_input.pull(of_input)[0] if of_input is not None else None
        self.centre_gradient.copy_(of_centres)
        return of_input.view(self.input.shape) if of_input is not None else None

    def _place_centres(self, rows: Tensor) -> None:
        place = PLACES[self.spec.centres]
        for seed, trials in trials_by_seed(self.slots.seeds).items():
            self.centres[trials] = place(rows[trials[0]], self.spec.out_features, seed, self.layer.path).to(rows)

    def _choose_widths(self, r: Tensor) -> None:
        for trials in trials_by_seed(self.slots.seeds).values():
            if self.spec.width == "median":
                width = float(r[trials[0]].double().median())
            else:
                width = (2 / self.into) ** 0.25 if self.spec.width == "dimension" else self.spec.width
            self.inverse_widths[trials] = 1 / width if 0 < width < math.inf else 1.0


def _unit(x: Tensor) -> Tensor:
    """x/‖x‖; zero stays zero."""
    norm = x.norm(dim=-1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1.0)


def samples(x: Tensor, count: int, seed: int, path: str) -> Tensor:
    """[N, I] -> [count, I]: all different while there are as many."""
    order = torch.randperm(len(x), generator=torch_generator(seed, "init", path, "centres"))
    return x[order.repeat(-(-count // len(x)))[:count].to(x.device)]


def k_means(x: Tensor, count: int, seed: int, path: str) -> Tensor:
    """The means of Lloyd's algorithm, from starts far apart (Arthur & Vassilvitskii 2007); the samples where there are no more of them."""
    finite = bool(x.isfinite().all())
    if count >= len(x) or not finite:
        return samples(x, count, seed, path)
    from sklearn.cluster import KMeans  # takes as long to import as torch: only who needs it waits
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(count, n_init=1, random_state=derive(seed, "init", path, "centres") % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different samples than means: some means are alike
        return torch.from_numpy(means.fit(x.double().cpu().numpy()).cluster_centers_)


def normal(x: Tensor, count: int, seed: int, path: str) -> Tensor:
    """From N(0, 1), whatever arrives."""
    generator = torch_generator(seed, "init", path, "centres")
    return torch.randn(count, x.shape[1], generator=generator, dtype=torch.float64)


PLACES: dict[str, Callable[[Tensor, int, int, str], Tensor]] = {
    "samples": samples,
    "k_means": k_means,
    "normal": normal,
}
"""Where centres start, from what arrives [N, I]."""
