"""The fitted attributes of the estimators, and how scikit-learn copies and stores them."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.impute import MissingIndicator
from sklearn.utils import Tags

from .._utils.html import DocumentationLink
from ..inference.calibration import Calibration
from ..inference.decoder_uncertainty import DecoderUncertainty
from ..tables.column_report import column_report
from ..tables.input_table import InputTable
from ..tables.schema import TableSchema
from ..training.fit import FittedModel
from ..training.optim import EarlyStopping
from ..training.state import History
from ..vae.vae import VAE
from .plain_state import to_plain_state
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
    missingness_ : DataFrame
        A row per column with a model of ``missingness``: ``slope``, the change of the probit of the
        probability that a cell is missing with each standard deviation of its value,
        ``intercept``, and for "linear" columns the slopes of the others, ``"by age"``.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all names of ``X`` are strings.
    """

    model_: FittedModel
    schema_: TableSchema
    feature_kinds_: dict[str, str]
    n_features_in_: int
    feature_names_in_: np.ndarray
    _template: InputTable  # the table of fit without rows: its container and data types
    _kind_options: dict[str, str]  # parameters that determined the kinds of columns
    _seed: int  # of the noise that all rows share
    # of imputers
    models_: list[FittedModel]  # of bootstrap samples
    indicator_: MissingIndicator
    _calibration: Calibration | None
    _decoder_uncertainty: DecoderUncertainty | None = None

    @property
    def vae_(self) -> VAE:
        """The fitted VAE."""
        return self.model_.vae

    @property
    def max_iter_(self) -> int:
        """Maximum number of epochs."""
        return self.model_.settings.max_iter

    @property
    def batch_size_(self) -> int:
        """Batch size."""
        return self.model_.settings.batch_size

    @property
    def learning_rate_(self) -> float:
        """Learning rate."""
        return self.model_.settings.learning_rate

    @property
    def n_latents_(self) -> int:
        """Number of latents."""
        return self.model_.spec.n_latents

    @property
    def init_(self) -> str:
        """Initialization of the weights."""
        return self.model_.init

    @property
    def history_(self) -> History:
        """Bound and learning rate per epoch."""
        return self.model_.history

    @property
    def n_iter_(self) -> int:
        """Epochs since the initialization."""
        return self.model_.n_iter

    @property
    def validation_score_(self) -> float:
        """Bound of the held-out rows."""
        return self.model_.validation_score

    @property
    def early_stopping_(self) -> EarlyStopping | bool:
        """Early stopping that was used, or False."""
        return self.model_.settings.early_stopping or False

    @property
    def fit_report_(self) -> pd.DataFrame:
        """A row per column: kind, treatment, missing cells, number of values, remarks."""
        return column_report(self.schema_)

    @property
    def missingness_(self) -> pd.DataFrame:
        """A row per column with a model of missingness: slope and intercept of its probit."""
        model, names = self.vae_.missingness, pd.Index(self.schema_.modelled_names, dtype=object)
        if model is None:
            return pd.DataFrame({"slope": [], "intercept": []}, index=names[:0])
        values = [value.detach().double().numpy() for value in model.coefficients()]
        frame = pd.DataFrame(dict(zip(("slope", "intercept"), values, strict=True)), index=names)
        if (weights := model.weights()) is not None:
            columns = [f"by {name}" for name in names]
            others = pd.DataFrame(weights.detach().double().numpy(), index=names, columns=columns)
            frame = pd.concat([frame, others.loc[:, others.ne(0).any()]], axis=1)
        return frame[model.has_model.numpy()]

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
        # parameters and attributes of subclasses stay objects, which may be shared
        state, names = super().__getstate__(), FittedAttributes.__annotations__
        fitted = {name: state.pop(name) for name in names if name in state}
        return {**state, "_attributes": to_plain_state(fitted)} if fitted else state
