"""A preview for the terminal: what the gradient will do, layer by layer. Reads without colour, in 100 columns."""

from math import ceil

from rich import box
from rich.table import Table
from rich.text import Text

from workers.contract.comparison import BASE
from workers.contract.previews import PredictedLayer, Prediction, Preview, PreviewedNetwork

ROWS = 30
"""Layers that are drawn; of deeper networks every so many."""
BAR = 20
BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a cell."""


def pictures(preview: Preview, *, width: int = 100) -> list[Text | Table]:
    """For each variant a line with the verdict, and its layers from the top down with the error signal as a bar."""
    found: list[Text | Table] = []
    networks: dict[str, PreviewedNetwork] = {BASE: preview, **preview.variants}
    if preview.problems:
        networks = {f"{problem}, {name}": one for problem, own in preview.problems.items() for name, one in own.items()}
    for name, network in networks.items():
        size = f"{network.parameters:,} parameters"
        found.append(Text(f"{name}: {_headline(network.prediction)} ({size})", overflow="fold"))
        if network.prediction.layers:
            found.append(_table(network.prediction.layers, wide=width >= 90))
    return found


def cost(preview: Preview) -> str:
    """Trials, memory and time in a line."""
    estimate = preview.estimate
    plural = "s" if estimate.workers > 1 else ""
    time = f", about {_duration(estimate.seconds)} on {estimate.workers} worker{plural}" if estimate.seconds else ""
    memory = f"{estimate.memory_bytes / 2**20:,.0f} MiB"
    return f"{estimate.trials:,} trials, {estimate.steps:,} steps in all, at most {memory} of tensors at a time{time}"


def _headline(prediction: Prediction) -> str:
    if prediction.reason:
        return f"no prediction: {prediction.reason}"
    if prediction.decades_per_layer is None:
        return f"{prediction.verdict} at step 0"
    pace = prediction.decades_per_layer
    moves = (
        "keeps its size"
        if abs(pace) < 0.005
        else f"{'falls' if pace < 0 else 'grows'} by {abs(pace):.2f} decades per layer"
    )
    return f"{prediction.verdict} at step 0, the error signal {moves}"


def _table(layers: list[PredictedLayer], *, wide: bool) -> Table:
    """From the output at the top to the first layer."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), caption_justify="left")
    table.add_column("layer", no_wrap=True, overflow="ellipsis")
    for heading in ("log₁₀ ‖δ‖", *(("± ",) if wide else ()), "log₁₀ ‖∂W‖", "rms z", "1 − corr.", "saturated"):
        table.add_column(heading, justify="left" if heading.endswith("‖δ‖") else "right", no_wrap=True)
    every = ceil(len(layers) / ROWS)
    if every > 1:
        table.caption = f"the output, the first layer, and every {every}th between"
    sizes = [layer.error_signal_log10 for layer in layers if layer.error_signal_log10 is not None]
    low, high = (min(sizes), max(sizes)) if sizes else (0.0, 0.0)
    for place in range(len(layers) - 1, -1, -1):
        layer = layers[place]
        if place % every and place != len(layers) - 1:
            continue
        table.add_row(
            Text(layer.layer),
            Text(f"{_bar(layer.error_signal_log10, low, high)} {_number(layer.error_signal_log10):>6}"),
            *((Text(f"{layer.error_signal_band:.1f}"),) if wide else ()),
            Text(_number(layer.gradient_log10)),
            Text(_power(layer.preactivation_log10_rms)),
            Text(_power(layer.correlation_gap_log10)),
            Text("–" if layer.saturation_fraction is None else f"{layer.saturation_fraction:.0%}"),
        )
    return table


def _bar(size: float | None, low: float, high: float) -> str:
    if size is None:
        return " " * BAR
    filled = BAR * (1.0 if high - low < 1e-9 else (size - low) / (high - low))
    full = int(filled)
    return f"{'█' * full}{BLOCKS[int((filled - full) * 8)] if full < BAR else ''}".ljust(BAR)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _power(log10: float | None) -> str:
    """A number from its logarithm: as it is where it is near 1, else as a power of ten."""
    if log10 is None:
        return "–"
    return f"{10**log10:.3f}" if -2 < log10 < 3 else f"1e{log10:.0f}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
