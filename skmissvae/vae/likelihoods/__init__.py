"""Likelihoods (observation models) of columns, one file per kind."""

from collections.abc import Callable

from .base import Likelihood
from .bernoulli import BernoulliLikelihood, CrossEntropyLikelihood
from .continuous_bernoulli import ContinuousBernoulliLikelihood
from .normal import NormalLikelihood
from .student_t import StudentTLikelihood

#: Likelihoods by name, called with the number of columns and the floor of the scale.
LIKELIHOODS: dict[str, Callable[[int, float], Likelihood]] = {
    "normal": NormalLikelihood,
    "student_t": StudentTLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "cross_entropy": CrossEntropyLikelihood,
}
