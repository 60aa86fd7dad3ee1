"""Joins table, model and training into scikit-learn estimators."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from .._utils.random import StreamNoise, derive_seed
from .._utils.runtime import (
    SeededGenerators,
    convert,
    full_precision,
    log_progress,
    unchanged_on_error,
    user_stacklevel,
)
from .._utils.threads import threads
from ..inference.samplers import Sampler
from ..tables.chunks import Chunks
from ..tables.column_kinds import choose_codecs
from ..tables.column_report import column_report, numeric_string_share
from ..tables.columns import Mask
from ..tables.input_table import InputTable, NumericTable, open_table
from ..tables.reader import read_numbers
from ..tables.schema import EncodedRows, TableSchema
from ..training.callbacks import CallbackSupportMixin, Epochs, with_callbacks
from ..training.data import OutOfCoreTable, TrainingRows
from ..training.defaults import SMALL, TrainingStep, epochs_from_random
from ..training.demissvae import DECOMPOSED, DeMissObjective, ImputationStore
from ..training.distributed import agreed, is_shared
from ..training.loop import TrainingResult, n_useful_threads, train
from ..training.objectives import METHODS, Batch, BoundObjective, Objective
from ..training.optim import DivergenceError, Schedule, TrainingSettings
from ..training.spec import ModelSpec, group_likelihoods
from ..vae.factor_analysis import ENOUGH_ROWS, factor_analysis, initialize_from
from ..vae.likelihoods.categorical import MAX_CONTRASTED
from ..vae.vae import VAE
from .fitted import FittedVAE
from .parameters import estimator, validate

LEAST_ROWS = 10  # that a start from factor analysis takes


_FACTORS = 20  # of it, at most


_ENCODER_SHARE = 0.5  # epochs of an encoder that is trained alone, as a share of max_iter


_CATCH_UP = 10  # steps of the chains of rows that are new to a model


@estimator
class BaseVAE(CallbackSupportMixin, FittedVAE):
    """What all estimators share: fitting."""

    #: Rows from which early_stopping="auto" holds some out.
    _hold_out_from = 5000

    # -- what a method is ---------------------------------------------------------------------

    def _objective(self) -> BoundObjective:
        # a decomposed method's encoder of incomplete rows is that of MissSIWAE
        method = METHODS.get(self._method_name(), METHODS["MissSIWAE"])
        gradient = method.gradient if self.gradient == "auto" else self.gradient
        try:
            return BoundObjective(
                method.bound, self.n_draws, stratified=method.stratified, gradient=gradient
            )
        except ValueError as error:
            raise ValueError(
                f"Parameter 'gradient' of {type(self).__name__} cannot be {gradient!r} for "
                f"{self._method_name()}, only for MIWAE and MissIWAE: {error}"
            ) from None

    def _bound_of(self, vae: VAE, batch: Batch) -> Objective:
        return self._objective()

    def _training_sampler(self) -> Sampler:
        """Return what moves the imputations of a decomposed method."""
        sampler = self._sampler()
        if sampler is None or not sampler.sees_completed:
            raise ValueError(
                f"Parameter 'sampler' of {type(self).__name__} cannot be {self.sampler!r}: the "
                f"imputations that {self._method_name()} trains on are moved by a chain; choose "
                "'lair', 'metropolis' or 'pseudo_gibbs'."
            )
        return sampler

    # -- fitting ------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: object = None) -> Self:
        """Fit the model to an incomplete table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Chunks
            The table, with holes; ``Chunks`` where it is larger than memory.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or a column of ``X`` is not what it must be, or if training diverges;
            the estimator is then left as it was.

        Notes
        -----
        In a process group of ``torch.distributed`` every process must call ``fit``, with its share
        of the rows: all have the same model afterwards. An error in one of them after training has
        begun leaves the others waiting, unless what has launched them ends them all, as
        ``torchrun`` does. ``partial_fit`` and ``refit_encoder`` know nothing of the group.

        Ctrl-C ends training as if the epochs were over: the estimator is fitted up to there, but
        in a process group, and but for the time in which imputers of small tables choose between
        starts (``init``): that leaves the estimator as it was.
        DeMissVAE's encoder of incomplete rows then still trains for half of the epochs done, and
        what imputers fit beside the model for as many; Ctrl-C then leaves the estimator as it was.
        """
        with unchanged_on_error(self):
            validate(self)
            self._objective()  # options that contradict each other
            go_on = self.warm_start and hasattr(self, "vae_")
            seeds = self._seeds()
            pieces = None
            if isinstance(X, Chunks) or is_shared():
                self._check_pieces("to Chunks" if isinstance(X, Chunks) else "by several processes")
                seeds = agreed(seeds)
                pieces = OutOfCoreTable(X, seeds[1])
                X = pieces.table
            source = open_table(self, X, self._template if go_on else None)
            if go_on:
                self._check_architecture("set warm_start=False")
                # another sample may have levels that the first had not
                cells = self._reader(None if pieces is None else "missing").cells(source)
            else:
                cells = self._learn_schema(source, seeds[0])
            rows = self._reader().rows(cells)
            del cells  # a copy of the table
            n_all = None if pieces is None else pieces.n_rows
            held_out = self._held_out(len(rows.x), seeds[1], n_all)
            if not go_on and pieces is None:
                self._choose_start(rows, held_out, seeds[0])
            table = TrainingRows(rows, held_out)
            if pieces is not None:
                stream = pieces.stream(self._read_chunk, held_out, self._device())
                table = table._replace(stream=stream)
            max_iter = self.max_iter or self._model_epochs(table.n_rows)
            n_epochs = max_iter + self._encoder_epochs(max_iter) * self._decomposed()
            epochs = Epochs(self, n_epochs, X, y)
            # going on must not repeat the noise of the last fit, even with an integer random_state
            done: int = getattr(self, "n_iter_", 0)
            seed = derive_seed(seeds[1], done) if go_on else seeds[1]
            start_seed = None if go_on else seeds[0]
            state = self._learn(table, max_iter, seed, epochs, start_seed)
            self.n_iter_ += done if go_on else 0
            n_done = self.n_iter_ if state.stopped or go_on else max_iter
            self.__dict__.pop("_optimizers", None)
            if not self.warm_start:
                self.__dict__.pop("_chains", None)
            self._fit_more(rows, n_done, seed)
            epochs.close()
        _warn_of_interrupt(state)
        return self

    def _read_chunk(self, chunk: Any) -> EncodedRows:
        """Return a part of the table as the model sees it, in training."""
        reader = self._reader("missing")
        return reader.rows(reader.cells(open_table(self, chunk, self._template)))

    def _check_pieces(self, how: str) -> None:
        """Raise where the parameters want all rows in memory."""
        if self._decomposed():
            raise ValueError(
                f"{type(self).__name__} cannot be fitted {how}: {self._method_name()} "
                "keeps imputations of every row. Give a sample that fits into memory, or take "
                "another method."
            )

    def _learn(
        self,
        table: TrainingRows,
        max_iter: int,
        seed: int,
        epochs: Epochs | None,
        start_seed: int | None,
    ) -> TrainingResult:
        """Train the model from its start, and after it the second encoder.

        A model that goes on has no start. Returns the state of the first training, interrupted
        where either was.
        """
        if start_seed is not None:
            self._begin(table, start_seed)
        state = self._train(table, max_iter, self.schedule, seed, epochs)
        self._record(state)
        if self._decomposed():
            n_done = self.n_iter_ if state.stopped else max_iter
            n_epochs = self._encoder_epochs(n_done)
            second = self._train_encoder(table.rows, n_epochs, seed, self.schedule, epochs)
            state = state._replace(interrupted=state.interrupted or second.interrupted)
        return state

    def _record(self, state: TrainingResult) -> None:
        """Tell how the model's training went."""
        self.history_ = state.history
        self.n_iter_ = max(1, len(self.history_["bound"]))
        self.validation_score_ = state.best

    def _choose_start(self, rows: EncodedRows, held_out: Tensor | None, seed: int) -> None:
        """Let subclasses decide between starts."""

    def _can_stack(self) -> bool:
        """Tell whether several such models can be trained as one."""
        return not self._decomposed() and self._spec.is_stackable

    def _refitted(self, table: TrainingRows, max_iter: int, seed: int) -> Self:
        """Return a copy whose model is fitted anew to other rows of the same schema."""
        other = copy.copy(self)
        other._build(seed)
        if other._learn(table, max_iter, seed, None, seed).stopped:
            raise KeyboardInterrupt  # a model cut short would not be one of many
        for name in ("_optimizers", "_chains"):
            other.__dict__.pop(name, None)
        return other

    def _fit_more(self, rows: EncodedRows, max_iter: int, seed: int) -> None:
        """Let subclasses fit what they need beside the model."""

    def partial_fit(self, X: Any, y: object = None) -> Self:
        """Train one pass over a piece of a table; the first piece sets the schema.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A piece of the table. The first one decides which columns vary and their units.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : object
            The estimator.
        """
        with unchanged_on_error(self):
            validate(self)
            self._ready_for_a_piece()
            first = not hasattr(self, "vae_")
            source = open_table(self, X, None if first else self._template)
            seeds = self._seeds()
            if first:
                cells = self._learn_schema(source, seeds[0])
                self.history_, self.validation_score_ = {}, math.nan
            else:
                self._check_architecture("call fit")
                cells = self._reader().cells(source)
                warn_of(
                    self._table.names,
                    self._table.columns_with_new_values(cells.values, cells.observed),
                    "Columns that had one value at most in the first piece have others now: {}. "
                    "They are no evidence, and their holes get the value of the first; begin anew "
                    "with a larger piece (a new estimator, or fit).",
                )
            rows = self._reader().rows(cells)
            if first:
                self._begin(TrainingRows(rows), seeds[0])
            # a pass must not repeat the noise of the last, even with an integer random_state
            seed = derive_seed(seeds[1], int(self.n_iter_))
            state = self._train(TrainingRows(rows), 1, "constant", seed)
            if self._decomposed():
                self._train_encoder(rows, 1, seed, "constant")
            self.history_ = _joined(self.history_, state.history)
            self.n_iter_ += 1
            self.validation_score_ = math.nan
        _warn_of_interrupt(state)
        return self

    def _ready_for_a_piece(self) -> None:
        """Let subclasses raise where they cannot learn piece by piece, and forget other fits."""

    def refit_encoder(self, X: Any, y: object = None) -> Self:
        """Return a copy whose encoder is trained further, for other rows, by a frozen decoder.

        The model p(x) stays what it is: only the guide to it changes, for rows of which other
        cells are missing than at fit, or complete ones. Their bounds come nearer to their
        densities, and their importance weights get more even; those of rows unlike them may get
        less so. Of DeMissVAE it is the encoder of incomplete rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with or without holes.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        object
            A fitted estimator; this one stays as it is.
        """
        rows = self._rows(X)[2]
        other = copy.deepcopy(self)
        other._check_architecture("call fit")
        for name in ("_optimizers", "_chains"):
            other.__dict__.pop(name, None)
        epochs = self._encoder_epochs(self.max_iter or self._epochs(len(rows.x)))
        state = other._train_encoder(rows, epochs, self._seeds()[2], self.schedule)
        other.__dict__.pop("_optimizers", None)
        other._refit_more(X)
        _warn_of_interrupt(state)
        return other

    def _refit_more(self, X: Any) -> None:
        """Let subclasses refit encoders of what they keep beside the model."""

    def _seeds(self) -> list[int]:
        random_state = check_random_state(self.random_state)
        return [int(seed) for seed in random_state.randint(2**31 - 1, size=3)]

    def _usual_step(self, n_rows: int) -> TrainingStep:
        """Return the step that ``batch_size=None`` stands for."""
        return SMALL

    def _step(self, n_rows: int) -> TrainingStep:
        """Return the step of training: the parameters, or what they leave open."""
        usual = self._usual_step(n_rows)
        rows, rate = usual if self.batch_size is None else (self.batch_size, SMALL.rate)
        return TrainingStep(rows, rate if self.learning_rate is None else self.learning_rate)

    def _epochs(self, n_rows: int) -> int:
        """Return the epochs that ``max_iter=None`` stands for."""
        return epochs_from_random(n_rows, self._step(n_rows).rows)

    def _model_epochs(self, n_rows: int) -> int:
        """Return those of the model itself, whose decoder can overfit."""
        return self._epochs(n_rows)

    def _begin(self, table: TrainingRows, seed: int) -> None:
        """Let a model that has a guide start from factor analysis.

        Raises
        ------
        ValueError
            If that start is asked for and cannot be.
        """
        self.init_ = "factor_analysis" if self._start_linear(table, seed) else "random"
        if self.init == "factor_analysis" and self.init_ == "random":
            raise ValueError(
                f"Parameter 'init' of {type(self).__name__} cannot be 'factor_analysis' here: it "
                f"takes {LEAST_ROWS} rows to train on, linear_path=True, a decoder of ours, a "
                f"column that is not ordered, of more than {MAX_CONTRASTED} categories, continuous "
                "Bernoulli or of a likelihood of one's own, and another method than DeMissVAE. "
                "Leave init='auto'."
            )

    def _start_linear(self, table: TrainingRows, seed: int) -> bool:
        """Make a model that has a guide one of factor analysis, and tell whether it is that."""
        places = table.training_positions()
        if self.vae_.coordinates is None or len(places) < LEAST_ROWS:
            return False
        random_state = np.random.default_rng(derive_seed(seed, 7))
        if len(places) > ENOUGH_ROWS:
            places = random_state.choice(places, ENOUGH_ROWS, replace=False)
        x, seen = self.vae_.likelihood.linearize(*table.rows.part(places).tensors())
        x = torch.where(seen, x, 0.0)
        n_factors = min(self._spec.n_latents, int(seen.any(0).sum()), _FACTORS)
        if not n_factors:
            return False
        model = factor_analysis(x.double().numpy(), seen.numpy(), n_factors, random_state)
        initialize_from(self.vae_, model, with_encoder=self.encoder is None)
        return True

    def _encoder_epochs(self, max_iter: int) -> int:
        """Return the epochs of an encoder's training for a decoder that is done."""
        return math.ceil(_ENCODER_SHARE * max_iter)

    def _learn_schema(self, source: InputTable, seed: int) -> NumericTable:
        """Learn the schema, build the model, and return the table in numbers."""
        names = source.names
        codecs = choose_codecs(
            source,
            names,
            self.missing_values,
            self.feature_kinds,
            self.categorical_features,
            self.likelihood,
        )
        cells = read_numbers(source, codecs, names, self.missing_values)
        if not cells.observed.any():
            raise ValueError(
                f"X has no observed cell: all {cells.observed.size} cells are missing; there is "
                "nothing to learn from."
            )
        self._check_image_shape(len(names))
        # pixels are alike: one observation model for all
        learn_shapes = self.learn_shapes and self.image_shape is None
        schema = TableSchema(self.keep_empty_features, learn_shapes)
        schema.fit(cells, codecs, names)
        spec = self._spec_of(schema)
        self._table, self._spec = schema, spec
        self._build(seed)
        spec.check_networks(self.vae_, self._device())
        schema.set_supports(self.vae_.likelihood.supports)
        self.feature_kinds_ = dict(zip(names, (c.kind for c in codecs), strict=True))
        self._template, self._kinds_by = source.template(), self._kind_options()
        self._fit_columns(cells)
        self._seed = seed
        self._warn_of_columns(names)
        return cells

    def _check_image_shape(self, n_columns: int) -> None:
        if self.image_shape is None:
            return
        if math.prod(self.image_shape) != n_columns:
            raise ValueError(
                f"Parameter 'image_shape' of {type(self).__name__} is {self.image_shape!r}, which "
                f"makes {math.prod(self.image_shape)} pixels, but X has {n_columns} columns; give "
                "a row per image, its pixels in C order."
            )

    def _build(self, seed: int) -> None:
        """Begin with an untrained model."""
        for name in ("completed_vae_", "_optimizers", "_chains"):
            self.__dict__.pop(name, None)
        with SeededGenerators(seed, torch.device("cpu")).block():
            self.vae_ = self._spec.build().eval()
            if self._decomposed():
                self.completed_vae_ = self._spec.build_completed(self.vae_).eval()
        self.n_iter_ = 0

    @property
    def fit_report_(self) -> pd.DataFrame:
        """A line per column: kind, what becomes of it, missing cells, number of values, remarks."""
        if not hasattr(self, "_table"):
            raise AttributeError(f"{type(self).__name__} has no fit_report_ before fit.")
        return column_report(self._table)

    def _warn_of_columns(self, names: Sequence[str]) -> None:
        table, roles = self._table, np.array(self._table.roles)
        if not self.keep_empty_features:
            warn_of(
                names,
                roles == "empty",
                "Columns without any observed cell are left out: {}; drop them, or set "
                "keep_empty_features=True to keep them.",
            )
        warn_of(
            names,
            (roles == "other") & (table.n_missing > 0),
            "Columns of a type that cannot be modelled keep their holes: {}; convert them to "
            "numbers, strings, categories or dates (pandas.to_datetime), or drop them.",
        )
        warn_of(
            names,
            np.array([numeric_string_share(table, j) > 0 for j in range(len(names))], dtype=bool),
            "Columns of strings that are mostly numbers are not taken for numbers: {}; convert "
            "them (pandas.to_numeric(errors='coerce')), or call them 'categorical' in "
            "feature_kinds.",
        )

    def _fit_columns(self, cells: NumericTable) -> None:
        """Let subclasses learn more of the table's columns."""

    def _spec_of(self, schema: TableSchema) -> ModelSpec:
        """Return all that is needed to build the networks."""
        n_columns = len(schema.modelled)
        return ModelSpec(
            facts=tuple(schema.columns),
            n_latents=self.n_latents or max(1, min(n_columns, 20)),
            K=getattr(self, "K", 1) if self._has_mixture() else 1,
            likelihood=group_likelihoods(
                self.likelihood, schema.columns, schema.modelled.tolist(), schema.names
            ),
            min_scale=self.min_scale,
            n_hidden=self.n_hidden,
            n_blocks=self.n_blocks,
            dropout=self.dropout,
            linear_path=self.linear_path,
            # DeMissVAE imputed worse from factor analysis, on each of five tables
            guided=self.init != "random"
            and self.linear_path
            and self.decoder is None
            and not self._decomposed(),
            prior=self.prior,
            posterior=self.posterior,
            encoder=self.encoder,
            decoder=self.decoder,
            image_shape=None if self.image_shape is None else tuple(map(int, self.image_shape)),
            places=tuple(schema.modelled.tolist()),
        )

    def _kind_options(self) -> dict[str, str]:
        """Return what decides on kinds of columns, as it can be compared and kept."""
        names = ("feature_kinds", "categorical_features", "learn_shapes", "keep_empty_features")
        return {name: repr(getattr(self, name)) for name in names}

    def _check_architecture(self, remedy: str) -> None:
        """Raise where a parameter asks for another model than the one to go on with."""
        if self._decomposed() != hasattr(self, "completed_vae_"):
            raise ValueError(
                f"{type(self).__name__} cannot go on by the method {self._method_name()}: one of "
                "it and the method so far needs an encoder of completed rows, the other has none; "
                f"set 'objective' back, or {remedy} to start anew."
            )
        for name, value in self._kind_options().items():
            if value != self._kinds_by[name]:
                raise ValueError(
                    f"Parameter {name!r} of {type(self).__name__} is {value}, but the schema to go "
                    f"on with was learned with {self._kinds_by[name]}; set it back, or {remedy} to "
                    "start anew."
                )
        if self.init not in ("auto", self.init_):
            raise ValueError(
                f"Parameter 'init' of {type(self).__name__} is {self.init!r}, but the weights to "
                f"go on with began as {self.init_!r}; set it back, or {remedy} to start anew."
            )
        wanted = self._spec_of(self._table)
        for name in wanted.changes(self._spec):
            raise ValueError(
                f"Parameter {name!r} of {type(self).__name__} is {getattr(wanted, name)!r}, but "
                f"the weights to go on with were made for {getattr(self._spec, name)!r}; set it "
                f"back, or {remedy} to start anew."
            )

    def _train(
        self,
        table: TrainingRows,
        max_iter: int,
        schedule: Schedule,
        seed: int,
        epochs: Epochs | None = None,
    ) -> TrainingResult:
        """Train the model by its method."""
        how = table, max_iter, schedule, seed, epochs
        if not self._decomposed():
            return self._run("vae", self.vae_, self._bound_of, _as_vae, *how)
        # a pass over a piece, or a fit that may go on
        keep = self.warm_start or epochs is None

        def objective(vae: VAE, batch: Batch) -> DeMissObjective:
            return self._decomposed_objective(vae, batch, table.held_out, derive_seed(seed, 5))

        def fitted(vae: VAE, goal: Objective) -> dict[str, Any]:
            assert isinstance(goal, DeMissObjective), "made so above"
            found = {"completed_vae_": vae, "vae_": vae.with_posterior_of(self.vae_)}
            return {**found, "_chains": goal.imputations.state()} if keep else found

        return self._run("completed_vae", self.completed_vae_, objective, fitted, *how)

    def _train_encoder(
        self,
        rows: EncodedRows,
        max_iter: int,
        seed: int,
        schedule: Schedule,
        epochs: Epochs | None = None,
    ) -> TrainingResult:
        """Train the encoder of incomplete rows, and nothing else."""
        state = self._run(
            "encoder",
            self.vae_,
            self._bound_of,
            _as_vae,
            TrainingRows(rows),
            max_iter,
            schedule,
            derive_seed(seed, 6),
            epochs,
            frozen=("decoder", "prior", "likelihood"),
        )
        if self._decomposed():  # one decoder for both
            self.completed_vae_ = self.vae_.with_posterior_of(self.completed_vae_)
        return state

    def _decomposed_objective(
        self, vae: VAE, batch: Batch, held_out: Tensor | None, seed: int
    ) -> DeMissObjective:
        """Return the objective; chains of the last training go on where the rows are the same."""
        sampler = self._training_sampler()
        generator = torch.Generator(batch.x.device).manual_seed(seed)
        n_latents = self._spec.n_latents if sampler.keeps_z else 0
        part = slice(None) if held_out is None else ~held_out.to(batch.x.device)
        source = Batch(*(values[part] for values in batch))
        imputations = ImputationStore(batch, self._spec.K, n_latents, generator, source)
        alone = DECOMPOSED[self._method_name()]
        objective = DeMissObjective(imputations, sampler, self.n_draws, alone)
        chains = getattr(self, "_chains", None)
        if chains is not None and imputations.fits(chains):
            imputations.restore(chains)
        elif self.n_iter_:  # other rows for a model that knows something: bring them up to it
            imputations.visited[:] = True
            noise = StreamNoise(generator)
            for _ in range(_CATCH_UP):
                size = self._step(len(batch.x)).rows
                for pieces in zip(*(part.split(size) for part in batch), strict=True):
                    objective.advance(vae, Batch(*pieces), noise)
        return objective

    def _run(
        self,
        name: str,
        model: VAE,
        objective: Callable[[VAE, Batch], Objective],
        fitted: Callable[[VAE, Objective], dict[str, Any]],
        table: TrainingRows,
        max_iter: int,
        schedule: Schedule,
        seed: int,
        epochs: Epochs | None = None,
        frozen: Sequence[str] = (),
    ) -> TrainingResult:
        """Train a copy of a model on the chosen device, and keep what it makes the estimator.

        ``objective`` is made of the model and its rows there; ``fitted`` tells the attributes that
        a model, on the CPU, and its objective give.
        """
        device = self._device()
        vae = copy.deepcopy(model).to(device)
        _warn_of_light_tails(vae)
        rows, held_out = table.rows, table.held_out
        all_rows = Batch(*rows.tensors(device), torch.arange(len(rows.x), device=device))
        parts = [all_rows]
        if held_out is not None:
            there = held_out.to(device)
            parts = [Batch(*(piece[part] for piece in all_rows)) for part in (~there, there)]
        settings = self._settings(table.n_rows, max_iter, schedule)

        def end_epoch(history: dict[str, list[float]]) -> bool:
            if epochs is None:
                return False
            n_done = epochs.n_done + 1
            if self.verbose and n_done % self.verbose == 0:
                told = ", ".join(f"{name} {values[-1]:.4g}" for name, values in history.items())
                of = epochs.n_epochs
                log_progress("%s, epoch %d of %d: %s", type(self).__name__, n_done, of, told)
            return epochs.end(
                lambda: {
                    **fitted(copy.deepcopy(vae).cpu().eval(), goal),
                    "n_iter_": n_done,
                    "history_": {},
                    "validation_score_": math.nan,
                }
            )

        going_on = getattr(self, "_optimizers", {})
        generator, dropout = sources(table.process_seed(seed), device)
        with self._training(table, device):
            goal = objective(vae, all_rows)
            del all_rows  # what is trained on is in parts
            with threads(n_useful_threads(vae, goal, settings.batch_size)):
                state = train(
                    vae,
                    goal,
                    table.stream or parts[0],
                    settings,
                    generator,
                    held_out=parts[1] if len(parts) > 1 else None,
                    frozen=[getattr(vae, part) for part in frozen],
                    optimizer_state=going_on.get(name),
                    epoch=dropout.block,
                    begin_epoch=epochs.begin if epochs else lambda: None,
                    end_epoch=end_epoch,
                )
        moments = convert(state.optimizer, Tensor, lambda moment: moment.cpu())
        self._optimizers = {**going_on, name: moments}
        for attribute, value in fitted(vae.cpu().eval(), goal).items():
            setattr(self, attribute, value)
        return state

    @contextmanager
    def _training(self, table: TrainingRows, device: torch.device) -> Iterator[None]:
        """Train within the block, by numbers as precise as they are; divergence is explained."""
        try:
            with full_precision(device):
                yield
        except DivergenceError as error:
            raise ValueError(self._blame(table)) from error

    def _settings(self, n_rows: int, max_iter: int, schedule: Schedule) -> TrainingSettings:
        """Return how to train on so many rows."""
        step = self._step(n_rows)
        return TrainingSettings(
            max_iter=max_iter,
            batch_size=step.rows,
            learning_rate=step.rate,
            schedule=schedule,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
        )

    def _holds_out(self, n_rows: int) -> bool:
        """Tell whether some of so many rows decide when to stop."""
        if self.early_stopping == "auto":
            return n_rows >= self._hold_out_from
        return bool(self.early_stopping)

    def _held_out(self, n_rows: int, seed: int, of: int | None = None) -> Tensor | None:
        """Return which of the rows in memory are held out, (N,) bool, or None.

        ``of`` is the number of all rows, where these are but a sample.
        """
        if not self._holds_out(of or n_rows):
            return None
        n_held_out = round(self.validation_fraction * n_rows)
        if not 0 < n_held_out < n_rows:
            raise ValueError(
                f"early_stopping=True with validation_fraction={self.validation_fraction} holds "
                f"out {n_held_out} of {n_rows} rows; give more rows, another fraction, or "
                "early_stopping=False."
            )
        # a stream of its own, or the split would follow the order of the batches
        order = np.random.default_rng([seed, 1]).permutation(n_rows)
        held_out = np.zeros(n_rows, dtype=bool)
        held_out[order[:n_held_out]] = True
        return torch.from_numpy(held_out)

    def _blame(self, table: TrainingRows) -> str:
        told = (
            "Training diverged: the loss was not finite in whole epochs, though the learning rate "
            "was halved after each."
        )
        lower = f"lower learning_rate={self._step(table.n_rows).rate}."
        size = np.abs(table.rows.x).max(0, initial=0.0, where=self._table.numeric())
        if not size.any():
            return f"{told} Try to {lower}"
        name = self._table.modelled_names[int(size.argmax())]
        return (
            f"{told} The column most likely at fault is {name!r}, whose largest observed value "
            f"lies {size.max():.3g} standard deviations from its mean: mend what is an error, "
            "transform it (a logarithm, QuantileTransformer), set learn_shapes=True or "
            f"likelihood='student_t', or {lower}"
        )


