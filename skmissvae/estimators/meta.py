"""Classification and regression of incomplete rows by averaging over multiple imputations."""

import inspect
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin
from sklearn.utils import Tags, check_consistent_length, check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d
from typing_extensions import override

from .._utils.compat import available_if
from .._utils.html import DocumentationLink
from .._utils.quoting import quoted
from .._utils.runtime import unchanged_on_error
from .._utils.validation import check_fields, integer
from ..tables.chunks import is_table, take_rows
from ..tables.input_table import open_table
from .imputers import MissSIWAEImputer
from .meta_imputation import (
    RepeatedImputer,
    can_impute_repeatedly,
    clone_with_seeds,
    requesting_weights,
    routed_params,
    row_digests,
)
from .parameters import section
from .saving import StoredState

T = TypeVar("T", bound=type)


@dataclass(eq=False, repr=False)
class _MultipleImputation(DocumentationLink, MetaEstimatorMixin, StoredState, BaseEstimator, ABC):
    """Base class: one member for each of several completed tables.

    Parameters
    ----------
    estimator : estimator
        The estimator of the outcome. A clone of it, called member, is fitted to each completed
        table. It may be a Pipeline with the steps that follow imputation, such as encoders.
    imputer : imputer or None, default=None
        The imputer, of which a clone is fitted; None uses ``MissSIWAEImputer()``. It must have a
        method ``impute(X, n_imputations, random_state=...)``, or draw imputations according to a
        parameter ``random_state``, such as ``IterativeImputer(sample_posterior=True)``; in the
        second case ``n_imputations`` clones with different random states are fitted.
    n_imputations : int, default=5
        Number of completed tables and of members.
    n_jobs : int or None, default=None
        Number of members to fit in parallel, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Seed of the imputations, and of each ``random_state`` of ``imputer`` and ``estimator`` that
        is None.

    Attributes
    ----------
    imputer_ : imputer
        The fitted imputer. For an imputer without ``impute`` its fitted clones are in
        ``imputer_.clones``.
    estimators_ : list of estimator
        The members.
    n_features_in_ : int
        Number of columns seen during fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of columns seen during fit. Defined only if ``X`` has names that are all strings.

    Notes
    -----
    The imputer is fitted to ``X`` without the outcome, because new rows have no outcome:
    imputations that use it at fit would have a different distribution than those of new rows [2]_.
    For inference on coefficients or effects the opposite holds: the imputation model must include
    the outcome, otherwise associations with it are biased towards zero [3]_. Then impute a table
    that contains ``y`` as a column, fit a model to each imputation, and pool the models
    (``pool_models``).

    With imputers of this package the imputations of a new row depend only on its cells and on the
    fit, not on other rows or on its position.

    References
    ----------
    .. [1] Josse, Chen, Prost, Varoquaux and Scornet (2024). On the consistency of supervised
       learning with missing values. Statistical Papers 65.
    .. [2] Sperrin, Martin, Sisk and Peek (2020). Missing data should be handled differently for
       prediction than for description or causal explanation. Journal of Clinical Epidemiology 125.
    .. [3] Moons, Donders, Stijnen and Harrell (2006). Using the outcome for imputation of missing
       predictor values was preferred. Journal of Clinical Epidemiology 59.
    """

    _kind: ClassVar[Literal["classifier", "regressor"]]

    estimator: Any
    _: KW_ONLY
    imputer: Any = None
    n_imputations: int = 5
    n_jobs: int | None = None
    random_state: Any = None

    @abstractmethod
    def _check_y(self, y: Any) -> np.ndarray:
        """Return the validated outcome: (n_samples,) or (n_samples, n_outputs)."""

    @abstractmethod
    def _predict_member(self, member: Any, table: Any) -> np.ndarray:
        """Return the prediction of a member that is averaged: (n_samples, ...)."""

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the imputer to X, and a member to each completed table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.
        y : array-like of shape (n_samples,)
            Outcome, which the imputer does not use.
        **fit_params : dict
            Parameters of the ``fit`` of each member. ``sample_weight`` is also passed to the
            imputer if its ``fit`` accepts it. If metadata routing is enabled, all are routed by the
            requests of ``estimator`` and ``imputer``; the default imputer requests
            ``sample_weight``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_parameters()
        imputer = MissSIWAEImputer() if self.imputer is None else self.imputer
        imputer_params, params = routed_params(self, imputer, fit_params)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        with unchanged_on_error(self):
            self._template = open_table(self, X).template()
            y = self._check_y(y)
            check_consistent_length(X, y)
            random_state = check_random_state(self.random_state)
            if hasattr(imputer, "impute"):
                self.imputer_ = clone_with_seeds(imputer, random_state).fit(X, **imputer_params)
            else:
                repeated = imputer, X, self.n_imputations, random_state
                self.imputer_ = RepeatedImputer.fit(*repeated, **imputer_params)
            members = [
                clone_with_seeds(self.estimator, random_state) for _ in range(self.n_imputations)
            ]
            fit_seed, self._seed = random_state.randint(2**31 - 1, size=2).tolist()
            tables = self.imputer_.impute(X, self.n_imputations, random_state=fit_seed)
            # a table is computed only when a worker is free
            self.estimators_ = Parallel(n_jobs=self.n_jobs, pre_dispatch="n_jobs")(
                delayed(member.fit)(table, y, **params)
                for member, table in zip(members, tables, strict=True)
            )
        return self

    def predict_all(self, X: Any) -> np.ndarray:
        """Return the predictions of all members, each from its own imputation of the rows.

        They differ by the imputations of the row, by those at fit, and by the random states of the
        members.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.

        Returns
        -------
        ndarray of shape (n_imputations, n_samples) or (n_imputations, n_samples, n_classes)
            Predictions of regressors. Probabilities of classifiers or, without ``predict_proba``,
            1 for the predicted class and 0 for the others.
        """
        check_is_fitted(self)
        source = open_table(self, X, self._template)
        # equal rows get equal draws, so each distinct row is imputed once
        row_ids, first, inverse = np.unique(
            row_digests(source.columns), return_index=True, return_inverse=True
        )
        impute = self.imputer_.impute
        takes_ids = "row_ids" in inspect.signature(impute).parameters
        options = {"row_ids": row_ids} if takes_ids else {}
        rows = take_rows(X if is_table(X) else np.asarray(X, source.dtype), first)
        tables = impute(rows, len(self.estimators_), random_state=self._seed, **options)
        pairs = zip(self.estimators_, tables, strict=True)
        return np.stack([self._predict_member(member, table)[inverse] for member, table in pairs])

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata routing: from ``fit`` to those of ``estimator`` and ``imputer``.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        imputer = requesting_weights() if self.imputer is None else self.imputer
        parts = {"estimator": self.estimator, "imputer": imputer}
        return MetadataRouter(owner=self).add(method_mapping=mapping, **parts)

    def _check_parameters(self) -> None:
        name, tags = type(self).__name__, getattr(self.estimator, "__sklearn_tags__", None)
        if isinstance(self.estimator, type) or tags is None or tags().estimator_type != self._kind:
            raise TypeError(
                f"Parameter 'estimator' of {name} must be a {self._kind}; got "
                f"{quoted(self.estimator)}."
            )
        check_fields(self, n_imputations=integer(1))
        if self.imputer is not None and not can_impute_repeatedly(self.imputer):
            raise TypeError(
                f"Parameter 'imputer' of {name} must support multiple imputation, by a method "
                "'impute' (MissSIWAEImputer()) or by random draws with a parameter 'random_state' "
                f"(IterativeImputer(sample_posterior=True)); got {quoted(self.imputer)}. Steps of "
                f"a Pipeline before imputation belong before {name}, later steps into 'estimator'."
            )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if isinstance(state.get("imputer_"), RepeatedImputer):
            state["imputer_"] = state["imputer_"].clones  # a list, of which files need no class
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(vars(self).get("imputer_"), list):
            self.imputer_ = RepeatedImputer(state["imputer_"])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis, with a summation order that does not depend on rows."""
    return sum(values) / len(values)


def _has_probabilities(self: _MultipleImputation) -> bool:
    return hasattr(getattr(self, "estimators_", [self.estimator])[0], "predict_proba")


def _documented(cls: T) -> T:
    """Insert the sections of the base class's docstring that both classes share."""
    shared, doc = (inspect.cleandoc(c.__doc__ or "") for c in (_MultipleImputation, cls))
    for name in ("Parameters", "Attributes", "Notes", "References"):
        doc = doc.replace(f"{{{name.lower()}}}", section(shared, name))
    cls.__doc__ = doc + "\n"
    return cls


