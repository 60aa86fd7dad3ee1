"""The parameters that all estimators share, in four groups."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd

from .._utils.validation import (
    Check,
    any_of,
    callable_with,
    integer,
    mapping,
    none,
    one_of,
    real,
    unchecked,
    valid_random_state,
)
from ..inference.samplers import SAMPLERS, Sampler
from ..training.methods import GradientOption
from ..training.missingness import check_missingness
from ..training.optim import AdamW, EarlyStopping
from ..training.spec import LikelihoodOption, check_network
from ..vae.posteriors import POSTERIORS, Family
from ..vae.priors import PRIORS, Prior
from .parameters import estimator

InitOption = Literal["auto", "factor_analysis", "random"]
StrategyOption = Literal["auto", "mean", "median", "mode", "draw"]
ShapesOption = bool | Literal["point_masses"]
UnknownOption = Literal["error", "missing"]
EarlyStoppingOption = Literal["auto"] | bool | EarlyStopping
ColumnLikelihoods = LikelihoodOption | Mapping[object, LikelihoodOption]


def in_literal(options: Any) -> Check:
    """Return a check for one of the values of a Literal."""
    return one_of(*get_args(options))


def instance_of(cls: type, description: str) -> Check:
    """Return a check for instances of a class."""
    return lambda value: None if isinstance(value, cls) else description


is_bool = one_of(True, False)
is_prior = any_of(one_of(*PRIORS), callable_with("n_latents -> Prior"))
is_posterior = any_of(one_of("auto", *POSTERIORS), callable_with("(n_latents, K) -> Family"))
is_sampler = instance_of(Sampler, "a Sampler")
is_adamw = instance_of(AdamW, "an AdamW")
is_early_stopping = any_of(
    one_of("auto", True, False), instance_of(EarlyStopping, "an EarlyStopping")
)


def are_constraints(value: object) -> str | None:
    """Check for a sequence of expressions, a mapping, or None."""
    if value is None or isinstance(value, Mapping):
        return None
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    conditions: Any = value if is_list else [None]
    if all(isinstance(condition, str) for condition in conditions):
        return None
    return "a list of expressions, a mapping from names to conditions, or None"


def is_bound(value: object) -> str | None:
    """Check for a number, which may be infinite."""
    valid = isinstance(value, Real) and not isinstance(value, bool) and value == value
    return None if valid else "a number"


def is_bound_of_each_column(value: object) -> str | None:
    """Check for an array-like of numbers, or for a pandas Series, which is a mapping."""
    is_array_like = isinstance(value, (list, tuple)) or hasattr(value, "__array__")
    is_valid = isinstance(value, pd.Series) or (
        is_array_like and np.iterable(value) and all(is_bound(bound) is None for bound in value)
    )
    return None if is_valid else "one for each column"


def is_n_jobs(value: object) -> str | None:
    """Check for a number of processes, as in joblib."""
    valid = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value != 0
    return None if valid else "an integer other than 0"


is_bounds = any_of(is_bound, is_bound_of_each_column, mapping, none)


@estimator
class ModelOptions:
    """Parameters of the model.

    Parameters
    ----------
    n_latents : int or None
        Number of latents. None is the number of columns that vary, at most 20.
    prior : {"normal", "student_t", "mixture"} or callable
        Distribution of the latents: standard Normal, Student-t with 5 degrees of freedom, a learned
        mixture of 10 Normals, or a callable ``n_latents -> Prior`` such as
        ``functools.partial(StudentTPrior, df=3)``.
    posterior : {"auto", "normal", "student_t"} or callable
        Variational family, or a callable ``(n_latents, K) -> Family``. "auto" follows the prior:
        importance weights are bounded only if the tails of the posterior are the heavier ones. With
        factor analysis as initialization, components are diagonal in the coordinates of the
        factor-analysis posterior.
    likelihood : str, callable or mapping
        Observation model of continuous columns: "normal", "student_t", "bernoulli",
        "continuous_bernoulli" or "cross_entropy"; a callable ``n_columns -> Likelihood``, or a
        mapping from columns (names or indices) to either, in which continuous columns without an
        entry are Normal. A column of numbers with an entry becomes continuous, or binary with
        "bernoulli"; columns of other kinds have their own observation models. "cross_entropy" is
        for grey values from 0 to 1 and is not a density: see ``CrossEntropyLikelihood``.
    min_scale : float
        Lower limit of the scale of Normal and Student-t columns, in standard deviations of the
        column. A smaller one gives better imputations if columns are nearly functions of one
        another, a larger one on other small tables.
    learn_shapes : bool or "point_masses"
        With "point_masses", the most frequent value of a continuous column is a point mass if it is
        the smallest or largest one, such as zero, and makes up a fifth of the cells: draws then
        contain it as often as the data do. True adds marginal transforms: a sinh-arcsinh transform,
        fitted to each numeric column, reduces skewness and heavy tails; densities improve much,
        means seldom. False uses neither.
    missingness : {"ignorable", "self_masking", "linear"} or mapping
        Why cells are missing. "ignorable": for reasons that observed cells explain (missing at
        random). "self_masking": because of their own value; the probability that a cell is missing
        is a probit function of it, which is fitted with the model, for each column of numbers or
        two values with missing cells. "linear": the probit is also linear in the other columns of
        numbers, for cells that are missing for both reasons. A mapping from columns (names or
        indices) has "self_masking", "linear", "high" if higher values are missing more often, or
        "low"; other columns are ignorable. Columns are those with missing cells in the first fit.
        ``score_samples`` then includes the probability of the mask; ``outlier_scores`` ignores the
        missingness. Data cannot test such an assumption. Not for DeMissVAE, Markov chains and
        ``calibrate``.
    network : ResidualNetwork, ConvNetwork, CustomNetwork or None
        Encoder and decoder. None is ``ResidualNetwork()``: residual perceptrons with a linear path.
        ``ConvNetwork((28, 28))`` is for images. ``CustomNetwork``, or an object with the attributes
        ``encoder`` and ``decoder``, makes them by callables ``(in_features, out_features) ->
        nn.Module``.
    n_hidden : int
        Width of the hidden layers of both networks.
    n_blocks : int
        Residual blocks of each network.
    dropout : float
        Probability of dropping a hidden unit in training. Large tables gain a little from 0; a
        higher value makes intervals wider.
    """

    _group = "model"

    n_latents: Annotated[int | None, any_of(integer(1), none)] = None
    prior: Annotated[str | Callable[[int], Prior], is_prior] = "normal"
    posterior: Annotated[str | Callable[[int, int], Family], is_posterior] = "auto"
    likelihood: Annotated[ColumnLikelihoods, unchecked] = "normal"
    min_scale: Annotated[float, real(0, above=True)] = 0.05
    learn_shapes: Annotated[ShapesOption, one_of(True, False, "point_masses")] = False
    missingness: Annotated[str | Mapping[Any, str], check_missingness] = "ignorable"
    network: Annotated[Any, check_network] = None
    n_hidden: Annotated[int, integer(1)] = 128
    n_blocks: Annotated[int, integer(0)] = 2
    dropout: Annotated[float, real(0, 1)] = 0.1


@estimator
class TrainingOptions:
    """Parameters of training.

    Parameters
    ----------
    n_draws : int
        Draws from the posterior per row and training step; per row and component if draws are
        stratified.
    gradient : {"auto", "stl", "dreg", "plain"}
        Gradient estimator of the encoder. "plain" is unbiased for every method. "stl" (sticking the
        landing) has a lower variance; it is unbiased for MVAE, MissVAE and MissSVAE, biased for the
        importance-weighted methods. "dreg" (doubly reparameterized) is unbiased for MIWAE and
        MissIWAE, and not defined for others. "auto" is "dreg" for these two and "stl" for the
        others. In DeMissVAE it concerns the encoder of incomplete rows.
    init : {"auto", "factor_analysis", "random"}
        Initialization. "random": of all weights. "factor_analysis": the decoder starts as a factor
        analysis of the table, and the posterior in the coordinates of its exact posterior, for
        every pattern of observed cells. It requires 10 rows, a linear path, no custom decoder, and
        a column that is neither ordinal nor of more than 20 categories nor continuous Bernoulli nor
        of a custom likelihood; DeMissVAE does not support it. "auto": factor analysis if possible;
        but imputers of 100 to 499 rows choose: a tenth of the observed cells is hidden, a model is
        fitted from each initialization by 30% of the default epochs at twice the default learning
        rate, and the initialization with the lower squared error of the hidden cells is used. This
        usually takes up to three times as long; ``init_`` has the choice. With Chunks, in process
        groups and in ``partial_fit`` there is no choice: it is factor analysis.
    max_iter : int or None
        Maximum number of epochs. None depends on the table and is reported as ``max_iter_``: the
        epochs of 2,500 steps, from 10 to 200; imputers that are initialized from factor analysis
        use fewer. The encoder of incomplete rows of DeMissVAE is trained for half as many epochs
        more.
    batch_size : int or None
        Rows per training step. None is 64, or 128 for imputers that initialize all columns from
        factor analysis if these are numeric and there are at least 600 rows. Reported as
        ``batch_size_``.
    learning_rate : float or None
        Peak learning rate. None is 0.002, or 0.004 for the tables for which ``batch_size=None`` is
        128. Reported as ``learning_rate_``.
    optimizer : AdamW or None
        Learning-rate schedule, weight decay and gradient clipping. None is ``AdamW()``.
    early_stopping : bool, "auto" or EarlyStopping
        Whether rows are held out to stop when their bound no longer improves, and to keep the
        weights of the best epoch. ``EarlyStopping(validation_fraction=0.1, n_iter_no_change=10,
        tol=1e-4)`` sets the details; for densities the default of ``n_iter_no_change`` is 40.
        "auto" holds rows out if there are at least 5,000 (100 for densities). Reported as
        ``early_stopping_``.
    warm_start : bool
        Whether ``fit`` continues from the weights and the schema of the last fit.
    device : str or torch.device
        Device of the computations: "cpu", "cuda", "cuda:1"; "auto" is a CUDA device if there is
        one. It is read when a method is called; a fitted model is on the CPU between calls.
    random_state : int, RandomState instance or None
        Source of all randomness; an int makes results reproducible.
    verbose : int
        0 is silent. 1 shows progress with the time that is left: of the stages of ``fit`` (choice
        of the initialization, epochs, bootstrap models, calibration), and of methods that compute
        rows for more than 3 seconds. Progress is a bar in terminals and notebooks if rich is
        installed (in notebooks also ipywidgets), otherwise a line at most every 5 seconds. 2 writes
        a line for every epoch and no bars. Lines go to the logger "skmissvae" if this logger
        records level INFO, otherwise to stderr. Lines also replace bars if the logger records them,
        or if callbacks other than ``Checkpoint`` are set. Results do not depend on ``verbose``.
    """

    _group = "training"
    n_draws: Annotated[int, integer(1)] = 10
    gradient: Annotated[GradientOption, in_literal(GradientOption)] = "auto"
    init: Annotated[InitOption, in_literal(InitOption)] = "auto"
    max_iter: Annotated[int | None, any_of(integer(1), none)] = None
    batch_size: Annotated[int | None, any_of(integer(1), none)] = None
    learning_rate: Annotated[float | None, any_of(real(0, above=True), none)] = None
    optimizer: Annotated[AdamW | None, any_of(is_adamw, none)] = None
    early_stopping: Annotated[EarlyStoppingOption, is_early_stopping] = "auto"
    warm_start: Annotated[bool, is_bool] = False
    device: Annotated[Any, unchecked] = "auto"
    random_state: Annotated[Any, valid_random_state] = None
    verbose: Annotated[int, integer(0)] = 0


@estimator
class InferenceOptions:
    """Parameters of conditioning on observed cells.

    Parameters
    ----------
    n_importance_draws : int
        Largest number of importance draws per row for means, scores and imputations, in bounded
        memory. From 100 on, rows get as many as they need: an effective sample size of a tenth of
        this number, for which a quarter of the draws can suffice, and which better proposals are
        sought for if the encoder's is not sufficient. With 1,000, the Monte Carlo error of a mean
        is at most about a tenth of its standard deviation due to the latents. It is read when a
        method is called.
    sampler : {"importance", "pseudo_gibbs", "metropolis", "lair"} or Sampler
        How to condition on the observed cells of a row: importance weights, or Markov chains by
        pseudo-Gibbs, Metropolis-within-Gibbs or latent-adaptive importance resampling (LAIR). An
        object such as ``LAIR(n_steps=100)`` sets the details. ``score_samples`` always uses
        importance weights. It is read when a method is called.
    """

    _group = "inference"
    n_importance_draws: Annotated[int, integer(1)] = 1000
    sampler: Annotated[str | Sampler, any_of(one_of(*SAMPLERS), is_sampler)] = "importance"


@estimator
class TableOptions:
    """Parameters of the table.

    Parameters
    ----------
    missing_values : number, str, np.nan, None, pd.NA, list of them or mapping
        Marker of missing cells in addition to NaN, None, pandas.NA and NaT: a value or a list for
        all columns, or a mapping from columns (names or indices) to a value or a list. ``fit``
        refuses a marker that no column can hold, such as a string for a table of numbers.
        ``fit_report_`` names values that may be undeclared markers.
    feature_kinds : mapping or None
        Kinds of columns (names or indices): "continuous", "count", "integer", "binary",
        "categorical", "ordinal". The kind of a column without an entry follows from its data type:
        bool and two integers are binary, ordered categories ordinal, other categories and strings
        categorical, integers counts (integers if some are negative), integers of 2**53 or more
        labels, the rest continuous. All columns of a numeric array are continuous.
        ``feature_kinds_`` reports the result.
    handle_unknown : {"error", "missing"}
        How to treat categories that were not in ``fit``: raise an error, or treat the cell as
        missing evidence and return it unchanged. A third number in a column of two integers without
        an entry in ``feature_kinds`` is always returned unchanged. It is read when a method is
        called.
    keep_empty_features : bool
        Whether columns without an observed cell in ``fit`` are kept: numeric ones are filled with
        zeros, others stay missing.
    """

    _group = "table"
    missing_values: Annotated[Any, unchecked] = np.nan
    feature_kinds: Annotated[Mapping[Any, str] | None, any_of(mapping, none)] = None
    handle_unknown: Annotated[UnknownOption, in_literal(UnknownOption)] = "error"
    keep_empty_features: Annotated[bool, is_bool] = False


@estimator
class ImputationOptions:
    """Parameters of the imputers.

    Parameters
    ----------
    strategy : {"auto", "mean", "median", "mode", "draw"}
        What ``transform`` imputes: the conditional mean given the observed cells of the row, the
        conditional median or mode, or a draw. "auto" is the mean, and for binary columns the more
        probable value; categories are always the most probable one or a draw. For columns with a
        point mass (``learn_shapes``) the mode is this value if its probability exceeds the density
        of the other, standardized values. It is read when a method is called.
    min_value : float, array-like of shape (n_features,), mapping or None
        Lower bound of imputed numbers: one for all modelled numeric columns; one for each column of
        X, which has no effect on columns that are not numeric; or a mapping from columns (names or
        indices), including dates. A pandas Series is a mapping from its index. Imputations are
        draws and means of the model given that they are within the bounds, so that no mass
        accumulates at the bounds. It is read when a method is called.
    max_value : float, array-like of shape (n_features,), mapping or None
        Upper bound of imputed numbers, like ``min_value``.
    derived : mapping or None
        Columns that are functions of others, such as ``{"bmi": lambda t: t["weight"] /
        t["height"] ** 2}`` (passive imputation). Each function takes a completed table, in the
        container of X without the columns that ``transform`` leaves out, and returns the column:
        its missing cells are replaced in every completed table, in the order of the mapping.
        Limits do not apply to them. Observed cells are evidence for the others, as those of any
        column. It is read when a method is called; ``cell_distribution`` does not use it.
    constraints : sequence of str, mapping or None
        Conditions of completed rows, such as ``["low <= high"]``: columns of X, x0, x1, ... of an
        array, with constants, comparisons, arithmetic, ``and``, ``or``, ``not``. Or a mapping from
        names to such expressions or to functions, which get some completed rows and return a bool
        for each. ``impute`` and ``strategy="draw"`` reject draws of the model that violate one.
        Other strategies impute the mean or median of 100 accepted draws, and where it violates a
        constraint the accepted draw that is closest to it. The observed cell of an ordered pair of
        columns limits the other one. A row is checked if it has an imputed cell of the condition
        and no cell of it stays missing, with functions no cell at all. Fits and scores do not use
        constraints. It is read when a method is called.
    add_indicator : bool
        Whether the output has indicator columns of missingness, for each column with missing cells
        in ``fit``.
    n_bootstrap : int
        Number of models that are fitted to bootstrap samples of the rows, in addition to the model
        of all rows. ``impute`` and ``cell_distribution`` use them in turn; take as many models as
        imputations. ``transform``, scores and samples use the model of all rows. With 0,
        ``impute`` draws the linear relations of the model from their approximate posterior, and
        ``cell_distribution`` uses the fitted model.
    n_jobs : int or None
        Number of processes that fit the bootstrap models; None is 1 or that of
        joblib.parallel_config, and -1 is all cores. Results do not depend on it.
    calibrate : bool
        Whether ``fit`` calibrates the intervals of ``cell_distribution``: models are fitted to 80%
        of the rows, cells of the others are hidden by patterns of the table, and quantiles are
        moved so that a 90% interval covers 90% of these cells: in each column with 100 of them,
        otherwise in all such columns together, of which single ones can get worse. The time of the
        fit doubles.
    """

    _group = "imputation"
    strategy: Annotated[StrategyOption, in_literal(StrategyOption)] = "auto"
    min_value: Annotated[Any, is_bounds] = None
    max_value: Annotated[Any, is_bounds] = None
    derived: Annotated[Mapping[Any, Callable[[Any], Any]] | None, any_of(mapping, none)] = None
    constraints: Annotated[
        Sequence[str] | Mapping[str, str | Callable[[Any], Any]] | None, are_constraints
    ] = None
    add_indicator: Annotated[bool, is_bool] = False
    n_bootstrap: Annotated[int, integer(0)] = 0
    n_jobs: Annotated[int | None, any_of(is_n_jobs, none)] = None
    calibrate: Annotated[bool, is_bool] = False


@estimator
class MixtureOptions:
    """Parameters of mixture posteriors.

    Parameters
    ----------
    K : int
        Components of the posterior mixture. With K=1 use several ``n_draws``: an
        importance-weighted bound with a single draw is the evidence lower bound.
    """

    _group = "model"

    K: Annotated[int, integer(1)] = 5
