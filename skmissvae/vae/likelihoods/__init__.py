"""Likelihoods (observation models) of columns, one file per kind."""

from collections.abc import Callable

from .base import ColumnDistribution, Likelihood
from .bernoulli import BernoulliLikelihood, CrossEntropyLikelihood
from .categorical import CategoricalLikelihood
from .continuous_bernoulli import ContinuousBernoulliLikelihood
from .counts import DiscretizedLogisticLikelihood
from .normal import NormalLikelihood
from .ordinal import CumulativeLogitLikelihood
from .point_mass import PointMassLikelihood
from .product import ProductLikelihood
from .student_t import StudentTLikelihood
from .transformed import TransformedLikelihood

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ColumnDistribution",
    "ContinuousBernoulliLikelihood",
    "CrossEntropyLikelihood",
    "CumulativeLogitLikelihood",
    "DiscretizedLogisticLikelihood",
    "LIKELIHOODS",
    "Likelihood",
    "NormalLikelihood",
    "PointMassLikelihood",
    "ProductLikelihood",
    "StudentTLikelihood",
    "TransformedLikelihood",
]

#: Likelihoods by name, called with the number of columns and the floor of the scale.
LIKELIHOODS: dict[str, Callable[[int, float], Likelihood]] = {
    "normal": NormalLikelihood,
    "student_t": StudentTLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "cross_entropy": CrossEntropyLikelihood,
}
