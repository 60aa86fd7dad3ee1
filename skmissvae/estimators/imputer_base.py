"""The base class of the imputers: fitting."""

import copy
from typing import Any, Self, overload

import numpy as np
import pandas as pd
from narwhals.typing import IntoDataFrameT
from numpy.typing import NDArray
from sklearn.impute import MissingIndicator
from typing_extensions import override

from .._utils.progress import progress_of
from .._utils.quoting import quoted
from .._utils.random import SeedStream, derive_seed
from .._utils.runtime import unchanged_on_error
from ..inference.calibration import Calibration
from ..tables.chunks import Chunks
from ..tables.column_selection import derivations
from ..training.calibration import fit_calibration
from ..training.decoder_uncertainty import decoder_uncertainty
from ..training.defaults import ImputationDefaults
from ..training.fit import FitTask, FittedModel, fit_bootstrap_models
from ..training.selection import ROWS_WITH_CHOICE, choose_initialization
from ..vae.networks.options import ConvNetwork
from .base import BaseVAE
from .imputing_methods import ImputingMethods
from .messages import (
    warn_of_constants,
    warn_of_identifiers,
)
from .parameters import estimator, validate
from .preparation import table_size, training_settings


@estimator
class BaseImputer(ImputingMethods, BaseVAE):
    """Base class of the imputers.

    Attributes
    ----------
    indicator_ : MissingIndicator or None
        Makes the indicator columns, if ``add_indicator`` is set.
    models_ : list of FittedModel
        Models of bootstrap samples of the rows, ``n_bootstrap`` of them.
    calibration_ : DataFrame or None
        A row per numeric column: number of hidden cells, and the coverage of intervals without the
        calibration.
    """

    _defaults = ImputationDefaults()

    @override
    def _choose_initialization(self, task: FitTask) -> FitTask:
        # hidden cells select the initialization of a small table
        is_open = self.init == "auto" and task.spec.factor_analysis != "never"
        if not is_open or len(task.rows.rows.x) not in ROWS_WITH_CHOICE:
            return task
        n_rows = task.rows.n_rows
        spec = choose_initialization(
            task,
            lambda spec: self._defaults.settings(table_size(self, spec, n_rows), n_all_rows=n_rows),
            np.array([support == "coded" for support in self.schema_.supports], dtype=bool),
            progress_of(self),
        )
        return task._replace(spec=spec, settings=training_settings(self, spec, n_rows))

    @override
    def _begin_schema(self) -> None:
        self.models_: list[FittedModel] = []
        self._calibration: Calibration | None = None
        self._bounds()
        derivations(self.schema_, self.derived)
        self._constraints()
        schema = self.schema_
        if self.calibrate and not schema.numeric().any():
            raise ValueError(
                f"Parameter 'calibrate' of {type(self).__name__} must be False for a table without "
                "a numeric column that varies: only numeric cells have intervals."
            )
        warn_of_identifiers(schema)
        if not isinstance(self.network, ConvNetwork):  # a pixel is no answer that can be empty
            warn_of_constants(schema)
        self.indicator_: MissingIndicator | None = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(missing_values=np.nan, error_on_new=False)
            self.indicator_.fit(np.where(schema.n_missing > 0, np.nan, 0.0)[None])
            names, counts = np.unique(self.get_feature_names_out(), return_counts=True)
            if (counts > 1).any():
                raise ValueError(
                    f"X has a column named {quoted(names[counts > 1][0])}, which "
                    "add_indicator=True adds; rename it, or set add_indicator=False."
                )

    @override
    def _fit_more_models(self, task: FitTask, previous: FittedModel | None) -> None:
        if self.model_.stopped_by is not None or previous is not None:
            task = task._replace(settings=task.settings._replace(max_iter=self.model_.n_iter))
        seeds = [derive_seed(task.seed, SeedStream.BOOTSTRAP, i) for i in range(self.n_bootstrap)]
        fits = task, seeds, self.n_jobs, progress_of(self)
        self.models_, self._calibration = fit_bootstrap_models(*fits), None
        self._decoder_uncertainty = None
        if not self.models_:
            self._decoder_uncertainty = decoder_uncertainty(self.model_, task.rows, task.seed)
        if self.calibrate:
            self._calibration = fit_calibration(
                task,
                self._conditional_models,
                self._shared_noise,
                self.schema_.numeric(),
                n_bootstrap=self.n_bootstrap,
                n_jobs=self.n_jobs,
                progress=progress_of(self),
            )

    @override
    def partial_fit(self, X: Any, y: object = None) -> Self:
        validate(self)
        for name, value in (("n_bootstrap", 0), ("calibrate", False)):
            if getattr(self, name) != value:
                raise ValueError(
                    f"Parameter {name!r} of {type(self).__name__} must be {value} for partial_fit, "
                    f"which does not keep the rows; got {getattr(self, name)!r}. Use fit."
                )
        with unchanged_on_error(self):
            super().partial_fit(X)
            self.models_, self._calibration, self._decoder_uncertainty = [], None, None
        return self

    @override
    def refit_encoder(self, X: Any, y: object = None) -> Self:
        other = super().refit_encoder(X)
        other.models_ = [self.with_model(m).refit_encoder(X).model_ for m in self.models_]
        other._calibration = None  # it holds for the first encoder
        return other

    def with_model(self, model: FittedModel) -> Self:
        """Return a copy of the imputer with another model, such as one of ``models_``.

        Parameters
        ----------
        model : FittedModel
            A model that was fitted to the same columns.

        Returns
        -------
        object
            A fitted imputer without bootstrap models, calibration and uncertainty of the model.
        """
        other = copy.copy(self)
        other.model_, other.models_, other._calibration = model, [], None
        other._decoder_uncertainty = None
        return other

    @overload
    def fit_transform(
        self, X: IntoDataFrameT, y: object = None, **fit_params: Any
    ) -> IntoDataFrameT: ...
    @overload
    def fit_transform(self, X: Any, y: object = None, **fit_params: Any) -> NDArray[Any]: ...
    def fit_transform(self, X: Any, y: object = None, **fit_params: Any) -> Any:
        """Fit the model to an incomplete table and complete it.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table, with missing values.
        y : Ignored
            Not used, present for API consistency by convention.
        **fit_params
            Parameters of ``fit``, such as ``sample_weight``; limits are those of ``transform``,
            too.

        Returns
        -------
        data frame or ndarray
            As of ``transform``.

        Raises
        ------
        ValueError, TypeError
            As of ``fit``, or if X is a table in ``Chunks``.
        """
        if isinstance(X, Chunks):
            raise TypeError("Only fit accepts Chunks; use chunks.map(imputer.transform).")
        limits = {name: fit_params[name] for name in ("lower", "upper") if name in fit_params}
        if limits:
            return self.fit(X, y, **fit_params).transform(X, **limits)
        return super().fit_transform(X, y, **fit_params)

    @property
    def calibration_(self) -> pd.DataFrame | None:
        """Per numeric column: number of hidden cells, and coverage without the calibration."""
        calibration = self._calibration
        return None if calibration is None else calibration.report(self.schema_.modelled_names)
