"""Rules that are not given the gradient: they try places near θ, all on the same batch, and go by the losses there.

d parameters, L the mean loss over the batch, N candidates in a step. Backpropagation only measures how far their estimate agrees with
the gradient.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import FractionGrid, NonNegativeGrid, PositiveGrid, Whole
from workers.contract.optimizers.base import Evaluations, Optimizer, Pattern

Population = Annotated[Whole, Field(ge=4, le=1024, multiple_of=2)]
"""Candidates in a step: half of them may be mirror images of the others. The same in all trials of an optimizer, so no grid."""

BLIND = "it is not given the gradient"


class GradientFree(Optimizer):
    """What rules that are not given the gradient share."""

    pattern: ClassVar[Pattern] = "population"
    refuses: ClassVar[Mapping[str, str]] = {
        "clip": BLIND,
        "sam": BLIND,
        "depth_lr": "its estimate of the gradient is of all layers together",
        "added_decay": "the losses that it goes by are without it",
    }
    family: ClassVar[str] = "gradient-free"


class WithPopulation(GradientFree):
    """What rules that try many candidates share."""

    population: Population = Field(default=32, examples=[32])
    """N, candidates in a step."""

    def per_step(self) -> Evaluations:
        return Evaluations(functions=self.population, gradients=0)


class RandomSearch(WithPopulation):
    """Moves to the best of some random places nearby, if that is better than where it is."""

    kind: Literal["random_search"] = "random_search"
    sigma: PositiveGrid = Field(default=0.01, examples=[0.01, [1e-3, 1e-2, 1e-1]])
    """σ, standard deviation of the candidates."""
    formula: ClassVar[str] = (
        "theta <- the best of theta + sigma*z_i, z_i ~ N(0, I), if its loss on the batch is below theta's; else theta"
    )
    source: ClassVar[str] = "Matyas 1965, Automation and Remote Control 26; a (1+N) evolution strategy of fixed step"

    def per_step(self) -> Evaluations:
        """Its own place is compared, too."""
        return Evaluations(functions=self.population + 1, gradients=0)


class Spsa(GradientFree):
    """Simultaneous perturbation: the gradient from two losses, all parameters shifted up or down at random. Gains that fall."""

    kind: Literal["spsa"] = "spsa"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01, [1e-3, 1e-2]])
    """a, the first gain is a/(A+1)^alpha."""
    c: PositiveGrid = Field(default=0.01, examples=[0.01])
    """Length of the first perturbation, of each parameter."""
    stability: NonNegativeGrid = Field(default=100.0, examples=[100.0])
    """A: about a tenth of the steps, so that early gains may be large and do not fall at once."""
    alpha: NonNegativeGrid = Field(default=0.602, examples=[0.602])
    """How the gain falls; 1 is optimal in the limit, 0 keeps it."""
    gamma: NonNegativeGrid = Field(default=0.101, examples=[0.101])
    """How the perturbation falls."""
    formula: ClassVar[str] = (
        "c_k = c/(k+1)^gamma; D = +-1 at random; g = (L(theta+c_k*D) - L(theta-c_k*D))/(2*c_k)*D; "
        "theta <- theta - lr/(A+k+1)^alpha*g"
    )
    source: ClassVar[str] = "Spall 1992, IEEE TAC 37(3); gains of Spall 1998, IEEE TAES 34(3)"

    def per_step(self) -> Evaluations:
        return Evaluations(functions=2, gradients=0)


class Mezo(GradientFree):
    """MeZO: SGD whose gradient is estimated from two losses, along one random direction drawn anew from its seed."""

    kind: Literal["mezo"] = "mezo"
    lr: PositiveGrid = Field(default=1e-4, examples=[1e-4, [1e-5, 1e-4]])
    """Learning rate."""
    epsilon: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Length of the perturbation, of each parameter on average."""
    formula: ClassVar[str] = (
        "z ~ N(0, I); g = (L(theta+epsilon*z) - L(theta-epsilon*z))/(2*epsilon)*z; theta <- theta - lr*g"
    )
    source: ClassVar[str] = "Malladi et al. 2023 (arXiv:2305.17333), algorithm 1"

    def per_step(self) -> Evaluations:
        return Evaluations(functions=2, gradients=0)


class OpenAiEs(WithPopulation):
    """OpenAI's evolution strategy: a smoothed gradient from mirrored perturbations, weighted by the ranks of their losses."""

    kind: Literal["openai_es"] = "openai_es"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01, [1e-3, 1e-2, 1e-1]])
    """Learning rate."""
    sigma: PositiveGrid = Field(default=0.02, examples=[0.02])
    """σ, standard deviation of the candidates."""
    momentum: FractionGrid = Field(default=0.0, examples=[0.9])
    """Memory of past estimates."""
    ranked: bool = Field(default=True, examples=[True])
    """Losses become centred ranks from -1/2 to 1/2; false: they are taken as they are."""
    formula: ClassVar[str] = (
        "z_i = -z_(i+N/2) ~ N(0, I); g = sum f_i*z_i/(N*sigma), f_i the centred rank of L(theta+sigma*z_i), or itself; "
        "v <- momentum*v + g; theta <- theta - lr*v"
    )
    source: ClassVar[str] = "Salimans et al. 2017 (arXiv:1703.03864), algorithm 1 with mirrored sampling and ranks"


