"""Problems, splits, batches, and the randomness by name that all of them draw from."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from sklearn import datasets
from torch import Tensor

from workers.contract.problems import Digits, ProblemSpec, Teacher, split_sizes
from workers.engine.batches import Batches, permutations
from workers.engine.problems import PROBLEMS, Data, Split, built_in, load
from workers.engine.problems.scaling import standardised
from workers.engine.seeding import derive, numpy_generator, torch_generator, uniform

_problem: TypeAdapter[Any] = TypeAdapter(ProblemSpec)

CASES: list[Any] = [
    *PROBLEMS,
    {"kind": "spirals", "classes": 3, "count": 100, "noise": 0.0},
    {"kind": "copy", "tokens": True, "alphabet": 3, "span": 2, "delay": 0, "count": 90},
    {"kind": "temporal_order", "length": 10, "tokens": True},
    {"kind": "teacher", "inputs": 3, "targets": 4, "depth": 1, "width": 5, "activation": "relu", "count": 77},
]

IN_SKLEARN = {
    "digits": datasets.load_digits,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
}


def loaded(case: Any) -> tuple[Any, Data]:
    spec = _problem.validate_python(case)
    return spec, load(spec, torch.float64, torch.device("cpu"))


def splits(data: Data) -> list[Split]:
    return [data.training, data.validation, data.test]


def case_name(case: Any) -> str:
    return case if isinstance(case, str) else f"another {case['kind']}"


@pytest.mark.parametrize(
    ("read", "load"),
    [
        (built_in.wine, datasets.load_wine),
        (built_in.breast_cancer, datasets.load_breast_cancer),
        (lambda spec: built_in.digits(Digits()), datasets.load_digits),
    ],
)
def test_files_are_read_as_scikit_learn_reads_them(read: Any, load: Any) -> None:
    """Bit for bit."""
    x, y = read(None)
    assert np.array_equal(x, load().data) and np.array_equal(y, load().target)
    assert x.flags["C_CONTIGUOUS"] and x.dtype == np.float64 and y.dtype == np.int64


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_is_what_the_contract_says(case: Any) -> None:
    """Samples, features and outputs, sizes of the splits, and the kind of target are those that the contract promises."""
    spec, data = loaded(case)
    sizes = [len(split.x) for split in splits(data)]
    assert sizes == list(split_sizes(spec.samples)) and sizes[0] == spec.training_samples
    assert sizes[0] == math.floor(spec.samples * 0.6 + 1e-9) and sum(sizes) == spec.samples
    for split in splits(data):
        assert split.x.shape[1:] == spec.shape and split.x[0].numel() == spec.features
        if spec.loss == "cross_entropy":
            assert split.y.dtype == torch.int64
            assert set(split.y.tolist()) == set(range(spec.outputs))
        else:
            assert split.y.shape == (len(split.x), spec.outputs)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_is_standardised_on_the_training_split_only(case: Any) -> None:
    """There, every column has mean 0 and deviation 1, or is constant; elsewhere it does not come out exactly so."""
    spec, data = loaded(case)
    columns = [(data.training.x, data.test.x)] if spec.standardised else []
    if data.training.y.is_floating_point():
        columns.append((data.training.y, data.test.y))
    for training, test in columns:
        deviation = training.std(0, correction=0)
        varying = deviation > 0
        torch.testing.assert_close(training.mean(0), torch.zeros_like(deviation), rtol=0, atol=1e-10)
        torch.testing.assert_close(deviation[varying], torch.ones_like(deviation[varying]), rtol=1e-9, atol=0)
        assert (test.std(0, correction=0) - 1)[varying].abs().max() > 1e-3


@pytest.mark.parametrize("kind", IN_SKLEARN)
def test_splits_part_the_samples(kind: str) -> None:
    """Every sample of scikit-learn's is in one split, up to one shift and scale of each column."""
    _, data = loaded(kind)
    bunch = IN_SKLEARN[kind]()
    together = torch.cat([split.x for split in splits(data)]).numpy()
    targets = torch.cat([split.y.flatten() for split in splits(data)]).numpy()
    column = int(np.argmax([len(np.unique(values)) for values in bunch.data.T]))
    ours, theirs = np.argsort(together[:, column], kind="stable"), np.argsort(bunch.data[:, column], kind="stable")
    for mine, other in [
        (together[ours, column], bunch.data[theirs, column]),
        (np.sort(targets), np.sort(bunch.target)),
    ]:
        slope, shift = np.polyfit(other, mine, 1)
        np.testing.assert_allclose(other * slope + shift, mine, rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_is_fixed_by_its_name(case: Any) -> None:
    """Made anew, all splits are bit for bit as before, whatever else is drawn in between."""
    spec, data = loaded(case)
    np.random.default_rng(0).random(3)
    torch.manual_seed(1)
    raw = PROBLEMS[spec.kind](spec)
    again = PROBLEMS[spec.kind](spec)
    assert all(np.array_equal(one, other) for one, other in zip(raw, again, strict=True))
    for one, other in zip(splits(data), splits(loaded(case)[1]), strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def made(case: dict[str, Any]) -> tuple[Any, Any]:
    spec = _problem.validate_python(case)
    return PROBLEMS[spec.kind](spec)


def test_adding_marks_one_number_in_each_half() -> None:
    x, y = made({"kind": "adding", "length": 7, "count": 400})
    marks = x[:, :, 1]
    assert set(np.unique(marks)) == {0, 1} and (marks[:, :3].sum(1) == 1).all() and (marks[:, 3:].sum(1) == 1).all()
    assert marks.any(0).all() and x.min() >= 0 and x.max() <= 1
    np.testing.assert_allclose(y[:, 0], (x[:, :, 0] * marks).sum(1))
    assert y.var() == pytest.approx(1 / 6, rel=0.2)


def test_copy_asks_for_one_of_the_symbols() -> None:
    """Symbols, blanks, and the question; one-hot says the same as tokens, and nothing but the symbol asked for decides."""
    case = {"kind": "copy", "alphabet": 4, "span": 3, "delay": 5, "count": 300}
    tokens, label = made({**case, "tokens": True})
    assert tokens.shape == (300, 9) and (tokens[:, 3:8] == 4).all() and set(tokens[:, 8]) == {5, 6, 7}
    assert (label == tokens[np.arange(300), tokens[:, 8].astype(int) - 5]).all() and set(label) == set(range(4))
    one_hot, again = made(case)
    assert one_hot.shape == (300, 9, 8) and (one_hot.argmax(2) == tokens).all() and (again == label).all()
    assert (one_hot.sum(2) == 1).all()


def test_parity_is_that_of_the_bits() -> None:
    bits, odd = made({"kind": "parity", "length": 5, "count": 200, "tokens": True})
    assert odd.tolist() == [int(sum(row)) % 2 for row in bits] and 0.4 < odd.mean() < 0.6


def test_temporal_order_is_that_of_two_steps() -> None:
    """E opens and B ends, X and Y stand from .1 to .2 and from .5 to .6 of the way only, and all four orders occur."""
    tokens, order = made({"kind": "temporal_order", "length": 40, "count": 400, "tokens": True})
    assert (tokens[:, 0] == 4).all() and (tokens[:, -1] == 5).all()
    told = tokens >= 6
    assert (told.sum(1) == 2).all() and (told[:, 4:8].sum(1) == 1).all() and (told[:, 20:24].sum(1) == 1).all()
    assert order.tolist() == [int(2 * (a - 6) + (b - 6)) for a, b in (row[row >= 6] for row in tokens)]
    assert set(order) == {0, 1, 2, 3} and set(np.unique(tokens[:, 1:4])) == {0, 1, 2, 3}


def test_digits_are_split_as_ever() -> None:
    """The first labels of the training split, so that a change of the split does not go unnoticed."""
    assert loaded("digits")[1].training.y[:10].tolist() == [9, 3, 9, 5, 2, 9, 2, 9, 0, 7]


def test_spirals_lie_on_spirals() -> None:
    """Without noise, radius and angle of every point are those of its class's arm, and classes are of equal size."""
    spec = _problem.validate_python({"kind": "spirals", "classes": 4, "count": 400, "turns": 2.0, "noise": 0.0})
    x, label = PROBLEMS["spirals"](spec)
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    turns = angle / (2 * np.pi) - 2.0 * radius - label / 4
    np.testing.assert_allclose(turns, turns.round(), rtol=0, atol=1e-9)
    assert radius.max() <= 1
    assert np.bincount(label).tolist() == [100] * 4


def test_noise_is_what_is_added() -> None:
    """Spirals with noise are those without, moved by normal numbers of that deviation; so is the teacher, in units of its output."""
    clean, noisy = (
        PROBLEMS["spirals"](_problem.validate_python({"kind": "spirals", "count": 4000, "noise": noise}))[0]
        for noise in (0.0, 0.1)
    )
    assert (noisy - clean).std() == pytest.approx(0.1, rel=0.05)
    x, y = PROBLEMS["teacher"](Teacher(count=4000))
    again, moved = PROBLEMS["teacher"](Teacher(count=4000, noise=0.5))
    assert np.array_equal(x, again)
    assert (moved - y).std() == pytest.approx(0.5 * y.std(), rel=0.05)


def test_teachers_differ_by_their_draw() -> None:
    """`draw` names another teacher; a tanh network of one layer can be its student exactly."""
    one, other = (PROBLEMS["teacher"](Teacher(draw=draw))[1] for draw in (0, 1))
    assert abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) < 0.15
    x, y = PROBLEMS["teacher"](Teacher(inputs=2, depth=1, width=3, activation="identity", count=100))
    assert np.linalg.lstsq(x, y, rcond=None)[1].sum() < 1e-20


def batches(size: int, seeds: list[int], samples: int = 103) -> Batches:
    """Of inputs that are the numbers of their samples."""
    numbers = torch.arange(samples)
    return Batches(Split(numbers[:, None].double(), numbers), size, seeds, permutations(len(numbers)))


@pytest.mark.parametrize("size", [1, 10, 50, 51, 52, 102])
def test_an_epoch_sees_every_sample_at_most_once(size: int) -> None:
    """N // B steps through a permutation of its own; inputs and targets belong together."""
    steps = 103 // size
    drawn = batches(size, [0, 1])
    epochs = []
    for epoch in range(3):
        parts = [drawn.at(epoch * steps + place) for place in range(steps)]
        for x, y in parts:
            assert x.shape == (2, size, 1) and torch.equal(x[..., 0].long(), y)
        seen = torch.cat([y for _, y in parts], 1)
        assert all(len(set(row.tolist())) == steps * size for row in seen)
        epochs.append(seen)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0][0], epochs[0][1])


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    """Asked in any order, among any other seeds, the same samples come."""
    forwards, backwards, other = batches(10, [0, 1, 0]), batches(10, [0, 1, 0]), batches(10, [7, 1])
    seen = {step: forwards.at(step)[1] for step in range(25)}
    for step in reversed(range(25)):
        assert torch.equal(backwards.at(step)[1], seen[step])
        assert torch.equal(other.at(step)[1][1], seen[step][1])
        assert torch.equal(seen[step][0], seen[step][2])


