"""`plumbline serve | api | worker | compare | preview | catalogue`."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from service import terminal, terminal_preview
from service.client import Client, Refused
from service.own_data import Given, parted, trained_on
from workers.contract.activations import ACTIVATIONS
from workers.contract.base import Spec
from workers.contract.initialisers import INITIALISERS
from workers.contract.layers import LAYERS
from workers.contract.network import HIDDEN_NORMALIZATIONS, SHORTCUTS
from workers.contract.optimizers import BRIDGED, OPTIMIZERS
from workers.contract.previews import Preview
from workers.contract.problems import PROBLEMS, Loss
from workers.contract.regularizers import REGULARIZERS
from workers.contract.results import Result

main = typer.Typer(
    name="plumbline",
    help="Measures how deep a gradient reaches: trains a network under many optimizers and says why it does or does not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 100)
complaints = Console(stderr=True)

FAMILIES: dict[str, tuple[type[Spec], ...]] = {
    "optimizers": OPTIMIZERS,
    "activations": ACTIVATIONS,
    "layers": LAYERS,
    "normalizations": HIDDEN_NORMALIZATIONS,
    "shortcuts": SHORTCUTS,
    "regularizers": REGULARIZERS,
    "initialisers": INITIALISERS,
    "problems": PROBLEMS,
}

API_GRACE_SECONDS = 10
"""For requests to end once the API is told to stop."""

DataDirectory = Annotated[Path, typer.Option(help="Directory of records and results; it is made if it is not there.")]


DataOrDirectory = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="A data set to train on instead of the spec's problem (npz with x and y, CSV or Parquet), or the directory of records "
        "and results; may be given twice.",
    ),
]
TargetColumns = Annotated[
    list[str] | None, typer.Option("--target", help="Of a table, the column to predict: `target` if left out.")
]
DataLoss = Annotated[
    Loss | None,
    typer.Option(
        help="cross_entropy if the targets are classes, mean_squared_error if quantities; inferred if left out."
    ),
]


@main.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    data: DataDirectory = Path("data"),
) -> None:
    """Keeps the service up on this machine: API, queue and worker, until Ctrl-C."""
    asked = _asked_to_stop()
    with _stack(data, host, port) as url:
        told = f"Plumbline is up at {url} (its manual: {url}/docs). Ctrl-C stops it."
        console.print(told, highlight=False, soft_wrap=True)
        while not asked.wait(1.0):
            pass
        console.print("Stopping.")


@main.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of PLUMBLINE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port, instead of PLUMBLINE_PORT.")] = None,
) -> None:
    """Runs the API alone, for a broker and a database of your own: its settings are PLUMBLINE_* in the environment."""
    _need("service", "fastapi", "sqlalchemy", "uvicorn")
    from service.app import create_app
    from service.embedded import StackError, listen, start_api
    from workers.settings import SettingsError, read_settings
    from workers.store.database import StoreError, open_database
    from workers.store.files import complaint

    asked = _asked_to_stop()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    said = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        with ExitStack() as stack:
            settings = read_settings(**said)
            if wrong := complaint(settings.artifacts):
                raise SettingsError(wrong)
            listener = listen(settings.host, settings.port, stack)
            database = open_database(settings.database_url)
            stack.callback(database.close)
            # Behind a proxy: uvicorn reads in FORWARDED_ALLOW_IPS whose word on scheme and client counts.
            options = {"proxy_headers": True, "timeout_graceful_shutdown": API_GRACE_SECONDS}
            api = start_api(create_app(settings, database), listener, stack, **options)
            told = f"Plumbline's API is up at http://{settings.host}:{listener.getsockname()[1]}"
            console.print(told, highlight=False, soft_wrap=True)
            while not asked.wait(1.0):
                if not api.is_alive():
                    _fail("the API ended by itself: see the messages above")
    except (SettingsError, StoreError, StackError) as error:
        _fail(str(error))


@main.command()
def worker() -> None:
    """Runs one worker, for a broker and a database of your own: see PLUMBLINE_BROKER_URL and PLUMBLINE_DATABASE_URL."""
    _need("worker", "celery", "torch")
    os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606 - the worker is a program of its own


@main.command()
def compare(
    spec: Annotated[Path, typer.Argument(help="The comparison, as JSON: what POST /v1/comparisons takes.")],
    out: Annotated[Path, typer.Option(help="Directory for statistics.parquet, result.json and trials.json.")] = Path(
        "results"
    ),
    data: DataOrDirectory = None,
    target: TargetColumns = None,
    loss: DataLoss = None,
    report: Annotated[Path | None, typer.Option(help="File for the report: one page that needs no network.")] = None,
) -> None:
    """Runs one comparison on this machine, prints its ranking and its gradient, writes its statistics."""
    try:
        body = spec.read_bytes()
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")
    directory, dataset = _data(data or [], target, loss)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _stack(directory or Path("data"), "127.0.0.1", 0) as url, Client(url) as client:
            if dataset is not None:
                body = trained_on(_uploaded(client, dataset), body)
            answer = client.submit(body)
            try:
                answer = _follow(client, answer)
            except KeyboardInterrupt:
                client.cancel(answer["id"])
                _fail("stopped: the comparison is cancelled", status=130)
            if answer["status"] != "succeeded":
                _fail((answer["error"] or {"message": f"the comparison was {answer['status']}"})["message"])
            _show(answer)
            _write(client, answer, out)
            if report is not None:
                report.parent.mkdir(parents=True, exist_ok=True)
                client.download(f"/v1/comparisons/{answer['id']}/report", report)
                told = f"The report: open {report.resolve().as_uri()} in a browser"
                console.print(told, highlight=False, soft_wrap=True)
    except Refused as refusal:
        _fail(f"{spec} was refused: {refusal}")
    except KeyboardInterrupt:
        _fail("stopped", status=130)


@main.command()
def preview(
    spec: Annotated[Path, typer.Argument(help="The comparison, as JSON: what POST /v1/comparisons takes.")],
    url: Annotated[str | None, typer.Option(help="A service to ask: it knows how fast its workers are.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A data set to train on instead of the spec's problem: npz, CSV or Parquet.")
    ] = None,
    target: TargetColumns = None,
    loss: DataLoss = None,
) -> None:
    """Predicts what the gradient of a comparison will do, before anything is trained; in a moment, and on this machine."""
    try:
        body = spec.read_bytes()
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")
    _, dataset = _data([data] if data else [], target, loss)
    found = _asked_preview(url, spec, body, dataset) if url else _own_preview(spec, body, dataset)
    for picture in terminal_preview.pictures(found, width=min(console.width, 120)):
        console.print(picture)
        console.print()
    console.print(Text(terminal_preview.cost(found)), soft_wrap=True)


def _data(given: list[Path], target: list[str] | None, loss: Loss | None) -> tuple[Path | None, Given | None]:
    """The directory of records and the data set that `--data` names."""
    try:
        directory, path = parted(given)
    except ValueError as error:
        _fail(str(error))
    if path is None and (target or loss):
        _fail("--target and --loss say something of a data set: name it with --data")
    return directory, Given(path, target, loss) if path else None


def _uploaded(client: Client, dataset: Given) -> str:
    """The data set's id."""
    try:
        found: str = client.upload(dataset.path, target=dataset.target, loss=dataset.loss)["id"]
    except Refused as refusal:
        _fail(f"{dataset.path} was refused: {refusal}")
    return found


