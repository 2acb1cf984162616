"""Randomness by name, not by order: every stream is derived from (seed, purpose).

So adding a layer, an optimizer or a trial does not shift anybody else's draws, and a resumed training needs no
generator state: whatever is drawn at a step is a function of the names and of the step.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray
from torch import Tensor

MASK = 0xFFFFFFFF


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit key for one stream; equal names give equal keys on every machine."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for initial values, so that every device starts from the same ones."""
    return torch.Generator("cpu").manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(_Key(derive(seed, *purpose))))  # type: ignore[arg-type]  # numpy's types know one kind of it


class _Key(ISeedSequence):
    """Makes `Philox(_Key(k))` the same as `Philox(key=k)`, which asks the operating system for entropy first and does not use it."""

    def __init__(self, key: int) -> None:
        self.key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        return np.array([self.key, *[0] * (n_words - 1)], dtype=dtype)


def uniform(keys: Tensor, step: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) from a counter, without state: `count` for each key.

    Rounds of the 32-bit finaliser `lowbias32` (Ellis 2018) over index, step and key. It runs on the device, may stand
    inside a captured graph, and gives a trial the same numbers whoever shares its batch. The index is mixed before it meets
    the step: added as it is, it would make some steps shifted copies of others.

    Args:
        keys: int64 [T], one a trial.
        step: int64 scalar tensor.
        count: numbers wanted for each trial.

    Returns:
        float32 [T, count].
    """
    index = _mix(torch.arange(count, dtype=torch.int64, device=keys.device))
    word = _mix(index[None, :] ^ _mix(step * 0x9E3779B9 + (keys[:, None] & MASK)))
    word = _mix(word ^ (keys[:, None] >> 32))
    return (word >> 8).to(torch.float32) * 2.0**-24


def _mix(word: Tensor) -> Tensor:
    """lowbias32 on the low 32 bits of int64: a bijection of 32-bit words."""
    word = word & MASK
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & MASK
    word = ((word ^ (word >> 15)) * 0x846CA68B) & MASK
    return word ^ (word >> 16)
