"""Prediction from incomplete rows, averaged over what their missing cells may hold."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from numbers import Real
from typing import Any, ClassVar, Literal, TypeVar

import narwhals as nw
import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from .._utils.runtime import unchanged_on_error
from .._utils.validation import integer
from ..tables.columns import Column, is_missing, to_objects
from ..tables.input_table import InputTable, open_table
from .imputers import MissSIWAEImputer

T = TypeVar("T", bound=type)


_PARAMETERS = """\
estimator : estimator
    The final estimator. A clone of it, a member, is fitted to each of the completed tables; it may
    be a Pipeline of what comes after imputation, such as encoders.
imputer : imputer or None, default=None
    What completes tables, of which a clone is fitted; None takes ``MissSIWAEImputer()``. Any
    imputer with a method ``impute(X, n_imputations, random_state=...)`` will do, and any that draws
    by a parameter ``random_state``, such as ``IterativeImputer(sample_posterior=True)``, of which
    ``n_imputations`` clones are fitted, each with a random state of its own.
n_imputations : int, default=5
    Number of completed tables, and of members.
n_jobs : int or None, default=None
    Number of members that are fitted at a time, as in joblib; None is one.
random_state : int, RandomState instance or None, default=None
    Source of the draws, and of each ``random_state`` within ``imputer`` and ``estimator`` that is
    None."""


_ATTRIBUTES = """\
imputer_ : imputer
    The fitted imputer. The fitted clones of one that has no ``impute`` are ``imputer_.copies``.
estimators_ : list of estimator
    The members.
n_features_in_ : int
    Number of columns seen at fit.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Their names, where ``X`` had names that are all strings."""


_NOTES = """\
Notes
-----
The imputer sees ``X`` alone, at fit as for new rows, which have no outcome: imputations that
lean on it at fit would be another distribution than those that the members meet later [2]_.
For inference, of coefficients or effects, the rule is the opposite: the outcome belongs in the
imputation model, or associations with it come out too weak [3]_. Impute the table with ``y`` as
one of its columns, fit a model to each imputation, and pool these (``pool_models``).

How a new row is imputed depends on what it holds and on the fit, neither on other rows nor on its
position, if the imputer is one of this package. With others that is as they have it.

References
----------
.. [1] Josse, Chen, Prost, Varoquaux and Scornet (2024). On the consistency of supervised
   learning with missing values. Statistical Papers 65.
.. [2] Sperrin, Martin, Sisk and Peek (2020). Missing data should be handled differently for
   prediction than for description or causal explanation. Journal of Clinical Epidemiology 125.
