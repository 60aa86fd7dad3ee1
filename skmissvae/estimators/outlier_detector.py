"""Outlier detection by the density of incomplete rows."""

import copy
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from .._utils.html import DocumentationLink
from .._utils.progress import Task, progress_of
from .._utils.quoting import quoted
from .._utils.random import SeedStream, StreamNoise, derive_seed
from .._utils.runtime import inference, unchanged_on_error
from .._utils.validation import any_of, check_fields, one_of
from ..tables.chunks import Chunks
from ..tables.columns import Mask
from ..tables.encoded_rows import EncodedRows
from .base import BaseVAE
from .density import VAEDensityEstimator
from .messages import warn_of_low_ess
from .saving import Saveable

_AUTO_OFFSET = -3.0  # standard deviations
_N_SAMPLED = 512  # rows of the model from which reference rows are chosen
_N_REFERENCE = 32  # reference rows
_N_DRAWS = 50  # importance draws of a reference row, at most
_MIN_STD = 1.0  # nats: few cells, or a single category, have nearly no variance
_N_PATTERNS = 64  # patterns of missing cells that are computed at a time


def is_contamination(value: object) -> str | None:
    """Check for a share of outliers, at most a half."""
    is_number = isinstance(value, (float, np.floating))
    return None if is_number and 0 < value <= 0.5 else "a float above 0 and at most 0.5"  # type: ignore[operator]


