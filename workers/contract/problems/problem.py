"""What a problem is to the contract: data plus loss. Splits are fixed by name: 60 % training, 20 % validation, the rest test."""

from math import prod
from typing import ClassVar, Literal

from workers.contract.base import Spec

Loss = Literal["cross_entropy", "mean_squared_error"]


class Problem(Spec):
    standardised: ClassVar[bool] = True
    """Whether inputs are brought to mean zero and deviation one on the training split; the targets of a regression always are."""

    @property
    def loss(self) -> Loss:
        """What is minimised: its mean over the samples of a batch."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample of the input: (F,) features, (S, F) a sequence, (C, H, W) an image."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Numbers in one sample of the input."""
        return prod(self.shape)

    @property
    def vocabulary(self) -> int | None:
        """Of inputs that are symbols, whole numbers from 0 to below this; None where they are quantities."""
        return None

    @property
    def outputs(self) -> int:
        """Number of outputs the network must have: classes, or target columns."""
        raise NotImplementedError

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the network's output on one sample."""
        return (self.outputs,)

    @property
    def samples(self) -> int:
        """Rows in all splits together."""
        raise NotImplementedError

    @property
    def training_samples(self) -> int:
        return split_sizes(self.samples)[0]


def split_sizes(samples: int) -> tuple[int, int, int]:
    """Sizes of the training, validation and test splits."""
    training, validation = samples * 3 // 5, samples // 5
    return training, validation, samples - training - validation
