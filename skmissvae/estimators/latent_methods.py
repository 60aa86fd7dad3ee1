"""What a fitted estimator computes with latents: codes, draws, reconstructions, new rows."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._utils.quoting import quoted
from .._utils.random import KeyedNoise, SeedStream, StreamNoise, derive_seed
from .._utils.runtime import inference
from .._utils.validation import check_minimum
from ..inference.conditional import ConditionalModel
from ..inference.row_batch import RowBatch
from ..tables.output import Table, create_table
from .fitted_methods import FittedMethods
from .messages import warn_of_low_ess

_ROWS_AT_A_TIME = 10_000  # that are decoded

#: Of which distribution latents are: p(z | x_obs) by importance weights or chains, or the encoder.
Distribution = Literal["posterior", "encoder"]


class _Latents(NamedTuple):
    z: Tensor  # (B, ...)
    ess: Tensor  # (B,)


class _Probabilities(NamedTuple):
    probabilities: Tensor  # (B, n_components)
    ess: Tensor  # (B,)


class _Expected(NamedTuple):
    expected: Tensor  # (B, n_expected)
    expected_of_missing: Tensor  # (B, n_expected)
    observed: Tensor  # (B, D)
    ess: Tensor  # (B,)


class LatentMethods(FittedMethods):
    """Methods that take or return latents."""

    def encode(self, X: Any, *, distribution: Distribution = "posterior") -> np.ndarray:
        """Return the posterior means of the latents, E[z | x_obs].

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.
        distribution : {"posterior", "encoder"}, default="posterior"
            Means by importance weights, or over the chains of ``sampler``, or those of the encoder,
            which approximates the posterior.

        Returns
        -------
        ndarray of shape (n_samples, n_latents)
            Means of the latents.

        Raises
        ------
        ValueError
            If ``distribution`` is another one.
        """
        table = self._open(X)
        if _is_of_encoder(distribution):
            means: Any = self._map_blocks(table, _encoder_means, runs_chains=False)
            return np.asarray(means.z).astype(table.number_type)
        means = self._map_blocks(table, ConditionalModel.latent_means, batched=True)
        warn_of_low_ess(self, np.asarray(means.ess))
        return np.asarray(means.z).astype(table.number_type)

    def draw_latents(
        self,
        X: Any,
        n_draws: int = 1,
        *,
        distribution: Distribution = "posterior",
        random_state: Any = None,
    ) -> NDArray[np.float64]:
        """Return draws of the latents of each row, approximately from p(z | x_obs).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.
        n_draws : int, default=1
            Number of draws of each row.
        distribution : {"posterior", "encoder"}, default="posterior"
            Draws by importance weights (sampling importance resampling), or of the chains of
            ``sampler``, or of the encoder.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None uses the ``random_state`` of the estimator.

        Returns
        -------
        ndarray of shape (n_samples, n_draws, n_latents)
            The draws. Those of a row depend on its position, and not on the other rows.

        Raises
        ------
        ValueError
            If ``n_draws`` is below 1 or ``distribution`` is another one.

        Examples
        --------
        >>> import numpy as np
        >>> from skmissvae import MissSIWAEImputer
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> imputer = MissSIWAEImputer(n_latents=2, max_iter=5, random_state=0).fit(X)
        >>> imputer.draw_latents(X, 10).shape
        (50, 10, 2)
        """
        check_minimum(1, n_draws=n_draws)
        is_of_encoder = _is_of_encoder(distribution)
        draw = partial(_encoder_draws if is_of_encoder else _posterior_draws, n=int(n_draws))
        seed = derive_seed(self._call_seed(random_state), SeedStream.LATENTS)

        def noise(positions: Any, device: torch.device) -> KeyedNoise:
            return KeyedNoise(seed, list(positions), device=device)

        table = self._open(X)
        latents: Any = self._map_blocks(table, draw, runs_chains=not is_of_encoder, noise=noise)
        if not is_of_encoder:
            warn_of_low_ess(self, np.asarray(latents.ess))
        return np.asarray(latents.z, dtype=np.float64)

    def component_probabilities(self, X: Any) -> NDArray[np.float64]:
        r"""Return the probabilities of the components of the prior for each row.

        .. math:: p(k | x_{obs}) = \mathrm{E}_{p(z | x_{obs})}
                  \frac{\pi_k\, p_k(z)}{\sum_j \pi_j\, p_j(z)}

        With ``prior="mixture"`` they are soft assignments of rows to clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Probabilities, ones if the prior has a single component.

        See Also
        --------
        skmissvae.inspection.mixture_weights : Weights of the components of the encoder's posterior.
        """
        result: Any = self._map_blocks(self._open(X), _component_probabilities)
        warn_of_low_ess(self, np.asarray(result.ess))
        return np.asarray(result.probabilities, dtype=np.float64)

    def decode(self, Z: Any) -> Table:
        """Return the expected rows given latents, E[x | z], in the units of the table.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_latents)
            Latents, such as those of ``encode``.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features)
            Rows in the container of the training table: means of numbers, the most probable
            category of other columns. Columns that are not modelled are as in ``sample``.

        Raises
        ------
        ValueError
            If Z is not an array of finite numbers of this shape.

        Examples
        --------
        >>> import numpy as np
        >>> from skmissvae import MissSIWAEImputer
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> imputer = MissSIWAEImputer(n_latents=2, max_iter=5, random_state=0).fit(X)
        >>> imputer.decode(imputer.encode(X)).shape
        (50, 3)
        """
        check_is_fitted(self)
        z = check_array(Z, dtype=np.float32)
        vae, n_latents = self.vae_, self.vae_.prior.n_latents
        if z.shape[1] != n_latents:
            raise ValueError(
                f"Z has {z.shape[1]} columns, but the model has {n_latents} latents; pass one "
                "column for each latent, as encode returns."
            )

        def expected(rows: NDArray[Any]) -> Tensor:
            return vae.likelihood.point(vae.decode(torch.from_numpy(rows)).expected())

        return self._decoded(len(z), lambda rows: expected(z[rows]))

    def reconstruct(self, X: Any) -> Table:
        """Return the expected values of all cells of rows, E[x | x_obs], observed ones included.

        They are means over the latents given the observed cells. An observed cell that is far from
        its reconstruction does not fit the model; ``outlier_scores`` measures this with the cell
        left out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features)
            As of ``decode``, with the index of X.
        """
        means: Any = self._map_blocks(self._open(X), _expected_cells)
        warn_of_low_ess(self, np.asarray(means.ess))
        observed, missing = (
            self.vae_.likelihood.point(torch.from_numpy(np.asarray(expected)))
            for expected in (means.expected, means.expected_of_missing)
        )
        x = torch.where(torch.from_numpy(np.asarray(means.observed)), observed, missing)
        table = self._decoded(len(x), lambda rows: x[rows])
        if isinstance(X, pd.DataFrame) and isinstance(table, pd.DataFrame):
            table.index = X.index
        return table

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Table:
        """Draw new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None uses the ``random_state`` of the estimator.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features)
            Complete rows in the units and the container of the training table. Columns that are
            not modelled have the value that is imputed in them; those that ``transform`` leaves
            out, since they had no observed cell, stay missing.
        """
        check_is_fitted(self)
        check_minimum(1, n_samples=n_samples)
        # a separate stream: the same integer may have seeded the initialization
        seed = derive_seed(self._call_seed(random_state), SeedStream.SAMPLE)
        noise = StreamNoise(torch.Generator().manual_seed(seed))
        return self._decoded(
            n_samples, lambda rows: self.vae_.sample(rows.stop - rows.start, noise)
        )

    def _decoded(self, n: int, rows_of: Callable[[slice], Tensor]) -> Table:
        """Return a table of n rows, given a function of slices that returns modelled columns."""
        slices = [slice(i, min(i + _ROWS_AT_A_TIME, n)) for i in range(0, n, _ROWS_AT_A_TIME)]
        with inference(torch.device("cpu")):
            x = np.concatenate([rows_of(rows).double().numpy() for rows in slices])
        empty = np.full((n, self.n_features_in_), np.nan, self._template.number_type)
        values = self.schema_.decode(x, empty, np.zeros(empty.shape, dtype=bool))
        return create_table(self._template, self.schema_, values)


def _is_of_encoder(distribution: Any) -> bool:
    if distribution not in ("posterior", "encoder"):
        raise ValueError(
            f"distribution must be 'posterior' or 'encoder'; got {quoted(distribution)}."
        )
    return bool(distribution == "encoder")


def _encoder_means(model: ConditionalModel, batch: RowBatch) -> _Latents:
    return _Latents(batch.posterior.mean(), batch.x.new_full((len(batch.x),), torch.inf))


def _encoder_draws(model: ConditionalModel, batch: RowBatch, n: int) -> _Latents:
    z, _ = batch.posterior.ancestral(n, batch.new_noise())
    return _Latents(z.transpose(0, 1), batch.x.new_full((len(batch.x),), torch.inf))


def _posterior_draws(model: ConditionalModel, batch: RowBatch, n: int) -> _Latents:
    z, ess, _ = model.latents(batch, n)
    return _Latents(z, ess)


def _expected_cells(model: ConditionalModel, batch: RowBatch) -> _Expected:
    z, w, ess = model.weighted_latents(batch)  # (M, 1, L), (M,)
    # of the same distribution unless there is a model of missingness
    both = model.vae.decode(z).expected(), model.decode(z, batch).expected()
    seen, missing = ((w[:, None, None] * expected).sum(0) for expected in both)
    return _Expected(seen, missing, batch.observed, ess)


def _component_probabilities(model: ConditionalModel, batch: RowBatch) -> _Probabilities:
    z, w, ess = model.weighted_latents(batch)  # (M, 1, L), (M,)
    prior = model.vae.prior()
    log_p = prior.log_pi + prior.component.log_prob(z.unsqueeze(-2))  # (M, 1, K)
    return _Probabilities((w[:, None, None] * log_p.double().softmax(-1)).sum(0), ess)
