"""The imputers: one per method, over one model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, overload

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ._columns import Rows, Table
from ._conditional import Conditional
from ._estimator import BaseVAE
from ._frames import Mask, Numbers
from ._input import Cells, Source, chosen_cells, column_names, restore
from ._params import (
    Parameter,
    either,
    estimator,
    infinity,
    minus_infinity,
    none,
    one_of,
    real,
    whole,
)
from ._settable import a_mapping, a_sampler
from ._spec import place_of
from .likelihoods import ColumnDistribution, quantile
from .noise import KeyedNoise, derive_seed
from .samplers import SAMPLERS, Sampler

_N_RESAMPLED = 256  # latents that stand for p(z | x_obs) where a median or mode is asked for
_N_CANDIDATES = 64  # of them, those whose values are tried as modes

_K = Parameter("int", "Components of the posterior mixture.", whole(1))


class Imputations(Sequence[Any]):
    """Completed tables, each made when it is asked for.

    Parameters
    ----------
    make : callable
        Returns the i-th table.
    n : int
        Number of tables.
    """

    def __init__(self, make: Callable[[int], Any], n: int) -> None:
        self._make, self._n = make, n

    def __len__(self) -> int:
        """Return the number of tables."""
        return self._n

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "Imputations": ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a table, the same at every call, or a shorter sequence."""
        chosen = range(self._n)[index]
        if isinstance(chosen, range):
            return Imputations(lambda i: self._make(chosen[i]), len(chosen))
        return self._make(chosen)

    def __iter__(self) -> Iterator[Any]:
        """Yield the tables, one in memory at a time."""
        return (self._make(i) for i in range(self._n))

    def __repr__(self) -> str:
        """Return what it is."""
        return f"Imputations(n={self._n})"


class Task(NamedTuple):
    """A table to complete."""

    schema: Table
    source: Source
    cells: Cells
    rows: Rows
    wanted: Mask  # (N, n_features)   cells to impute
    extra: dict[str, np.ndarray]  # columns to put beside the others
    template: Source  # the table at fit
    bounds: tuple[np.ndarray, np.ndarray]  # of each column, in its units

    def table(self, x: np.ndarray) -> Any:
        """Return the completed table: values of modelled columns (N, D), in the model's units."""
        schema, cells = self.schema, self.cells
        numbers = schema.decode(x, cells.values, cells.observed)
        # units may round a number over its bound
        inside = np.isin(schema.treatment, ("modelled", "copy"))
        low, high = (np.where(inside, bound, np.nan) for bound in self.bounds)
        numbers = np.fmin(np.fmax(numbers, low.astype(numbers.dtype)), high.astype(numbers.dtype))
        return restore(
            self.source,
            schema.codecs,
            numbers,
            self.wanted,
            schema.kept,
            self.extra,
            self.template,
        )


