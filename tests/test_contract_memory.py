"""What a shard takes is known before it is built, and refused where it is too much."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from api_server import SPEC, serving

from benchmarks.tensors import peak_bytes
from workers.analysis.protocol import first_round, together, totals
from workers.contract import memory
from workers.contract.checks import Limits, over_memory
from workers.contract.comparison import ComparisonSpec
from workers.contract.memory import Memory, shard_memory
from workers.contract.optimizers import OPTIMIZERS, Optimizer
from workers.contract.plan import Execution, Shard
from workers.engine import evaluation, native, population
from workers.engine.optimizers import RULES, SIZES, Layout
from workers.engine.problems import load
from workers.engine.program import DTYPES
from workers.trainer_process import ENVIRONMENT

MEASURE = """
import json, re, sys, torch
from pathlib import Path
from workers.contract.plan import Execution, Shard
from workers.engine.problems import load
from workers.engine.shard import Training

def bytes_of(name):
    return int(re.search(rf"^{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024

torch.set_num_threads(1)
shard = Shard.model_validate_json(sys.stdin.read())
load(shard.problem, torch.float32, torch.device("cpu"))
torch.bmm(torch.ones(2, 8, 8), torch.ones(2, 8, 8))
before = bytes_of("VmRSS")
path, *chunks = sys.argv[1:]
training = Training(shard, Execution(device="cpu", threads=len(chunks), chunks=map(int, chunks), path=path))
training.advance(shard.steps)
training.tables()
print(bytes_of("VmHWM") - before)
"""
"""Trains a shard in a fresh process, on a path, in chunks of so many trials, and prints by how much its resident set has grown at most."""


def spec(**changes: Any) -> ComparisonSpec:
    known = {
        "problem": "digits",
        "network": {"kind": "mlp", "depth": 2, "width": 8},
        "optimizers": ["adam"],
        "tuning": None,
        "steps": 4,
        "record": {"points": 3},
    }
    return ComparisonSpec.model_validate(known | changes)


def counted(of: ComparisonSpec, compiled: bool = False, at_once: int | None = None) -> list[Memory]:
    """On paper, of the first round's shards."""
    return [
        shard_memory(
            shard.problem,
            shard.network,
            len(shard.trials),
            seeds=len({trial.seed for trial in shard.trials}),
            batch_size=shard.batch_size,
            pattern=shard.pattern,
            precision=shard.precision,
            recorded=len(shard.recorded),
            remembered=memory.remembered_by(
                [(one, sum(t.optimizer == one.label for t in shard.trials)) for one in of.optimizers]
            ),
            statistics=shard.statistics,
            at_once=at_once,
            compiled=compiled,
        )
        for shard in first_round(of).shards
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"kind": "mlp", "depth": 6, "width": 256}, "seeds": 20},
        {"network": {"kind": "mlp", "depth": 6, "width": 256}, "seeds": 20, "optimizers": ["vsgd_fd"]},
        {"network": {"kind": "mlp", "depth": 12, "width": 64}, "seeds": 40, "batch_size": "full"},
        {"network": {"kind": "mlp", "depth": 2, "width": 512}, "seeds": 20, "precision": "float64"},
        {
            "network": {"kind": "mlp", "depth": 2, "width": 64},
            "seeds": 60,
            "record": {"points": 3, "statistics": "full", "intervals": {"curvature": 1}},
        },
    ],
    ids=["parameters", "two gradients", "activations", "float64", "curvature"],
)
def test_the_count_is_about_what_is_taken(changes: dict[str, Any]) -> None:
    """Within a factor of three of what a process grows by, whatever it is that takes most."""
    (shard,) = first_round(spec(**changes)).shards
    taken = grown(shard, "portable", len(shard.trials))
    (count,) = counted(spec(**changes))
    assert taken / 3 < count.bytes < taken * 3, (taken, count)


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
@pytest.mark.parametrize(
    ("problem", "layers"),
    [
        ({"kind": "adding", "length": 100}, [{"kind": "lstm", "hidden_size": 64}]),
        (
            {"kind": "digits", "images": True},
            [{"kind": "conv2d", "out_channels": 16, "padding": 20}, {"kind": "max_pool", "kernel_size": 8}, "flatten"],
        ),
    ],
    ids=["lstm", "convolution"],
)
def test_the_count_is_about_what_compiled_code_takes(problem: dict[str, Any], layers: list[Any]) -> None:
    """As there, where it keeps sequences and images, of a trial on each of two threads."""
    asked = spec(problem=problem, network={"kind": "layers", "layers": layers}, seeds=2, batch_size=128)
    (shard,) = first_round(asked).shards
    if not native.supports(shard):
        pytest.skip("no C++ compiler on this machine")
    taken = grown(shard, "native", 1, 1)
    (count,) = counted(asked, compiled=True)
    assert taken / 3 < count.bytes < taken * 3, (taken, count)