def warn_of(names: Sequence[Any], which: Mask, told: str) -> None:
    """Warn of columns, if there are any: what is told has braces for their names."""
    if which.any():
        named = ", ".join(repr(names[j]) for j in np.flatnonzero(which).tolist())
        warnings.warn(told.format(named), UserWarning, stacklevel=user_stacklevel())


def sources(seed: int, device: torch.device) -> tuple[torch.Generator, SeededGenerators]:
    """Return where batches and draws come from, and where dropout does: streams apart."""
    return torch.Generator(device).manual_seed(seed), SeededGenerators(derive_seed(seed, 4), device)


def _as_vae(vae: VAE, goal: Objective) -> dict[str, Any]:
    """Return the attribute that a model becomes."""
    return {"vae_": vae}


def _joined(first: dict[str, list[float]], then: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return one history of two, with an entry of each quantity for every epoch."""
    n_first, n_then = (max(map(len, history.values()), default=0) for history in (first, then))
    if n_first:
        before = first["seconds"][-1]
        then = {**then, "seconds": [before + seconds for seconds in then["seconds"]]}
    return {
        # rows may be held out in one of them alone
        name: [*first.get(name, [math.nan] * n_first), *then.get(name, [math.nan] * n_then)]
        for name in then | first
    }


def _warn_of_interrupt(state: TrainingResult) -> None:
    """Warn where Ctrl-C has ended training: what called goes on all the same."""
    if state.interrupted:
        warnings.warn(
            f"Training was interrupted after {len(state.history['bound'])} epochs: the model is "
            "what it was then, or the best one by held-out rows. Whatever called goes on; "
            "interrupt it again to end that, too.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _warn_of_light_tails(vae: VAE) -> None:
    if vae.family.tail > vae.prior.tail:
        warnings.warn(
            "The prior's tails are heavier than the posterior's: importance weights are then "
            "unbounded. Use posterior='auto' or 'student_t'.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
