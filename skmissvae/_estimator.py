"""Joins table, model, training and importance sampling into scikit-learn estimators."""

import copy
import logging
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from . import importance
from ._callbacks import CallbackSupportMixin, Epochs, with_callbacks
from ._columns import Floats, Mask, Rows, Table
from ._input import column_names, missing_marker, read
from ._params import (
    Parameter,
    a_callable,
    anything,
    either,
    estimator,
    infinity,
    none,
    one_of,
    real,
    validate,
    whole,
)
from ._spec import LikelihoodOption, Spec, likelihoods_by_column
from ._state import convert, local_seed, unchanged_on_error
from .bounds import iwelbo
from .families import POSTERIORS, Family
from .model import VAE
from .noise import KeyedNoise, StreamNoise, derive_seed
from .objectives import METHODS, Batch, BoundObjective, Objective
from .priors import PRIORS, Prior
from .training import DivergenceError, Schedule, Settings, State, train

_log = logging.getLogger("skmissvae")

# What max_iter=None takes: small tables are overfitted by many epochs, large ones need few.
_EPOCHS, _MIN_STEPS, _MAX_STEPS = 150, 1000, 2500
_PIECE = 10_000  # rows that are sampled at once
_AUTO_HOLD_OUT = 5000  # rows from which early_stopping="auto" holds some out
_POOR_ESS = 10.0  # effective draws below which a row's importance weights are called poor
_POOR_SHARE = 0.01  # share of such rows from which on it is worth a warning: a few are outliers

#: What is asked of a row: (vae, x (1, D), observed (1, D), its position) -> tensors (1, ...).
RowFunction = Callable[[VAE, Tensor, Tensor, int], tuple[Tensor, ...]]