def grown(shard: Shard, path: str, *chunks: int) -> int:
    """What `MEASURE` prints."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path, *map(str, chunks)],
        input=shard.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


RATES: dict[str, Any] = {"kind": "sgd", "lr": [0.1, 0.03, 0.01, 0.003]}

NETWORKS: dict[str, dict[str, Any]] = {
    "dense": {"network": {"kind": "mlp", "depth": 10, "width": 48}, "precision": "float64"},
    "wide": {"network": {"kind": "mlp", "depth": 3, "width": 256}, "optimizers": ["adam", "sgd"], "seeds": 4},
    "residual": {"network": {"kind": "mlp", "depth": 8, "width": 48, "shortcut": "residual"}},
    "layer norm": {"network": {"kind": "mlp", "depth": 8, "width": 48, "normalization": "layer"}, "batch_size": 400},
    "two gradients": {"network": {"kind": "mlp", "depth": 3, "width": 128}, "optimizers": ["vsgd_fd"]},
    "lstm": {
        "problem": {"kind": "adding", "length": 10},
        "network": {"kind": "layers", "layers": [{"kind": "lstm", "hidden_size": 32}]},
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tensors_are_as_counted_on_paper(name: str) -> None:
    """The most that is alive at a time while a shard is built and trained, within a quarter, the heap's part apart; in compiled code, too,
    where it takes that, without what is no tensor there.
    """
    asked = spec(**NETWORKS[name])
    (planned,) = first_round(asked).shards
    load(planned.problem, DTYPES[planned.precision], torch.device("cpu"))
    whole = Execution(device="cpu", threads=1, chunks=[len(planned.trials)])
    paths = ["portable", "native"] if native.supports(planned) else ["portable"]
    for path in paths:
        (count,) = counted(asked, compiled=path == "native")
        taken = peak_bytes(planned, whole.model_copy(update={"path": path}))
        assert taken / 1.25 < count.training < taken * 1.25, (path, taken, count)


RBF = {"kind": "rbf", "out_features": 64, "centres": "k_means", "distance": "scaled"}
GAUSSIAN = {"kind": "activation", "activation": "gaussian"}
CHUNKED: dict[str, dict[str, Any]] = {
    "layer norm": {"network": {"kind": "mlp", "depth": 6, "width": 128, "normalization": "layer"}, "seeds": 6},
    "gru": {
        "problem": {"kind": "adding", "length": 10},
        "network": {"kind": "layers", "layers": [{"kind": "gru", "hidden_size": 32}]},
        "seeds": 6,
    },
    "lsuv": {"network": {"kind": "mlp", "depth": 6, "width": 64, "init": "lsuv"}, "optimizers": [RATES]},
    "k-means": {
        "network": {"kind": "layers", "layers": [RBF, GAUSSIAN, RBF, GAUSSIAN]},
        "optimizers": [RATES],
    },
}


@pytest.mark.parametrize("name", CHUNKED)
def test_tensors_of_a_shard_in_chunks_are_as_counted_on_paper(name: str) -> None:
    """Within a factor of 1.4: scratch is that of one chunk, starts are those of different seeds, the rest is everybody's."""
    asked = spec(**CHUNKED[name])
    (planned,) = first_round(asked).shards
    trials = len(planned.trials)
    taken = peak_bytes(planned, Execution(device="cpu", threads=1, chunks=[2] * (trials // 2)))
    (count,), (whole,) = counted(asked, at_once=2), counted(asked)
    assert taken / 1.4 < count.training < taken * 1.4, (taken, count)
    assert count.training < whole.training


def test_starts_are_counted_by_seed() -> None:
    """As many trials of fewer seeds take less where training inputs are shown, and elsewhere little less: their weights."""
    ratios = []
    for init in ("lsuv", "xavier_normal"):
        network = {"kind": "mlp", "depth": 6, "width": 64, "init": init}
        one, many = (
            counted(spec(network=network, optimizers=[{"kind": "sgd", "lr": rates}], seeds=seeds), compiled=True)
            for rates, seeds in ((RATES["lr"], 1), ([0.1], len(RATES["lr"])))
        )
        ratios.append(many[0].bytes / one[0].bytes)
    assert ratios[0] > 1.5 and ratios[1] < 1.2, ratios


def test_it_grows_with_all_that_takes_memory() -> None:
    """Trials, parameters, batch, precision, a second gradient and recorded steps."""
    (small,) = counted(spec())
    for more in (
        {"seeds": 6},
        {"network": {"kind": "mlp", "depth": 3, "width": 8}},
        {"batch_size": 512},
        {"precision": "float64"},
        {"optimizers": ["vsgd_fd"]},
        {"record": {"points": 5}},
    ):
        (large,) = counted(spec(**more))
        assert large.bytes > small.bytes, more


@pytest.mark.parametrize("model", OPTIMIZERS, ids=lambda model: model.__name__)
def test_no_rule_remembers_more_than_is_counted(model: type[Optimizer]) -> None:
    """With all that it may be asked to remember."""
    rule = RULES[model.model_fields["kind"].default]
    side = 64 if model.most_parameters is None else 21
    layout = Layout.of([((side, side), (side,))])
    theta = torch.zeros(2, layout.columns[-1].stop)
    names = {"beta1", "beta2", "momentum", *model.model_fields}
    hyper = {name: torch.full((2, 1), 0.5, dtype=torch.float64) for name in names}
    flags: dict[str, Any] = {name: True for name, field in model.model_fields.items() if field.annotation is bool}
    flags |= {name: model.model_fields[name].default for name in SIZES if name in model.model_fields}
    state = rule.initial_state(theta, hyper, layout, **flags)
    options: dict[str, Any] = {name: True for name in memory.OPTIONS if name in model.model_fields}
    asked: Any = model.model_construct(None, **options)
    assert sum(tensor.numel() for tensor in state.values()) <= (memory.remembered(asked) + 0.1) * theta.numel()


def test_it_counts_with_the_engines_own_sizes() -> None:
    """The samples of a pass of evaluation, and the candidates of one."""
    assert memory.EVALUATED_AT_ONCE == evaluation.SAMPLES_AT_ONCE
    assert population.ELEMENTS_AT_ONCE["cpu"] == memory.TRIED_AT_ONCE


def test_mirrored_candidates_are_counted_as_such() -> None:
    """The rules that say so are those whose files mirror what they draw."""
    asking = {kind: sys.modules[rule.ask.__module__] for kind, rule in RULES.items() if rule.ask}
    assert {kind for kind, module in asking.items() if hasattr(module, "mirrored")} == set(memory.MIRRORED)


def test_the_largest_round_counts() -> None:
    """Tuning or the reported seeds with the defaults beside them; all rounds together are the comparison's trials."""
    wide = spec(optimizers=["sgd", {"kind": "rmsprop", "lr": [0.1]}], tuning={"points": 5, "seeds": 2}, seeds=3)
    assert together(wide) == {"sgd": 10, "rmsprop": 6}
    many = spec(optimizers=["sgd"], tuning={"points": 5, "seeds": 2}, seeds=30)
    assert together(many) == {"sgd": 60}
    assert totals(many)[0] == 5 * 2 + 60
    plain = spec(optimizers=[{"kind": "sgd", "lr": [0.1, 0.2]}], seeds=4)
    assert together(plain) == {"sgd": 8}
    assert [len(shard.trials) for shard in first_round(plain).shards] == [8]


def test_what_is_too_much_is_pointed_at() -> None:
    """The network that takes too much, with how much that is and what to change; those that fit are not named."""
    large = spec(variants={"wide/r": {"network": {"kind": "mlp", "depth": 2, "width": 512}}})
    small, wide = (count.bytes for count in counted(large))
    limits = Limits(memory_bytes=(small + wide) // 2)
    (told,) = over_memory(large, together(large), limits)
    assert (told.pointer, told.code) == ("/variants/wide~1r/network", "over_limit")
    assert f"about {wide / 2**30:.1f} GiB" in told.message
    assert "5 trials" in told.message
    assert over_memory(large, together(large), Limits(memory_bytes=wide)) == []
    init = spec(variants={"a": {"init": "orthogonal"}})
    assert [wrong.pointer for wrong in over_memory(init, together(init), Limits(memory_bytes=1))] == ["/network"]


def test_a_comparison_that_cannot_fit_is_refused_at_the_door(tmp_path: Path) -> None:
    """422 with the pointer; nothing is recorded."""
    with serving(tmp_path, max_memory_bytes=2**20) as service:
        answer = service.client.post("/v1/comparisons", json=SPEC | {"seeds": 200})
        assert answer.status_code == 422
        (wrong,) = answer.json()["errors"]
        assert (wrong["pointer"], wrong["code"]) == ("/network", "over_limit")
        assert "GiB" in wrong["message"], json.dumps(wrong)
        assert service.client.get("/v1/comparisons").json()["items"] == []