def test_the_full_batch_is_the_split_in_its_order() -> None:
    """For every seed and step, and without a copy for each trial."""
    whole = batches(103, [0, 1])
    for step in (0, 5):
        x, y = whole.at(step)
        assert y.tolist() == [list(range(103))] * 2
        assert x.untyped_storage().data_ptr() == whole.split.x.untyped_storage().data_ptr()


def test_keys_are_the_same_everywhere_and_ever() -> None:
    """Pinned to half of what b2sum -l 64 says of the names: a change would silently give every comparison other numbers."""
    assert derive(0, "batches", 3) == 4767495346033377176
    assert derive(0, "init", "hidden.0.linear", "weight") == 91002354641547882


def test_names_make_streams() -> None:
    """Purposes, seeds and their boundaries tell streams apart; a name gives the same stream again."""
    names: list[tuple[Any, ...]] = [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (0, "a", 1),
        (0, "a1"),
        (0, "a", "1", ""),
        (1, "a", 1),
    ]
    assert len({derive(*name) for name in names}) == len(names)
    assert all(0 <= derive(*name) < 2**63 for name in names)
    assert torch.equal(
        torch.rand(4, generator=torch_generator(3, "x")), torch.rand(4, generator=torch_generator(3, "x"))
    )
    assert numpy_generator(3, "x").random() == np.random.Generator(np.random.Philox(key=derive(3, "x"))).random()
    assert numpy_generator(3, "x").random() == numpy_generator(3, "x").random() != numpy_generator(3, "y").random()


