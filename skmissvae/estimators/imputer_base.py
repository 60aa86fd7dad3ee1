"""What the imputers share."""

import copy
import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn import get_config
from sklearn.base import TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._utils.random import KeyedNoise, derive_seed
from .._utils.runtime import user_stacklevel
from .._utils.validation import a_mapping, check_minimum, either, none, one_of, whole
from ..inference.batching import draws_at_once
from ..inference.calibration import (
    Calibration,
    checked_quantiles,
    normal_score,
    quantiles_at,
    weighted_quantiles,
)
from ..inference.conditional import ConditionalModel
from ..inference.summaries import describe_cells, level_probabilities, median, mode
from ..tables.chunks import Chunks
from ..tables.column_selection import requested_cells
from ..tables.dataframes import to_pandas
from ..tables.input_table import NumericTable
from ..tables.missingness import borrowed_masks
from ..tables.schema import EncodedRows
from ..tables.value_limits import limits
from ..training.bootstrap import fit_bootstrap_models
from ..training.data import TrainingRows
from ..training.defaults import (
    SMALL,
    TrainingStep,
    epochs_from_factor_analysis,
    step_from_factor_analysis,
)
from ..training.initialization import TRIED_ROWS, choose_initialization
from .base import LEAST_ROWS, BaseVAE, warn_of
from .imputation_sampler import ImputationSampler
from .imputation_task import ImputationTask, RowBlock, describe, row_keys
from .imputations import Imputations
from .parameters import Parameter, estimator

_CALIBRATION_SHARE = 0.2  # rows that are kept from the models to calibrate intervals by


_N_MASKS = 5  # times that other cells of theirs are hidden


_N_RESAMPLED = 256  # latents that stand for p(z | x_obs) where a median or mode is asked for


def a_bound(value: object) -> str | None:
    """Check for a number, which may be infinite."""
    good = isinstance(value, Real) and not isinstance(value, bool) and value == value
    return None if good else "a number"


def a_number_of_jobs(value: object) -> str | None:
    """Check for a number of processes, as joblib has them."""
    good = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value != 0
    return None if good else "an integer other than 0"