def _asked_preview(url: str, spec: Path, body: bytes, dataset: Given | None) -> Preview:
    try:
        with Client(url) as client:
            if dataset is not None:
                body = trained_on(_uploaded(client, dataset), body)
            return Preview.model_validate(client.preview(body))
    except Refused as refusal:
        _fail(f"{spec} was refused: {refusal}")
    except httpx.TransportError as error:
        _fail(f"{url} does not answer: {error}")


def _own_preview(spec: Path, body: bytes, dataset: Given | None) -> Preview:
    _need("service", "fastapi", "scipy", "sqlalchemy")
    from service import reading
    from service.bodies import parse
    from service.errors import Problem
    from service.previews import preview
    from service.validation import read_comparison
    from workers.contract.checks import Limits
    from workers.settings import read_settings

    asked = spec
    try:
        if dataset is None:
            return preview(read_comparison(parse(body), Limits()), Limits(), [])
        asked, limit = dataset.path, read_settings().max_dataset_bytes
        facts = reading.read(dataset.path, target=dataset.target, loss=dataset.loss, limit=limit).facts
        asked, body = spec, trained_on(dataset.path.name[:64], body)
        return preview(read_comparison(parse(body), Limits(), lambda _: facts), Limits(), [])
    except Problem as problem:
        wrong = "\n".join(f"{item.pointer or item.parameter or 'the body'}: {item.message}" for item in problem.errors)
        _fail(f"{asked} was refused: {wrong or problem.detail}")


