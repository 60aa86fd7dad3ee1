"""From the parameters of an estimator to the modules of its model."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from .families import POSTERIORS, Family, NormalFamily, StudentTFamily
from .likelihoods import LIKELIHOODS, JoinedLikelihood, Likelihood, NormalLikelihood
from .model import VAE
from .networks import ResidualMLP
from .priors import PRIORS, Prior

LikelihoodOption = str | Callable[[int], Likelihood]
Network = Callable[[int, int], nn.Module]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """All that is needed to build a model anew; the names are those of the parameters.

    Only ``likelihood`` is resolved already: each observation model with the modelled columns
    that it holds for.
    """

    n_columns: int
    n_latents: int
    K: int
    likelihood: list[tuple[LikelihoodOption, list[int]]]
    min_scale: float
    n_hidden: int
    n_blocks: int
    dropout: float
    linear_path: bool
    prior: str | Callable[[int], Prior]
    posterior: str | Callable[[int, int], Family]
    encoder: Network | None
    decoder: Network | None

    def build(self) -> VAE:
        """Return an untrained model."""
        likelihood, prior = self._likelihood(), self._prior()
        family = self._family(prior)
        encoder = self._encoder(family, likelihood)
        decoder = (self.decoder or self._mlp)(self.n_latents, likelihood.n_params)
        return VAE(encoder, decoder, prior, family, likelihood)

    def build_completed(self, vae: VAE) -> VAE:
        """Return the model with an untrained encoder of its own for completed rows.

        Its posterior has one component; all but encoder and family are shared.
        """
        family = dataclasses.replace(self, K=1)._family(vae.prior)
        encoder = self._encoder(family, vae.likelihood)
        return VAE(encoder, vae.decoder, vae.prior, family, vae.likelihood)

    def changes(self, other: Spec) -> list[str]:
        """Return the names of what another model would have otherwise."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def _likelihood(self) -> Likelihood:
        parts = [
            option(len(columns))
            if callable(option)
            else LIKELIHOODS[option](len(columns), self.min_scale)
            for option, columns in self.likelihood
        ]
        if not parts:  # no column varies
            return NormalLikelihood(0)
        if len(parts) == 1:
            return parts[0]
        return JoinedLikelihood(parts, [columns for _, columns in self.likelihood])

    def _encoder(self, family: Family, likelihood: Likelihood) -> nn.Module:
        n_seen = likelihood.n_inputs + likelihood.n_columns
        return (self.encoder or self._mlp)(n_seen, family.n_params)

    def _prior(self) -> Prior:
        make = PRIORS[self.prior] if isinstance(self.prior, str) else self.prior
        return make(self.n_latents)

    def _family(self, prior: Prior) -> Family:
        if callable(self.posterior):
            return self.posterior(self.n_latents, self.K)
        if self.posterior != "auto":
            return POSTERIORS[self.posterior](self.n_latents, self.K)
        if math.isinf(prior.tail):
            return NormalFamily(self.n_latents, self.K)
        return StudentTFamily(self.n_latents, self.K, df=0.5 * (2 + prior.tail))

    def _mlp(self, in_features: int, out_features: int) -> nn.Module:
        return ResidualMLP(
            in_features,
            out_features,
            self.n_hidden,
            self.n_blocks,
            self.dropout,
            self.linear_path,
        )


def likelihoods_by_column(
    option: LikelihoodOption | Mapping[object, LikelihoodOption],
    modelled: Sequence[int],
    names: Sequence[str],
) -> list[tuple[LikelihoodOption, list[int]]]:
    """Return each observation model with the places, among the modelled, of its columns.

    Parameters
    ----------
    option : str, callable or mapping
        The parameter ``likelihood``.
    modelled : sequence of int
        Indices of the modelled columns.
    names : sequence of str
        Names of all columns.
    """
    chosen: list[LikelihoodOption] = ["normal"] * len(names)
    if isinstance(option, Mapping):
        for column, one in option.items():
            known = isinstance(column, numbers.Integral) and 0 <= int(column) < len(names)
            if not known and column not in names:
                raise ValueError(
                    f"Parameter 'likelihood' names column {column!r}, which X does not have; "
                    f"its columns are {', '.join(names[:20])}."
                )
            place = int(column) if known else names.index(column)  # type: ignore[call-overload]
            chosen[place] = one
    else:
        chosen = [option] * len(names)
    for one, name in zip(chosen, names, strict=True):
        if not (callable(one) or (isinstance(one, str) and one in LIKELIHOODS)):
            raise ValueError(
                f"Parameter 'likelihood' must be one of {', '.join(map(repr, LIKELIHOODS))}, a "
                "callable n_columns -> Likelihood or a mapping from columns to either; got "
                f"{one!r} for column {name!r}."
            )
    groups: list[tuple[LikelihoodOption, list[int]]] = []
    for d, j in enumerate(modelled):
        columns = next((columns for one, columns in groups if one == chosen[j]), None)
        if columns is None:
            groups.append((chosen[j], [d]))
        else:
            columns.append(d)
    return groups