@estimator
class BaseImputer(TransformerMixin, BaseVAE):
    """What the imputers share: completing tables."""

    _attributes = """
indicator_ : MissingIndicator or None
    What makes the indicator columns, where ``add_indicator`` asks for them.
models_ : list of estimators
    Models of bootstrap samples of the rows, ``n_models`` of them, or none.
calibration_ : DataFrame or None
    A line per column of numbers: hidden cells that ``calibrate`` learned from, and the share of
    them that intervals covered before it."""

    estimate: Annotated[
        Literal["auto", "mean", "median", "mode", "draw"],
        Parameter(
            '{"auto", "mean", "median", "mode", "draw"}',
            "What ``transform`` puts into a missing cell: the conditional mean given the row's "
            "observed cells, by ``sampler``; the conditional median or "
            'mode; or a draw. "auto" is the mean, and for binary columns the more probable value. '
            "Where a pile of a value has a probability of its own (``learn_shapes``) the mode is "
            "that of the other values. Read at the call.",
            one_of("auto", "mean", "median", "mode", "draw"),
        ),
    ] = "auto"
    add_indicator: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether columns that tell what was missing, for each column with holes at fit, are "
            "put beside the completed ones.",
            one_of(True, False),
        ),
    ] = False

    min_value: Annotated[
        Any,
        Parameter(
            "float, mapping or None",
            "Least value of imputed numbers: one for all modelled columns of numbers, or a mapping "
            "from columns (names or indices), of dates, too. Imputations are draws and means of "
            "the model given that they are within the bounds, so that nothing piles up there. Read "
            "at the call.",
            either(a_bound, a_mapping, none),
        ),
    ] = None
    max_value: Annotated[
        Any,
        Parameter(
            "float, mapping or None",
            "Greatest value of imputed numbers, likewise. Read at the call.",
            either(a_bound, a_mapping, none),
        ),
    ] = None

    n_models: Annotated[
        int,
        Parameter(
            "int",
            "Models that ``impute`` and ``cell_distribution`` draw from in turn. With 1 it is the "
            "model of all rows. More are fitted beside it, each to a bootstrap sample of the rows, "
            "so that imputations differ by what is not known of the model, too: inference from "
            "small tables needs that, with an imputation of each model. They share the start that "
            "``init`` chose by all rows. ``transform``, scores and samples are of the model of all "
            "rows in any case.",
            whole(1),
        ),
    ] = 1
    n_jobs: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Processes that fit the ``n_models``; None is one, or what a joblib.parallel_config "
            "says, and -1 all cores. Results do not depend on it. A GPU trains up to 32 models at "
            "once instead, but for DeMissVAE, images and callables of one's own; what comes out "
            "then depends on how many there are.",
            either(a_number_of_jobs, none),
        ),
    ] = None

    calibrate: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether ``fit`` also learns how wide the intervals of ``cell_distribution`` have to "
            "be: models are fitted to 80% of the rows, and the others' cells, hidden by the "
            "table's own patterns, tell how far quantiles must be moved out or in for a 90% "
            "interval to cover 90%, of cells that are missing where like ones are observed. It "
            "doubles the time of the fit, but for the choice of ``init``, which all rows have a "
            "say in. Rows lose those cells beside their own, so that "
            "intervals err on the wide side.",
            one_of(True, False),
        ),
    ] = False

    def fit_transform(self, X: Any, y: object = None, **fit_params: Any) -> Any:
        """Fit the model to an incomplete table, and complete it.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table, with holes.
        y : Ignored
            Present for scikit-learn's sake.
        **fit_params
            None that ``fit`` knows.

        Returns
        -------
        data frame or ndarray
            As of ``transform``.

        Raises
        ------
        TypeError
            If X is a table in ``Chunks``.
        ValueError
            As of ``fit``.
        """
        if isinstance(X, Chunks):
            raise TypeError(
                "X is a table in Chunks, which cannot be completed in one go: after fit(chunks) "
                "take chunks.map(imputer.transform)."
            )
        return super().fit_transform(X, y, **fit_params)

    def _check_pieces(self, how: str) -> None:
        super()._check_pieces(how)
        if self.n_models > 1:
            raise ValueError(
                f"{type(self).__name__} with n_models={self.n_models} cannot be fitted "
                f"{how}: each further model learns from a bootstrap sample of all rows. Set "
                "n_models=1: of very many rows models hardly differ."
            )

    def _fit_more(self, rows: EncodedRows, max_iter: int, seed: int) -> None:
        self.models_: list[Self] = []
        if self.n_models > 1:
            seeds = [derive_seed(seed, 8, i) for i in range(self.n_models)]
            fitted = fit_bootstrap_models(self, rows, max_iter, seeds, self.n_jobs)
            for model in fitted:  # processes bring copies of what all share
                model._table, model._spec, model._template = self._table, self._spec, self._template
            self.models_ = fitted
        self._calibration = self._calibrated(rows, max_iter, seed) if self.calibrate else None

    def _calibrated(self, rows: EncodedRows, max_iter: int, seed: int) -> Calibration:
        """Learn from hidden cells of rows that the model has not seen how wide intervals must be.

        Models of other rows are fitted as those of all rows were.
        """
        random_state = np.random.RandomState(derive_seed(seed, 9) % 2**32)
        order = random_state.permutation(len(rows.x))
        n_kept = round((1 - _CALIBRATION_SHARE) * len(order))
        kept, rest = (rows.part(which) for which in np.split(order, [n_kept]))
        hidden = np.concatenate(
            [borrowed_masks(rest.observed, random_state) for _ in range(_N_MASKS)]
        )
        numeric = self._table.numeric()
        if not (hidden & numeric).any():
            raise ValueError(
                f"calibrate=True has no cells of numbers to learn from in {len(rest.x)} of "
                f"{len(order)} rows; give more rows or set calibrate=False."
            )
        other = copy.copy(self)
        other.calibrate = False
        other.batch_size, other.learning_rate = self._step(len(order))
        other.early_stopping = self._holds_out(len(order))
        held_out = other._held_out(n_kept, seed)
        other = other._refitted(TrainingRows(kept, held_out), max_iter, derive_seed(seed, 10))
        other._fit_more(kept, max_iter, derive_seed(seed, 10))
        x, observed = np.tile(rest.x, (_N_MASKS, 1)), np.tile(rest.observed, (_N_MASKS, 1))
        # a cell counts once, by the first mask that hides it
        masks = hidden.reshape(_N_MASKS, *rest.x.shape)
        counts = (masks & (masks.cumsum(0) == 1)).reshape(hidden.shape) & numeric
        holed = EncodedRows(np.where(hidden, 0.0, x), observed & ~hidden)
        given = [one.to(self._device()) for one in other._conditionals()]

        def place(there: ConditionalModel, row: Tensor, seen: Tensor, i: int) -> tuple[Tensor, ...]:
            models = [one._replace(held=there.held) for one in given]
            values, w = describe_cells(models, row, seen, other._common)[:2]
            noise = KeyedNoise(derive_seed(seed, 11), [i], device=row.device)
            truth = torch.as_tensor(x[i], device=row.device)
            return (normal_score(values, w, truth, noise.uniform(1, len(truth))),)

        which = np.flatnonzero(counts.any(1))
        (found,) = other._row_by_row(holed, place, which=which)
        return Calibration(np.where(counts[which], found, np.nan))

    def _choose_start(self, rows: EncodedRows, held_out: Tensor | None, seed: int) -> None:
        """Try both starts where a table is small and the training is left to us."""
        is_open = (
            self.init == "auto" and self.max_iter is None and self.vae_.coordinates is not None
        )
        if is_open and len(rows.x) in TRIED_ROWS:
            self._spec = choose_initialization(self, rows, held_out, seed)
            self._build(seed)

    def _begins_linear(self, n_rows: int) -> bool:
        """Tell whether the model starts from factor analysis of all of its columns."""
        has_start = self.vae_.coordinates is not None and n_rows >= LEAST_ROWS
        return has_start and self.vae_.likelihood.covers_all_columns

    def _usual_step(self, n_rows: int) -> TrainingStep:
        """Return the step that ``batch_size=None`` stands for."""
        numbers = self._begins_linear(n_rows) and self._table.numeric().all()
        return step_from_factor_analysis(n_rows) if numbers else SMALL

    def _model_epochs(self, n_rows: int) -> int:
        """Return those of the model itself, whose decoder can overfit."""
        if not self._begins_linear(n_rows):
            return self._epochs(n_rows)  # there is something to learn from nothing
        size, numeric = self._step(n_rows).rows, bool(self._table.numeric().all())
        return epochs_from_factor_analysis(n_rows, len(self._spec.facts), size, numeric)

    @property
    def calibration_(self) -> pd.DataFrame | None:
        """Per column of numbers: hidden cells that were learned from, and coverage before."""
        if not hasattr(self, "_table"):
            raise AttributeError(f"{type(self).__name__} has no calibration_ before fit.")
        names = self._table.modelled_names
        return None if self._calibration is None else self._calibration.report(names)

    def _ready_for_a_piece(self) -> None:
        for name, value in (("n_models", 1), ("calibrate", False)):
            if getattr(self, name) != value:
                raise ValueError(
                    f"Parameter {name!r} of {type(self).__name__} must be {value} for partial_fit, "
                    f"which has no other rows to refit models to; got {getattr(self, name)!r}. "
                    "Call fit."
                )
        self.models_, self._calibration = [], None  # those of an earlier fit know less

    def _refit_more(self, X: Any) -> None:
        self.models_ = [self._by(model).refit_encoder(X) for model in self.models_]
        self._calibration = None  # it was learned with the other encoder

    def _by(self, model: Self) -> Self:
        """Return one of the ``models_`` with the settings of now."""
        other = copy.copy(model)
        for name, value in self.get_params(deep=False).items():
            setattr(other, name, value)
        other.models_, other._calibration = [], None
        return other

    def _fit_columns(self, cells: NumericTable) -> None:
        self.models_, self._calibration = [], None
        self._bounds()  # that they are right need not be told after training
        if self.calibrate and not self._table.numeric().any():
            raise ValueError(
                f"Parameter 'calibrate' of {type(self).__name__} must be False for a table without "
                "a column of numbers that varies: intervals are those of numbers."
            )
        table = self._table
        warn_of(
            self._table.names,
            (np.array(table.roles) == "identifier") & (table.n_missing > 0),
            "Columns that hold no value twice have holes, which all get one of these values: {}. "
            "Drop them, or convert them to numbers or dates if they are such.",
        )
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(missing_values=np.nan, error_on_new=False)
            self.indicator_.fit(np.where(cells.missing, np.nan, 0.0))

    def transform(self, X: Any, *, where: Any = None) -> Any:
        """Complete a table.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes; new ones as well as those of ``fit``.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to impute, as in mice: None takes all missing ones, a list those of some columns
            (names or indices). Other cells stay as they are. Observed cells that a mask names are
            imputed from the rest of their row.

        Returns
        -------
        data frame or ndarray of shape (n_samples, n_features_out)
            The table without holes, in its own container, with its index and types; observed
            cells are those of ``X``, bit for bit. What a row gets does not depend on other rows; a
            draw depends on its position, too, and is the same for the same position of another
            table. ``set_output`` chooses another container.

        Raises
        ------
        ValueError, TypeError
            If X is not a table like that of ``fit``: the message names column, row and
            remedy. If ``where``, or a bound, names what X does not have.
        """
        task = self._task(X, where)
        numbers, ess = [], []
        for part in task.parts():
            x, effective_sample_size_of = self._completed(part)
            numbers.append(task.numbers(part, x))
            ess.append(effective_sample_size_of)
        self._warn_of_poor_weights(np.concatenate(ess), self.n_importance_draws)
        return self._contained(task.table(numbers))

    def _contained(self, table: Any) -> Any:
        """Return a frame of polars as one of pandas where ``set_output`` asks for it.

        Of what is no frame of pandas scikit-learn makes one of objects.
        """
        asked = getattr(self, "_sklearn_output_config", {}).get("transform")
        wants_pandas = (asked or get_config()["transform_output"]) == "pandas"
        return to_pandas(table) if wants_pandas else table

    def _completed(self, part: RowBlock) -> list[np.ndarray]:
        """Return values of all modelled cells of the rows to do, and effective draws."""
        if not len(part.todo):
            return [np.empty((0, part.rows.x.shape[1])), np.empty(0)]
        decided = ~self._table.numeric()

        def expect(given: ConditionalModel, x: Tensor, o: Tensor, _: object) -> tuple[Tensor, ...]:
            expected, _, *ess = given.means(x, o, self._common(x))
            return given.vae.likelihood.point(expected, self.estimate == "auto"), *ess

        def draw(
            given: ConditionalModel, x: Tensor, o: Tensor, rows: Sequence[int]
        ) -> tuple[Tensor, ...]:
            return given.drawn(x, o, part.noise(derive_seed(self._seed, 1), rows, x.device))

        def middle(given: ConditionalModel, x: Tensor, o: Tensor, _: object) -> tuple[Tensor, ...]:
            z, ess, _ = given.latents(x, o, self._common(x), _N_RESAMPLED)
            columns = given.decode(z)
            half = torch.full(columns.shape[-1:], 0.5, dtype=z.dtype, device=z.device)
            value = median(columns, half) if self.estimate == "median" else mode(columns, half)
            if decided.any():  # levels have no middle: the most probable one
                point = given.vae.likelihood.point(columns.expected().mean(0)).to(value)
                value = torch.where(torch.as_tensor(decided, device=z.device), point, value)
            return value.double(), ess

        given, todo = self._imputing(), part.todo
        if self.estimate in ("median", "mode"):
            return self._row_by_row(part.rows, middle, given, todo)
        function = draw if self.estimate == "draw" else expect
        return self._by_weights(part.rows, function, todo, given=given)

    def impute(
        self,
        X: Any,
        n_imputations: int = 5,
        *,
        random_state: Any = None,
        where: Any = None,
        row_ids: Any = None,
    ) -> Imputations:
        """Complete a table several times, for inference by Rubin's rules.

        Each imputation draws a latent from a pool of ``n_importance_draws`` in proportion to the
        importance weights (sampling importance resampling), or from the end of chains of
        ``sampler``, then the missing cells given it. Pools are added until 100 of a row's draws
        are effective, three at most, and if 20 are then, they serve all its imputations, which
        lowers the variance between them by a hundredth, or a twentieth at most; other rows have a
        fresh pool, or fresh chains, for each. Rows are independent; what a row gets depends on its
        position, or its entry in ``row_ids``, on ``random_state`` and the fit alone: give other
        tables another ``random_state``.

        With ``n_models=1`` the model is the same for all imputations: they differ by what the row
        leaves open, not by what is not known of the model. With more, the i-th imputation is by
        the i-th of ``models_``, which begin anew where there are more imputations.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        n_imputations : int, default=5
            Number of completed tables.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None takes the estimator's own ``random_state``.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to impute, as in ``transform``.
        row_ids : array-like of int or str of shape (n_samples,) or None, default=None
            Identifiers by which rows get their draws, in whatever order and company they come.
            None takes their positions.

        Returns
        -------
        Imputations
            A lazy sequence of tables like ``X``: each is made when it is asked for, so that one
            is in memory at a time. Its ``to_frame()`` has them all below one another.

        Raises
        ------
        ValueError, TypeError
            As of ``transform``, or if ``n_imputations`` or ``row_ids`` is not what it
            must be.
        """
        check_minimum(1, n_imputations=n_imputations)
        # tables made later are still of this fit, these settings and this table
        task, given = self._task(X, where, row_ids, keep=True), self._conditionals()
        if 1 < len(given) < n_imputations:
            warnings.warn(
                f"{n_imputations} imputations are drawn from {len(given)} models in turn: those of "
                "one model are too alike for Rubin's rules. For inference take one imputation of "
                "each model.",
                UserWarning,
                stacklevel=user_stacklevel(),
            )
        seed = self._call_seed(random_state)
        draw = ImputationSampler(copy.copy(self), task, given, seed, int(n_imputations))
        return Imputations(draw, range(int(n_imputations)), list(self.get_feature_names_out()))

    def cell_distribution(
        self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95), *, where: Any = None
    ) -> pd.DataFrame:
        """Tell how sure the model is of each missing cell.

        Distributions are those of the cell given the observed cells of its row, by the weighted
        draws that ``transform`` takes means of, over all ``models_`` where there are several. With
        ``calibrate=True`` quantiles are moved so that intervals between them cover what they
        should.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        quantiles : sequence of float, default=(0.05, 0.5, 0.95)
            Probabilities, above 0 and below 1. The columns ``"5%"`` and ``"95%"`` enclose 90%.
        where : array-like of bool of shape (n_samples, n_features), list of columns or None
            Cells to describe, as in ``transform``. Observed cells that a mask names are described
            from the rest of their row.

        Returns
        -------
        DataFrame
            A line per cell of a modelled column of numbers or dates: ``row`` (label of a pandas
            index, or position), ``column``, ``kind``, ``mean``, ``std`` and the quantiles, in the
            column's units. A line per level for cells of categories and of two values: ``level``
            and its ``probability``.

        Raises
        ------
        ValueError, TypeError
            As of ``transform``, or if a quantile is not above 0 and below 1.
        """
        levels = checked_quantiles(quantiles)
        task, table, device = self._task(X, where), self._table, self._device()
        part = task.whole()
        given = [one.to(device) for one in self._conditionals()]
        D = len(table.modelled)
        labels = [table.categories(d) for d in range(D)]
        n_codes = max(map(len, labels), default=0)
        moved = None if self._calibration is None else self._calibration.moved(levels)
        read = weighted_quantiles if moved is None else quantiles_at
        at = torch.as_tensor(np.tile(levels, (D, 1)) if moved is None else moved, device=device)

        def log_progress(
            there: ConditionalModel, x: Tensor, o: Tensor, i: int
        ) -> tuple[Tensor, ...]:
            models = [one._replace(held=there.held) for one in given]
            values, w, mean, columns, ess = describe_cells(models, x, o, self._common)
            missing = (~o[0]).nonzero().squeeze(1)
            stats = torch.full((1, D, 2 + len(levels)), math.nan, dtype=w.dtype, device=device)
            values, mean = values[:, missing], mean[missing]
            stats[0, missing, 0] = mean
            stats[0, missing, 1] = (w @ (values - mean).square()).sqrt()
            stats[0, missing, 2:] = read(values, w, at[missing])
            chances = torch.stack(
                [level_probabilities(part, share, n_codes) for part, share in columns]
            )
            return stats, chances.sum(0, keepdim=True), ess

        stats, chances, ess = self._row_by_row(part.rows, log_progress, given[0], part.todo)
        self._warn_of_poor_weights(ess, self.n_importance_draws)
        statistics = ["mean", "std", *(f"{100 * q:g}%" for q in levels)]
        return describe(task, part, stats, chances, labels, statistics, self._table.names)

    def _task(self, X: Any, where: Any, row_ids: Any = None, keep: bool = False) -> ImputationTask:
        """Return a table to complete; a copy of what the user may yet change where it is kept."""
        source, names = self._opened(X), self._table.names
        if keep:
            source = source.copy()
        asked = None if where is None else requested_cells(where, source, names)
        asked = asked.copy() if keep and asked is not None else asked
        keys, bounds = row_keys(row_ids, source.n_rows), self._bounds()
        reader, template = self._reader(), self._template
        return ImputationTask(reader, source, asked, keys, bounds, template, self._indicators)

    def _indicators(self, holes: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns that tell what was missing, where they are asked for."""
        if self.indicator_ is None:
            return {}
        # an array, whatever set_output says
        flags = np.asarray(self.indicator_.transform(np.where(holes, np.nan, 0.0)))
        names = self.get_feature_names_out()[len(self._table.output_columns) :]
        return dict(zip(names, flags.T, strict=True))

    def _conditionals(self) -> list[ConditionalModel]:
        """Return the models to draw from in turn, with the settings of the call."""
        given = self._imputing()
        return [
            given._replace(vae=model.vae_, completed=getattr(model, "completed_vae_", None))
            for model in self.models_
        ] or [given]

    def _imputing(self) -> ConditionalModel:
        """Return the model and the settings of the call, with the bounds of what is imputed."""
        given, table = self._conditional(), self._table
        low, high = self._bounds()
        if np.isinf(low).all() and np.isinf(high).all():
            return given
        edges = [(edge[table.modelled] - table.location) / table.scale for edge in (low, high)]
        bounds = torch.from_numpy(edges[0]), torch.from_numpy(edges[1])
        # what is cut off is decoded once more, in double precision
        return given._replace(bounds=bounds, held=draws_at_once(self.vae_, times=2))

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest number that each column may get, in its units."""
        return limits(self._table, self.min_value, self.max_value)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input's columns; None takes those seen at fit, or x0, x1, ...

        Returns
        -------
        ndarray of str objects
            Names of the kept columns, then of the indicators.

        Raises
        ------
        ValueError
            If ``input_features`` are not the names seen at fit.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        names = [f"x{j}" for j in range(self.n_features_in_)] if names is None else list(names)
        if input_features is not None:
            if len(input_features) != len(names):
                raise ValueError(
                    f"input_features should have length equal to number of features "
                    f"({len(names)}), got {len(input_features)}."
                )
            if hasattr(self, "feature_names_in_") and list(input_features) != names:
                raise ValueError("input_features is not equal to feature_names_in_")
            names = list(input_features)
        kept = np.asarray(names, dtype=object)[self._table.output_columns]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
