"""The fitted attributes of the estimators, and how scikit-learn copies and stores them."""

from operator import attrgetter
from typing import Any, Self

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from .._utils.html import DocumentationLink
from ..tables.column_report import column_report
from ..tables.input_table import InputTable
from ..tables.schema import TableSchema
from ..training.fit import FittedModel
from ..training.optim import EarlyStopping
from .saving import Saveable


class FittedAttributes(DocumentationLink, Saveable, BaseEstimator):
    """Fitted attributes; in a class with parameters their annotations would be parameters.

    Attributes
    ----------
    model_ : FittedModel
        The fitted model with its specification.
    vae_ : torch.nn.Module
        The VAE of ``model_``.
    schema_ : TableSchema
        The columns of the table: kinds, units, data types.
    max_iter_, batch_size_, n_latents_ : int
        Values of the parameters that were used.
    learning_rate_ : float
        Value of the parameter that was used.
    early_stopping_ : EarlyStopping or False
        Value of the parameter that was used.
    init_ : {"factor_analysis", "random"}
        Initialization that was used.
    history_ : dict of str to list of float
        Per epoch: ``"bound"`` (mean over the batches), ``"learning_rate"``, ``"seconds"`` since the
        start of training and, if rows are held out, ``"validation_bound"``.
    n_iter_ : int
        Number of epochs since the initialization.
    validation_score_ : float
        Bound of the held-out rows for the weights that were kept; NaN if none are held out.
    feature_kinds_ : dict of str to str
        Kind of each column: those of ``feature_kinds``, or why it is not modelled ("identifier",
        "date", "other").
    fit_report_ : DataFrame
        A row per column: kind, role, missing cells, number of values, remarks.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all names of ``X`` are strings.
    """

    model_: FittedModel
    schema_: TableSchema
    feature_kinds_: dict[str, str]
    n_features_in_: int
    _template: InputTable  # the table of fit without rows: its container and data types
    _kind_options: dict[str, str]  # parameters that determined the kinds of columns
    _seed: int  # of the noise that all rows share

    vae_ = property(attrgetter("model_.vae"), doc="The fitted VAE.")
    max_iter_ = property(attrgetter("model_.settings.max_iter"), doc="Maximum number of epochs.")
    batch_size_ = property(attrgetter("model_.settings.batch_size"), doc="Batch size.")
    learning_rate_ = property(attrgetter("model_.settings.learning_rate"), doc="Learning rate.")
    n_latents_ = property(attrgetter("model_.spec.n_latents"), doc="Number of latents.")
    init_ = property(attrgetter("model_.init"), doc="Initialization of the weights.")
    history_ = property(attrgetter("model_.history"), doc="Bound and learning rate per epoch.")
    n_iter_ = property(attrgetter("model_.n_iter"), doc="Epochs since the initialization.")
    validation_score_ = property(
        attrgetter("model_.validation_score"), doc="Bound of the held-out rows."
    )

    @property
    def early_stopping_(self) -> EarlyStopping | bool:
        """Early stopping that was used, or False."""
        return self.model_.settings.early_stopping or False

    @property
    def fit_report_(self) -> pd.DataFrame:
        """A row per column: kind, treatment, missing cells, number of values, remarks."""
        return column_report(self.schema_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __copy__(self) -> Self:
        """Return a copy that does not change when this estimator is fitted again."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("_callback_fit_ctx", None)  # of a fit in progress
        return other

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_template" in state:
            state["_template"] = state["_template"].to_plain()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_template" in state:
            state["_template"] = InputTable.from_plain(state["_template"])
        super().__setstate__(state)
