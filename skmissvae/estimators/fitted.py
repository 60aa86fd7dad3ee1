"""What a fitted model tells: scores, latents, samples, and how far to trust them."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._utils.random import KeyedNoise, StreamNoise, derive_seed
from .._utils.runtime import SeededGenerators, convert, inference, user_stacklevel
from .._utils.validation import check_minimum
from ..inference.batching import RowFunction, WeightFunction, by_weights, draws_at_once, row_by_row
from ..inference.conditional import ConditionalModel
from ..inference.mcmc_diagnostics import worst
from ..inference.samplers import SAMPLERS, Sampler
from ..inference.weights import low_ess, pareto_k
from ..tables.input_table import InputTable, NumericTable, open_table
from ..tables.output import create_table
from ..tables.reader import TableReader
from ..tables.schema import EncodedRows, TableSchema
from ..training.demissvae import DECOMPOSED
from ..training.objectives import METHODS
from ..training.spec import ModelSpec
from ..vae.vae import VAE
from .options import Settable
from .parameters import validate

_PIECE = 10_000  # rows that are sampled at once


_POOR_SHARE = 0.01  # share of such rows from which on it is worth a warning: a few are outliers


_N_INFORMATION = 64  # completions of a row by which the information in its missing cells is judged


class FittedVAE(Settable, BaseEstimator, ABC):
    """What all estimators do with a fitted model."""

    vae_: VAE
    _table: TableSchema
    _spec: ModelSpec
    _template: InputTable
    _seed: int

    # -- what a method is ---------------------------------------------------------------------

    @abstractmethod
    def _method_name(self) -> str:
        """Return the name of the method, a key of METHODS or DECOMPOSED."""

    def _has_mixture(self) -> bool:
        return self._decomposed() or METHODS[self._method_name()].mixture

    def _decomposed(self) -> bool:
        return self._method_name() in DECOMPOSED

    def _sampler(self) -> Sampler | None:
        """Return what runs chains; None stands for importance weights."""
        if self.sampler == "auto":
            return SAMPLERS["lair"] if self._decomposed() else None
        if isinstance(self.sampler, str):
            return None if self.sampler == "importance" else SAMPLERS[self.sampler]
        sampler: Sampler = self.sampler
        return sampler

    # -- scores, samples, latents -------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Return the log-density of each row's observed cells.

        It is :math:`\log \sum_m m_m p(x_{obs}, z_m) / q(z_m | x_{obs})` over
        ``n_importance_draws`` draws: a lower bound in expectation that tightens as they grow
        [1]_. Where less than a twentieth of a row's first 1,024 draws is effective, or fewer than
        ten are, all are taken anew, from a proposal in place of q that is adapted to the row's
        posterior [2]_; of fewer than 100 draws none is adapted. As the draws that decide count
        where nothing is adapted, scores of rows at the limit may be off a little either way, the
        more so the fewer the draws.

        Densities are in the units of ``X``; binary columns count with their probability, columns
        with a single value at fit do not count. To look for strange rows take ``outlier_scores``:
        of rows with different holes the one that has a column of small units has the higher
        density, whatever its value.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes. A row without any observed cell scores 0.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats, the same for a row whatever stands beside it.

        Raises
        ------
        ValueError, TypeError
            If X is not a table like that of ``fit``: the message names column, row and
            remedy.

        References
        ----------
        .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.
        .. [2] Cornuet, Marin, Mira and Robert (2012). Adaptive multiple importance sampling.
           Scandinavian Journal of Statistics 39.
        """
        found = []
        for rows in self._parts(X):
            log_evidence, ess = self._evidence(rows)
            # without evidence the density of nothing is one; the estimate would only come near
            log_evidence = np.where(rows.observed.any(1), log_evidence, 0.0)
            found.append((log_evidence - self._table.log_units(rows), ess))
        scores, ess = map(np.concatenate, zip(*found, strict=True))
        self._warn_of_poor_weights(ess, self.n_importance_draws, chains=False)
        return scores

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
            Kish's effective sample size, from 1 to ``n_importance_draws``, of the draws that
            count: those of the encoder, or, where these have poor weights, of a proposal adapted
            to the row. Few effective draws mean that the row's means and scores are uncertain,
            its imputations too alike.
        """
        return np.concatenate([self._evidence(rows)[1] for rows in self._parts(X)])

    def _evidence(self, rows: EncodedRows) -> list[np.ndarray]:
        """Return evidence and effective number of draws of each row."""

        def log_progress(
            given: ConditionalModel, x: Tensor, o: Tensor, _: object
        ) -> tuple[Tensor, ...]:
            log_evidence, ess = given.evidence(x, o, self._common(x))
            return log_evidence, ess, ess

        return self._by_weights(rows, log_progress, chains=False)

    def pareto_k(self, X: Any) -> np.ndarray:
        """Return how heavy the tail of each row's importance weights is.

        It is the shape of the generalised Pareto distribution of the largest weights [1]_. Up to
        0.5 their variance is finite; above 0.7 the row's scores and means are not to be trusted,
        even where the effective sample size seems good, since larger weights are still to come.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples,)
            Shapes; minus infinity where the weights are equal, NaN below 25 draws or so.

        References
        ----------
        .. [1] Vehtari, Simpson, Gelman, Yao and Gabry (2024). Pareto Smoothed Importance Sampling.
           Journal of Machine Learning Research 25.
        """

        def tail(given: ConditionalModel, x: Tensor, o: Tensor, _: int) -> tuple[Tensor, ...]:
            return (torch.tensor([pareto_k(given.log_weights(x, o, self._common(x))[1])]),)

        return self._of_rows(X, tail)[0]

    def mixture_weights(self, X: Any) -> np.ndarray:
        r"""Return the weights of the components of each row's approximate posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples, K)
            :math:`\pi_k(x_{obs})`; ones where the posterior has a single component. A component
            whose weights are near zero for all rows is dead.
        """

        def weights(given: ConditionalModel, x: Tensor, o: Tensor, _: int) -> tuple[Tensor, ...]:
            return (given.vae.posterior(x, o).log_pi.exp(),)

        return self._of_rows(X, weights)[0]

    def latent_information(self, X: Any) -> np.ndarray:
        r"""Return what the missing cells of each row would tell of its latents, in nats.

        It is the mutual information [1]_

        .. math:: I(z; x_{mis} | x_{obs}) = E \log \frac{p(x_{mis} | z)}{p(x_{mis} | x_{obs})},

        estimated by draws of z and of the missing cells given the observed ones. Where it is
        large, the posterior given the observed cells is a mixture of many that completions would
        have: a mixture posterior (K above 1) can then pay. Where it is near zero, as for complete
        rows, a single Gaussian does as well as for complete data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples,)
            Information in nats; 0 for complete rows. It is an estimate, at most the logarithm of
            the effective number of latents behind it.

        References
        ----------
        .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from
           Incomplete Data with Mixture Variational Families. TMLR. Appendix A.
        """

        def information(
            given: ConditionalModel, x: Tensor, o: Tensor, _: int
        ) -> tuple[Tensor, ...]:
            if o.all():
                return (torch.zeros(1, dtype=torch.float64, device=x.device),)
            return (given.information(x, o, self._common(x), _N_INFORMATION),)

        return self._of_rows(X, information)[0]

    def outlier_scores(self, X: Any) -> pd.DataFrame:
        r"""Return how strange each row is, and what each of its cells has to do with it.

        The contribution of an observed cell is what is gained by hiding it,

        .. math:: -\log p(x_d | x_{obs \setminus d})
                  = \log p(x_{obs \setminus d}) - \log p(x_{obs}):

        large where the cell does not go with the rest of its row, whether or not its value is
        unusual by itself. Densities are those of standardised columns, so that columns of
        different units compare; levels count with their probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        DataFrame
            A line per row of ``X``: ``score``, minus the log-density of the observed cells in
            nats, ``per_cell``, the same divided by their number, by which rows with different
            holes compare, and a column for each modelled one with the contributions of its cells,
            NaN where they are missing. It takes the time of ``score_samples`` for each observed
            cell.

        Raises
        ------
        ValueError
            If a column of X is called as one that is added, ``score`` or ``per_cell``.
        """

        def surprises(given: ConditionalModel, x: Tensor, o: Tensor, _: int) -> tuple[Tensor, ...]:
            found = torch.full((1, 1 + x.shape[1]), math.nan, dtype=torch.float64, device=x.device)
            found[0, 0] = -given.evidence(x, o, self._common(x)).log_evidence if o.any() else 0.0
            for d in o[0].nonzero().flatten().tolist():
                without = o.clone()
                without[0, d] = False
                rest = given.evidence(x, without, self._common(x)).log_evidence
                found[0, 1 + d] = (rest if without.any() else 0.0) + found[0, 0]
            return found, o.sum(1)

        check_is_fitted(self)
        names = self._table.modelled_names
        for name in ("score", "per_cell"):
            if name in names:
                raise ValueError(
                    f"X has a column named {name!r}, as one that outlier_scores adds; rename it."
                )
        found, n_observed = self._of_rows(X, surprises)
        index = X.index if isinstance(X, pd.DataFrame) else None
        frame = pd.DataFrame(found, columns=["score", *names], index=index)
        frame.insert(1, "per_cell", found[:, 0] / np.maximum(n_observed, 1))
        return frame

    def chain_diagnostics(self, X: Any) -> pd.DataFrame:
        """Return how well the chains of ``sampler`` mix, row by row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        DataFrame
            A line per row of ``X`` with the share of accepted proposals (``"acceptance"``), the
            effective number of draws (``"ess"``) and split R-hat (``"r_hat"``) of the mean of the
            missing cell, given the latents, in which they are worst; NaN where all cells are
            seen, or none. An R-hat above 1.05 or so tells that chains still disagree: raise
            ``n_sampler_steps``; fewer than 8 tell nothing. The chains of "lair" exchange
            latents, which brings their R-hat to one whether or not they found all modes. Those of
            DeMissVAE are diagnosed even where ``transform`` leaves a row to importance weights.

        Raises
        ------
        ValueError
            If ``sampler`` is "importance", which runs no chains.
        """
        check_is_fitted(self)
        if self._sampler() is None:
            raise ValueError(
                f"Parameter 'sampler' of {type(self).__name__} is 'importance', which runs no "
                "chains; effective_sample_size(X) tells how even its weights are, or choose "
                "'pseudo_gibbs', 'metropolis' or 'lair'."
            )

        def diagnose(given: ConditionalModel, x: Tensor, o: Tensor, _: int) -> tuple[Tensor, ...]:
            if o.all() or not o.any():
                nothing = torch.full((1,), math.nan, dtype=torch.float64, device=x.device)
                return nothing, nothing, nothing
            run = given.run(x, o, self._common(x))
            return run.acceptance.double(), *worst(run.means(given.vae), o)

        columns = self._of_rows(X, diagnose)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(
            dict(zip(("acceptance", "ess", "r_hat"), columns, strict=True)), index=index
        )

    def encode(self, X: Any) -> np.ndarray:
        """Return the posterior means of the latents, E[z | x_obs].

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with holes.

        Returns
        -------
        ndarray of shape (n_samples, n_latents)
            Means by importance weights, or over the chains of ``sampler``.
        """

        def means(given: ConditionalModel, x: Tensor, o: Tensor, _: object) -> tuple[Tensor, ...]:
            return given.means(x, o, self._common(x))

        source = self._opened(X)
        found = [self._by_weights(rows, means)[1:] for rows in self._reader().blocks(source)]
        z, ess = map(np.concatenate, zip(*found, strict=True))
        self._warn_of_poor_weights(ess, self.n_importance_draws)
        return z.astype(source.number_type)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Source of the draws; None takes the estimator's own ``random_state``.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features_out)
            Complete rows in the units and the container of the training table. Columns that are
            not modelled have what their holes would get.
        """
        check_is_fitted(self)
        check_minimum(1, n_samples=n_samples)
        # a stream of its own: the same integer has also made the start values
        seed = derive_seed(self._call_seed(random_state), 3)
        noise = StreamNoise(torch.Generator().manual_seed(seed))
        sizes = [min(_PIECE, n_samples - start) for start in range(0, n_samples, _PIECE)]
        with inference(torch.device("cpu")):
            x = np.concatenate([self.vae_.sample(n, noise).double().numpy() for n in sizes])
        empty = np.full((n_samples, self.n_features_in_), np.nan, self._template.number_type)
        values = self._table.decode(x, empty, np.zeros(empty.shape, dtype=bool))
        return create_table(self._template, self._table.codecs, values, self._table.output_columns)

    def _call_seed(self, random_state: Any) -> int:
        given = self.random_state if random_state is None else random_state
        return int(check_random_state(given).randint(2**31 - 1))

    # -- tables, rows, devices ----------------------------------------------------------------

    def _reader(self, handle_unknown: str | None = None) -> TableReader:
        options = self.missing_values, handle_unknown or self.handle_unknown
        return TableReader(self._table, *options)

    def _opened(self, X: Any) -> InputTable:
        check_is_fitted(self)
        validate(self)
        return open_table(self, X, self._template)

    def _rows(self, X: Any) -> tuple[InputTable, NumericTable, EncodedRows]:
        """Return all of a table at once."""
        source, reader = self._opened(X), self._reader()
        cells = reader.cells(source)
        return source, cells, reader.rows(cells)

    def _parts(self, X: Any) -> Iterator[EncodedRows]:
        """Yield a table some rows at a time, in the memory of these."""
        source = self._opened(X)
        return self._reader().blocks(source)

    def _of_rows(self, X: Any, function: RowFunction) -> list[np.ndarray]:
        """Apply a function to each row of a table and put its outcomes together."""
        found = [self._row_by_row(rows, function) for rows in self._parts(X)]
        return [np.concatenate(one) for one in zip(*found, strict=True)]

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device, dtype=torch.float64)  # sums over draws need it
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(
                f"Parameter 'device' of {type(self).__name__} must name a device of this machine, "
                f"such as 'cpu', or be 'auto'; got {self.device!r} ({_first_line(error)})."
            ) from error
        return device

    def __copy__(self) -> Self:
        """Return what does not follow when parameters are set, or it is fitted anew."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("_callback_fit_ctx", None)  # of a fit that is under way
        return other

    def _conditional(self) -> ConditionalModel:
        """Return the fitted model and the settings of the call, as they are now."""
        return ConditionalModel(
            self.vae_,
            self.n_importance_draws,
            self._sampler(),
            getattr(self, "completed_vae_", None),
            self.n_sampler_steps,
            where_poor=self._decomposed(),
            held=draws_at_once(self.vae_),
        )

    def _common(self, x: Tensor) -> KeyedNoise:
        """Return noise that all rows share, so that a row's result is its own."""
        return KeyedNoise(self._seed, [0], device=x.device)

    def _row_by_row(
        self,
        rows: EncodedRows,
        function: RowFunction,
        given: ConditionalModel | None = None,
        which: Iterable[int] | None = None,
    ) -> list[np.ndarray]:
        return row_by_row(rows, function, given or self._conditional(), self._device(), which)

    def _by_weights(
        self,
        rows: EncodedRows,
        function: WeightFunction,
        which: Iterable[int] | None = None,
        *,
        given: ConditionalModel | None = None,
        chains: bool = True,
    ) -> list[np.ndarray]:
        given, device = given or self._conditional(), self._device()
        return by_weights(rows, function, given, device, which, chains=chains)

    def _warn_of_poor_weights(self, ess: np.ndarray, n_draws: int, chains: bool = True) -> None:
        limit = low_ess(n_draws)
        n_poor = int((ess < limit).sum())
        if n_poor <= _POOR_SHARE * len(ess):
            return
        of = f"effective importance draws of {n_draws}"
        remedy = f"{self._raise_draws()}; effective_sample_size(X) tells which rows."
        if chains and self._sampler() is not None:
            of += ", or chains that disagree"
            remedy = "Raise n_sampler_steps; chain_diagnostics(X) tells which rows."
            if not self._decomposed():
                remedy += (
                    " An encoder that has never seen rows so complete as those of a chain is a "
                    "poor guide: use the copy that refit_encoder(X_completed) returns."
                )
        warnings.warn(
            f"{n_poor} of {len(ess)} rows have fewer than {limit:g} {of}: their imputations and "
            f"scores are uncertain. {remedy}",
            UserWarning,
            stacklevel=user_stacklevel(),
        )

    def _raise_draws(self) -> str:
        """Return what makes importance weights more even, in words."""
        return f"Raise n_importance_draws{', K' if self._has_mixture() else ''} or max_iter"

    # -- what scikit-learn and pickle want ------------------------------------------------------

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")

    def __getstate__(self) -> dict[str, Any]:
        # weights as numpy arrays: no device and no torch class in the file
        state = dict(super().__getstate__())
        if "vae_" in state:
            state["_weights"] = {"vae": dict(state.pop("vae_").state_dict())}
        if "completed_vae_" in state:  # all but its encoder is in the other
            completed = state.pop("completed_vae_")
            for part in ("encoder", "family"):
                state["_weights"][part] = dict(getattr(completed, part).state_dict())
        if "_template" in state:
            state["_template"] = state["_template"].to_plain()
        for name in ("_weights", "_optimizers"):
            if name in state:
                state[name] = convert(state[name], Tensor, lambda t: t.cpu().numpy())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        if "_template" in state:
            state["_template"] = InputTable.from_plain(state["_template"])
        super().__setstate__(state)
        if weights is not None:
            weights = convert(weights, np.ndarray, _tensor)
            with SeededGenerators(0, torch.device("cpu")).block():
                self.vae_ = self._spec.build().eval()
                self.vae_.load_state_dict(weights["vae"])
                if "encoder" in weights:
                    self.completed_vae_ = self._spec.build_completed(self.vae_).eval()
                    for part in ("encoder", "family"):
                        getattr(self.completed_vae_, part).load_state_dict(weights[part])
        if "_optimizers" in state:
            self._optimizers = convert(state["_optimizers"], np.ndarray, _tensor)


def _tensor(array: np.ndarray) -> Tensor:
    """Return a copy of an array that may lie in a file, not to be written to."""
    return torch.from_numpy(np.array(array))


def _first_line(error: Exception) -> str:
    """Return what an error says first: torch tells pages of some."""
    return str(error).split("\n")[0].split(". ")[0][:200]
