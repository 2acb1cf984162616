"""Diagonal of the Gauss-Newton matrix of the mean loss, from labels that the network draws itself. T trials, P parameters.

    ŷ_b ~ p(y | output_b);  ĝ = ∇ mean_b loss(output_b, ŷ_b);  ĥ = B·ĝ²

Bartlett's identity: the gradients of the log-likelihood have mean zero and are independent over samples, so the expectation of ĥ is the
diagonal of the Fisher information, which for these losses is the Gauss-Newton matrix. It takes one pass backward, through layers of any
kind, and one forward before it, since a layer's derivative may be taken once a pass. For normal targets every draw with the right
variance does: two points, for the least noise.

Source: Liu et al. 2023 (arXiv:2305.14342), section 2.3, algorithm 2; Martens 2020 (arXiv:1412.1193), section 9.2.
"""

from typing import cast

from torch import Tensor, tensor

from workers.engine.program import Program
from workers.engine.seeding import derive, uniform


def sampled_gradient(program: Program, x: Tensor) -> Tensor:
    """ĝ [T, P] for the batch x, left in the layers, too: their inputs and error signals are those of ĝ. Running statistics stay."""
    running = [(state, state.clone()) for layer in program.remembering for state in layer.state.values()]
    output = program.forward(x, training=True)
    for state, before in running:
        state.copy_(before)
    keys = tensor([derive(trial.seed, "bartlett") for trial in program.trials], device=output.device)
    drawn = uniform(keys, program.step, output[0].numel()).view(output.shape)
    program.backward(program.loss.gradient(output, program.loss.draw(output, drawn)))
    return program.gradient


def due(program: Program, step: int) -> bool:
    """Whether any trial's rule wants it in this step."""
    periods = {cast(int, trial.hyperparameters["update_period"]) for trial in program.trials}
    return any(step % period == 0 for period in periods)


def squared(gradient: Tensor, batch_size: int) -> Tensor:
    """ĥ of ĝ, in place."""
    return gradient.square_().mul_(batch_size)