def drawn(keys: list[int], step: int, count: int) -> Tensor:
    return uniform(torch.tensor(keys), torch.tensor(step), count)


def test_uniform_numbers_are_uniform() -> None:
    """Moments, a χ² over 256 bins, and the correlation of neighbours, over keys and steps that follow each other closely."""
    values = torch.cat([drawn([derive(0, "dropout", "a"), 1, 2], step, 20_000) for step in range(5)], 1).double()
    for row in values:
        n = row.numel()
        assert (row >= 0).all() and (row < 1).all()
        assert abs(row.mean().item() - 0.5) < 5 * math.sqrt(1 / 12 / n)
        assert abs(row.square().mean().item() - 1 / 3) < 5 * math.sqrt(4 / 45 / n)
        counts = torch.histc(row, 256, 0, 1)
        assert ((counts - n / 256) ** 2 / (n / 256)).sum() < 255 + 5 * math.sqrt(2 * 255)
        for lag in (1, 2, 64):
            assert abs(torch.corrcoef(torch.stack([row[lag:], row[:-lag]]))[0, 1].item()) < 5 / math.sqrt(n)


def test_keys_and_steps_are_independent() -> None:
    """Streams of neighbouring keys and of neighbouring steps are uncorrelated; a trial's does not depend on its neighbours."""
    n = 20_000
    streams = torch.cat([drawn([5, 6, 5 + 2**32], step, n) for step in (0, 1, 1000)]).double()
    correlations = torch.corrcoef(streams) - torch.eye(9)
    assert correlations.abs().max().item() < 5 / math.sqrt(n)
    assert torch.equal(drawn([9, 6], 1, 10)[1], drawn([6], 1, 10)[0])


