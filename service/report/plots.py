"""The plots of a report, from its material."""

from math import ceil, floor

import numpy as np

from service.report.charts import Chart, Intervals, Line, Map, Maps, Numbers, Panel, Panels, Row
from service.report.material import LOGARITHMIC, ArmMaterial, Material
from workers.analysis.profile import OUTPUT, slope
from workers.analysis.signals import early_step

THEORY = -1
"""Style of what is not measured."""
DECADES_SHOWN = 16
"""Of a common scale, from its top: one underflowed cell must not make all others look alike."""

MAPS: dict[str, tuple[str, str, str, str]] = {
    "error-signal": (
        "error_signal_norm",
        "Error signal",
        "log₁₀ ‖δ‖",
        "What arrives at each layer's pre-activation, the median over seeds. Read a column from the top down: the signal enters "
        "at the output and fades, or not, on its way to the input.",
    ),
    "weight-gradient": (
        "gradient_norm",
        "Weight gradient",
        "log₁₀ ‖g‖",
        "What each layer's parameters see. It can look healthy while the error signal is gone: it is the product of that "
        "signal and of the layer's input.",
    ),
    "saturation": (
        "saturation_fraction",
        "Saturation",
        "share",
        "Share of samples and units whose derivative is below a tenth of its maximum.",
    ),
    "update-to-weight": (
        "update_to_weight_ratio",
        "Update to weight",
        "log₁₀ ‖Δθ‖/‖θ‖",
        "How far one step moves a layer, relative to its size. About −3 is a common pace; the last step has no update.",
    ),
    "sign-flips": (
        "sign_flip_rate",
        "Sign flips",
        "share",
        "Share of gradient elements whose sign is opposite to the previous step's: near a half is noise, near zero a steady "
        "direction, near one overshooting.",
    ),
}
"""By name: statistic, title, unit, caption."""


def charts(material: Material) -> list[Chart]:
    """All that there are numbers for."""
    found: list[Chart | None] = [
        _ranking(material),
        _curves(material),
        *(_maps(material, name) for name in ("error-signal", "weight-gradient")),
        _depths(material, "error_signal_norm", "signal-by-depth", "Error signal against depth", "log₁₀ ‖δ‖"),
        _decades(material),
        _depths(material, "gradient_norm", "gradient-by-depth", "Weight gradient against depth", "log₁₀ ‖g‖"),
        *(_maps(material, name) for name in ("saturation", "update-to-weight", "sign-flips")),
        _budget(material),
        _profiles(material),
    ]
    return [chart for chart in found if chart is not None]


def moments(steps: list[int]) -> dict[str, int]:
    """Step 0, early and late, as the diagnosis has them."""
    return {"at step 0": 0, "early": early_step(steps), "late": max(steps)}


def _ranking(material: Material) -> Intervals | None:
    rows = [
        Row(
            arm.name,
            style,
            loss.iqm,
            loss.iqm if loss.low is None else loss.low,
            loss.iqm if loss.high is None else loss.high,
        )
        for style, arm in enumerate(material.arms)
        if (loss := arm.arm.test_loss).iqm is not None
    ]
    caption = (
        "Interquartile mean over seeds with its 95 % interval, lower is better. Arms whose loss is infinite, since too many "
        "trials diverged, are in the table only."
    )
    return Intervals("ranking", "Test loss", caption, "test loss", rows) if rows else None


def _curves(material: Material) -> Panels | None:
    titles = {"train_loss": "Training loss", "validation_loss": "Validation loss"}
    titles |= {"validation_accuracy": "Validation accuracy"}
    over_evaluations = material.spec.equal == "evaluations"
    x_title = "gradients + 1" if over_evaluations else "step + 1"
    panels = []
    for metric, title in titles.items():
        lines = [
            Line(arm.name, style, curve.steps * _cost(material, arm) + 1, curve.middle, curve.low, curve.high)
            for style, arm in enumerate(material.arms)
            if (curve := arm.curves.get(metric))
        ]
        if lines:
            y_title = metric.partition("_")[2]
            positive = all((line.y[~np.isnan(line.y)] > 0).all() for line in lines)
            panels.append(Panel(title, x_title, y_title, lines, x_log=True, y_log=positive and y_title == "loss"))
    caption = (
        "Interquartile mean over seeds; the band reaches from the lowest seed to the highest. A line ends where so many trials "
        "have diverged that the mean is infinite."
        + (" Steps are drawn by what they cost: a loss alone is a third of a gradient." if over_evaluations else "")
    )
    return Panels("curves", "Loss curves", caption, panels) if panels else None


def _cost(material: Material, arm: ArmMaterial) -> float:
    """What a step counts for on the axis of the curves: its gradients, where evaluations are equal."""
    if material.spec.equal == "steps" or arm.arm.evaluations is None or not arm.arm.steps:
        return 1.0
    return arm.arm.evaluations.cost / arm.arm.steps


def _maps(material: Material, name: str) -> Maps | None:
    statistic, title, unit, caption = MAPS[name]
    maps = [
        Map(arm.name, arm.steps, arm.layers, arm.statistics[statistic])
        for arm in material.arms
        if statistic in arm.statistics and not np.isnan(arm.statistics[statistic]).all()
    ]
    if not maps:
        return None
    low, high = _scale(maps) if statistic in LOGARITHMIC else (0.0, 1.0)
    return Maps(name, title, caption, unit, low, high, maps)


