"""From the parameters of an estimator to the modules of its model."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from ..tables.codecs import CODED
from ..tables.column_selection import column_index
from ..tables.schema import ColumnSchema
from ..vae.likelihoods import LIKELIHOODS
from ..vae.likelihoods.base import Likelihood
from ..vae.likelihoods.categorical import CategoricalLikelihood
from ..vae.likelihoods.counts import DiscretizedLogisticLikelihood
from ..vae.likelihoods.normal import NormalLikelihood
from ..vae.likelihoods.ordinal import CumulativeLogitLikelihood
from ..vae.likelihoods.point_mass import PointMassLikelihood
from ..vae.likelihoods.product import ProductLikelihood
from ..vae.likelihoods.transformed import TransformedLikelihood
from ..vae.networks.conv import ConvDecoder, ConvEncoder, Image
from ..vae.networks.mlp import ResidualMLP
from ..vae.posteriors import (
    POSTERIORS,
    FactorAnalysisPosterior,
    Family,
    NormalFamily,
    StudentTFamily,
)
from ..vae.priors import PRIORS, Prior
from ..vae.vae import VAE

T = TypeVar("T")


LikelihoodOption = str | Callable[[int], Likelihood]


Network = Callable[[int, int], nn.Module]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that is needed to build a model anew; the names are those of the parameters.

    Only ``likelihood`` is resolved already: each observation model with the modelled columns
    that it holds for.
    """

    facts: tuple[ColumnSchema, ...]
    n_latents: int
    K: int
    likelihood: list[tuple[LikelihoodOption, list[int]]]
    min_scale: float
    n_hidden: int
    n_blocks: int
    dropout: float
    linear_path: bool
    guided: bool
    prior: str | Callable[[int], Prior]
    posterior: str | Callable[[int, int], Family]
    encoder: Network | None
    decoder: Network | None
    image_shape: tuple[int, ...] | None
    places: tuple[int, ...]  # of the modelled columns among all

    @property
    def is_stackable(self) -> bool:
        """Whether ``ensembles.Stack`` takes such models: all modules are ours, none is for images.

        Those of others may change their buffers, and convolutions keep a GPU busy as they are.
        """
        options = self.prior, self.posterior, *(option for option, _ in self.likelihood)
        networks = self.encoder, self.decoder, self.image_shape
        return all(isinstance(option, str) for option in options) and networks == (None,) * 3

    def build(self) -> VAE:
        """Return an untrained model, on the CPU whatever torch's default device is."""
        with torch.device("cpu"):
            return self._build()

    def _build(self) -> VAE:
        likelihood, prior = self._likelihood(), self._prior()
        family = self._family(prior)
        encoder = self._encoder(family, likelihood)
        decoder = self._decoder(likelihood)
        coordinates = None
        if self.guided and likelihood.n_linear:
            coordinates = FactorAnalysisPosterior(likelihood.n_linear, self.n_latents)
        return VAE(encoder, decoder, prior, family, likelihood, coordinates)

    def build_completed(self, vae: VAE) -> VAE:
        """Return the model with an untrained encoder of its own for completed rows.

        Its posterior has one component; all but encoder and family are shared.
        """
        with torch.device("cpu"):
            family = dataclasses.replace(self, K=1)._family(vae.prior)
            encoder = self._encoder(family, vae.likelihood)
        return VAE(encoder, vae.decoder, vae.prior, family, vae.likelihood)

    def check_networks(self, vae: VAE, device: torch.device) -> None:
        """Raise where networks of the user's do not take and give as many numbers as they must.

        Each is asked once, in evaluation mode, for two rows of zeros; what it draws on the way is
        put back.
        """
        n_seen = vae.likelihood.n_inputs + vae.likelihood.n_columns
        own = ("encoder", self.encoder, vae.encoder, n_seen, vae.family.n_params)
        other = ("decoder", self.decoder, vae.decoder, self.n_latents, vae.likelihood.n_params)
        for parameter, given, network, n_in, n_out in (own, other):
            if given is None:
                continue
            wanted = f"Parameter {parameter!r} must make a network from {n_in} numbers to {n_out}"
            rows = torch.zeros(2, n_in, device=device)
            if device.type != "cpu":
                network = copy.deepcopy(network).to(device)
            try:
                with torch.no_grad(), torch.random.fork_rng([device] if rows.is_cuda else []):
                    found = tuple(network(rows).shape)
            except Exception as error:  # the user's own, which is not ours to name otherwise
                error.add_note(f"{wanted}.")
                raise
            if found != (len(rows), n_out):
                raise ValueError(f"{wanted}; of {tuple(rows.shape)} it makes {found}.")

    def changes(self, other: ModelSpec) -> list[str]:
        """Return the names of what another model would have otherwise."""
        # whether there is a guide was decided when the model began; places follow from the table
        follow = ("guided", "places")
        names = [field.name for field in dataclasses.fields(self) if field.name not in follow]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def _likelihood(self) -> Likelihood:
        parts = [
            _part(option, [self.facts[d] for d in columns], self.min_scale)
            for option, columns in self.likelihood
        ]
        if not parts:  # no column varies
            return NormalLikelihood(0)
        if len(parts) == 1:
            return parts[0]
        return ProductLikelihood(parts, [columns for _, columns in self.likelihood])

    def _encoder(self, family: Family, likelihood: Likelihood) -> nn.Module:
        n_seen = likelihood.n_inputs + likelihood.n_columns
        if self.encoder is not None:
            return _own(self.encoder, "encoder", n_seen, family.n_params)
        if image := self._image(likelihood):
            return ConvEncoder(image, family.n_params, *self._shape())
        return ResidualMLP(n_seen, family.n_params, *self._shape())

    def _decoder(self, likelihood: Likelihood) -> nn.Module:
        if self.decoder is not None:
            return _own(self.decoder, "decoder", self.n_latents, likelihood.n_params)
        if image := self._image(likelihood):
            n_params = likelihood.n_params // likelihood.n_columns
            return ConvDecoder(self.n_latents, image, n_params, *self._shape())
        return ResidualMLP(self.n_latents, likelihood.n_params, *self._shape())

    def _prior(self) -> Prior:
        if isinstance(self.prior, str):
            return PRIORS[self.prior](self.n_latents)
        return _made("prior", self.prior(self.n_latents), Prior)

    def _family(self, prior: Prior) -> Family:
        if callable(self.posterior):
            return _made("posterior", self.posterior(self.n_latents, self.K), Family)
        if self.posterior != "auto":
            return POSTERIORS[self.posterior](self.n_latents, self.K)
        if math.isinf(prior.tail):
            return NormalFamily(self.n_latents, self.K)
        return StudentTFamily(self.n_latents, self.K, df=0.5 * (2 + prior.tail))

    def _image(self, likelihood: Likelihood) -> Image | None:
        """Return how columns make up images, or None where they do not."""
        if self.image_shape is None or not likelihood.n_columns:
            return None
        n_inputs, n_params, n = likelihood.n_inputs, likelihood.n_params, likelihood.n_columns
        if isinstance(likelihood, ProductLikelihood) or n_inputs != n or n_params % n:
            raise ValueError(
                f"Parameter 'image_shape' is {self.image_shape}, but the columns are not pixels of "
                "one kind with as many parameters each; give an array of numbers and name one "
                "likelihood, or set image_shape=None."
            )
        channels, height, width = (1, *self.image_shape)[-3:]
        return Image(channels, height, width, self.places)

    def _shape(self) -> tuple[int, int, float, bool]:
        """Return what our networks share."""
        return self.n_hidden, self.n_blocks, self.dropout, self.linear_path