.. [3] Moons, Donders, Stijnen and Harrell (2006). Using the outcome for imputation of missing
   predictor values was preferred. Journal of Clinical Epidemiology 59."""


def _documented(cls: T) -> T:
    """Write the texts that both classes share into a docstring."""
    doc = inspect.cleandoc(cls.__doc__ or "").replace("{parameters}", _PARAMETERS)
    doc = doc.replace("{attributes}", _ATTRIBUTES).replace("{notes}", _NOTES)
    cls.__doc__ = doc + "\n"
    return cls


class _MultipleImputation(MetaEstimatorMixin, BaseEstimator, ABC):
    """What both share: a member for each of several completed tables."""

    _kind: ClassVar[Literal["classifier", "regressor"]]

    def __init__(
        self,
        estimator: Any,
        *,
        imputer: Any = None,
        n_imputations: int = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.imputer = imputer
        self.n_imputations = n_imputations
        self.n_jobs = n_jobs
        self.random_state = random_state

    @abstractmethod
    def _outcome(self, y: Any) -> np.ndarray:
        """Return the checked outcome: (n_samples,) or (n_samples, n_outputs)."""

    @abstractmethod
    def _ask(self, member: Any, table: Any) -> np.ndarray:
        """Return what is averaged of a member's prediction: (n_samples, ...)."""

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Fit the imputer to the rows alone, then a member to each completed table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        y : array-like of shape (n_samples,)
            Outcome, which no imputation depends on.
        **fit_params : dict
            Passed to each member's ``fit``, such as ``sample_weight``; where metadata routing is
            enabled, as its request says.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_parameters()
        params = fit_params
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "fit", **fit_params)["estimator"]["fit"]
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        with unchanged_on_error(self):
            self._template = open_table(self, X).template()
            y = self._outcome(y)
            check_consistent_length(X, y)
            random_state = check_random_state(self.random_state)
            imputer = MissSIWAEImputer() if self.imputer is None else self.imputer
            if hasattr(imputer, "impute"):
                self.imputer_ = _seeded(imputer, random_state).fit(X)
            else:
                self.imputer_ = _Copies(imputer, self.n_imputations, random_state).fit(X)
            members = [_seeded(self.estimator, random_state) for _ in range(self.n_imputations)]
            at_fit, self._seed = random_state.randint(2**31 - 1, size=2).tolist()
            tables = self.imputer_.impute(X, self.n_imputations, random_state=at_fit)
            # no table is made before a worker is free to take it
            self.estimators_ = Parallel(n_jobs=self.n_jobs, pre_dispatch="n_jobs")(
                delayed(_fitted)(member, table, y, params)
                for member, table in zip(members, tables, strict=True)
            )
        return self

    def predict_all(self, X: Any) -> np.ndarray:
        """Return the predictions of all members, each for its own imputation of the rows.

        They differ by what is missing, in the row and at fit, and by random states of their own.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_imputations, n_samples) or (n_imputations, n_samples, n_classes)
            Predictions of regressors. Of classifiers the probabilities of the classes or, where
            members have none, 1 for the predicted class and 0 for the others.
        """
        check_is_fitted(self)
        source = open_table(self, X, self._template)
        # equal rows are one row: the draws belong to what it holds
        ids, first, inverse = np.unique(
            _contents(source.columns), return_index=True, return_inverse=True
        )
        impute = self.imputer_.impute
        keyed = {"row_ids": ids} if "row_ids" in inspect.signature(impute).parameters else {}
        rows = _rows(X, source, first)
        tables = impute(rows, len(self.estimators_), random_state=self._seed, **keyed)
        pairs = zip(self.estimators_, tables, strict=True)
        return np.stack([self._ask(member, table)[inverse] for member, table in pairs])

    def get_metadata_routing(self) -> MetadataRouter:
        """Return where metadata go: those of ``fit`` to the ``fit`` of ``estimator``.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def _check_parameters(self) -> None:
        name, tags = type(self).__name__, getattr(self.estimator, "__sklearn_tags__", None)
        if isinstance(self.estimator, type) or tags is None or tags().estimator_type != self._kind:
            raise TypeError(
                f"Parameter 'estimator' of {name} must be a {self._kind}; got {self.estimator!r}."
            )
        want = integer(1)(self.n_imputations)
        if want is not None:
            raise ValueError(
                f"Parameter 'n_imputations' of {name} must be {want}; got {self.n_imputations!r}."
            )
        if isinstance(self.imputer, type) or not (
            self.imputer is None
            or hasattr(self.imputer, "impute")
            or (hasattr(self.imputer, "random_state") and _draws(self.imputer))
        ):
            raise TypeError(
                f"Parameter 'imputer' of {name} must be able to impute several times, by a method "
                "'impute' (MissSIWAEImputer()) or a parameter 'random_state' "
                f"(IterativeImputer(sample_posterior=True)); got {self.imputer!r}. What a Pipeline "
                f"does before it imputes belongs before {name}, what it does after in 'estimator'."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class _Copies:
    """An imputer that completes a table once, as one that does so several times."""

    def __init__(self, imputer: Any, n: int, random_state: np.random.RandomState) -> None:
        seeds = random_state.randint(2**31 - 1, size=n).tolist()
        self.copies = [clone(imputer).set_params(random_state=seed) for seed in seeds]

    def fit(self, X: Any) -> _Copies:
        """Fit each copy."""
        for one in self.copies:
            one.fit(X)
        return self

    def impute(self, X: Any, n_imputations: int, *, random_state: int) -> Iterator[Any]:
        """Yield the table as each copy completes it, the same at every call."""
        # a transform that draws moves its random state on
        return (copy.deepcopy(one).transform(X) for one in self.copies)


def _draws(imputer: Any) -> bool:
    """Tell whether copies of an imputer differ: IterativeImputer's do where it is asked to draw."""
    return bool(getattr(imputer, "sample_posterior", True))


def _seeded(estimator: Any, random_state: np.random.RandomState) -> Any:
    """Return a clone in which no random state is None."""
    unset = [
        name
        for name, value in sorted(estimator.get_params().items())
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    ]
    return clone(estimator).set_params(**{name: random_state.randint(2**31 - 1) for name in unset})


def _fitted(member: Any, table: Any, y: np.ndarray, params: dict[str, Any]) -> Any:
    return member.fit(table, y, **params)


def _contents(columns: Sequence[Column]) -> np.ndarray:
    """Return a digest of what each row holds, whatever the types of its columns: (n_samples,)."""
    cells = []
    for column in columns:
        plain = to_objects(column)
        plain[is_missing(column, np.nan)] = None
        cells.append(map(_same_of_equals, plain))
    rows = zip(*cells, strict=True)
    return np.array([blake2b(repr(row).encode(), digest_size=16).hexdigest() for row in rows])


def _same_of_equals(cell: Any) -> Any:
    """Return one of the equals 1, 1.0 and True: which it is hangs on the column's other cells."""
    return float(cell) if isinstance(cell, Real) and float(cell) == cell else cell