@estimator
class BaseImputer(TransformerMixin, BaseVAE):
    """What the imputers share: completing tables."""

    _attributes = """
indicator_ : MissingIndicator or None
    What makes the indicator columns, where ``add_indicator`` asks for them."""

    estimate: Annotated[
        Literal["auto", "mean", "median", "mode", "draw"],
        Parameter(
            '{"auto", "mean", "median", "mode", "draw"}',
            "What ``transform`` puts into a missing cell: the conditional mean given the row's "
            "observed cells, by ``sampler``; the conditional median or "
            'mode; or a draw. "auto" is the mean, and for binary columns the more probable value. '
            "Read at the call.",
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
            either(real(-math.inf), minus_infinity, a_mapping, none),
        ),
    ] = None
    max_value: Annotated[
        Any,
        Parameter(
            "float, mapping or None",
            "Greatest value of imputed numbers, likewise. Read at the call.",
            either(real(-math.inf), infinity, a_mapping, none),
        ),
    ] = None

    def _fit_columns(self, cells: Cells) -> None:
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(missing_values=np.nan, error_on_new=False)
            self.indicator_.fit(np.where(cells.holes, np.nan, 0.0))

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
        """
        task = self._task(X, where)
        likelihood = self.vae_.likelihood

        def complete(given: Conditional, x: Tensor, o: Tensor, i: int) -> tuple[Tensor, ...]:
            if self.estimate in ("auto", "mean"):
                expected, _, ess = given.means(x, o, self._common(x))
                return likelihood.point(expected, self.estimate == "auto"), ess
            draw = self.estimate == "draw"
            noise = (
                KeyedNoise(derive_seed(self._seed, 1), [i], device=x.device)
                if draw
                else self._common(x)
            )
            z, ess = given.latents(x, o, noise, 1 if draw else _N_RESAMPLED)
            columns = given.decode(z)
            if draw:
                return columns.sample(noise)[0].double(), ess
            half = torch.full(columns.shape, 0.5, dtype=z.dtype, device=z.device)
            value = _median(columns, half) if self.estimate == "median" else _mode(columns, half)
            if any(decided):  # levels have no middle: the most probable one
                point = likelihood.point(columns.expected().mean(0)).to(value)
                value = torch.where(torch.tensor(decided, device=z.device), point, value)
            return value.double(), ess

        decided = [support in ("binary", "coded") for support in self._table.supports]
        x, ess = self._row_by_row(task.rows, complete)
        self._warn_of_poor_weights(ess, self.n_importance_draws)
        return task.table(x)

    def impute(
        self, X: Any, n_imputations: int = 5, *, random_state: Any = None, where: Any = None
    ) -> Imputations:
        """Complete a table several times, for inference by Rubin's rules.

        Each imputation draws a latent from a fresh pool of ``n_importance_draws`` in proportion
        to the importance weights (sampling importance resampling), or from the end of chains of
        ``sampler``, then the missing cells given it. Rows are independent; what a row gets depends
        on its position, ``random_state`` and the fit alone: give other tables another
        ``random_state``.

        The model is the same for all imputations. Where its own uncertainty matters, as for
        intervals from small tables, fit it to a bootstrap sample of the rows for each imputation,
        with another ``random_state`` each.

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

        Returns
        -------
        Imputations
            A lazy sequence of tables like ``X``.
        """
        if whole(1)(n_imputations):
            raise ValueError(
                f"n_imputations must be {whole(1)(n_imputations)}; got {n_imputations!r}."
            )
        # tables made later are still of this fit, these settings and this table
        task, given = self._task(X, where, keep=True), self._conditional()
        seed = self._call_seed(random_state)
        poor_weights_told = False

        def make(i: int) -> Any:
            nonlocal poor_weights_told
            key = derive_seed(seed, 2, i)

            def draw(there: Conditional, x: Tensor, o: Tensor, position: int) -> tuple[Tensor, ...]:
                noise = KeyedNoise(key, [position], device=x.device)
                z, ess = there.latents(x, o, noise, 1)
                return there.decode(z).sample(noise)[0].double(), ess

            x, ess = self._row_by_row(task.rows, draw, given)
            if not poor_weights_told:
                self._warn_of_poor_weights(ess, given.n_draws)
                poor_weights_told = True
            return task.table(x)

        return Imputations(make, int(n_imputations))

    def _task(self, X: Any, where: Any, keep: bool = False) -> "Task":
        """Return a table to complete; a copy of what the user may yet change where it is kept."""
        source, cells, rows = self._rows(X)
        if keep:
            source = source.copy()
        wanted = cells.holes
        if where is not None:
            wanted = chosen_cells(where, cells.holes, column_names(self))
            hidden = wanted & cells.observed
            if hidden.any():
                cells = cells._replace(observed=cells.observed & ~hidden)
                rows = self._encode_rows(cells)
        wanted = wanted & self._table.fillable()
        kept = self._table.kept
        extra = {}
        if self.indicator_ is not None:
            flags = self.indicator_.transform(np.where(cells.holes, np.nan, 0.0))
            names = self.get_feature_names_out()[len(kept) :]
            extra = dict(zip(names, flags.T, strict=True))
        return Task(self._table, source, cells, rows, wanted, extra, self._template, self._bounds())

    def _conditional(self) -> Conditional:
        given, table = super()._conditional(), self._table
        low, high = self._bounds()
        if np.isinf(low).all() and np.isinf(high).all():
            return given
        edges = [(edge[table.modelled] - table.location) / table.scale for edge in (low, high)]
        return given._replace(bounds=(torch.from_numpy(edges[0]), torch.from_numpy(edges[1])))

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest number that each column may get, in its units."""
        table, names = self._table, column_names(self)
        low, high = self._bound("min_value", -math.inf), self._bound("max_value", math.inf)
        for copy, source in table.copies.items():  # one variable, the bounds of both
            low[source] = low[copy] = max(low[source], low[copy])
            high[source] = high[copy] = min(high[source], high[copy])
        whole = np.array([codec.whole for codec in table.codecs])
        low[whole], high[whole] = np.ceil(low[whole]), np.floor(high[whole])
        empty = (low > high) | ((low == high) & ~whole)
        if empty.any():
            raise ValueError(
                f"Parameters 'min_value' and 'max_value' of {type(self).__name__} leave no value "
                f"for column {names[int(np.argmax(empty))]!r}; min_value must be below max_value."
            )
        return low, high

    def _bound(self, parameter: str, without: float) -> np.ndarray:
        """Return a bound of each column, in its units; those of codes have none."""
        given, table, names = getattr(self, parameter), self._table, column_names(self)
        place = {int(j): d for d, j in enumerate(table.modelled)}
        bound = np.full(len(names), without)
        if not isinstance(given, Mapping):
            if given is not None:
                free = ("binary", "coded")
                scalar = [
                    j
                    for j, d in place.items()
                    if isinstance(table.codecs[j], Numbers) and table.supports[d] not in free
                ]
                bound[scalar] = given
            return bound
        for column, value in given.items():
            j = place_of(column, names, parameter)
            codec, treatment = table.codecs[j], table.treatment[j]
            measure = getattr(codec, "bound", None)
            if measure is None:
                raise ValueError(
                    f"Parameter {parameter!r} bounds column {names[j]!r}, whose values are "
                    f"{codec.kind}: only numbers, dates and durations have bounds."
                )
            if treatment not in ("modelled", "copy"):
                raise ValueError(
                    f"Parameter {parameter!r} bounds column {names[j]!r}, which is not modelled "
                    f"({treatment}): its holes have one value. Leave the bound out."
                )
            try:
                bound[j] = measure(value)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Parameter {parameter!r} must bound column {names[j]!r} by {error}; got "
                    f"{value!r}."
                ) from error
        return bound

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
        kept = np.asarray(names, dtype=object)[self._table.kept]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _median(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the median of an equal mixture over the first axis: (R, B, D) -> (B, D)."""
    # it lies among those of the components
    medians = columns.icdf(half)
    return quantile(columns, 0.5, medians.amin(0), medians.amax(0))


def _mode(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the centre of highest density under an equal mixture: (R, B, D) -> (B, D)."""
    centre = columns.icdf(half)
    # 0 and 1 are where a continuous Bernoulli has its mode, and candidates like any other elsewhere
    ends = torch.zeros_like(centre[:2])
    ends[1] = 1.0
    candidates = torch.cat([centre[:_N_CANDIDATES], ends])
    density = torch.stack(
        [columns.log_prob(value.expand_as(centre)).logsumexp(0) for value in candidates]
    )
    return candidates.gather(0, density.argmax(0, keepdim=True)).squeeze(0)


@estimator
class MVAEImputer(BaseImputer):
    r"""Imputation by a variational autoencoder with a Gaussian posterior, MVAE.

    The model is fitted by the evidence lower bound of the observed cells [1]_,

    .. math:: \sum_s \tfrac1S \log \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad z_s \sim q.

    The simplest of the family and the cheapest to train. Where the posterior given the observed
    cells has several modes, the mixtures of MissVAEImputer and its kin do better.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSVAEImputer : The same bound with a mixture posterior.
    MIWAEImputer : The tighter, importance-weighted bound.

    References
    ----------
    .. [1] Nazabal, Olmos, Ghahramani and Valera (2020). Handling incomplete heterogeneous data
       using VAEs. Pattern Recognition 107.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MVAEImputer(max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    def _method_name(self) -> str:
        return "MVAE"


@estimator
class MissVAEImputer(BaseImputer):
    r"""Imputation with a mixture posterior and ancestral draws, MissVAE.

    The posterior of a row is a mixture of K Gaussians; the bound is that of MVAE [1]_,

    .. math:: \sum_s \tfrac1S \log \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad
              z_s \sim q = \sum_k \pi_k q_k,

    with gradients through the draws by implicit reparameterisation.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSVAEImputer : Stratified draws, with less variance.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    K: Annotated[int, _K] = 5

    def _method_name(self) -> str:
        return "MissVAE"


@estimator
class MissSVAEImputer(BaseImputer):
    r"""Imputation with a mixture posterior and stratified draws, MissSVAE.

    Draws are taken from every component of the posterior and carry its weight [1]_,

    .. math:: \sum_k \pi_k \sum_s \tfrac1S \log \frac{p(x_{obs}, z_{ks})}{q(z_{ks} | x_{obs})},
              \quad z_{ks} \sim q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : The tighter, importance-weighted bound.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissSVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    K: Annotated[int, _K] = 5
    n_draws: int = 2

    def _method_name(self) -> str:
        return "MissSVAE"


@estimator
class MIWAEImputer(BaseImputer):
    r"""Imputation with the importance-weighted bound, MIWAE.

    The bound is [1]_

    .. math:: \log \sum_s \tfrac1S \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad z_s \sim q,

    tighter with every draw.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : The same with a mixture posterior.

    References
    ----------
    .. [1] Mattei and Frellsen (2019). MIWAE: Deep Generative Modelling and Imputation of
       Incomplete Data Sets. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MIWAEImputer(max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    def _method_name(self) -> str:
        return "MIWAE"


@estimator
class MissIWAEImputer(BaseImputer):
    r"""Imputation with the importance-weighted bound and a mixture posterior, MissIWAE.

    Draws are ancestral, with gradients by implicit reparameterisation [1]_,

    .. math:: \log \sum_s \tfrac1S \frac{p(x_{obs}, z_s)}{q(z_s | x_{obs})}, \quad
              z_s \sim q = \sum_k \pi_k q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MissSIWAEImputer : Stratified draws.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissIWAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    K: Annotated[int, _K] = 5

    def _method_name(self) -> str:
        return "MissIWAE"


@estimator
class MissSIWAEImputer(BaseImputer):
    r"""Imputation with the importance-weighted bound and stratified draws, MissSIWAE.

    Draws are taken from every component of the posterior and carry its weight [1]_,

    .. math:: \log \sum_k \pi_k \sum_s \tfrac1S \frac{p(x_{obs}, z_{ks})}{q(z_{ks} | x_{obs})},
              \quad z_{ks} \sim q_k.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MIWAEImputer : The same with a single Gaussian posterior, in less time.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = MissSIWAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    K: Annotated[int, _K] = 5
    n_draws: int = 2

    def _method_name(self) -> str:
        return "MissSIWAE"


@estimator
class DeMissVAEImputer(BaseImputer):
    r"""Imputation with objectives of their own for model and encoder, DeMissVAE.

    K imputations of every row are kept while training, and moved by a sampler at each visit. With
    the encodings of the completed rows, :math:`z_k \sim q_k = q(z | x_{obs}, x_{mis}^k)`, the
    decoder maximises [1]_

    .. math:: \frac1K \sum_k \log p(x_{obs}, z_k) - \log \frac1K \sum_j q_j(z_k),

    which mixes over the imputations as the mixture posteriors of its kin do over components, and
    the encoder maximises the evidence lower bound of the completed rows,

    .. math:: \frac1K \sum_k \log p(x_{obs}, x_{mis}^k, z_k) - \log q_k(z_k).

    A second encoder, of incomplete rows, is trained at the end for the model as it then is. New
    rows are completed by its importance weights, and by chains of the sampler where those are
    poor.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    completed_vae_ : torch.nn.Module
        The model with the encoder of completed rows.
    {attributes}

    See Also
    --------
    MissSIWAEImputer : One objective for both, and no imputations to keep.

    Notes
    -----
    A step with the default dropout took 1.85 times as long as one of a VAE on the K completed rows,
    and 1.25 times with ``dropout=0`` and ``LAIR(n_replenish=0)``, where sampler and objectives
    share a forward pass (``benchmarks/step_cost.md``).

    Training keeps N x K x D numbers. With ``warm_start`` they stay with the estimator, and a
    further ``fit`` to the same rows moves them on. ``partial_fit`` starts the imputations of rows
    that it did not see in the last call anew, and moves them ten steps before it trains.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import DeMissVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 4.1], [3.0, 6.0], [4.0, np.nan], [5.0, 9.9]]
    >>> imputer = DeMissVAEImputer(K=3, max_iter=50, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    """

    K: Annotated[
        int,
        Parameter(
            "int",
            "Imputations of each row while training, and components of the posterior of "
            "incomplete rows.",
            whole(1),
        ),
    ] = 5
    n_draws: Annotated[
        int, Parameter("int", "Draws per imputation and training step.", whole(1))
    ] = 1
    sampler: Annotated[
        str | Sampler,
        Parameter(
            '{"lair", "metropolis", "pseudo_gibbs"} or Sampler',
            "What moves the imputations while training, and completes the rows whose importance "
            'weights are poor. Read at the call, too, where "importance" leaves all rows to the '
            "weights.",
            either(one_of(*SAMPLERS), a_sampler),
        ),
    ] = "lair"

    def _method_name(self) -> str:
        return "DeMissVAE"
