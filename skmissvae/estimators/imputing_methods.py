"""What a fitted imputer computes: completed tables, imputations and distributions of cells."""

import copy
import numbers
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
import pandas as pd
import torch
from narwhals.typing import IntoDataFrameT
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from .._utils.progress import progress_of
from .._utils.random import SeedStream, derive_seed
from .._utils.validation import check_minimum
from ..inference.batching import map_rows, n_decoded_draws
from ..inference.conditional import ConditionalModel
from ..tables.column_selection import derivations, limits, requested_cells
from ..tables.columns import Mask
from ..tables.constraints import Constraint, parse_constraints
from ..tables.input_table import to_pandas
from ..training.fit import FittedModel
from .cell_distributions import describe_cells
from .imputation_sampler import ImputationSampler
from .imputation_task import ImputationTask, RowBlock, row_keys
from .imputations import Imputations
from .latent_methods import LatentMethods
from .messages import warn_of_low_ess, warn_of_similar_imputations
from .options import ImputationOptions
from .rejection import accepted_draws, constrained_points, warn_of_unmet
from .shifts import ShiftUnit, column_shifts
from .strategies import STRATEGIES, point_of_draws


class ImputingMethods(ImputationOptions, OneToOneFeatureMixin, TransformerMixin, LatentMethods):
    """Methods of a fitted imputer."""

    @overload
    def transform(
        self, X: IntoDataFrameT, *, where: Any = None, lower: Any = None, upper: Any = None
    ) -> IntoDataFrameT: ...
    @overload
    def transform(
        self, X: Any, *, where: Any = None, lower: Any = None, upper: Any = None
    ) -> NDArray[Any]: ...
    def transform(self, X: Any, *, where: Any = None, lower: Any = None, upper: Any = None) -> Any:
        """Complete a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing values; those of ``fit`` or new ones.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to impute, as in mice: None imputes all missing cells, a list those of some
            columns (names or indices). Other cells are unchanged. Observed cells in a mask are
            imputed from the rest of their row.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits within which missing cells are known to lie, as in ``fit``: they are evidence,
            and imputations lie within them.

        Returns
        -------
        data frame or ndarray of shape (n_samples, n_features_out)
            The completed table in the same container, with its index and data types; observed cells
            are unchanged, bit for bit. The imputations of a row do not depend on the other rows; a
            draw depends on the position of the row, and differs between calls unless
            ``random_state`` is an int. ``set_output`` chooses another container.

        Raises
        ------
        ValueError, TypeError
            If X does not match the table of ``fit``, or if ``where``, a limit or a bound does not
            match X.
        """
        task = self._imputation_task(X, where, limits=(lower, upper))
        model = self._imputation_model(has_limits=task.has_limits)
        constraints = self._constraints()
        function, point, batched, draws = STRATEGIES[self.strategy]
        device, seed = self._device(), self._draw_seed() if draws else 0
        values, ess, unmet = [], [np.empty(0)], [np.empty(0, dtype=np.intp)]
        with progress_of(self).task("row", task.n_incomplete, of_rows=True) as rows:
            for block in task.incomplete_blocks():
                noise = partial(block.noise, seed) if draws else self._shared_noise
                arguments = block.rows, function, model, device, noise, block.incomplete
                result = map_rows(*arguments, batched=batched, task=rows)
                x = point(result, self.vae_)
                if constraints:
                    x, is_unmet = self._constrained(x, task, block, model, seed, constraints)
                    unmet.append((block.first + block.incomplete)[is_unmet])
                values.append(task.numbers(block, x))
                ess.append(np.asarray(result.ess))
        completed = task.table(values)
        warn_of_low_ess(self, np.concatenate(ess))
        fallback = "first draw" if draws else "estimate without constraints"
        warn_of_unmet(constraints, np.concatenate(unmet), fallback)
        # scikit-learn would convert a frame of polars to one of pandas with object columns
        config = getattr(self, "_sklearn_output_config", {}).get("transform")
        is_pandas = (config or get_config()["transform_output"]) == "pandas"
        return to_pandas(completed) if is_pandas else completed

    @overload
    def impute(
        self,
        X: IntoDataFrameT,
        n_imputations: int = 5,
        *,
        random_state: Any = None,
        where: Any = None,
        row_ids: Any = None,
        lower: Any = None,
        upper: Any = None,
        shift: Any = None,
        shift_unit: ShiftUnit = "column",
    ) -> Imputations[IntoDataFrameT]: ...
    @overload
    def impute(
        self,
        X: Any,
        n_imputations: int = 5,
        *,
        random_state: Any = None,
        where: Any = None,
        row_ids: Any = None,
        lower: Any = None,
        upper: Any = None,
        shift: Any = None,
        shift_unit: ShiftUnit = "column",
    ) -> Imputations[NDArray[Any]]: ...
    def impute(
        self,
        X: Any,
        n_imputations: int = 5,
        *,
        random_state: Any = None,
        where: Any = None,
        row_ids: Any = None,
        lower: Any = None,
        upper: Any = None,
        shift: Any = None,
        shift_unit: ShiftUnit = "column",
    ) -> Imputations[Any]:
        """Complete a table several times, for inference by Rubin's rules.

        Each imputation draws a latent from a pool of ``n_importance_draws`` in proportion to the
        importance weights (sampling importance resampling), or from the last steps of the chains
        of ``sampler``, and then the missing cells given the latent. Pools are added until the
        effective sample size of a row is 100, at most three; if it is then at least 20 all
        imputations of the row use these pools, which reduces the variance between imputations by
        1% to 10%. Other rows get a new pool, or new chains, for each imputation. Rows are
        independent. What a row gets depends on its position, or its entry in ``row_ids``, on
        ``random_state`` and on the fit: use another ``random_state`` for another table.

        Each imputation draws the model, too, as Rubin's rules require. With ``n_bootstrap=0`` a
        linear function of the latents is added to the outputs of the decoder. It is drawn from a
        Normal distribution with the covariance of 16 Bayesian bootstrap samples [1]_ of factor
        analysis, which takes about a tenth of the fit. Not included is the uncertainty of
        deviations from linear relations, of ordinal columns, and of columns with more than 20
        categories. It is not known after ``partial_fit``, with fewer than ten rows or more than 200
        columns: a warning names the columns. Otherwise the i-th imputation uses the i-th of
        ``models_``, from the first again after the last.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing values.
        n_imputations : int, default=5
            Number of completed tables.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None uses the ``random_state`` of the estimator.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to impute, as in ``transform``.
        row_ids : array-like of int or str of shape (n_samples,) or None, default=None
            Identifiers that determine the draws of the rows, in any order and selection. None uses
            their positions.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits within which missing cells are known to lie, as in ``transform``.
        shift : mapping or None, default=None
            What is added to the imputed values of some columns, by name or index, if they may be
            missing because of their own value (delta adjustment [2]_). A number for columns of
            numbers, ``{"income": -500}``, an integer for integers. For binary columns a number that
            is added to the log-odds of the greater value; for ordered categories, per step upwards;
            for any categories a mapping, ``{"smoker": {"yes": 0.7}}``. Log-odds are those given the
            latents: given the observed cells they move by less. Other cells of the row do not
            change. Shifted values stay within ``min_value``, ``max_value`` and the limits of their
            kind.
        shift_unit : {"column", "sd"}, default="column"
            Whether numbers are in the units of their column or in its standard deviations at fit.
            The latter is not possible for integers and values from 0 to 1; with
            ``learn_shapes=True`` it is a robust scale if outliers dominate the column.

        Returns
        -------
        Imputations
            A lazy sequence of tables like ``X``; one is in memory at a time. ``to_frame()``
            returns all of them in one frame.

        Raises
        ------
        ValueError, TypeError
            As of ``transform``, or if ``n_imputations``, ``row_ids`` or ``shift`` is invalid.

        See Also
        --------
        sensitivity : Pooled estimates for several shifts.

        References
        ----------
        .. [1] Rubin (1981). The Bayesian Bootstrap. Annals of Statistics 9.
        .. [2] Carpenter, Kenward and Vansteelandt (2006). A comparison of multiple imputation and
           doubly robust estimation for analyses with missing data. JRSS A 169.
        """
        check_is_fitted(self)
        check_minimum(1, n_imputations=n_imputations)
        schema, constraints = self.schema_, self._constraints()
        shifts = column_shifts(shift, shift_unit, schema, derivations(schema, self.derived))
        shifted, limits = shifts.columns(schema), (lower, upper)
        # tables that are made later belong to this fit, these settings and this table
        task = self._imputation_task(X, where, row_ids, limits, copies=True, shifted=shifted)
        n, seed = int(n_imputations), self._call_seed(random_state)
        models = [
            model._replace(log_odds=shifts.log_odds)
            for model in self._conditional_models(self.models_, task.has_limits)
        ]
        uncertainty = self._decoder_uncertainty
        decoders = [] if uncertainty is None else uncertainty.draws(seed, n)
        warn_of_similar_imputations(self, task.to_impute, n)
        warn = partial(warn_of_low_ess, copy.copy(self))
        device, progress = self._device(), progress_of(self)
        arguments = task, models, decoders, device, seed, n, warn, progress, shifts, constraints
        make = ImputationSampler(*arguments)
        n_imputed = task.to_impute.sum(0)[self.schema_.output_columns].tolist()
        n_imputed += [0] * len(task.indicators)
        names, rejected = list(self.get_feature_names_out()), make.rejected_shares
        return Imputations(make, range(n), names, n_imputed, rejected if constraints else None)

    def cell_distribution(
        self,
        X: Any,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        *,
        where: Any = None,
        lower: Any = None,
        upper: Any = None,
    ) -> pd.DataFrame:
        """Return the distribution of each missing cell given the observed cells of its row.

        It is that of the weighted draws whose means ``transform`` imputes, over all ``models_`` if
        there are any. With ``calibrate=True`` quantiles are moved as described there.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing values.
        quantiles : sequence of float, default=(0.05, 0.5, 0.95)
            Probabilities between 0 and 1. The columns ``"5%"`` and ``"95%"`` form a 90% interval.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to describe, as in ``transform``. Observed cells in a mask are described from the
            rest of their row.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits within which missing cells are known to lie, as in ``transform``.

        Returns
        -------
        DataFrame
            A row per cell of a modelled numeric or date column: ``row`` (label of a pandas index,
            or position), ``column``, ``kind``, ``mean``, ``std`` and the quantiles, in the units of
            the column. For categorical and binary cells a row per category: ``category`` and its
            ``probability``.

        Raises
        ------
        ValueError, TypeError
            As of ``transform``, or if a quantile is not between 0 and 1.
        """
        return describe_cells(self, X, quantiles, where, (lower, upper))

    def _imputation_task(
        self,
        X: Any,
        where: Any,
        row_ids: Any = None,
        limits: tuple[Any, Any] = (None, None),
        *,
        copies: bool = False,
        shifted: Iterable[int] = (),
    ) -> ImputationTask:
        """Return a table to complete; a copy of what the user may change, if requested."""
        table, names = self._open(X), self.schema_.names
        cells = None if where is None else requested_cells(where, table, names)
        if copies:
            table, cells = table.copy(), None if cells is None else cells.copy()
        keys, bounds = row_keys(row_ids, table.n_rows), self._bounds()
        derived = derivations(self.schema_, self.derived)
        free = {*derived, *shifted, *self._columns_with_missingness()}  # no limits
        pairs = [c.pair for c in self._constraints() if c.pair and not {*c.pair} & free]
        options = self._indicated_columns(), derived, self._cell_limits(*limits, table), pairs
        return ImputationTask(self._reader(), table, cells, keys, bounds, self._template, *options)

    def _constraints(self) -> list[Constraint]:
        """Return the constraints of completed rows."""
        constraints = parse_constraints(self.constraints, self.schema_)
        if constraints and self.strategy == "mode":
            raise ValueError(
                "Parameter 'constraints' cannot be combined with strategy='mode'. Use 'median'."
            )
        return constraints

    def _constrained(
        self,
        x: NDArray[np.float64],
        task: ImputationTask,
        block: RowBlock,
        model: ConditionalModel,
        seed: int,
        constraints: Sequence[Constraint],
    ) -> tuple[NDArray[np.float64], Mask]:
        """Return what ``transform`` imputes if rows meet constraints, and which rows do not.

        Given is what it imputes without constraints, (n_incomplete, D), with the seed of draws.
        """
        rows, draws = block.first + block.incomplete, self.strategy == "draw"
        keys = None if draws else np.zeros(len(rows), dtype=np.uint64)  # any rows in any order
        part, seed = task.part(rows, keys), seed if draws else self._seed
        sampler = ImputationSampler(part, [model], [], self._device(), seed, 1, None)
        redraws = partial(sampler.redraws, 0)
        if draws:
            accepted = accepted_draws(x, part, constraints, redraws)
            return accepted.x, accepted.unmet
        point = partial(point_of_draws, supports=self.schema_.supports, strategy=self.strategy)
        return constrained_points(x, part, constraints, redraws, point)

    def _columns_with_missingness(self) -> list[int]:
        """Return the columns with a model of missingness, whose cells with limits it ignores."""
        model, schema = self.vae_.missingness, self.schema_
        modelled = [] if model is None else schema.modelled[model.has_model.numpy()].tolist()
        return [j for j in range(len(schema.names)) if schema.copies.get(j, j) in modelled]

    def _indicated_columns(self) -> dict[str, int]:
        """Return the column of each indicator of missingness, by the indicator's name."""
        if self.indicator_ is None:
            return {}
        names = self.get_feature_names_out()[len(self.schema_.output_columns) :]
        return dict(zip(names, self.indicator_.features_.tolist(), strict=True))

    def _conditional_models(
        self, fitted: Sequence[FittedModel], has_limits: bool = False
    ) -> list[ConditionalModel]:
        """Return the models of imputations: bootstrap models, or if none the model of all rows."""
        model = self._imputation_model(has_limits=has_limits)
        return [
            model._replace(vae=other.vae, completed_vae=other.completed_vae) for other in fitted
        ] or [model]

    def _imputation_model(self, *, has_limits: bool = False) -> ConditionalModel:
        """Return the model with the bounds of imputed cells, infinite ones if cells have limits."""
        model, schema = self.conditional_model(), self.schema_
        low, high = self._bounds()
        if np.isinf(low).all() and np.isinf(high).all() and not has_limits:
            return model
        low, high = ((b[schema.modelled] - schema.location) / schema.scale for b in (low, high))
        bounds = torch.from_numpy(low), torch.from_numpy(high)
        # truncated columns are decoded a second time, in double precision
        return model._replace(bounds=bounds, n_decoded=n_decoded_draws(self.vae_, factor=2))

    def _draw_seed(self) -> int:
        """Return the seed of the draws of ``transform``: that of fit if random_state is an int."""
        is_fixed = isinstance(self.random_state, numbers.Integral)
        seed = self._seed if is_fixed else self._call_seed(None)
        return derive_seed(seed, SeedStream.DRAW)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of imputed cells of each column, in its units."""
        return limits(self.schema_, self.min_value, self.max_value)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of the input; None uses those of ``fit``, or x0, x1, ...

        Returns
        -------
        ndarray of str objects
            Names of the columns that are kept, then of the indicators.

        Raises
        ------
        ValueError
            If ``input_features`` are not the names of ``fit``.
        """
        given_names = None if input_features is None else list(input_features)
        names = super().get_feature_names_out(given_names)
        outputs = names[self.schema_.output_columns]
        if self.indicator_ is None:
            return outputs
        return np.concatenate([outputs, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
