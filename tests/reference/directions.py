"""Random directions, a number at a time: from a counter by the mixer `lowbias32` (Ellis 2018), then by Box and Muller."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WORD = 0xFFFFFFFF


def key_of(seed: int) -> int:
    """The name of the stream, hashed."""
    text = "\x1f".join((str(seed), "perturbations"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def mixed(word: int) -> int:
    word = ((word ^ word >> 16) * 0x7FEB352D) & WORD
    word = ((word ^ word >> 15) * 0x846CA68B) & WORD
    return word ^ word >> 16


def uniform(key: int, step: int, index: int) -> float:
    """In [0, 1), of 24 bits."""
    word = mixed(mixed(index) ^ mixed((step * 0x9E3779B9 + (key & WORD)) & WORD))
    return (mixed(word ^ key >> 32) >> 8) * 2.0**-24


def normal(seed: int, step: int, count: int, parameters: int) -> Array:
    """[N, P]"""
    key, numbers = key_of(seed), []
    for pair in range((count * parameters + 1) // 2):
        first, second = (uniform(key, step, 2 * pair + place) for place in (0, 1))
        radius, angle = math.sqrt(-2 * math.log1p(-first)), 2 * math.pi * second
        numbers += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(numbers[: count * parameters]).reshape(count, parameters)


def signs(seed: int, step: int, parameters: int) -> Array:
    key = key_of(seed)
    return np.array([1.0 if uniform(key, step, index) < 0.5 else -1.0 for index in range(parameters)])