def _rows(X: Any, source: InputTable, chosen: np.ndarray) -> Any:
    """Return some rows of a table, in its own container."""
    if source.dtype is None and source.frame is not None:
        return nw.to_native(source.frame[chosen.tolist()])
    return np.asarray(X, source.dtype)[chosen]


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis, summed in the same order however many rows there are."""
    return sum(values) / len(values)


def _has_probabilities(self: _MultipleImputation) -> bool:
    return hasattr(getattr(self, "estimators_", [self.estimator])[0], "predict_proba")


@_documented
class MultipleImputationClassifier(ClassifierMixin, _MultipleImputation):
    r"""Classification of incomplete rows by members fitted to several completed tables.

    The imputer draws the missing cells :math:`M` times, at fit and for new rows, and the member
    :math:`f_m` of the m-th completed table predicts from the m-th imputation. The mean,

    .. math:: \hat p(y | x_{obs}) = \frac1M \sum_m f_m(y | x_{obs}, x_{mis}^m),
              \quad x_{mis}^m \sim p(x_{mis} | x_{obs}),

    stands for the expectation over what the missing cells may hold [1]_, so that a row of which
    little is known gets probabilities that say so. A classifier without ``predict_proba`` votes
    in place of :math:`f_m`.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    {attributes}

    See Also
    --------
    MultipleImputationRegressor : The same for numbers.
    MissSIWAEImputer : The imputer that is the default.
    pool_models : Inference from several imputations.

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmissvae import MissSIWAEImputer, MultipleImputationClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 1)) + 0.3 * rng.normal(size=(100, 3))
    >>> y = np.where(X[:, 0] > 0, "high", "low")
    >>> X[rng.random(X.shape) < 0.2] = np.nan
    >>> imputer = MissSIWAEImputer(max_iter=20)
    >>> model = MultipleImputationClassifier(LogisticRegression(), imputer=imputer, random_state=0)
    >>> model.fit(X, y).predict([[np.nan, 1.0, 1.5], [-2.0, np.nan, np.nan]])
    array(['high', 'low'], dtype='<U4')
    """

    _kind = "classifier"

    @property
    def classes_(self) -> np.ndarray:
        """The classes."""
        return self.estimators_[0].classes_

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the mean of the members' probabilities.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        return _mean(self.predict_all(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class, or that of most votes.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples,)
            A class for each row.
        """
        best = _mean(self.predict_all(X)).argmax(axis=1)
        return self.classes_[best]

    def _outcome(self, y: Any) -> np.ndarray:
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(y)
        return y

    def _ask(self, member: Any, table: Any) -> np.ndarray:
        if hasattr(member, "predict_proba"):
            return member.predict_proba(table)
        return (member.predict(table)[:, None] == member.classes_).astype(float)


@_documented
class MultipleImputationRegressor(RegressorMixin, _MultipleImputation):
    r"""Regression on incomplete rows by members fitted to several completed tables.

    The imputer draws the missing cells :math:`M` times, at fit and for new rows, and the member
    :math:`f_m` of the m-th completed table predicts from the m-th imputation. The mean,

    .. math:: \hat y(x_{obs}) = \frac1M \sum_m f_m(x_{obs}, x_{mis}^m),
              \quad x_{mis}^m \sim p(x_{mis} | x_{obs}),

    stands for the expectation over what the missing cells may hold [1]_, which for a curved
    :math:`f` is not the prediction at their means.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MultipleImputationClassifier : The same for classes.
    MissSIWAEImputer : The imputer that is the default.
    pool_models : Inference from several imputations.

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmissvae import MissSIWAEImputer, MultipleImputationRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 1)) + 0.3 * rng.normal(size=(100, 3))
    >>> y = X.sum(axis=1)
    >>> X[rng.random(X.shape) < 0.2] = np.nan
    >>> imputer = MissSIWAEImputer(max_iter=20)
    >>> model = MultipleImputationRegressor(Ridge(), imputer=imputer, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[1.0, 1.0, 1.0], [1.0, np.nan, np.nan]], return_std=True)
    >>> bool(std[0] < std[1])
    True
    """

    _kind = "regressor"

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean of the members' predictions.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        return_std : bool, default=False
            Whether to return how far the members' predictions spread, too.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The prediction.
        std : ndarray of the same shape
            Standard deviation between the members' predictions: what is uncertain for what is
            missing, to which comes what is uncertain given complete rows. Only with
            ``return_std``.
        """
        members = self.predict_all(X)
        mean = _mean(members)
        if not return_std:
            return mean
        if len(members) < 2:
            raise ValueError("return_std needs n_imputations of 2 or more at fit; it was 1.")
        return mean, np.sqrt(sum((members - mean) ** 2) / (len(members) - 1))

    def _outcome(self, y: Any) -> np.ndarray:
        return check_array(y, ensure_2d=False, dtype="numeric", input_name="y")

    def _ask(self, member: Any, table: Any) -> np.ndarray:
        return member.predict(table)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = get_tags(self.estimator).target_tags.multi_output
        return tags
