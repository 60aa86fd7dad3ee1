"""What a fitted estimator computes: statistics of rows and scores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._utils.progress import SILENT_TASK, Task, progress_of
from .._utils.random import KeyedNoise, Noise
from .._utils.validation import checked_weights
from ..inference.batching import Result, RowFunction, RowNoise, map_rows, n_decoded_draws
from ..inference.conditional import ConditionalModel
from ..inference.samplers import SAMPLERS, Sampler
from ..tables.cell_limits import CellLimits, GivenLimits
from ..tables.column_selection import missing_markers
from ..tables.encoded_rows import EncodedRows
from ..tables.input_table import InputTable, open_table
from ..tables.reader import TableReader
from ..training.methods import METHODS, Method
from .cell_distributions import describe_outliers
from .fitted_attributes import FittedAttributes
from .messages import check_importance_weights, resolve_device, warn_of_low_ess
from .options import InferenceOptions, ModelOptions, TableOptions, TrainingOptions
from .parameters import validate


class FittedMethods(
    ModelOptions, TrainingOptions, InferenceOptions, TableOptions, FittedAttributes, ABC
):
    """Methods of a fitted estimator."""

    @property
    @abstractmethod
    def _method_name(self) -> str:
        """Name of the method, a key of METHODS."""

    def _method(self) -> Method:
        method = METHODS[self._method_name]
        return method.configured(self.n_draws, self.gradient, self._sampler())

    def _sampler(self) -> Sampler | None:
        """Return the sampler of chains; None for importance weights."""
        if self.sampler == "auto":
            return METHODS[self._method_name].sampler
        if self.sampler == "importance":
            return None
        return SAMPLERS[self.sampler] if isinstance(self.sampler, str) else self.sampler

    def _device(self) -> torch.device:
        return resolve_device(self.device, type(self).__name__)

    # -- rows and the fitted model --------------------------------------------------------------

    def map_rows(self, X: Any, function: RowFunction[Result], *, batched: bool = False) -> Result:
        """Apply a function of the fitted model to each row of a table.

        It is the basis of statistics of rows that the package does not have. A row's result does
        not depend on the other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.
        function : callable
            ``(model, batch) -> result``: a ``ConditionalModel`` and a ``RowBatch`` of a single row,
            and a named tuple of tensors with the row on the first axis.
        batched : bool, default=False
            Whether the function takes many rows at a time, which is faster. Its result then has
            the fields ``ess`` and ``proposal_ess``: rows with a low effective sample size are
            computed again with better proposals and more draws.

        Returns
        -------
        NamedTuple
            The named tuple of the function, with arrays of ``n_samples`` rows.
        """
        return self._map_blocks(self._open(X), function, batched=batched, runs_chains=False)

    def encode_rows(self, X: Any) -> EncodedRows:
        """Return rows as the model sees them: modelled columns in the model's units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        EncodedRows
            Standardized values ``x``, zero if missing, and the mask ``observed``.
        """
        table, reader = self._open(X), self._reader()
        return reader.rows(reader.cells(table))

    def conditional_model(self) -> ConditionalModel:
        """Return the fitted model with the current ``sampler`` and ``n_importance_draws``.

        Returns
        -------
        ConditionalModel
            The model conditioned on observed cells, in the model's units.
        """
        check_is_fitted(self)
        model = self.model_
        if model.vae.missingness is not None:
            check_importance_weights(self)
        return ConditionalModel(
            model.vae,
            self.n_importance_draws,
            self._sampler(),
            model.completed_vae,
            METHODS[self._method_name].chains_for_low_ess,
            n_decoded=n_decoded_draws(model.vae),
        )

    def _map_blocks(
        self,
        table: InputTable,
        function: RowFunction[Result],
        noise: RowNoise | None = None,
        **options: Any,
    ) -> Result:
        """Apply a function of the fitted model to each row, in the memory of a block of rows.

        All rows share their noise unless there is a source for each position.
        """
        results, first = list[Result](), 0
        with progress_of(self).task("row", table.n_rows, of_rows=True) as task:
            for rows in self._reader().blocks(table):
                source = self._shared_noise if noise is None else partial(_later, noise, first)
                results.append(self._map(rows, function, source, task=task, **options))
                first += len(rows.x)
        return results[0]._make(map(np.concatenate, zip(*results, strict=True)))

    def _map(
        self, rows: EncodedRows, function: RowFunction[Result], noise: RowNoise, **options: Any
    ) -> Result:
        return map_rows(rows, function, self.conditional_model(), self._device(), noise, **options)

    def _shared_noise(self, positions: object, device: torch.device) -> KeyedNoise:
        """Return noise that all rows share, so that the result of a row is its own."""
        return KeyedNoise(self._seed, [0], device=device)

    def _reader(self, handle_unknown: str | None = None) -> TableReader:
        unknown = handle_unknown or self.handle_unknown
        markers = missing_markers(self.missing_values, self.schema_.names)
        return TableReader(self.schema_, markers, unknown)

    def _open(self, X: Any) -> InputTable:
        check_is_fitted(self)
        validate(self)
        return open_table(self, X, self._template)

    def _cell_limits(self, lower: Any, upper: Any, table: InputTable) -> CellLimits | None:
        """Return the limits of the cells of a table."""
        schema = self.schema_
        limits = GivenLimits(lower, upper, table).read(schema.names, schema.codecs)
        return None if limits is None else limits.within(schema, self._bounds())

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of imputed cells of each column, in its units."""
        infinite = np.full(len(self.schema_.names), np.inf)
        return -infinite, infinite

    # -- scores, latents, samples ---------------------------------------------------------------

    def score_samples(self, X: Any, *, lower: Any = None, upper: Any = None) -> np.ndarray:
        r"""Return the log-density of the observed cells of each row.

        It is :math:`\log \sum_m m_m p(x_{obs}, z_m) / q(z_m | x_{obs})` over up to
        ``n_importance_draws`` draws, a lower bound in expectation that tightens with their number
        [1]_. With ``n_importance_draws`` of 100 or more, a row gets as many as it needs for an
        effective sample size of a tenth of this number: first from the encoder, then from a Normal
        that approximates the posterior of the row or is adapted to it [2]_. Rows at this limit
        have a small bias.

        Densities are in the units of ``X``; binary and categorical columns contribute
        probabilities, columns with a single value in ``fit`` 0. To find outliers use
        ``VAEOutlierDetector``: densities of rows with different missing cells are not comparable.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values. A row without an observed cell and limits has the score 0.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits of missing cells, as in ``fit``, which contribute the log-probability of their
            interval.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats, independent of the other rows in X.

        Raises
        ------
        ValueError, TypeError
            If X does not match the table of ``fit``, or limits do not match X.

        References
        ----------
        .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.
        .. [2] Cornuet, Marin, Mira and Robert (2012). Adaptive multiple importance sampling.
           Scandinavian Journal of Statistics 39.
        """
        table, scores, ess = self._open(X), [], []
        limits = self._cell_limits(lower, upper, table)
        with progress_of(self).task("row", table.n_rows, of_rows=True) as task:
            for rows in self._reader().blocks(table, limits):
                log_evidence, row_ess = self._log_evidence(rows, task)
                scores.append(log_evidence - self.schema_.log_units(rows))
                ess.append(row_ess)
        warn_of_low_ess(self, np.concatenate(ess), chains=False)
        return np.concatenate(scores)

    def _log_evidence(
        self, rows: EncodedRows, task: Task = SILENT_TASK
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log-density, in the model's units, and effective sample size of each row."""
        options: Any = {"batched": True, "runs_chains": False, "task": task}
        result = self._map(rows, ConditionalModel.evidence, self._shared_noise, **options)
        # without evidence the density is exactly one
        has_evidence = rows.has_evidence() | (self.model_.vae.missingness is not None)
        return np.where(has_evidence, result.log_evidence, 0.0), np.asarray(result.ess)

    def score(
        self,
        X: Any,
        y: object = None,
        sample_weight: Any = None,
        *,
        lower: Any = None,
        upper: Any = None,
    ) -> float:
        """Return the mean log-density of the observed cells of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows; None weights them equally.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits of missing cells, as in ``fit``.

        Returns
        -------
        float
            Mean of ``score_samples``, by which GridSearchCV tunes without complete data.
        """
        if sample_weight is None:
            return float(np.mean(self.score_samples(X, lower=lower, upper=upper)))
        weight = checked_weights(sample_weight, self._open(X).n_rows)
        return float(np.average(self.score_samples(X, lower=lower, upper=upper), weights=weight))

    def effective_sample_size(self, X: Any) -> np.ndarray:
        """Return the effective sample size of the importance draws of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Kish's effective sample size of the draws that are used. With ``n_importance_draws``
            of 100 or more, a tenth of it is sought, and often exceeded. If it is low, means and
            scores of the row are uncertain and its imputations too similar.
        """
        return np.asarray(self.map_rows(X, ConditionalModel.evidence, batched=True).ess)

    def outlier_scores(self, X: Any) -> pd.DataFrame:
        r"""Return how improbable each row is, with the contribution of each cell.

        The contribution of an observed cell is the gain from hiding it,

        .. math:: -\log p(x_d | x_{obs \setminus d})
                  = \log p(x_{obs \setminus d}) - \log p(x_{obs}):

        large if the cell does not fit the rest of its row, even if its value is usual by itself.
        Densities are those of standardized columns, so that columns with different units are
        comparable; categories contribute probabilities. Without a cell the importance draws of its
        row are weighted anew; if these weights are unreliable (Pareto k above 0.7), the row gets
        new draws without this cell, which takes the time of ``score_samples``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        DataFrame
            A row per row of ``X``: ``score``, minus the log-density of the observed cells in nats;
            ``per_cell``, the score divided by their number; and the contributions of the cells of
            each modelled column, NaN if missing.

        Raises
        ------
        ValueError
            If X has a column named ``score`` or ``per_cell``.
        """
        return describe_outliers(self, X)

    def _call_seed(self, random_state: Any) -> int:
        """Return the seed of a call with its own ``random_state``."""
        source = self.random_state if random_state is None else random_state
        return int(check_random_state(source).randint(2**31 - 1))


def _later(noise: RowNoise, first: int, positions: Sequence[int], device: torch.device) -> Noise:
    """Return the noise of rows of a block of which the first row is at a position."""
    return noise([first + position for position in positions], device)