@estimator
class BaseVAE(CallbackSupportMixin, BaseEstimator, ABC):
    """What all estimators share: fitting, scoring, sampling and encoding."""

    #: Text of the fitted attributes that a subclass adds.
    _attributes = ""

    n_draws: Annotated[
        int,
        Parameter(
            "int",
            "Draws from the posterior per row and training step; per row and component where "
            "draws are stratified.",
            whole(1),
        ),
    ] = 10
    n_latents: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Number of latents. None takes the number of columns that vary, 20 at most.",
            either(whole(1), none),
        ),
    ] = None
    n_hidden: Annotated[
        int, Parameter("int", "Width of the hidden layers of both networks.", whole(1))
    ] = 128
    n_blocks: Annotated[int, Parameter("int", "Residual blocks of each network.", whole(0))] = 2
    dropout: Annotated[
        float,
        Parameter("float", "Probability of dropping a hidden unit while training.", real(0, 1)),
    ] = 0.0
    linear_path: Annotated[
        bool,
        Parameter("bool", "Whether each network has a linear map beside it.", one_of(True, False)),
    ] = True
    prior: Annotated[
        str | Callable[[int], Prior],
        Parameter(
            '{"normal", "student_t", "mixture"} or callable',
            "Distribution of the latents: standard Normal, Student-t with 5 degrees of freedom, a "
            "learned mixture of 10 Normals, or a callable ``n_latents -> Prior`` such as "
            "``functools.partial(StudentTPrior, df=3)``.",
            either(one_of(*PRIORS), a_callable("n_latents -> Prior")),
        ),
    ] = "normal"
    posterior: Annotated[
        str | Callable[[int, int], Family],
        Parameter(
            '{"auto", "normal", "student_t"} or callable',
            'Variational family, or a callable ``(n_latents, K) -> Family``. "auto" follows the '
            "prior: importance weights are bounded only where the posterior's tails are the "
            "heavier.",
            either(one_of("auto", *POSTERIORS), a_callable("(n_latents, K) -> Family")),
        ),
    ] = "auto"
    likelihood: Annotated[
        LikelihoodOption | Mapping[object, LikelihoodOption],
        Parameter(
            '{"normal", "student_t", "bernoulli", "continuous_bernoulli"}, callable or mapping',
            "Observation model of the columns, a callable ``n_columns -> Likelihood``, or a "
            "mapping from columns (names or indices) to either, in which columns that are not "
            "named are Normal.",
            anything,
        ),
    ] = "normal"
    min_scale: Annotated[
        float,
        Parameter(
            "float",
            "Floor of the scale of Normal and Student-t columns that ``likelihood`` names by a "
            "string, in standard deviations of the column. Higher floors make better point "
            "imputations on small tables, lower floors better densities on large ones.",
            real(0, above=True),
        ),
    ] = 0.1
    encoder: Annotated[
        Callable[[int, int], nn.Module] | None,
        Parameter(
            "callable or None",
            "``(in_features, out_features) -> nn.Module`` to use as encoder instead of a residual "
            "MLP.",
            either(a_callable("(in_features, out_features) -> nn.Module"), none),
        ),
    ] = None
    decoder: Annotated[
        Callable[[int, int], nn.Module] | None,
        Parameter(
            "callable or None",
            "The same for the decoder.",
            either(a_callable("(in_features, out_features) -> nn.Module"), none),
        ),
    ] = None
    gradient: Annotated[
        Literal["auto", "stl", "dreg", "plain"],
        Parameter(
            '{"auto", "stl", "dreg", "plain"}',
            'Estimator of the gradient to the encoder. "plain" is unbiased for every method. "stl" '
            "(sticking the landing) has less variance; it is unbiased for MVAE, MissVAE and "
            'MissSVAE, biased for the importance-weighted methods. "dreg" (doubly '
            'reparameterised) is unbiased for MIWAE and MissIWAE, and for them only. "auto" is '
            '"dreg" for those two and "stl" for the others, MissSIWAE among them.',
            one_of("auto", "stl", "dreg", "plain"),
        ),
    ] = "auto"
    max_iter: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Epochs at most. None takes 150, or what makes 1,000 steps if that is more and 2,500 "
            "if it is less; never under 10.",
            either(whole(1), none),
        ),
    ] = None
    batch_size: Annotated[int, Parameter("int", "Rows per training step.", whole(1))] = 64
    learning_rate: Annotated[
        float, Parameter("float", "Peak learning rate of AdamW.", real(0, above=True))
    ] = 2e-3
    schedule: Annotated[
        Literal["cosine", "constant"],
        Parameter(
            '{"cosine", "constant"}',
            "Course of the learning rate over ``max_iter`` epochs: a short rise and a cosine "
            "to zero, or none. ``partial_fit`` keeps it constant.",
            one_of("cosine", "constant"),
        ),
    ] = "cosine"
    weight_decay: Annotated[
        float, Parameter("float", "Decoupled weight decay of AdamW.", real(0))
    ] = 0.0
    max_grad_norm: Annotated[
        float,
        Parameter(
            "float",
            "Norm to which gradients are clipped; np.inf leaves them.",
            either(real(0, above=True), infinity),
        ),
    ] = 10.0
    early_stopping: Annotated[
        Literal["auto"] | bool,
        Parameter(
            'bool or "auto"',
            "Whether rows are held out to stop when their bound no longer rises and to keep the "
            'best epoch\'s weights. "auto" holds rows out from 5,000 rows on: smaller tables '
            "gain more from training on every row.",
            one_of("auto", True, False),
        ),
    ] = "auto"
    validation_fraction: Annotated[
        float,
        Parameter("float", "Share of the rows that is held out.", real(0, 1, above=True)),
    ] = 0.1
    n_iter_no_change: Annotated[
        int,
        Parameter("int", "Epochs without a rise of the held-out bound before stopping.", whole(1)),
    ] = 10
    tol: Annotated[
        float, Parameter("float", "Rise of the held-out bound that counts, in nats.", real(0))
    ] = 1e-4
    n_importance_draws: Annotated[
        int,
        Parameter(
            "int",
            "Importance draws per row for means, scores and imputations. Any number runs in "
            "bounded memory. Read at the call.",
            whole(1),
        ),
    ] = 1000
    missing_values: Annotated[
        Any, Parameter("number, np.nan, None or pd.NA", "What marks a missing cell.", anything)
    ] = np.nan
    keep_empty_features: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether columns without any observed cell at fit are kept, and filled with zeros.",
            one_of(True, False),
        ),
    ] = False
    warm_start: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether ``fit`` goes on from the weights and the schema of the last fit.",
            one_of(True, False),
        ),
    ] = False
    device: Annotated[
        Any,
        Parameter(
            "str or torch.device",
            'Where to compute: "cpu", "cuda", "cuda:1"; "auto" takes a CUDA device where there '
            "is one. Read at the call; a fitted model lives on the CPU between calls.",
            anything,
        ),
    ] = "auto"
    random_state: Annotated[
        Any,
        Parameter(
            "int, RandomState instance or None",
            "Source of all randomness; an int makes results reproducible.",
            anything,
        ),
    ] = None
    verbose: Annotated[
        int,
        Parameter(
            "int",
            'Epochs between messages to the logger "skmissvae" at level INFO; 0 is silence. '
            "scikit-learn's callbacks (1.9 and later) draw progress bars.",
            whole(0),
        ),
    ] = 0

    # -- what a method is ---------------------------------------------------------------------

    @abstractmethod
    def _method_name(self) -> str:
        """Return the name of the method, a key of METHODS."""

    def _objective(self) -> Objective:
        method = METHODS[self._method_name()]
        gradient = method.gradient if self.gradient == "auto" else self.gradient
        if gradient == "dreg" and (method.bound is not iwelbo or method.stratified):
            raise ValueError(
                f"Parameter 'gradient' of {type(self).__name__} cannot be 'dreg': doubly "
                f"reparameterised gradients do not hold for {self._method_name()}, only for MIWAE "
                "and MissIWAE; choose 'plain' or 'stl'."
            )
        return BoundObjective(
            method.bound, self.n_draws, stratified=method.stratified, gradient=gradient
        )

    # -- fitting ------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: object = None) -> Self:
        """Fit the model to an incomplete table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The table, with holes.
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
        Ctrl-C ends training as if the epochs were over: the estimator is fitted up to there.
        """
        with unchanged_on_error(self):
            validate(self)
            go_on = self.warm_start and hasattr(self, "vae_")
            table, observed = read(self, X, self.missing_values, reset=not go_on)
            seeds = self._seeds()
            if go_on:
                self._check_architecture("set warm_start=False")
            else:
                self._start(table, observed, seeds[0])
            rows = self._encode_rows(table, observed)
            max_iter = self.max_iter or self._epochs(len(rows.x))
            epochs = Epochs(self, max_iter, X, y)
            # going on must not repeat the noise of the last fit, even with an integer random_state
            done: int = getattr(self, "n_iter_", 0)
            seed = derive_seed(seeds[1], done) if go_on else seeds[1]
            held_out = self._held_out(len(rows.x), seeds[1])
            state = self._train(rows, max_iter, self.schedule, seed, epochs, held_out)
            self.history_ = state.history
            epochs_done = max(1, len(state.history["bound"]))
            self.n_iter_ = done + epochs_done if go_on else epochs_done
            self.validation_score_ = state.best
            self.__dict__.pop("_optimizer", None)
            epochs.close()
        return self

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
            first = not hasattr(self, "vae_")
            table, observed = read(self, X, self.missing_values, reset=first)
            seeds = self._seeds()
            if first:
                self._start(table, observed, seeds[0])
                self.history_, self.n_iter_, self.validation_score_ = {}, 0, math.nan
            else:
                self._check_architecture("call fit")
            rows = self._encode_rows(table, observed)
            # a pass must not repeat the noise of the last, even with an integer random_state
            seed = derive_seed(seeds[1], int(self.n_iter_))
            state = self._train(rows, 1, "constant", seed)
            self.history_ = {
                # nothing is held out in a pass, which an earlier fit may have done
                name: [*self.history_.get(name, []), *state.history.get(name, [math.nan])]
                for name in self.history_ | state.history
            }
            self.n_iter_ += 1
            self.validation_score_ = math.nan
            self._optimizer = convert(state.optimizer, Tensor, lambda moment: moment.cpu())
        return self

    def _seeds(self) -> list[int]:
        random_state = check_random_state(self.random_state)
        return [int(seed) for seed in random_state.randint(2**31 - 1, size=3)]

    def _epochs(self, n_rows: int) -> int:
        steps = math.ceil(n_rows / self.batch_size)
        epochs = min(max(_EPOCHS, _MIN_STEPS / steps), _MAX_STEPS / steps)
        return max(math.ceil(epochs), 10)

    def _start(self, table: Floats, observed: Mask, seed: int) -> None:
        """Learn the schema and build the model."""
        if not observed.any():
            raise ValueError(
                f"X has no observed cell: all {observed.size} cells are missing; there is nothing "
                "to learn from."
            )
        schema = Table(self.keep_empty_features).fit(table, observed)
        spec = self._spec_of(schema)
        with local_seed(seed, torch.device("cpu")):
            vae = spec.build()
        names = column_names(self)
        schema.support(vae.likelihood.supports, [names[j] for j in schema.modelled])
        self._table, self._spec, self.vae_ = schema, spec, vae.eval()
        self.__dict__.pop("_optimizer", None)
        self._fit_columns(table, observed)
        self._seed = seed

    def _fit_columns(self, table: Floats, observed: Mask) -> None:
        """Let subclasses learn more of the table's columns."""

    def _spec_of(self, schema: Table) -> Spec:
        """Return all that is needed to build the networks."""
        n_columns = len(schema.modelled)
        return Spec(
            n_columns=n_columns,
            n_latents=self.n_latents or max(1, min(n_columns, 20)),
            K=getattr(self, "K", 1) if METHODS[self._method_name()].mixture else 1,
            likelihood=likelihoods_by_column(
                self.likelihood, schema.modelled.tolist(), column_names(self)
            ),
            min_scale=self.min_scale,
            n_hidden=self.n_hidden,
            n_blocks=self.n_blocks,
            dropout=self.dropout,
            linear_path=self.linear_path,
            prior=self.prior,
            posterior=self.posterior,
            encoder=self.encoder,
            decoder=self.decoder,
        )

    def _check_architecture(self, remedy: str) -> None:
        """Raise where a parameter asks for another model than the one to go on with."""
        wanted = self._spec_of(self._table)
        for name in wanted.changes(self._spec):
            raise ValueError(
                f"Parameter {name!r} of {type(self).__name__} is {getattr(wanted, name)!r}, but "
                f"the weights to go on with were made for {getattr(self._spec, name)!r}; set it "
                f"back, or {remedy} to start anew."
            )

    def _train(
        self,
        rows: Rows,
        max_iter: int,
        schedule: Schedule,
        seed: int,
        epochs: Epochs | None = None,
        held_out: Tensor | None = None,
    ) -> State:
        """Train the model, on the chosen device, and bring it back."""
        device = self._device()
        vae, objective = copy.deepcopy(self.vae_).to(device), self._objective().to(device)
        _warn_of_light_tails(vae)
        all_rows = Batch(
            torch.from_numpy(rows.x.astype(np.float32)),
            torch.from_numpy(rows.observed),
            torch.arange(len(rows.x)),
        )
        parts = (
            [all_rows]
            if held_out is None
            else [Batch(*(piece[part] for piece in all_rows)) for part in (~held_out, held_out)]
        )
        parts = [Batch(*(piece.to(device) for piece in part)) for part in parts]
        settings = Settings(
            max_iter=max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=schedule,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
        )

        def end_epoch(history: dict[str, list[float]]) -> bool:
            n_done = len(history["bound"])
            if self.verbose and n_done % self.verbose == 0:
                told = ", ".join(f"{name} {values[-1]:.4g}" for name, values in history.items())
                _log.info("%s, epoch %d of %d: %s", type(self).__name__, n_done, max_iter, told)
            return epochs.end(lambda: self._fitted(vae, n_done)) if epochs else False

        try:
            # dropout's stream must not be that of the draws
            with local_seed(derive_seed(seed, 4), device):
                state = train(
                    vae,
                    objective,
                    parts[0],
                    settings,
                    torch.Generator(device).manual_seed(seed),
                    held_out=parts[1] if len(parts) > 1 else None,
                    optimizer_state=getattr(self, "_optimizer", None),
                    begin_epoch=epochs.begin if epochs else lambda: None,
                    end_epoch=end_epoch,
                )
        except DivergenceError as error:
            raise ValueError(self._blame(rows)) from error
        self.vae_ = vae.cpu().eval()
        return state

    def _fitted(self, vae: VAE, n_done: int) -> dict[str, Any]:
        """Return the attributes of an estimator fitted so far, for callbacks that score it."""
        return {
            "vae_": copy.deepcopy(vae).cpu().eval(),
            "n_iter_": n_done,
            "history_": {},
            "validation_score_": math.nan,
        }

    def _held_out(self, n_rows: int, seed: int) -> Tensor | None:
        """Return which rows are held out, (N,) bool, or None."""
        wanted = n_rows >= _AUTO_HOLD_OUT if self.early_stopping == "auto" else self.early_stopping
        if not wanted:
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

    def _blame(self, rows: Rows) -> str:
        size = np.abs(rows.x).max(0, initial=0.0)
        column = int(size.argmax()) if size.size else 0
        name = column_names(self)[self._table.modelled[column]] if size.size else "none"
        return (
            "Training diverged: the loss was not finite for three epochs running, though the "
            f"learning rate was halved each time. The column most likely at fault is {name!r}, "
            f"whose largest observed value lies {size.max(initial=0.0):.3g} standard deviations "
            "from its mean: transform it (a logarithm, QuantileTransformer), use "
            f"likelihood='student_t', or lower learning_rate={self.learning_rate}."
        )

    # -- scores, samples, latents -------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Return the log-density of each row's observed cells.

        It is :math:`\log \sum_m m_m p(x_{obs}, z_m) / q(z_m | x_{obs})` over
        ``n_importance_draws`` draws: a lower bound in expectation that tightens as they grow
        [1]_. Densities are in the units of ``X``; binary columns count with their probability,
        columns with a single value at fit do not count.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes. A row without any observed cell scores 0.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats, the same for a row whatever stands beside it.

        References
        ----------
        .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.
        """
        rows = self._rows(X)[2]
        log_evidence, ess = self._row_by_row(
            rows, lambda vae, x, o, _: self._moments(vae, x, o)[:2]
        )
        self._warn_of_poor_weights(ess, self.n_importance_draws)
        # without evidence the density of nothing is one; the estimate would only come near
        log_evidence = np.where(rows.observed.any(1), log_evidence, 0.0)
        return log_evidence - rows.observed @ self._table.log_scale

    def score(self, X: Any, y: object = None) -> float:
        """Return the mean log-density of the rows' observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        float
            Mean of ``score_samples``: GridSearchCV tunes by it, without complete data.
        """
        return float(np.mean(self.score_samples(X)))

    def effective_sample_size(self, X: Any) -> np.ndarray:
        """Return the effective number of importance draws of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples,)
            Kish's effective sample size, from 1 to ``n_importance_draws``. Few effective draws
            mean that the encoder is a poor guide for that row: its means and scores are then
            uncertain, its imputations too alike.
        """
        return self._row_by_row(
            self._rows(X)[2], lambda vae, x, o, _: self._moments(vae, x, o)[1:2]
        )[0]

    def encode(self, X: Any) -> np.ndarray:
        """Return the posterior means of the latents, E[z | x_obs].

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples, n_latents)
            Importance-weighted means.
        """
        table, _, rows = self._rows(X)
        ess, _, z = self._row_by_row(rows, lambda vae, x, o, _: self._moments(vae, x, o)[1:])
        self._warn_of_poor_weights(ess, self.n_importance_draws)
        return z.astype(table.dtype)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None takes the estimator's own ``random_state``.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Complete rows in the units of the training table.
        """
        check_is_fitted(self)
        if whole(1)(n_samples):
            raise ValueError(f"n_samples must be {whole(1)(n_samples)}; got {n_samples!r}.")
        # a stream of its own: the same integer has also made the start values
        seed = derive_seed(self._call_seed(random_state), 3)
        noise = StreamNoise(torch.Generator().manual_seed(seed))
        sizes = [min(_PIECE, n_samples - start) for start in range(0, n_samples, _PIECE)]
        with torch.inference_mode():
            x = np.concatenate([self.vae_.sample(n, noise).double().numpy() for n in sizes])
        empty = np.full((int(n_samples), self.n_features_in_), np.nan)
        return self._table.decode(x, empty, np.zeros(empty.shape, dtype=bool))

    def _call_seed(self, random_state: Any) -> int:
        given = self.random_state if random_state is None else random_state
        return int(check_random_state(given).randint(2**31 - 1))

    # -- tables, rows, devices ----------------------------------------------------------------

    def _encode_rows(self, table: Floats, observed: Mask) -> Rows:
        rows = self._table.encode(table, observed)
        names = column_names(self)
        self._table.check(rows, [names[j] for j in self._table.modelled])
        return rows

    def _rows(self, X: Any) -> tuple[Floats, Mask, Rows]:
        check_is_fitted(self)
        validate(self)
        table, observed = read(self, X, self.missing_values, reset=False)
        return table, observed, self._encode_rows(table, observed)

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device, dtype=torch.float64)  # sums over draws need it
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(
                f"Parameter 'device' of {type(self).__name__} must name a device of this machine, "
                f"such as 'cpu', or be 'auto'; got {self.device!r} ({error})."
            ) from error
        return device

    def _moments(self, vae: VAE, x: Tensor, observed: Tensor) -> importance.Moments:
        return importance.moments(vae, x, observed, self.n_importance_draws, self._common(x))

    def _common(self, x: Tensor) -> KeyedNoise:
        """Return noise that all rows share, so that a row's result is its own."""
        return KeyedNoise(self._seed, [0], device=x.device)

    def _row_by_row(
        self, rows: Rows, function: RowFunction, vae: VAE | None = None
    ) -> list[np.ndarray]:
        """Apply a function to one row after the other and put its outcomes together.

        The draws of a single row fill the matrix products. Matrix libraries choose other kernels,
        with other last bits, by a row's place in a product: alone, a row's result is its own by
        construction.
        """
        device, vae = self._device(), self.vae_ if vae is None else vae
        vae = vae if device.type == "cpu" else copy.deepcopy(vae).to(device)
        x = torch.from_numpy(rows.x.astype(np.float32)).to(device)
        observed = torch.from_numpy(rows.observed).to(device)
        with torch.inference_mode():
            pieces = [function(vae, x[i : i + 1], observed[i : i + 1], i) for i in range(len(x))]
            return [torch.cat(piece).cpu().numpy() for piece in zip(*pieces, strict=True)]

    def _warn_of_poor_weights(self, ess: np.ndarray, n_draws: int) -> None:
        limit = min(_POOR_ESS, 0.1 * n_draws)
        poor = int((ess < limit).sum())
        if poor > _POOR_SHARE * len(ess):
            warnings.warn(
                f"{poor} of {len(ess)} rows have fewer than {limit:g} effective importance draws "
                f"of {n_draws}: their imputations and scores are uncertain. Raise "
                "n_importance_draws, K or max_iter; effective_sample_size(X) tells which rows.",
                UserWarning,
                stacklevel=3,
            )

    # -- what scikit-learn and pickle want ------------------------------------------------------

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = math.isnan(missing_marker(self.missing_values))
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")

    def __getstate__(self) -> dict[str, Any]:
        # weights as numpy arrays: no device and no torch class in the file
        state = dict(super().__getstate__())
        if "vae_" in state:
            weights = state.pop("vae_").state_dict()
            state["_weights"] = {name: value.cpu().numpy() for name, value in weights.items()}
        if "_optimizer" in state:
            state["_optimizer"] = convert(state["_optimizer"], Tensor, lambda t: t.cpu().numpy())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            with local_seed(0, torch.device("cpu")):
                self.vae_ = self._spec.build().eval()
            self.vae_.load_state_dict(convert(weights, np.ndarray, torch.as_tensor))
        if "_optimizer" in state:
            self._optimizer = convert(state["_optimizer"], np.ndarray, torch.as_tensor)


def _warn_of_light_tails(vae: VAE) -> None:
    if vae.family.tail > vae.prior.tail:
        warnings.warn(
            "The prior's tails are heavier than the posterior's: importance weights are then "
            "unbounded. Use posterior='auto' or 'student_t'.",
            UserWarning,
            stacklevel=4,
        )