def test_steps_are_no_shifted_copies_of_each_other() -> None:
    """Among 2000 steps of 8192 numbers, none holds the beginning of another."""
    steps, count = 2000, 8192
    key = [derive(0, "dropout", "hidden.0.dropout")]
    numbers = torch.cat([drawn(key, step, count) for step in range(steps)]).double().mul_(2**24).long().numpy()
    beginnings = {tuple(row) for row in numbers[:, :3].tolist()}
    first = np.zeros(2**24, dtype=bool)
    first[numbers[:, 0]] = True
    for row, place in np.argwhere(first[numbers[:, 1:-2]]):
        assert tuple(numbers[row, place + 1 : place + 4].tolist()) not in beginnings


def test_digits_as_images() -> None:
    """(1, 8, 8), the same samples in the same splits, one scale for all pixels: mean 0 and deviation 1 over all of them."""
    spec, data = loaded({"kind": "digits", "images": True})
    assert spec.shape == (1, 8, 8) == data.training.x.shape[1:]
    assert data.training.x.mean().item() == pytest.approx(0, abs=1e-12)
    assert data.training.x.std(correction=0).item() == pytest.approx(1)
    whole = torch.cat([split.x for split in splits(data)]).flatten(1)
    flat = torch.cat([split.x for split in splits(loaded("digits")[1])])
    varying = flat.std(0) > 1e-6
    one, other = (x[:, varying] - x[:, varying].mean(0) for x in (whole, flat))
    same = torch.nn.functional.cosine_similarity(one, other, dim=0)
    torch.testing.assert_close(same, torch.ones_like(same))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_that_varies_by_its_rounding_is_constant(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(0)
    rounding = float(np.finfo(dtype).eps)
    x = np.stack([0.1 * (1 + rounding * rng.integers(-1, 2, 50)), rng.normal(size=50)], 1).astype(dtype)
    found = standardised(x, np.arange(50), 30, torch.float64)
    assert found[:, 0].abs().max() < 1e-6 and found[:30, 1].std(correction=0).item() == pytest.approx(1)
