"""What is known of a comparison before anything is trained: its layers, its size, and what the theory says of its signal."""

from typing import Any, Literal

from pydantic import Field

from workers.contract.results import Verdict, View


class PredictedLayer(View):
    """The forecast for one layer with parameters at step 0. null stands for exactly zero, or for what is not finite."""

    layer: str = Field(examples=["hidden.0.linear"])
    """Path of the layer."""
    depth: int = Field(examples=[0])
    """Its place among the layers with parameters, from 0 at the input."""
    verdict: Verdict = Field(examples=["vanishing"])
    """From the decades that δ has lost or gained between the top hidden layer and this one."""
    error_signal_log10: float | None = Field(examples=[-4.2])
    """log₁₀ of δ's norm over samples and units."""
    error_signal_band: float = Field(examples=[0.12])
    """Standard deviation of that number over draws of the weights, at these widths, to first order in 1/width."""
    gradient_log10: float | None = Field(examples=[-3.4])
    """log₁₀ of the norm of the layer's gradient, weights and biases."""
    chi: float | None = Field(examples=[0.056])
    """E‖δ_l‖²/E‖δ_{l+1}‖²: what this layer passes on; null on the output layer."""
    preactivation_log10_rms: float | None = Field(examples=[-0.29])
    """log₁₀ of the root mean square of z."""
    activation_sample_std: float | None = Field(examples=[0.0031])
    """Standard deviation of the activations over samples, root mean square over units: falls where inputs collapse."""
    correlation: float | None = Field(examples=[0.998])
    """Of two samples' pre-activations."""
    correlation_gap_log10: float | None = Field(examples=[-2.7])
    """log₁₀ of one minus the correlation: below −16 the network cannot tell two inputs apart."""
    saturation_fraction: float | None = Field(examples=[0.02])
    """Share of units with |θ′(z)| below a tenth of its maximum."""


class Prediction(View):
    """What the error signal will do at step 0, by mean-field theory, for the baseline's batch size."""

    verdict: Verdict = Field(examples=["vanishing"])
    """The diagnosis' own word for it."""
    decades_per_layer: float | None = Field(examples=[-0.63])
    """Minus the fitted slope of log₁₀ ‖δ‖ against depth over the hidden layers; negative means vanishing towards the input."""
    decades: float | None = Field(examples=[-3.1])
    """log₁₀ of δ's norm at the bottom hidden layer over that at the top one."""
    reason: str | None = Field(default=None, examples=["the non-linearity jumps near z = 0: nothing can be predicted"])
    """Why there is none; null where there is."""
    layers: list[PredictedLayer] = Field(default=[], examples=[[]])
    """From the input upwards, layers with parameters."""


class PreviewedLayer(View):
    """A layer as it will be built."""

    layer: str = Field(examples=["hidden.0.linear"])
    """Its path."""
    kind: str = Field(examples=["linear"])
    """What it is."""
    in_shape: list[int] = Field(examples=[[64]])
    """What it receives, without trials and samples."""
    out_shape: list[int] = Field(examples=[[64]])
    """What it gives."""
    parameters: int = Field(examples=[4160])
    """Weights and biases."""
    activation: dict[str, Any] | None = Field(default=None, examples=[{"kind": "sigmoid"}])
    """The non-linearity of an activation layer."""
    init: dict[str, Any] | None = Field(default=None, examples=[{"kind": "xavier_normal", "gain": 1.0}])
    """How it starts; null without parameters."""


class PreviewedNetwork(View):
    """One variant."""

    parameters: int = Field(examples=[25610])
    """Of all layers."""
    layers: list[PreviewedLayer] = Field(examples=[[]])
    """From the input upwards."""
    prediction: Prediction = Field(examples=[{"verdict": "vanishing", "decades_per_layer": -0.63, "decades": -3.1}])
    """What its signal will do."""
    gradient_range: Literal["standard", "extended"] = Field(examples=["standard"])
    """What `auto` comes to: extended where the precision will not hold the gradient at the start."""


class Estimate(View):
    """What the comparison will cost."""

    trials: int = Field(examples=[70])
    """Trainings in all rounds, at most."""
    steps: int = Field(examples=[70000])
    """Updates over all trials, at most."""
    memory_bytes: int = Field(examples=[41_943_040])
    """Tensors of the largest group of trials that train together, at the worst moment."""
    flops: float = Field(examples=[1.2e12])
    """Operations, with what is not a matrix product counted by the time it takes."""
    seconds: float | None = Field(examples=[35.0])
    """On the workers that are up, if they do nothing else, within a factor of two or so; null where none is up that can take it."""
    workers: int = Field(examples=[1])
    """How many of those that are up can share it."""


class Preview(PreviewedNetwork):
    """Everything that is known before training. The network as given at the top, the variants below."""

    variants: dict[str, PreviewedNetwork] = Field(examples=[{}])
    """By name, `base` not among them."""
    problems: dict[str, dict[str, PreviewedNetwork]] = Field(default={}, examples=[{}])
    """The same for each of several problems, by name of the problem and of the variant; what is above is on the first. Empty for one."""
    estimate: Estimate = Field(
        examples=[
            {"trials": 70, "steps": 70000, "memory_bytes": 41943040, "flops": 1.2e12, "seconds": 35.0, "workers": 1}
        ]
    )
    """Trials, memory and time."""
    spec: dict[str, Any] = Field(
        examples=[{"problem": {"kind": "digits"}, "network": {"kind": "mlp", "depth": 6, "width": 64}}]
    )
    """The request with every default filled in."""
