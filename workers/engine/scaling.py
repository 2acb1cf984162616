"""Norms that neither underflow nor overflow: elements are brought into range by a power of two first.

At depth 30 a sigmoid network's gradient is near 1e-28 and a plain float32 norm of it is exactly zero. L layers, T trials.
Whole lists of tensors are taken at once, so that what is computed of [T] numbers is computed once of [L, T].
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

ELEMENTS_IN_CACHE = 300_000
"""What stays in a core's own cache from one pass over it to the next."""


def pieces(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The same rows of each tensor [T, ...], on a CPU as many at a time as fit the cache together with what is made of them."""
    rows, size = len(tensors[0]), max(x.numel() for x in tensors)
    if size <= 2 * ELEMENTS_IN_CACHE or tensors[0].device.type != "cpu":
        return [tensors]
    at_once = max(1, rows * ELEMENTS_IN_CACHE // size)
    return zip(*(x.split(at_once) for x in tensors), strict=True)


def peaks(tensors: Sequence[Tensor]) -> Tensor:
    """max|x| of each row of each tensor [T, ...], as [L, T] in their format; NaN where one is."""
    top, bottom = zip(*map(_ends, tensors), strict=True)
    return torch.maximum(torch.stack(top), torch.stack(bottom).neg_())


def squares(tensors: Sequence[Tensor], kept: int = 1) -> tuple[Tensor, Tensor]:
    """Σ(x·2^−e)² over each tensor [T, ...] but its first axes, which are kept, and e, as of `in_range`: float64 [L, T, ...] and [L, T]."""
    exponent, factor = _factors(peaks(tensors))
    found = []
    for x, own in zip(tensors, factor[..., None], strict=True):
        squared = (((rows.flatten(1) * row).square_(), rows.shape[:kept]) for rows, row in pieces(x, own))
        found.append(joined([each.view(*shape, -1).sum(-1) for each, shape in squared]))
    return torch.stack(found).double(), exponent


def in_range(tensors: Sequence[Tensor], peak: Tensor) -> tuple[Iterator[Tensor], Tensor]:
    """x·2^−e with e near log₂ max|x|, for each row of each tensor, exactly; and e.

    Args:
        tensors: [T, ...] each.
        peak: theirs, [L, T].

    Returns:
        The scaled tensors, made one at a time as they are asked for, and e as float64 [L, T]. Rows of zeros keep e = 0;
        non-finite rows stay non-finite.
    """
    exponent, factor = _factors(peak)
    scaled = (x * own.view(-1, *[1] * (x.dim() - 1)) for x, own in zip(tensors, factor, strict=True))
    return scaled, exponent


def _factors(peak: Tensor) -> tuple[Tensor, Tensor]:
    """e, float64, and 2^−e in the peaks' format, both in their shape."""
    # 126 in float32, 1022 in float64: 2 to it is a factor that is finite, and so is its product with anything below one
    furthest = round(-math.log2(torch.finfo(peak.dtype).tiny))
    exponent = torch.frexp(torch.nan_to_num(peak, nan=0.0, posinf=0.0)).exponent.clamp(-furthest, furthest + 1).double()
    return exponent, torch.exp2(-exponent).to(peak.dtype)


def exponents(peak: Tensor) -> Tensor:
    """E with 2^(e−1) ≤ max|x| < 2^e, float64 in the peaks' shape; −inf of zero, 0 where there is no finite one."""
    found = torch.frexp(torch.nan_to_num(peak, nan=0.0, posinf=0.0)).exponent.double()
    return torch.where(peak == 0, -torch.inf, found)


def scale(x: Tensor, exponent: Tensor) -> Tensor:
    """x·2^e, row by row in place; rounded once, where the result is subnormal. Returns x.

    Args:
        x: [R, ...].
        exponent: whole numbers, float64 [R].
    """
    most = math.frexp(torch.finfo(x.dtype).max)[1] - 1
    last = exponent.clamp(1 - most, most)
    for part in ((exponent - last).clamp(1 - most, most), last):
        x.mul_(torch.exp2(part).to(x.dtype).view(-1, *[1] * (x.dim() - 1)))
    return x


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """‖x‖₂ of each row of each tensor [T, n], float64 [L, T], whatever the magnitude."""
    square, exponent = squares(tensors)
    return square.sqrt() * torch.exp2(exponent)


def cosines(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """x·y/(‖x‖‖y‖) of each row of each pair of tensors [T, n], float64 [L, T], whatever the magnitudes; NaN where one of them is zero."""
    pairs = zip(*(in_range(tensors, peaks(tensors))[0] for tensors in (left, right)), strict=True)
    sums = [(dot(x, y), dot(x, x), dot(y, y)) for x, y in pairs]
    product, own, other = (torch.stack(column).double() for column in zip(*sums, strict=True))
    lengths = (own * other).sqrt()
    return torch.where(lengths > 0, product / lengths, torch.nan)


def norm_(x: Tensor) -> Tensor:
    """‖x‖₂ of each row of one tensor [T, ...], float64 [T], whatever the magnitude. What was in x is lost."""
    rows = x.flatten(1)
    peak = torch.maximum(rows.amax(1), rows.amin(1).neg_())
    scaled = rows.div_(torch.where(peak > 0, peak, 1)[:, None])
    return scaled.square_().sum(1).double().sqrt_().mul_(peak)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Of all `pieces`."""
    return torch.cat([*parts]) if len(parts) > 1 else parts[0]


def _ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the smallest of each row of a tensor [T, ...]."""
    rows = [piece.flatten(1) for (piece,) in pieces(x)]
    return joined([own.amax(1) for own in rows]), joined([own.amin(1) for own in rows])


def dot(x: Tensor, y: Tensor) -> Tensor:
    """x·y over the last axis, in their format; the caller has brought both into range."""
    product: Tensor = torch.linalg.vecdot(x, y)
    return product