@_documented
class MultipleImputationClassifier(ClassifierMixin, _MultipleImputation):
    r"""Classifier for incomplete rows that averages over multiple imputations.

    The missing cells are imputed :math:`M` times, at fit and for new rows. A member :math:`f_m` is
    fitted to the m-th completed table and predicts from the m-th imputation of new rows. The mean,

    .. math:: \hat p(y | x_{obs}) = \frac1M \sum_m f_m(y | x_{obs}, x_{mis}^m),
              \quad x_{mis}^m \sim p(x_{mis} | x_{obs}),

    approximates the expectation over the missing cells [1]_, so that probabilities include the
    uncertainty due to missing values. For a classifier without ``predict_proba``, :math:`f_m` is 1
    for the predicted class and 0 for the others.

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
    MultipleImputationRegressor : The same for regression.
    MissSIWAEImputer : The default imputer.
    pool_models : Pool models fitted to several imputations for inference.

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmissvae import MissSIWAEImputer, MultipleImputationClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 1)) + 0.3 * rng.normal(size=(90, 3))
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
        """Return the mean of the probabilities of the members.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        return _mean(self.predict_all(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the class with the highest mean probability, or with most votes.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted classes.
        """
        mean = _mean(self.predict_all(X))  # raises if the model is not fitted
        return self.classes_[mean.argmax(axis=1)]

    @override
    def _check_y(self, y: Any) -> np.ndarray:
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(y)
        return y

    @override
    def _predict_member(self, member: Any, table: Any) -> np.ndarray:
        if hasattr(member, "predict_proba"):
            return member.predict_proba(table)
        return (member.predict(table)[:, None] == member.classes_).astype(float)


@_documented
class MultipleImputationRegressor(RegressorMixin, _MultipleImputation):
    r"""Regressor for incomplete rows that averages over multiple imputations.

    The missing cells are imputed :math:`M` times, at fit and for new rows. A member :math:`f_m` is
    fitted to the m-th completed table and predicts from the m-th imputation of new rows. The mean,

    .. math:: \hat y(x_{obs}) = \frac1M \sum_m f_m(x_{obs}, x_{mis}^m),
              \quad x_{mis}^m \sim p(x_{mis} | x_{obs}),

    approximates the expectation over the missing cells [1]_. For a nonlinear :math:`f` it differs
    from the prediction at their means.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MultipleImputationClassifier : The same for classification.
    MissSIWAEImputer : The default imputer.
    pool_models : Pool models fitted to several imputations for inference.

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmissvae import MissSIWAEImputer, MultipleImputationRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 1)) + 0.3 * rng.normal(size=(90, 3))
    >>> y = X.sum(axis=1)
    >>> X[rng.random(X.shape) < 0.2] = np.nan
    >>> imputer = MissSIWAEImputer(max_iter=20)
    >>> model = MultipleImputationRegressor(Ridge(), imputer=imputer, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[1.0, 1.0, 1.0], [1.0, np.nan, np.nan]], return_std=True)
    >>> bool(std[0] < std[1])
    True
    """

    _kind = "regressor"

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> np.ndarray: ...
    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...
    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the mean of the predictions of the members.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.
        return_std : bool, default=False
            Whether to also return the standard deviation over members.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions.
        std : ndarray of the same shape
            Standard deviation of the predictions over members: the uncertainty due to missing
            values, without that of the outcome given complete rows. Only if ``return_std``.
        """
        predictions = self.predict_all(X)
        mean = _mean(predictions)
        if not return_std:
            return mean
        if len(predictions) < 2:
            raise ValueError(
                "return_std needs two or more imputations; the estimator was fitted with "
                "n_imputations=1. Fit it with a larger n_imputations."
            )
        return mean, np.sqrt(sum((predictions - mean) ** 2) / (len(predictions) - 1))

    @override
    def _check_y(self, y: Any) -> np.ndarray:
        return check_array(y, ensure_2d=False, dtype="numeric", input_name="y")

    @override
    def _predict_member(self, member: Any, table: Any) -> np.ndarray:
        return member.predict(table)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = get_tags(self.estimator).target_tags.multi_output
        return tags
