"""Where and when a trial's numbers stop being finite, found without waiting for the device. T trials, L layers with parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.optimizers import State

NEVER = -1


class Watch:
    """Looks at every step, remembers the first that held a NaN or an infinity.

    The order of the search is that of the computation: pre-activations from the input upwards, the loss (which belongs to
    the output layer), gradients from the top down. A product with zeros sees a whole tensor at the speed of reading it:
    0·x is 0 for every finite x and NaN otherwise.
    """

    def __init__(self, layers: int, trials: int, device: torch.device, dtype: torch.dtype) -> None:
        self.order = torch.tensor([*range(layers), layers - 1, *range(layers - 1, -1, -1)], device=device)
        self.marks = torch.zeros(2 * layers + 1, trials, device=device, dtype=dtype)
        self.zeros: dict[int, Tensor] = {}
        self.state: State = {
            "step": torch.full((trials,), NEVER, device=device),
            "layer": torch.full((trials,), NEVER, device=device),
            "loss": torch.full((trials,), torch.nan, device=device, dtype=torch.float64),
        }
        """The step and the layer of divergence, NEVER if there was none; the last finite loss on a batch."""

    def look(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor], loss: Tensor, step: Tensor) -> None:
        """After a pass backward.

        Args:
            outputs: pre-activations [T, ...] of each layer.
            gradients: [T, n] of each layer.
            loss: [T].
            step: int64 scalar.
        """
        count = len(outputs)
        for place, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
            self._mark(place, output)
            self._mark(2 * count - place, gradient)
        torch.mul(loss, 0, out=self.marks[count])
        bad = self.marks.isnan()
        sound = self.state["step"] == NEVER
        fresh = bad.any(0) & sound
        first = self.order[bad.to(torch.uint8).argmax(0)]
        self.state["step"].copy_(torch.where(fresh, step, self.state["step"]))
        self.state["layer"].copy_(torch.where(fresh, first, self.state["layer"]))
        self.state["loss"].copy_(torch.where(loss.isfinite() & sound, loss.double(), self.state["loss"]))

    def _mark(self, place: int, values: Tensor) -> None:
        rows = values.flatten(1)
        width = rows.shape[1]
        if width not in self.zeros:
            self.zeros[width] = rows.new_zeros(width)
        torch.mv(rows, self.zeros[width], out=self.marks[place])
