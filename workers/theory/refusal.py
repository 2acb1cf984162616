"""What a network asks of the theory, and there is not."""

from typing import ClassVar

from workers.contract.shapes import ExpandedLayer


class Refused(ValueError):  # noqa: N818 - it says what the network cannot be
    """A layer cannot be worked out; the message says why and what to change."""

    code: ClassVar[str]

    def __init__(self, layer: ExpandedLayer, message: str) -> None:
        super().__init__(message)
        self.layer = layer
