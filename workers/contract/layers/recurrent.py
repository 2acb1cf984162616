"""Layers that go through a sequence (S, I) step by step, with H units that remember: h_0 = 0. Products without a sign are elementwise."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from workers.contract.activations import FixedActivationSpec
from workers.contract.base import Number, Whole
from workers.contract.initialisers import InitSpec, Orthogonal
from workers.contract.layers.layer import DoesNotFit, Shape, Weighted, words
from workers.contract.nonlinearities import Sigmoid, Tanh

MAX_UNITS = 8192


class _Recurrent(Weighted):
    """The parameters of all gates lie one after another, in torch's order. What weighs the input starts as the network says."""

    gates: ClassVar[int]
    """Pre-activations of a unit."""
    remembered: ClassVar[int]
    """Numbers kept of a unit and step for the pass backward, beside the pre-activations and their error signal."""

    hidden_size: Annotated[Whole, Field(ge=1, le=MAX_UNITS)] = Field(examples=[64])
    """H."""
    output: Literal["last", "sequence"] = Field(default="last", examples=["sequence"])
    """What comes out: h after the last step, H features; or h after every step, which another recurrent layer can take."""
    activation: FixedActivationSpec = Field(default=Tanh(), examples=["tanh"])
    """theta, of the units."""
    recurrent_init: InitSpec = Field(default=Orthogonal(), examples=["orthogonal"])
    """How the matrices U start that weigh h, each gate's by itself; the biases are the input's."""
    bias: bool = Field(default=True, strict=True, examples=[True])
    """Whether there are biases."""

    @model_validator(mode="after")
    def _gain_is_a_number(self) -> Self:
        if self.recurrent_init.gain == "critical":
            raise ValueError("there is no critical gain through time here: give recurrent_init a number")
        return self

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise DoesNotFit(
                f"runs over the steps of a sequence and receives {words(shape)}: put an unflatten to [steps, features] before it, "
                'or say "output": "sequence" of a recurrent layer there'
            )
        return (self.hidden_size,) if self.output == "last" else (shape[0], self.hidden_size)

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        rows = self.gates * self.hidden_size
        weights = (rows, shape[1]), (rows, self.hidden_size)
        return (*weights, (rows,)) if self.bias else weights

    def positions(self, shape: Shape) -> int:
        """At every step."""
        return shape[0]

    workspace_stays: ClassVar[bool] = True

    def workspace(self, shape: Shape) -> int:
        steps, into = shape
        return steps * (into + (2 * self.gates + self.remembered) * self.hidden_size)


class Rnn(_Recurrent):
    """h_t = theta(W x_t + U h_{t-1} + b)."""

    kind: Literal["rnn"] = "rnn"
    gates: ClassVar[int] = 1
    remembered: ClassVar[int] = 1
    formula: ClassVar[str] = "h_t = theta(W x_t + U h_(t-1) + b)"
    source: ClassVar[str] = "Elman 1990; torch.nn.RNN, of any non-linearity and one bias"


class _Gated(_Recurrent):
    gate_activation: FixedActivationSpec = Field(default=Sigmoid(), examples=["hard_sigmoid"])
    """sigma, of the gates."""


class Gru(_Gated):
    """h_t = (1 - z) n + z h_{t-1}, with a reset gate r in the new state n and an update gate z."""

    kind: Literal["gru"] = "gru"
    gates: ClassVar[int] = 3
    remembered: ClassVar[int] = 4
    formula: ClassVar[str] = (
        "r, z = sigma(W x_t + U h_(t-1) + b); n = theta(W_n x_t + b_n + r*(U_n h_(t-1) + c)); h_t = (1 - z)*n + z*h_(t-1)"
    )
    source: ClassVar[str] = "Cho et al. 2014; torch.nn.GRU, whose two biases of r and of z are one here"

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return (*super().tensors(shape), (self.hidden_size,)) if self.bias else super().tensors(shape)


class Lstm(_Gated):
    """c_t = f c_{t-1} + i g, h_t = o theta(c_t), with gates i, f, o and the candidate g."""

    kind: Literal["lstm"] = "lstm"
    gates: ClassVar[int] = 4
    remembered: ClassVar[int] = 4
    formula: ClassVar[str] = (
        "i, f, o = sigma(W x_t + U h_(t-1) + b); g = theta(W_g x_t + U_g h_(t-1) + b_g); c_t = f*c_(t-1) + i*g; h_t = o*theta(c_t)"
    )
    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997; Gers et al. 2000 for f; torch.nn.LSTM with one bias"
    forget_bias: Number = Field(default=1.0, ge=-50, le=50, examples=[1.0])
    """What is added to the bias of f before training; positive remembers. Without biases it must be 0."""

    @model_validator(mode="after")
    def _forget_bias_has_a_place(self) -> Self:
        if not self.bias and self.forget_bias:
            raise ValueError("a forget_bias without biases has no place: leave the biases in, or set it to 0")
        return self
