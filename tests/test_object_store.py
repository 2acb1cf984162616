"""Artifacts on an object store: a real S3 server over HTTP, reached by URL, with credentials from the environment."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow.parquet as pq
import pytest
from api_server import finish, serving
from api_server import submit as submitted
from test_deployment import free_port
from test_recovery import SPEC, assert_same, kill_worker, numbers, progressed
from test_store_artifacts import as_text, read, row, table, write_all

from service.client import Client
from service.embedded import Stack, StackError
from workers.store import artifacts, merging
from workers.store.files import complaint, folder

BUCKET = "results"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
ELSEWHERE = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


STEPS = 40_000
"""Some slices of training; on a machine without a compiler, many."""


@contextmanager
def object_store(**environment: str) -> Iterator[str]:
    """The address of an S3 server of its own process, with a bucket."""
    port = free_port()
    words = [sys.executable, "-W", "ignore", "-m", "moto.server", "--port", str(port)]
    nowhere = subprocess.DEVNULL
    server = subprocess.Popen(words, env={**os.environ, **environment}, stdout=nowhere, stderr=nowhere)
    try:
        address, patience = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                httpx.put(f"{address}/{BUCKET}").raise_for_status()
                break
            except httpx.TransportError:
                assert server.poll() is None and time.monotonic() < patience, "the object store does not start"
                time.sleep(0.05)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with object_store() as found, pytest.MonkeyPatch.context() as environment:
        for name, value in {**KEYS, **ELSEWHERE}.items():
            environment.setenv(name, value)
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        yield found


@pytest.fixture
def root(address: str, request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return url(address, f"{BUCKET}/{request.node.name.partition('[')[0]}")


def url(address: str, place: str) -> str:
    return f"s3://{place}?scheme=http&endpoint_override={address.removeprefix('http://')}"


def objects(address: str, root: str) -> dict[str, int]:
    """Names below the root and sizes, as another client of S3 sees them; what only stands for a folder is no file."""
    s3 = boto3.client("s3", endpoint_url=address)
    prefix = root.removeprefix(f"s3://{BUCKET}/").partition("?")[0] + "/"
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {item["Key"].removeprefix(prefix): item["Size"] for item in found if not item["Key"].endswith("/")}


def test_what_is_written_is_read_back(address: str, root: str) -> None:
    """Parts in their order and merged, documents, deletion of one comparison and no other; no object is half a file."""
    parts, rows = write_all(root)
    assert set(objects(address, root)) == {f"c/{part.path}" for part in parts}
    assert as_text(read(root, parts)) == as_text(rows)
    artifacts.compact(root, "c", parts)
    artifacts.compact(root, "c", parts)
    artifacts.write_json(root, "c", "result.json", {"good": 1})
    artifacts.write_json(root, "d", "result.json", {})
    assert set(objects(address, root)) == {"c/statistics.parquet", "c/result.json", "d/result.json"}
    assert as_text(read(root, parts)) == as_text(read(root, [])) == as_text(rows)
    with folder(root, "c").reading("result.json") as path:
        assert json.loads(path.read_text()) == {"good": 1}
    artifacts.remove(root, "c")
    artifacts.remove(root, "c")
    assert set(objects(address, root)) == {"d/result.json"}
    assert artifacts.read_curves(root, "c", []).num_rows == 0


def test_reading_goes_on_while_parts_are_merged(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a directory: a reader that has begun on the parts ends on the merged file."""
    monkeypatch.setattr(merging, "ROWS", 4)
    parts, rows = write_all(root)
    reading = artifacts.read_statistics(root, "c", parts)
    found = next(reading).to_pylist()
    artifacts.compact(root, "c", parts)
    for batch in reading:
        found += batch.to_pylist()
    assert as_text(found) == as_text(rows)