class Snes(WithPopulation):
    """SNES, separable natural evolution strategy: θ and its own spread for each parameter follow the ranks of the candidates' losses."""

    kind: Literal["snes"] = "snes"
    sigma: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1]])
    """σ, standard deviation of the first candidates."""
    eta_mu: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Rate of θ."""
    eta_sigma: NonNegativeGrid = Field(default=1.0, examples=[1.0])
    """Rate of σ, as a multiple of (3 + ln d)/(5√d); 0 keeps it."""
    formula: ClassVar[str] = (
        "z_i ~ N(0, I); u_i = max(0, ln(N/2+1) - ln(rank of L(theta+sigma*z_i)))/sum - 1/N; theta <- theta + eta_mu*sigma*sum u_i*z_i; "
        "sigma <- sigma*exp(eta_sigma*(3+ln d)/(10*sqrt(d))*sum u_i*(z_i^2-1))"
    )
    source: ClassVar[str] = "Schaul, Glasmachers & Schmidhuber 2011 (GECCO); Wierstra et al. 2014 (JMLR 15), table 1"


class SepCmaEs(WithPopulation):
    """sep-CMA-ES: covariance matrix adaptation with a diagonal matrix, in memory and time that grow as the parameters do."""

    kind: Literal["sep_cma_es"] = "sep_cma_es"
    sigma: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1]])
    """σ, standard deviation of the first candidates."""
    formula: ClassVar[str] = (
        "y_i = sqrt(C)*z_i, z_i ~ N(0, I); y = sum w_i*y_i over the best N/2 of L(theta+sigma*y_i), w falling with ln(rank); "
        "theta <- theta + sigma*y; p <- path of y/sqrt(C), sigma <- sigma*exp(c_s/d_s*(|p|/E|N(0, I)| - 1)); q <- path of y; "
        "C <- (1-c)*C + c/m*q^2 + c*(1-1/m)*sum w_i*y_i^2, m = 1/sum w^2"
    )
    source: ClassVar[str] = (
        "Ros & Hansen 2008 (PPSN X); constants of Hansen 2006, The CMA evolution strategy: a comparing review"
    )


class CmaEs(WithPopulation):
    """CMA-ES: covariance matrix adaptation with the whole matrix, which learns how parameters depend on each other; small networks only."""

    kind: Literal["cma_es"] = "cma_es"
    sigma: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1]])
    """σ, standard deviation of the first candidates."""
    most_parameters: ClassVar[int | None] = 500
    instead: ClassVar[str] = "sep_cma_es or snes, which keep a spread for each parameter"
    formula: ClassVar[str] = (
        "y_i = C^(1/2)*z_i, z_i ~ N(0, I); y = sum w_i*y_i over the best N/2 of L(theta+sigma*y_i), w falling with ln(rank), below 0 for "
        "the others; theta <- theta + sigma*y; p <- path of C^(-1/2)*y, sigma <- sigma*exp(c_s/d_s*(|p|/E|N(0, I)| - 1)); q <- path of y; "
        "C <- (1-c_1-c_mu*sum w_i)*C + c_1*q*q^T + c_mu*sum w_i*y_i*y_i^T"
    )
    source: ClassVar[str] = (
        "Hansen 2016, The CMA evolution strategy: a tutorial (arXiv:1604.00772), figure 6 and table 1"
    )


class Pgpe(WithPopulation):
    """PGPE, policy gradients with parameter-based exploration: mirrored candidates, a spread for each parameter, bounded steps."""

    kind: Literal["pgpe"] = "pgpe"
    lr: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1, 1.0]])
    """Length of the step that one estimate makes, over all parameters together."""
    sigma: PositiveGrid = Field(default=0.1, examples=[0.1])
    """σ, standard deviation of the first candidates."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of past steps."""
    max_velocity: PositiveGrid = Field(default=2.0, examples=[2.0])
    """The longest step, as a multiple of lr."""
    lr_sigma: NonNegativeGrid = Field(default=0.1, examples=[0.1])
    """Rate of σ; it changes by a fifth at most. 0 keeps it."""
    formula: ClassVar[str] = (
        "z_i ~ N(0, I); f_i, h_i the centred ranks of L(theta+sigma*z_i), L(theta-sigma*z_i); g = sum (f_i-h_i)*sigma*z_i; "
        "v <- momentum*v + lr*g/|g|, no longer than max_velocity*lr; theta <- theta - v; "
        "sigma <- sigma*(1 - clip(lr_sigma*sum (f_i+h_i)*(z_i^2-1)/N, -0.2, 0.2))"
    )
    source: ClassVar[str] = "Sehnke et al. 2010, Neural Networks 23(4); ClipUp of Toklu et al. 2020 (arXiv:2008.02387)"


class ForwardGradient(GradientFree):
    """Forward gradient: SGD along one random direction, by the loss's slope in that direction."""

    kind: Literal["forward_gradient"] = "forward_gradient"
    lr: PositiveGrid = Field(default=1e-4, examples=[1e-4, [1e-5, 1e-4]])
    """Learning rate."""
    formula: ClassVar[str] = (
        "v ~ N(0, I); s = (L(theta+h*v) - L(theta-h*v))/(2*h), h the cube root of the format's rounding times the weights' size; "
        "theta <- theta - lr*s*v"
    )
    source: ClassVar[str] = "Baydin et al. 2022 (arXiv:2202.08587), algorithm 1; the slope by a central difference"

    def per_step(self) -> Evaluations:
        return Evaluations(functions=2, gradients=0)