@main.command()
def catalogue() -> None:
    """Lists what a comparison can be made of. GET /v1/catalogue says more: parameters, bounds, formulas, sources."""
    for family, specs in FAMILIES.items():
        console.print(Text(family, style="bold"))
        for spec in specs:
            kind = spec.model_fields["kind"].default
            summary = (spec.__doc__ or "").splitlines()[0]
            console.print(Text(f"  {kind:<16} {summary}"), soft_wrap=True)
    console.print(Text("optimizer classes of others", style="bold"))
    console.print(Text(f"  {', '.join(BRIDGED)}"), soft_wrap=True)


def _asked_to_stop() -> threading.Event:
    """Set by Ctrl-C and by SIGTERM."""
    asked = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: asked.set())
    return asked


@contextmanager
def _stack(data: Path, host: str, port: int) -> Iterator[str]:
    _need("service,worker", "fastapi", "sqlalchemy", "uvicorn", "torch")
    from service.embedded import Stack, StackError
    from workers.settings import SettingsError

    try:
        with Stack(data, host=host, port=port) as stack:
            yield stack.url
    except (StackError, SettingsError) as error:
        _fail(str(error))


def _follow(client: Client, answer: dict[str, Any]) -> dict[str, Any]:
    """Shows progress until the comparison has ended. Returns it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        waits = answer["progress"]["waiting"]
        kind = " with a CUDA card" if waits and waits["worker"] == "cuda" else ""
        bar = progress.add_task(f"waiting for a worker{kind}", total=answer["progress"]["steps_total"])
        for event in client.events(answer["id"]):
            if event.kind == "progress":
                eta = event.data.get("eta_seconds")
                left = f", {eta:.0f} s left" if eta else ""
                progress.update(
                    bar,
                    completed=event.data["steps_done"],
                    total=event.data["steps_total"],
                    description=f"{event.data.get('round') or 'training'}: {event.data['trials']} trials{left}",
                )
            elif event.kind == "status" and event.data["status"] != "queued":
                progress.update(bar, description=event.data["status"])
            elif event.kind == "trial":
                told = event.data
                progress.console.print(Text(f"trial {told['trial']} {told['outcome']}", style="yellow"))
        answer = client.comparison(answer["id"])
        if answer["status"] == "succeeded":
            total = answer["progress"]["steps_total"]
            progress.update(bar, completed=total, total=total)
    return answer


def _show(answer: dict[str, Any]) -> None:
    result = Result.model_validate(answer["result"])
    if (overall := terminal.overall(result)) is not None:
        console.print(overall)
        console.print()
    console.print(terminal.ranking(result))
    console.print()
    for warning in terminal.warnings(result):
        console.print(Text(warning))
        console.print()
    for picture in terminal.pictures(result, width=min(console.width, 120)):
        console.print(Text(picture), soft_wrap=True)
        console.print()
    for reason in terminal.reasons(result):
        console.print(Text(reason))
        console.print()


def _write(client: Client, answer: dict[str, Any], out: Path) -> None:
    _write_json(out / "result.json", answer["result"])
    _write_json(out / "trials.json", client.trials(answer["id"]))
    client.download(f"/v1/comparisons/{answer['id']}/statistics", out / "statistics.parquet", format="parquet")
    console.print(f"Written to {out}: statistics.parquet, result.json, trials.json", highlight=False, soft_wrap=True)


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _need(extras: str, *modules: str) -> None:
    """The base install is client and command line; what starts something says what it lacks."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        _fail(f"this needs {', '.join(missing)}, which is not installed: pip install 'plumbline[{extras}]'")


def _fail(message: str, *, status: int = 1) -> NoReturn:
    complaints.print(Text(f"plumbline: {message}"), soft_wrap=True)
    raise typer.Exit(status)