def test_a_write_that_fails_leaves_nothing(address: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part nor a beginning of one, and the document that was there stays."""
    artifacts.write_json(root, "c", "result.json", {"good": 1})

    def full(found: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        artifacts.write_part(root, "c", "statistics", "n", table([row(0, 0, 0)]))
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(root, "c", "result.json", {"bad": math.nan})
    assert set(objects(address, root)) == {"c/result.json"}


def test_checkpoints_that_are_superseded_go(address: str, root: str) -> None:
    """As in a directory."""
    names = [artifacts.checkpoint_name(*which) for which in [("a", 1, 5), ("a", 2, 8), ("a", 3, 9), ("ab", 1, 5)]]
    for name in names:
        with folder(root, "c").writing(name) as path:
            path.write_bytes(b"weights")
    artifacts.drop_checkpoints(root, "c", "a", keep=names[1])
    assert set(objects(address, root)) == {f"c/{name}" for name in names[1:]}
    artifacts.drop_checkpoints(root, "c", "a", keep=None)
    assert set(objects(address, root)) == {f"c/{names[3]}"}


def test_a_file_url_is_a_directory(tmp_path: Path) -> None:
    """The same files as under the path."""
    parts, rows = write_all(tmp_path)
    assert as_text(read(tmp_path.as_uri(), parts)) == as_text(rows)
    artifacts.compact(tmp_path.as_uri(), "c", parts)
    assert sorted(path.name for path in (tmp_path / "c").rglob("*")) == ["statistics.parquet"]
    assert complaint(tmp_path.as_uri()) is None and complaint(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_wrong_place_is_told_in_one_line(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not there, a URL that is none; whatever starts says it and ends."""
    right = url(address, f"{BUCKET}/probed")
    assert complaint(right) is None and objects(address, right) == {}
    wrong = {
        url(address, "nowhere/at/all"): "bucket does not exist",
        "s3://": "names no bucket",
        "ftp://host/place": "Unrecognized filesystem",
        f"{right}&colour=red": "Unexpected query parameter",
        "file://host/place": "Unsupported hostname",
    }
    for place, why in wrong.items():
        told = complaint(place)
        assert told is not None and why in told and "\n" not in told
        assert told.startswith(f"PLUMBLINE_ARTIFACTS is {place!r}: ")
    monkeypatch.setenv("PLUMBLINE_DATABASE_URL", f"sqlite:///{tmp_path}/p.db")
    monkeypatch.setenv("PLUMBLINE_ARTIFACTS", url(address, "nowhere/at/all"))
    for command in (["api", "--port", "0"], ["worker"]):
        words = [sys.executable, "-m", "service", *command]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert len(ended.stderr.splitlines()) == 1 and "bucket does not exist" in ended.stderr, ended.stderr
    with pytest.raises(StackError, match="bucket does not exist"), Stack(tmp_path / "data"):
        pass


def test_wrong_credentials_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that checks signatures: a key it does not know, and a secret that is not the key's."""
    for name, value in {**KEYS, **ELSEWHERE}.items():
        monkeypatch.setenv(name, value)
    with object_store(INITIAL_NO_AUTH_ACTION_COUNT="4") as strict:
        iam = boto3.client("iam", endpoint_url=strict)
        iam.create_user(UserName="plumbline")
        allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="plumbline", PolicyName="all", PolicyDocument=json.dumps(allowed))
        key = iam.create_access_key(UserName="plumbline")["AccessKey"]
        for names in ((key["AccessKeyId"], "guess"), ("AKIAUNKNOWN", key["SecretAccessKey"])):
            told = probed(strict, *names)
            assert told.startswith("PLUMBLINE_ARTIFACTS is ") and len(told.splitlines()) == 1
            assert "ACCESS_DENIED" in told or "SIGNATURE" in told or "INVALID" in told
        assert probed(strict, key["AccessKeyId"], key["SecretAccessKey"]) == ""


def test_credentials_in_a_url_are_not_told() -> None:
    told = complaint("s3://key:secret@no-such-bucket-anywhere/p?scheme=http&endpoint_override=127.0.0.1:9")
    assert told is not None and "secret" not in told
    assert told.startswith("PLUMBLINE_ARTIFACTS is 's3://***@no-such-bucket-anywhere/")


def probed(address: str, key: str, secret: str) -> str:
    """What a process with these credentials complains of."""
    code = "import sys; from workers.store.files import complaint; print(complaint(sys.argv[1]) or '', end='')"
    words = [sys.executable, "-c", code, url(address, f"{BUCKET}/probed")]
    own = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    return subprocess.run(words, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_deleting_over_http_deletes_there(address: str, root: str, tmp_path: Path) -> None:
    """The statistics come from the object store, until DELETE takes them away."""
    with serving(tmp_path, artifacts=root) as service:
        made: dict[str, Any] = submitted(service)
        rows = finish(service, made["id"])
        answer = service.client.get(f"/v1/comparisons/{made['id']}/statistics").json()
        assert len(answer["rows"]) == len(rows) > 0
        assert objects(address, root)
        assert service.client.delete(f"/v1/comparisons/{made['id']}").status_code == 204
        assert objects(address, root) == {}


def test_deleting_can_be_repeated_where_the_place_did_not_answer(tmp_path: Path) -> None:
    """503 and nothing forgotten while the artifacts are away; 204 when they are back."""
    place, away = tmp_path / "artifacts", tmp_path / "away"
    with serving(tmp_path, artifacts=str(place)) as service:
        made: dict[str, Any] = submitted(service)
        finish(service, made["id"])
        place.rename(away)
        place.write_text("a file where a directory was")
        refused = service.client.delete(f"/v1/comparisons/{made['id']}")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:plumbline:problem:unavailable")
        place.unlink()
        away.rename(place)
        assert service.client.delete(f"/v1/comparisons/{made['id']}").status_code == 204
        assert list(place.iterdir()) == []


def test_a_killed_worker_is_followed_by_one_that_resumes_from_there(
    address: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole comparisons through Valkey, worker, trainer and HTTP; by AWS_ENDPOINT_URL this time. The same numbers, all there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("PLUMBLINE_ARTIFACTS", root.partition("?")[0])
    monkeypatch.setenv("PLUMBLINE_SLICE_SECONDS", "0.4")
    monkeypatch.setenv("PLUMBLINE_LEASE_SECONDS", "2")
    spec = json.dumps({**SPEC, "optimizers": ["sgd"], "steps": STEPS, "record": {"points": 5}}).encode()
    with Stack(tmp_path / "data") as stack, Client(stack.url) as client:
        undisturbed = client.submit(spec)["id"]
        expected = numbers(client, undisturbed, tmp_path)
        disturbed = client.submit(spec)["id"]
        wait_for_checkpoint(address, root, disturbed)
        progressed(client, disturbed, events=1)
        kill_worker(stack)
        assert_same(numbers(client, disturbed, tmp_path), expected)
        names = {name.partition("/")[2] for name in objects(address, root)}
        assert names == {"comparison.json", "curves.parquet", "result.json", "statistics.parquet", "trials.json"}
        with folder(root, disturbed).reading("comparison.json") as path:
            about = json.loads(path.read_text())
        assert (about["status"], about["spec"]["steps"]) == ("succeeded", STEPS) and about["finished_at"]
    assert not (tmp_path / "data" / "artifacts").exists()


def wait_for_checkpoint(address: str, root: str, comparison: str) -> None:
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        if any(name.startswith(f"{comparison}/checkpoints/") for name in objects(address, root)):
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint reaches the object store")
