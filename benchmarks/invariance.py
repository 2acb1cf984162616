"""How far each optimizer's steps are independent of the gradient's size: measured, and written into the contract.

    python -m benchmarks.invariance            print the table
    python -m benchmarks.invariance --write    renew workers/contract/invariance.py

A quadratic with noise is descended for 20 steps in float32 at the rule's defaults, its gradient multiplied by 1e10, 1e9, … 1e-30: a row
each. A scale counts as far as θ, there and at every scale between it and 1, ends within a tenth of the way that it has come at scale
1. R rows (one a scale), n samples, P parameters.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workers.contract.invariance import Invariance
from workers.contract.optimizers import OPTIMIZERS, Optimizer
from workers.engine.optimizers import RULES, SIZES, Draws, Gradients, Hyper, Layout, Rule, keys_of

STEPS, SAMPLES, PARAMETERS = 20, 8, 60
LAYOUT = Layout.of([((4, 5), (4,)), ((4, 6), (4,)), ((2, 4),)])
WEIGHT = Layout.of([((64, 64), (64,))])
DECADES = range(10, -31, -1)
TOLERANCE = 0.1
OMITTED_WHERE_ZERO = ("momentum", "weight_decay")
TABLE = Path(__file__).parents[1] / "workers" / "contract" / "invariance.py"
START, END = "    # measured\n", "    # end\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the table in the contract")
    arguments = parser.parse_args()
    lines = [f'    "{kind_of(spec)}": {written(measure(spec))},\n' for spec in OPTIMIZERS]
    print("".join(lines), end="")
    if arguments.write:
        before, rest = TABLE.read_text().split(START)
        TABLE.write_text(before + START + "".join(lines) + END + rest.split(END)[1])


def kind_of(spec: type[Optimizer]) -> str:
    kind: str = spec.model_fields["kind"].default
    return kind


def written(found: Invariance) -> str:
    down, up = ("None" if scale is None else f"{scale:.0e}".replace("+", "") for scale in found[:2])
    return f"Invariance({down}, {up}, {found.remembered_per_parameter:g})"


def measure(spec: type[Optimizer]) -> Invariance:
    """At the defaults, every scale a row of one batched run."""
    hyper, flags = settings(spec(), len(DECADES))
    return Invariance(*range_of(RULES[kind_of(spec)], hyper, flags), remembered(spec))


@torch.no_grad()
def range_of(rule: Rule, hyper: Hyper, flags: dict[str, bool | int]) -> tuple[float | None, float | None]:
    """(down to, up to) of a rule whose rows, one a scale, have equal settings."""
    scales = torch.tensor([[10.0**decade] for decade in DECADES], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    curvature = torch.logspace(-2, 0, PARAMETERS, dtype=torch.float64)
    start = torch.randn(PARAMETERS, generator=generator, dtype=torch.float64)
    theta = start.float().repeat(len(scales), 1)
    keys = keys_of([0] * len(scales), theta.device)
    state = rule.initial_state(theta, hyper, LAYOUT, **flags)
    for step in range(STEPS):
        noise = 0.3 * torch.randn(SAMPLES, PARAMETERS, generator=generator, dtype=torch.float64)

        def samples(place: Tensor, noise: Tensor = noise) -> Tensor:
            """[R, n, P], the gradient of each sample's own loss."""
            return (scales[:, None] * ((place.double() * curvature)[:, None] + noise)).float()

        own = samples(theta)

        def losses_at(places: Tensor, noise: Tensor) -> Tensor:
            """[R, N, P] -> [R, N], the mean over samples of a loss in float32."""
            found = (places.double().square() * curvature / 2).sum(2) + places.double() @ noise.mean(0)
            return (scales * found).float().double()

        loss = losses_at(theta[:, None], noise)
        squares, diagonal = own.square().mean(1), (scales * curvature).float()
        gradients = Gradients(own.mean(1), SAMPLES, LAYOUT, loss, sample_squares=squares, curvature=diagonal)
        if rule.probe is not None:
            probed = theta + rule.probe(theta, gradients, state, hyper, **flags)
            gradients = replace(gradients, at_probe=samples(probed).mean(1), displacement=probed - theta)
        if rule.ask is not None:
            tried = rule.ask(theta, state, hyper, Draws(keys, torch.tensor(step)), **flags)
            gradients = replace(gradients, tried=tried, losses=losses_at(theta[:, None] + tried, noise))
        rule.update(theta, gradients, state, hyper, **flags)
    one = DECADES.index(0)
    way = torch.linalg.vector_norm(theta[one].double() - start)
    same = (torch.linalg.vector_norm((theta - theta[one]).double(), dim=1) <= TOLERANCE * way).tolist()
    smaller = next((index for index in range(one, len(same)) if not same[index]), len(same)) - 1
    larger = next((index for index in range(one, -1, -1) if not same[index]), -1) + 1
    down, up = (10.0 ** DECADES[index] for index in (smaller, larger))
    return down if down < 1 else None, up if up > 1 else None


def remembered(spec: type[Optimizer]) -> float:
    """Numbers kept for each parameter of WEIGHT and its bias, or of as many as the rule may train."""
    hyper, flags = settings(spec(), 1)
    layout = WEIGHT if spec.most_parameters is None else Layout.of([((spec.most_parameters,),)])
    theta = torch.zeros(1, layout.columns[-1].stop)
    state = RULES[kind_of(spec)].initial_state(theta, hyper, layout, **flags)
    return round(sum(tensor.numel() for tensor in state.values()) / theta.numel(), 2)


def settings(spec: Optimizer, rows: int) -> tuple[Hyper, dict[str, bool | int]]:
    """As a shard's program has them."""
    numbers: dict[str, float] = {}
    flags: dict[str, bool | int] = {}
    for name, value in spec.hyperparameters().items():
        if isinstance(value, bool) or (isinstance(value, int) and name in SIZES):
            flags[name] = value
        elif isinstance(value, list):
            numbers |= {f"{name.removesuffix('s')}{place}": part for place, part in enumerate(value, 1)}
        elif isinstance(value, int | float) and (value or name not in OMITTED_WHERE_ZERO):
            numbers[name] = float(value)
    return {name: torch.full((rows, 1), value, dtype=torch.float64) for name, value in numbers.items()}, flags


if __name__ == "__main__":
    main()
