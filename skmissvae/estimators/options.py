"""What users can set: the parameters that all estimators share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from torch import nn

from .._utils.validation import (
    any_of,
    callable_with,
    infinity,
    integer,
    mapping,
    none,
    one_of,
    real,
    unchecked,
    valid_random_state,
)
from ..inference.samplers import SAMPLERS, Sampler
from ..tables.codecs import KINDS
from ..training.spec import LikelihoodOption
from ..vae.posteriors import POSTERIORS, Family
from ..vae.priors import PRIORS, Prior
from .parameters import Parameter, estimator


def a_sampler(value: object) -> str | None:
    """Check for a sampler."""
    return None if isinstance(value, Sampler) else "a Sampler"


def columns_or_from_dtype(value: object) -> str | None:
    """Check for "from_dtype" or a list of columns."""
    good = value == "from_dtype" if isinstance(value, str) else value is None or np.ndim(value) == 1  # type: ignore[arg-type]
    return None if good else "'from_dtype', None or a list or mask of columns"


def an_image_shape(value: object) -> str | None:
    """Check for two or three sizes."""
    sizes = value if isinstance(value, (tuple, list)) else ()
    good = len(sizes) in (2, 3) and all(integer(1)(size) is None for size in sizes)
    return None if good else "(height, width) or (channels, height, width)"


@estimator
class Settable:
    """Declarations alone."""

    #: Text of the fitted attributes that a subclass adds.
    _attributes = ""

    n_draws: Annotated[
        int,
        Parameter(
            "int",
            "Draws from the posterior per row and training step; per row and component where "
            "draws are stratified.",
            integer(1),
        ),
    ] = 10
    n_latents: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Number of latents. None takes the number of columns that vary, 20 at most.",
            any_of(integer(1), none),
        ),
    ] = None
    n_hidden: Annotated[
        int, Parameter("int", "Width of the hidden layers of both networks.", integer(1))
    ] = 128
    n_blocks: Annotated[int, Parameter("int", "Residual blocks of each network.", integer(0))] = 2
    dropout: Annotated[
        float,
        Parameter(
            "float",
            "Probability of dropping a hidden unit while training. Tables of many columns and rows "
            "gain a little from 0; more of it makes intervals wider, and so less often too narrow.",
            real(0, 1),
        ),
    ] = 0.1
    linear_path: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether each network has a linear map beside it.",
            one_of(True, False),
        ),
    ] = True
    init: Annotated[
        Literal["auto", "factor_analysis", "random"],
        Parameter(
            '{"auto", "factor_analysis", "random"}',
            'Initialisation. "random": of all weights. "factor_analysis": the decoder starts as a '
            "factor analysis of the table, and the posterior in coordinates in which that model's "
            "exact posterior, for whichever cells are observed, is N(0, I). It takes 10 rows, a "
            "linear path, no ``decoder`` of one's own, and a column that is neither ordered nor "
            "of more than 20 categories nor continuous Bernoulli nor of a likelihood of one's own; "
            "DeMissVAE has no such start. "
            '"auto": factor analysis where it can be. But imputers of 100 to 499 rows try both '
            "where ``max_iter`` is None: a tenth of the observed cells is hidden, a model fitted "
            "from either start, and the start whose model imputes these cells with the lower "
            "squared error (of numbers in standard deviations, of flags that of the probability; a "
            "wrong category counts one) is taken for the model of all cells. That takes about four "
            "times as long. ``init_`` tells which it was: give that as ``init`` to train the same "
            "model with another ``max_iter``. Chunks, process groups, ``partial_fit`` and fits "
            "that go on try nothing.",
            one_of("auto", "factor_analysis", "random"),
        ),
    ] = "auto"
    prior: Annotated[
        str | Callable[[int], Prior],
        Parameter(
            '{"normal", "student_t", "mixture"} or callable',
            "Distribution of the latents: standard Normal, Student-t with 5 degrees of freedom, a "
            "learned mixture of 10 Normals, or a callable ``n_latents -> Prior`` such as "
            "``functools.partial(StudentTPrior, df=3)``.",
            any_of(one_of(*PRIORS), callable_with("n_latents -> Prior")),
        ),
    ] = "normal"
    posterior: Annotated[
        str | Callable[[int, int], Family],
        Parameter(
            '{"auto", "normal", "student_t"} or callable',
            'Variational family, or a callable ``(n_latents, K) -> Family``. "auto" follows the '
            "prior: importance weights are bounded only where the posterior's tails are the "
            "heavier. After a start from factor analysis latents are mixed before that, and heavy "
            "tails hold along these mixtures.",
            any_of(one_of("auto", *POSTERIORS), callable_with("(n_latents, K) -> Family")),
        ),
    ] = "auto"
    likelihood: Annotated[
        LikelihoodOption | Mapping[object, LikelihoodOption],
        Parameter(
            '{"normal", "student_t", "bernoulli", "continuous_bernoulli", "cross_entropy"}, '
            "callable or mapping",
            "Observation model of continuous columns, a callable ``n_columns -> Likelihood``, or a "
            "mapping from columns (names or indices) to either, in which continuous columns that "
            "are not named are Normal. A column of numbers that is named becomes continuous, but "
            'for "bernoulli"; columns of other kinds have models of their own. "cross_entropy" is '
            "for grey values from 0 to 1, and no density: see ``CrossEntropyLikelihood``.",
            unchecked,
        ),
    ] = "normal"
    min_scale: Annotated[
        float,
        Parameter(
            "float",
            "Floor of the scale of Normal and Student-t columns that ``likelihood`` names by a "
            "string, in standard deviations of the column. Where columns nearly follow from one "
            "another a lower floor makes better imputations; on other small tables a higher one.",
            real(0, above=True),
        ),
    ] = 0.05
    encoder: Annotated[
        Callable[[int, int], nn.Module] | None,
        Parameter(
            "callable or None",
            "``(in_features, out_features) -> nn.Module`` to use as encoder instead of a residual "
            "MLP.",
            any_of(callable_with("(in_features, out_features) -> nn.Module"), none),
        ),
    ] = None
    decoder: Annotated[
        Callable[[int, int], nn.Module] | None,
        Parameter(
            "callable or None",
            "The same for the decoder.",
            any_of(callable_with("(in_features, out_features) -> nn.Module"), none),
        ),
    ] = None
    image_shape: Annotated[
        Sequence[int] | None,
        Parameter(
            "tuple of int or None",
            "(height, width) or (channels, height, width) of the image that a row is, its pixels "
            "in C order. Both networks are then convolutional, with ``n_hidden`` channels in the "
            "coarsest map, and ``n_blocks`` blocks at each size; the shapes of columns are not "
            "learned. None takes a row for a row.",
            any_of(an_image_shape, none),
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
            '"dreg" for those two and "stl" for the others, MissSIWAE among them. DeMissVAE\'s '
            "encoder of incomplete rows alone follows it.",
            one_of("auto", "stl", "dreg", "plain"),
        ),
    ] = "auto"
    max_iter: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Epochs at most. None takes what makes 2,500 steps: 10 at least, 200 at most. "
            "Imputers, which start from factor analysis, take fewer where that is nearly all that "
            "can be learned: of tables of numbers 30 up to 400 rows and in between a straight line "
            "to 200 for 1,000 rows, or the rows per modelled column where these are more; where "
            "fewer than 8 columns are modelled, 8 over their number times as many, twice at most, "
            "of steps and epochs beyond the 30; of tables with flags or categories 100. DeMissVAE "
            "has no such start, nor have networks without a linear path, a ``decoder`` of one's "
            'own, init="random", fewer than 10 rows, ordered categories, "continuous_bernoulli" '
            "and likelihoods "
            "of one's own. The encoder of "
            "incomplete rows that DeMissVAE has takes half as many epochs again.",
            any_of(integer(1), none),
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "int or None",
            "Rows per training step. None is 64; but 128 where imputers start all columns from "
            "factor analysis, these are all numbers, and the table (of ``partial_fit`` the piece) "
            "has 600 rows or more.",
            any_of(integer(1), none),
        ),
    ] = None
    learning_rate: Annotated[
        float | None,
        Parameter(
            "float or None",
            "Peak learning rate of AdamW. None is 0.002; but 0.004 where ``batch_size=None`` is "
            "128.",
            any_of(real(0, above=True), none),
        ),
    ] = None
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
            "Norm to which gradients are clipped; np.inf leaves them. Where the bound of MissVAE "
            "or MissIWAE falls and does not recover, 1 keeps it from doing so: gradients through "
            "draws from a mixture have heavy tails.",
            any_of(real(0, above=True), infinity),
        ),
    ] = 10.0
    early_stopping: Annotated[
        Literal["auto"] | bool,
        Parameter(
            'bool or "auto"',
            "Whether rows are held out to stop when their bound no longer rises and to keep the "
            'best epoch\'s weights. "auto" holds rows out from 5,000 rows on (100 for densities): '
            "smaller tables gain more from training on every row.",
            one_of("auto", True, False),
        ),
    ] = "auto"
    validation_fraction: Annotated[
        float,
        Parameter("float", "Share of the rows that is held out.", real(0, 1, above=True)),
    ] = 0.1
    n_iter_no_change: Annotated[
        int,
        Parameter(
            "int", "Epochs without a rise of the held-out bound before stopping.", integer(1)
        ),
    ] = 10
    tol: Annotated[
        float, Parameter("float", "Rise of the held-out bound that counts, in nats.", real(0))
    ] = 1e-4
    n_importance_draws: Annotated[
        int,
        Parameter(
            "int",
            "Importance draws per row for means, scores and imputations. Any number runs in "
            "bounded memory. From 100 on, rows of whose first 1,024 less than a twentieth is "
            "effective, or fewer than ten are, get as many of a proposal that is adapted to the "
            "row. Up to 128 draws, means, imputations and scores are of many rows at a time, which "
            "is several times as fast where a million of them are to be completed. Read at the "
            "call.",
            integer(1),
        ),
    ] = 1000
    sampler: Annotated[
        str | Sampler,
        Parameter(
            '{"importance", "pseudo_gibbs", "metropolis", "lair"} or Sampler',
            "How to condition on a row's observed cells: by importance weights, or by chains of a "
            "sampler: pseudo-Gibbs, Metropolis-within-Gibbs, latent-adaptive importance "
            "resampling (LAIR), or an object. ``score_samples`` takes importance weights always. "
            "Read at the call.",
            any_of(one_of(*SAMPLERS), a_sampler),
        ),
    ] = "importance"
    n_sampler_steps: Annotated[
        int,
        Parameter(
            "int",
            "Steps of the chains, of which the first half is warm-up; fewer than 8 leave nothing "
            "to diagnose. Read at the call.",
            integer(1),
        ),
    ] = 50
    missing_values: Annotated[
        Any,
        Parameter(
            "number, str, np.nan, None or pd.NA",
            "What marks a missing cell beside NaN, None, pandas.NA and NaT, which always do.",
            unchecked,
        ),
    ] = np.nan
    feature_kinds: Annotated[
        Mapping[Any, str] | None,
        Parameter(
            "mapping or None",
            "From columns (names or indices) to what they hold: "
            + ", ".join(f'"{kind}"' for kind in KINDS)
            + ". Columns that are not named are what their type tells: bool and two whole numbers "
            "are binary, ordered categories ordinal, other categories and strings categorical, "
            "whole numbers counts (integers where some are negative), the rest continuous. All "
            "columns of an array of numbers are continuous. ``feature_kinds_`` has the outcome.",
            any_of(mapping, none),
        ),
    ] = None
    categorical_features: Annotated[
        Any,
        Parameter(
            '{"from_dtype"}, None or array-like of bool, int or str',
            "Columns of numbers to take for categories, as in scikit-learn's histogram trees.",
            columns_or_from_dtype,
        ),
    ] = "from_dtype"
    handle_unknown: Annotated[
        Literal["error", "missing"],
        Parameter(
            '{"error", "missing"}',
            "What to do with categories that were not there at fit: raise, or go by the other "
            "columns and leave the cell as it is. A third number in a column of two, which were "
            "taken for binary unasked, is left as it is in any case. Read at the call.",
            one_of("error", "missing"),
        ),
    ] = "error"
    learn_shapes: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether columns of numbers have shapes of their own: skewness and heavy tails are "
            "straightened by a sinh-arcsinh map learned at fit, and a least or greatest value that "
            "makes up a fifth of a continuous column, such as many zeros, has a probability. "
            "Densities gain much from it, means seldom.",
            one_of(True, False),
        ),
    ] = False
    keep_empty_features: Annotated[
        bool,
        Parameter(
            "bool",
            "Whether columns without any observed cell at fit are kept: those of numbers filled "
            "with zeros, others as they are.",
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
            unchecked,
        ),
    ] = "auto"
    random_state: Annotated[
        Any,
        Parameter(
            "int, RandomState instance or None",
            "Source of all randomness; an int makes results reproducible.",
            valid_random_state,
        ),
    ] = None
    verbose: Annotated[
        int,
        Parameter(
            "int",
            'Epochs between messages to the logger "skmissvae" at level INFO, or on stderr where '
            "logging has not been set up; 0 is silence. "
            "scikit-learn's callbacks (1.9 and later) draw progress bars.",
            integer(0),
        ),
    ] = 0
