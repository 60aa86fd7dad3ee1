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
from .likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ColumnDistribution,
    ContinuousBernoulliLikelihood,
    CrossEntropyLikelihood,
    CumulativeLogitLikelihood,
    DiscretizedLogisticLikelihood,
    Likelihood,
    NormalLikelihood,
    PointMassLikelihood,
    ProductLikelihood,
    StudentTLikelihood,
    TransformedLikelihood,
)
from .networks import ConvDecoder, ConvEncoder, Image, ResidualMLP
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