@dataclass(eq=False, repr=False)
class VAEOutlierDetector(
    DocumentationLink, OutlierMixin, MetaEstimatorMixin, Saveable, BaseEstimator
):
    r"""Detection of outliers among incomplete rows by their density.

    The log-density of the observed cells depends on which cells are observed, so densities of rows
    with different missing cells are not comparable. The score of a row compares its density [1]_
    with those of rows of the model that have the same missing cells,

    .. math:: s(x_{obs}) = \frac{\log p(x_{obs}) - \mu_{obs}}{\max(\sigma_{obs}, 1)},

    where :math:`\mu_{obs}` and :math:`\sigma_{obs}` are the mean and the standard deviation of
    :math:`\log p(x'_{obs})` in nats over 32 rows :math:`x'` sampled from the model. Training rows
    are scored by the model that was fitted to them.

    Parameters
    ----------
    estimator : VAEDensityEstimator, imputer or None, default=None
        Estimator of the density, of which a clone is fitted; None uses ``VAEDensityEstimator()``.
        Its ``random_state`` makes results reproducible.
    contamination : "auto" or float, default="auto"
        Share of outliers among the training rows, above 0 and at most 0.5, which determines the
        threshold of scores. "auto": outliers are rows with a score below -3, three standard
        deviations less than the model expects.

    Attributes
    ----------
    estimator_ : VAEDensityEstimator or imputer
        The fitted estimator of the density; its ``outlier_scores`` has the contribution of each
        cell.
    offset_ : float
        Threshold: ``decision_function`` is ``score_samples`` minus ``offset_``.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all names of ``X`` are strings.

    See Also
    --------
    VAEDensityEstimator : Log-densities of incomplete rows, contributions of cells to their scores.

    References
    ----------
    .. [1] Bishop (1994). Novelty detection and neural network validation. IEE Proceedings: Vision,
       Image and Signal Processing 141.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import VAEDensityEstimator, VAEOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1)) + 0.3 * rng.normal(size=(200, 3))
    >>> X[rng.random(X.shape) < 0.2] = np.nan
    >>> density = VAEDensityEstimator(n_latents=1, max_iter=20, random_state=0)
    >>> detector = VAEOutlierDetector(density, contamination=0.05).fit(X)
    >>> detector.predict([[0.1, 0.2, np.nan], [2.0, -2.0, np.nan]])
    array([ 1, -1])
    """

    estimator: Any = None
    _: KW_ONLY
    contamination: float | Literal["auto"] = "auto"

    @property
    def n_features_in_(self) -> int:
        """Number of columns in fit."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns in fit, if all of them are strings."""
        return self.estimator_.feature_names_in_

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> Self:
        """Fit the density, and determine the threshold of scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Chunks
            The table, with missing values.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in the ``fit`` of ``estimator``; None weights them equally. The
            threshold does not depend on them.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If a parameter is invalid, or as of the ``fit`` of ``estimator``.
        """
        check_fields(self, contamination=any_of(one_of("auto"), is_contamination))
        estimator = VAEDensityEstimator() if self.estimator is None else self.estimator
        if not isinstance(estimator, BaseVAE):
            raise TypeError(
                f"Parameter 'estimator' of {type(self).__name__} must be a VAEDensityEstimator, an "
                f"imputer of this package or None; got {quoted(self.estimator)}."
            )
        with unchanged_on_error(self):
            self.estimator_: BaseVAE = clone(estimator).fit(X, sample_weight=sample_weight)
            self._reference = self._make_reference()
            self.offset_ = _AUTO_OFFSET
            if self.contamination != "auto":
                tables = X if isinstance(X, Chunks) else [X]
                scores = np.concatenate([self.score_samples(table) for table in tables])
                self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the score of each row: low scores are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Difference between the log-density and its expectation for rows with the same missing
            cells, in standard deviations; 0 without an observed cell. Scores are independent of the
            other rows in X.

        Raises
        ------
        ValueError, TypeError
            If X does not match the table of ``fit``.
        """
        check_is_fitted(self)
        estimator, scores, ess = self.estimator_, [], []
        table = estimator._open(X)
        with progress_of(estimator).task("row", table.n_rows, of_rows=True) as task:
            for rows in estimator._reader().blocks(table):
                log_density, row_ess = estimator._log_evidence(rows, task)
                mean, std = self._expectations(rows.observed, task)
                scores.append((log_density - mean) / np.maximum(std, _MIN_STD))
                ess.append(row_ess)
        warn_of_low_ess(estimator, np.concatenate(ess), chains=False)
        return np.concatenate(scores)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the score of each row minus the threshold: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return which rows are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for outliers, 1 for other rows.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _make_reference(self) -> NDArray[np.float64]:
        """Return rows of the model whose densities represent those of all its rows, (R, D)."""
        estimator = self.estimator_
        seed = derive_seed(estimator._seed, SeedStream.OUTLIER_REFERENCE)
        with inference(torch.device("cpu")):
            noise = StreamNoise(torch.Generator().manual_seed(seed))
            x = estimator.vae_.sample(_N_SAMPLED, noise).double().numpy()
        observed = np.ones(x.shape, dtype=bool)
        log_density, _ = self._reference_estimator()._log_evidence(EncodedRows(x, observed))
        order = log_density.argsort(kind="stable")
        step = _N_SAMPLED // _N_REFERENCE
        return x[order[step // 2 :: step]]  # the quantiles of the densities

    def _reference_estimator(self) -> BaseVAE:
        """Return the estimator with few draws, since rows of the model have easy posteriors."""
        n_draws = min(_N_DRAWS, self.estimator_.n_importance_draws)
        return copy.copy(self.estimator_).set_params(n_importance_draws=n_draws)

    def _expectations(
        self, observed: Mask, task: Task
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of log-densities by the observed cells, (N,) each."""
        estimator, x = self._reference_estimator(), self._reference
        patterns, inverse = np.unique(observed, axis=0, return_inverse=True)
        log_densities = []
        task.extend(len(patterns) * len(x))
        for start in range(0, len(patterns), _N_PATTERNS):
            masks = patterns[start : start + _N_PATTERNS].repeat(len(x), axis=0)
            rows = EncodedRows(np.where(masks, np.tile(x, (len(masks) // len(x), 1)), 0.0), masks)
            log_densities.append(estimator._log_evidence(rows, task)[0].reshape(-1, len(x)))
        by_pattern = np.concatenate(log_densities)
        inverse = inverse.reshape(-1)
        return by_pattern.mean(1)[inverse], by_pattern.std(1)[inverse]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = tags.input_tags.string = True
        return tags
