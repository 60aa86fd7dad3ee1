"""The specification of a model: from parameters and table schema to a VAE."""

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, Self, TypeVar

import torch
from torch import nn

from .._utils.quoting import quoted
from .._utils.runtime import SeededGenerators, torch_defaults
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
from ..vae.missingness import Direction, SelfMasking
from ..vae.networks.conv import ConvDecoder, ConvEncoder, Image
from ..vae.networks.mlp import ResidualMLP
from ..vae.networks.options import ConvNetwork, NetworkFactory, ResidualNetwork
from ..vae.posteriors import POSTERIORS, FactorAnalysisPosterior, Family, StudentTFamily
from ..vae.priors import PRIORS, Prior
from ..vae.vae import VAE

T = TypeVar("T")
LikelihoodOption = str | Callable[[int], Likelihood]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything that is needed to build a model; fields are named as the parameters.

    ``likelihood`` is resolved: each observation model with the modelled columns that have it.
    """

    columns: tuple[ColumnSchema, ...]
    positions: tuple[int, ...]  # of the modelled columns among all columns
    n_latents: int
    K: int
    likelihood: list[tuple[LikelihoodOption, list[int]]]
    min_scale: float
    n_hidden: int
    n_blocks: int
    dropout: float
    network: Any
    prior: str | Callable[[int], Prior]
    posterior: str | Callable[[int, int], Family]
    #: Whether the model is initialized from factor analysis; "required" raises if it cannot be.
    factor_analysis: Literal["never", "if possible", "required"]
    #: For each column the values that are missing more often; () ignores the missingness.
    missingness: tuple[Direction, ...] = ()
    missing_shares: tuple[float, ...] = ()

    @property
    def linear_path(self) -> bool:
        """Whether the networks have a linear path."""
        return bool(getattr(self.network, "linear_path", True))

    @property
    def custom_encoder(self) -> NetworkFactory | None:
        """The custom encoder, if there is one."""
        return getattr(self.network, "encoder", None)

    @property
    def custom_decoder(self) -> NetworkFactory | None:
        """The custom decoder, if there is one."""
        return getattr(self.network, "decoder", None)

    @property
    def all_columns_linear(self) -> bool:
        """Whether factor analysis initializes every column, if it is possible at all."""
        likelihood = self._untrained_likelihood()
        return likelihood.n_linear > 0 and likelihood.covers_all_columns

    @property
    def any_column_linear(self) -> bool:
        """Whether factor analysis can initialize a column."""
        return self._untrained_likelihood().n_linear > 0

    def _untrained_likelihood(self) -> Likelihood:
        with SeededGenerators(0, torch.device("cpu")).block(), torch_defaults():
            return self._likelihood()

    def build(self, seed: int) -> VAE:
        """Return an untrained model on the CPU, in evaluation mode."""
        return self.build_pair(seed, has_second=False)[0]

    def build_pair(
        self, seed: int, *, has_second: bool, device: str = "cpu"
    ) -> tuple[VAE, VAE | None]:
        """Return a model, and if requested the same with an untrained encoder of completed rows.

        The posterior of a completed row has one component; encoder and family alone are not shared.
        On the device "meta" networks and priors of this package have shapes but no memory.
        """
        coordinates, second = None, None
        networks_on = nullcontext() if device == "cpu" else torch.device(device)
        prior_on = networks_on if _is_of_package(self.prior) else nullcontext()
        with SeededGenerators(seed, torch.device("cpu")).block(), torch_defaults():
            likelihood = self._likelihood()
            with prior_on:
                prior = self._prior()
            family = self._family(prior)
            with networks_on:
                encoder, decoder = self._encoder(family, likelihood), self._decoder(likelihood)
                if self.factor_analysis != "never" and likelihood.n_linear:
                    coordinates = FactorAnalysisPosterior(likelihood.n_linear, self.n_latents)
            missingness = None
            if self.missingness:
                are_numbers = [support != "coded" for support in likelihood.supports]
                missingness = SelfMasking(self.missingness, self.missing_shares, are_numbers)
            parts = encoder, decoder, prior, family, likelihood, coordinates, missingness
            vae = VAE(*parts).eval()
            if has_second:
                family = dataclasses.replace(self, K=1)._family(prior)
                with networks_on:
                    encoder = self._encoder(family, likelihood)
                second = VAE(encoder, decoder, prior, family, likelihood).eval()
        return vae, second

    def check_shapes(self, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> None:
        """Raise ValueError if weights of these shapes are not those of the model.

        Networks and priors are built without memory, so that a damaged file cannot allocate any;
        other parts of this package are smaller than the columns times the number of latents. Custom
        networks are compared with their weights when they are loaded.
        """
        custom = {name for name in ("encoder", "decoder") if getattr(self, f"custom_{name}")}
        dimensions = [size for part in shapes.values() for shape in part.values() for size in shape]
        n_arrays = sum(map(len, shapes.values()))
        widths = [[len(self.columns[d].counts) for d in group] for _, group in self.likelihood]
        is_padded = any(len(group) * max(group, default=0) > 2 * sum(group) for group in widths)
        is_deep = len(custom) < 2 and self.n_blocks > n_arrays
        if is_padded or is_deep or not 0 <= self.n_latents <= max(dimensions, default=0):
            raise ValueError("the sizes of the model differ from its weights")
        network = ResidualNetwork(linear_path=self.linear_path) if custom else self.network
        spec = dataclasses.replace(self, network=network)
        models = spec.build_pair(0, has_second="encoder" in shapes, device="meta")
        expected = {"vae": models[0].state_dict()}
        if models[1] is not None:
            expected |= {
                part: getattr(models[1], part).state_dict() for part in ("encoder", "family")
            }
        for part, state in expected.items():
            expected_shapes = {
                name: tuple(array.shape)
                for name, array in state.items()
                if isinstance(array, torch.Tensor)
            }
            differing = {
                f"{part}.{name}".removeprefix("vae.").partition(".")[0]
                for name, _ in expected_shapes.items() ^ shapes[part].items()
            }
            if differing - custom:
                raise ValueError("the shapes of the weights differ from those of the model")

    @torch_defaults()
    def check_networks(self, vae: VAE, device: torch.device) -> None:
        """Raise if custom networks do not have the required input and output widths.

        Each is called once, in evaluation mode, with two rows of zeros; torch's generators are
        restored.
        """
        likelihood = vae.likelihood
        n_inputs = likelihood.n_inputs + likelihood.n_columns
        encoder = ("encoder", self.custom_encoder, vae.encoder, n_inputs, vae.family.n_params)
        decoder = ("decoder", self.custom_decoder, vae.decoder, self.n_latents, likelihood.n_params)
        for name, factory, network, n_in, n_out in (encoder, decoder):
            if factory is None:
                continue
            requirement = f"The {name} of 'network' must map {n_in} numbers to {n_out}"
            rows = torch.zeros(2, n_in, device=device)
            if device.type != "cpu":
                network = copy.deepcopy(network).to(device)
            try:
                with torch.no_grad(), torch.random.fork_rng([device] if rows.is_cuda else []):
                    shape = tuple(network(rows).shape)
            except Exception as error:  # of custom code, which keeps its type
                error.add_note(f"{requirement}.")
                raise
            if shape != (len(rows), n_out):
                raise ValueError(f"{requirement}; it maps {tuple(rows.shape)} to {shape}.")

    def changes(self, other: Self) -> list[str]:
        """Return the names of the parameters in which two specifications differ."""
        # from the table and the first fit
        derived = ("factor_analysis", "positions", "missing_shares")
        names = [field.name for field in dataclasses.fields(self) if field.name not in derived]
        return [
            name
            for name in names
            if _comparable(getattr(self, name)) != _comparable(getattr(other, name))
        ]

    def _likelihood(self) -> Likelihood:
        parts = [
            _make_likelihood(option, [self.columns[d] for d in columns], self.min_scale)
            for option, columns in self.likelihood
        ]
        if not parts:  # no column varies
            return NormalLikelihood(0)
        if len(parts) == 1:
            return parts[0]
        return ProductLikelihood(parts, [columns for _, columns in self.likelihood])

    def _encoder(self, family: Family, likelihood: Likelihood) -> nn.Module:
        n_inputs = likelihood.n_inputs + likelihood.n_columns
        if self.custom_encoder is not None:
            return _custom_network(self.custom_encoder, "encoder", n_inputs, family.n_params)
        if image := self._image(likelihood):
            return ConvEncoder(image, family.n_params, *self._network_size())
        return ResidualMLP(n_inputs, family.n_params, *self._network_size())

    def _decoder(self, likelihood: Likelihood) -> nn.Module:
        n_params = likelihood.n_params
        if self.custom_decoder is not None:
            return _custom_network(self.custom_decoder, "decoder", self.n_latents, n_params)
        if image := self._image(likelihood):
            per_pixel = n_params // likelihood.n_columns
            return ConvDecoder(self.n_latents, image, per_pixel, *self._network_size())
        return ResidualMLP(self.n_latents, n_params, *self._network_size())

    def _network_size(self) -> tuple[int, int, float, bool]:
        return self.n_hidden, self.n_blocks, self.dropout, self.linear_path

    def _prior(self) -> Prior:
        if isinstance(self.prior, str):
            return PRIORS[self.prior](self.n_latents)
        return _checked_type("prior", self.prior(self.n_latents), Prior)

    def _family(self, prior: Prior) -> Family:
        if callable(self.posterior):
            return _checked_type("posterior", self.posterior(self.n_latents, self.K), Family)
        if self.posterior != "auto":
            return POSTERIORS[self.posterior](self.n_latents, self.K)
        if math.isinf(prior.tail):
            return POSTERIORS["normal"](self.n_latents, self.K)
        return StudentTFamily(self.n_latents, self.K, df=0.5 * (2 + prior.tail))

    def _image(self, likelihood: Likelihood) -> Image | None:
        """Return how the columns form images, or None if they do not."""
        if not isinstance(self.network, ConvNetwork) or not likelihood.n_columns:
            return None
        n_inputs, n_params, n = likelihood.n_inputs, likelihood.n_params, likelihood.n_columns
        if isinstance(likelihood, ProductLikelihood) or n_inputs != n or n_params % n:
            raise ValueError(
                "Parameter 'network' is a ConvNetwork, but the columns are not pixels of one kind "
                "with one observation model; give an array of numbers and one likelihood, or use "
                "network=None."
            )
        channels, height, width = (1, *map(int, self.network.image_shape))[-3:]
        return Image(channels, height, width, self.positions)


def check_network(network: object) -> str | None:
    """Return what the parameter ``network`` must be, or None if it is valid."""
    options = (ResidualNetwork, ConvNetwork)
    if network is None or isinstance(network, options):
        return None
    factories = [getattr(network, name, "missing") for name in ("encoder", "decoder")]
    if all(factory is None or callable(factory) for factory in factories):
        return None
    return (
        "None, a ResidualNetwork, a ConvNetwork or an object with the callables 'encoder' and "
        "'decoder', (in_features, out_features) -> nn.Module"
    )


def _is_of_package(option: Any) -> bool:
    """Return whether a prior is named, or a class of this package, perhaps with arguments."""
    factory = getattr(option, "func", option)
    return isinstance(factory, str) or str(factory.__module__).startswith("skmissvae.")


def _comparable(option: Any) -> Any:
    """Return an option with the parts of partial objects, which are compared by identity."""
    if isinstance(option, functools.partial):
        return option.func, option.args, option.keywords
    return tuple(map(_comparable, option)) if isinstance(option, tuple) else option


def _checked_type(parameter: str, value: T, required: type) -> T:
    """Return what a custom callable returned, if it has the required type."""
    if not isinstance(value, required):
        raise TypeError(
            f"Parameter {parameter!r} is a callable that must return a {required.__module__}."
            f"{required.__name__}; it returned {quoted(value)}."
        )
    return value


def _custom_network(factory: NetworkFactory, name: str, n_in: int, n_out: int) -> nn.Module:
    """Return a custom network, on the CPU."""
    try:
        network = _checked_type("network", factory(n_in, n_out), nn.Module)
    except TypeError as error:
        error.add_note(
            f"The {name} of 'network' is called with two numbers, here {n_in} and {n_out}."
        )
        raise
    return network.cpu()


def _make_likelihood(
    option: LikelihoodOption, columns: Sequence[ColumnSchema], min_scale: float
) -> Likelihood:
    """Return the observation model of columns of one kind."""
    if callable(option):
        return _checked_type("likelihood", option(len(columns)), Likelihood)
    if option == "categorical":
        return CategoricalLikelihood([column.counts for column in columns])
    if option == "ordinal":
        return CumulativeLogitLikelihood([column.counts for column in columns])
    has_transform = columns[0].marginal_transform is not None
    transforms = [column.marginal_transform or () for column in columns] if has_transform else None
    if option == "whole":
        steps, lows, origins = zip(*[(c.step, c.low, c.origin) for c in columns], strict=True)
        return DiscretizedLogisticLikelihood(steps, lows, origins, min_scale, transforms)
    base = LIKELIHOODS[option](len(columns), min_scale)
    if base.support != "real":
        return base
    if transforms is not None:
        base = TransformedLikelihood(base, transforms)
    masses = [column.point_mass for column in columns if column.point_mass is not None]
    return PointMassLikelihood(base, *zip(*masses, strict=True)) if masses else base


# Observation models that may have a point mass; they have real values.
_WITH_POINT_MASS = ("normal", "student_t")

#: Observation models by the kind of a column, if ``likelihood`` does not name the column.
_BY_KIND = {
    "count": "whole",
    "integer": "whole",
    "binary": "bernoulli",
    "categorical": "categorical",
    "ordinal": "ordinal",
}


def group_likelihoods(
    option: LikelihoodOption | Mapping[object, LikelihoodOption],
    columns: Sequence[ColumnSchema],
    modelled: Sequence[int],
    names: Sequence[str],
) -> list[tuple[LikelihoodOption, list[int]]]:
    """Return each observation model with the indices, among the modelled, of its columns.

    Parameters
    ----------
    option : str, callable or mapping
        The parameter ``likelihood``.
    columns : sequence of ColumnSchema
        The modelled columns.
    modelled : sequence of int
        Their indices among all columns.
    names : sequence of str
        Names of all columns.
    """
    by_column: dict[int, LikelihoodOption] = {}
    if isinstance(option, Mapping):
        by_column = {column_index(c, names, "likelihood"): value for c, value in option.items()}
    default = "normal" if isinstance(option, Mapping) else option
    for likelihood in [default, *by_column.values()]:
        is_name = isinstance(likelihood, str) and likelihood in LIKELIHOODS
        if not (callable(likelihood) or is_name):
            raise ValueError(
                f"Parameter 'likelihood' must be one of {', '.join(map(repr, LIKELIHOODS))}, a "
                "callable n_columns -> Likelihood or a mapping from columns to either; got "
                f"{quoted(likelihood)}."
            )
    groups: dict[Any, tuple[LikelihoodOption, list[int]]] = {}
    for d, (j, schema) in enumerate(zip(modelled, columns, strict=True)):
        if j in by_column and schema.kind in CODED and by_column[j] != _BY_KIND[schema.kind]:
            raise ValueError(
                f"Parameter 'likelihood' has {quoted(by_column[j])} for column {quoted(names[j])}, "
                f"whose values are {schema.kind}; feature_kinds can declare a column of numbers "
                "'continuous'."
            )
        likelihood = by_column.get(j, _BY_KIND.get(schema.kind, default))
        # columns with few categories are not padded to the width of those with many
        n_bits = math.ceil(math.log2(max(len(schema.counts), 1)))
        has_mass = likelihood in _WITH_POINT_MASS and schema.point_mass is not None
        key = likelihood, schema.marginal_transform is None, has_mass, n_bits
        groups.setdefault(key, (likelihood, []))[1].append(d)
    return list(groups.values())