def _made(parameter: str, made: T, kind: type) -> T:
    """Return what a user's callable has made, if it is what it must be."""
    if not isinstance(made, kind):
        raise TypeError(
            f"Parameter {parameter!r} is a callable that must return a {kind.__module__}."
            f"{kind.__name__}; it returned {made!r}."
        )
    return made


def _own(make: Network, parameter: str, n_in: int, n_out: int) -> nn.Module:
    """Return a network of the user's, on the CPU."""
    try:
        network = _made(parameter, make(n_in, n_out), nn.Module)
    except TypeError as error:
        error.add_note(f"Parameter {parameter!r} is called with two numbers, {n_in} and {n_out}.")
        raise
    return network.cpu()


def _part(option: LikelihoodOption, facts: Sequence[ColumnSchema], min_scale: float) -> Likelihood:
    """Return the observation model of columns that are alike."""
    if callable(option):
        return _made("likelihood", option(len(facts)), Likelihood)
    if option == "categorical":
        return CategoricalLikelihood([column.counts for column in facts])
    if option == "ordinal":
        return CumulativeLogitLikelihood([column.counts for column in facts])
    warps = (
        None
        if facts[0].marginal_transform is None
        else [column.marginal_transform or () for column in facts]
    )
    if option == "whole":
        steps, lows, origins = zip(*[(f.step, f.low, f.origin) for f in facts], strict=True)
        return DiscretizedLogisticLikelihood(steps, lows, origins, min_scale, warps)
    base = LIKELIHOODS[option](len(facts), min_scale)
    if base.support != "real":
        return base
    if warps is not None:
        base = TransformedLikelihood(base, warps)
    atoms = [column.point_mass for column in facts if column.point_mass is not None]
    return PointMassLikelihood(base, *zip(*atoms, strict=True)) if atoms else base


