"""Variational autoencoder: distributions, priors, posteriors, likelihoods, networks, bounds."""

from .bounds import elbo, iwelbo
from .distributions import (
    AffineMixture,
    Component,
    DefensiveMixture,
    DiagonalNormal,
    DiagonalStudentT,
    LatentDistribution,
    Mixture,
)
from .likelihoods.base import ColumnDistribution, Likelihood
from .likelihoods.bernoulli import BernoulliLikelihood, CrossEntropyLikelihood
from .likelihoods.categorical import CategoricalLikelihood
from .likelihoods.continuous_bernoulli import ContinuousBernoulliLikelihood
from .likelihoods.counts import DiscretizedLogisticLikelihood
from .likelihoods.normal import NormalLikelihood
from .likelihoods.ordinal import CumulativeLogitLikelihood
from .likelihoods.point_mass import PointMassLikelihood
from .likelihoods.product import ProductLikelihood
from .likelihoods.student_t import StudentTLikelihood
from .likelihoods.transformed import TransformedLikelihood
from .networks.conv import ConvDecoder, ConvEncoder, Image
from .networks.mlp import ResidualMLP
from .posteriors import FactorAnalysisPosterior, Family, NormalFamily, StudentTFamily
from .priors import MixturePrior, NormalPrior, Prior, StudentTPrior
from .vae import VAE, Draws

__all__ = [
    "AffineMixture",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ColumnDistribution",
    "Component",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "CrossEntropyLikelihood",
    "CumulativeLogitLikelihood",
    "DefensiveMixture",
    "DiagonalNormal",
    "DiagonalStudentT",
    "DiscretizedLogisticLikelihood",
    "Draws",
    "FactorAnalysisPosterior",
    "Family",
    "Image",
    "LatentDistribution",
    "Likelihood",
    "Mixture",
    "MixturePrior",
    "NormalFamily",
    "NormalLikelihood",
    "NormalPrior",
    "PointMassLikelihood",
    "Prior",
    "ProductLikelihood",
    "ResidualMLP",
    "StudentTFamily",
    "StudentTLikelihood",
    "StudentTPrior",
    "TransformedLikelihood",
    "VAE",
    "elbo",
    "iwelbo",
]