def _scale(maps: list[Map]) -> tuple[float, float]:
    """Whole decades around all that is finite, at most DECADES_SHOWN of them."""
    finite = np.concatenate([one.values[np.isfinite(one.values)] for one in maps])
    if not len(finite):
        return -1.0, 0.0
    high = float(ceil(finite.max()))
    low = max(float(floor(finite.min())), high - DECADES_SHOWN)
    return (low, high) if low < high else (low, low + 1)


def _depths(material: Material, statistic: str, name: str, title: str, unit: str) -> Panels | None:
    arms = [(style, arm) for style, arm in enumerate(material.arms) if statistic in arm.statistics]
    if not arms:
        return None
    panels = []
    for when in ("at step 0", "early", "late"):
        steps = {moments(arm.steps)[when] for _, arm in arms}
        told = f"{when}, step {steps.pop()}" if when != "at step 0" and len(steps) == 1 else when
        lines = [_by_depth(arm, style, statistic, when) for style, arm in arms]
        if when == "at step 0":
            lines += _theory(material, statistic)
        panels.append(Panel(told.capitalize(), "layer, from the input", unit, [line for line in lines if len(line.x)]))
    caption = (
        "The median over seeds, layer by layer. Dashed grey, where there is one: what mean-field theory expects of each "
        "variant at step 0. Layers whose signal is exactly zero or not finite have no point."
    )
    return Panels(name, title, caption, panels)


def _by_depth(arm: ArmMaterial, style: int, statistic: str, when: str) -> Line:
    step = moments(arm.steps)[when]
    if step not in arm.steps:
        return Line(arm.name, style, np.empty(0), np.empty(0))
    column = arm.statistics[statistic][:, arm.steps.index(step)]
    return Line(arm.name, style, np.array(arm.depths, np.float64), np.where(np.isfinite(column), column, np.nan))


def _decades(material: Material) -> Panels | None:
    lines = []
    for style, arm in enumerate(material.arms):
        hidden = [place for place, layer in enumerate(arm.layers) if layer != OUTPUT]
        if "error_signal_norm" not in arm.statistics or len(hidden) < 2:
            continue
        depths = np.array(arm.depths, np.float64)[hidden]
        rising = [slope(depths, norms) for norms in arm.statistics["error_signal_norm"][hidden].T]
        values = np.array([np.nan if one is None else -one for one in rising])
        lines.append(Line(arm.name, style, np.array(arm.steps, np.float64) + 1, values))
    if not lines:
        return None
    caption = (
        "Minus the slope of log₁₀ ‖δ‖ against depth over the hidden layers, as in the diagnosis: at zero the error signal keeps its size "
        "from layer to layer, below it fades on its way to the input, above it grows. A good start may be lost while it trains."
    )
    panel = Panel("All hidden layers", "step + 1", "decades per layer", lines, x_log=True)
    return Panels("decades", "Decades per layer over training", caption, [panel])


def _theory(material: Material, statistic: str) -> list[Line]:
    """One line for each variant that the theory speaks of."""
    found: dict[str, Line] = {}
    for arm in material.arms:
        forecast = arm.arm.diagnosis.predicted_at_step_0 if arm.arm.diagnosis else None
        place = " · ".join(arm.name.split(" · ")[:-1]) or arm.arm.variant
        if forecast is None or not forecast.layers or place in found:
            continue
        depths = dict(zip(arm.layers, arm.depths, strict=True))
        points = [
            (depths[at.layer], at.error_signal_log10 if statistic == "error_signal_norm" else at.gradient_log10)
            for at in forecast.layers
            if at.layer in depths
        ]
        told = [(depth, value) for depth, value in points if value is not None]
        x, y = (np.array(column, np.float64) for column in zip(*told, strict=True)) if told else (np.empty(0),) * 2
        found[place] = Line(f"theory, {place}", THEORY, x, y)
    return list(found.values())


def _profiles(material: Material) -> Panels | None:
    """Over several problems."""
    profiles = material.result.profiles
    if not profiles:
        return None
    single = len({one.variant for one in profiles}) == 1
    lines = [
        Line(
            one.optimizer if single else f"{one.variant} · {one.optimizer}",
            style,
            np.array(one.ratios),
            np.array(one.shares),
            np.array(one.low),
            np.array(one.high),
        )
        for style, one in enumerate(profiles)
    ]
    caption = (
        "The share of runs, problems and seeds, in which an arm reaches the target within so many times the gradients of the "
        "fastest arm; at 1 where it is the fastest, at the right end where it gets there at all. Bands are pointwise 95 % "
        "intervals over seeds."
    )
    panel = Panel("Performance profile", "times the gradients of the fastest", "share of runs", lines, x_log=True)
    return Panels("profile", "Performance profile over problems", caption, [panel])


def _budget(material: Material) -> Panels | None:
    def column(values: list[float | None]) -> Numbers:
        return np.array([np.nan if value is None else value for value in values])

    lines = [
        Line(
            arm.name,
            style,
            np.array([float(point.settings) for point in points]),
            column([point.median for point in points]),
            column([point.low for point in points]),
            column([point.high for point in points]),
        )
        for style, arm in enumerate(material.arms)
        if (points := arm.arm.by_budget)
    ]
    if not lines:
        return None
    caption = (
        "What a smaller tuning budget would have found: the best of so many settings drawn at random from those that ran, by "
        "validation loss; the median of the draws, and a band for the middle half of them."
    )
    panel = Panel("Tuning budget", "settings tried", "validation loss", lines)
    return Panels("tuning-budget", "Performance against the tuning budget", caption, [panel])