#: Observation models by a column's kind, where ``likelihood`` has no say.
_BY_KIND = {
    "count": "whole",
    "integer": "whole",
    "binary": "bernoulli",
    "categorical": "categorical",
    "ordinal": "ordinal",
}


def group_likelihoods(
    option: LikelihoodOption | Mapping[object, LikelihoodOption],
    facts: Sequence[ColumnSchema],
    modelled: Sequence[int],
    names: Sequence[str],
) -> list[tuple[LikelihoodOption, list[int]]]:
    """Return each observation model with the places, among the modelled, of its columns.

    Parameters
    ----------
    option : str, callable or mapping
        The parameter ``likelihood``.
    facts : sequence of ColumnSchema
        What is known of the modelled columns.
    modelled : sequence of int
        Indices of the modelled columns.
    names : sequence of str
        Names of all columns.
    """
    by_name: dict[int, LikelihoodOption] = {}
    default: LikelihoodOption = "normal"
    if isinstance(option, Mapping):
        for column, one in option.items():
            by_name[column_index(column, names, "likelihood")] = one
    else:
        default = option
    for one in [default, *by_name.values()]:
        if not (callable(one) or (isinstance(one, str) and one in LIKELIHOODS)):
            raise ValueError(
                f"Parameter 'likelihood' must be one of {', '.join(map(repr, LIKELIHOODS))}, a "
                "callable n_columns -> Likelihood or a mapping from columns to either; got "
                f"{one!r}."
            )
    groups: dict[Any, tuple[LikelihoodOption, list[int]]] = {}
    for d, (j, column) in enumerate(zip(modelled, facts, strict=True)):
        coded = column.kind in CODED
        if j in by_name and coded and by_name[j] != _BY_KIND[column.kind]:
            raise ValueError(
                f"Parameter 'likelihood' wants {by_name[j]!r} for column {names[j]!r}, whose "
                f"values are {column.kind}; feature_kinds can call a column of numbers "
                "'continuous'."
            )
        one = by_name.get(j, _BY_KIND.get(column.kind, default))
        # columns of one model lie side by side, those of many levels apart from those of few
        levels = math.ceil(math.log2(max(len(column.counts), 1)))
        key = one, column.marginal_transform is None, column.point_mass is None, levels
        groups.setdefault(key, (one, []))[1].append(d)
    return list(groups.values())
