"""The optimizer: AdamW on flattened weights, with skipped steps and a learning-rate schedule."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from .._utils.validation import any_of, check_fields, check_form, infinity, integer, one_of, real

Schedule = Literal["cosine", "constant"]

_BETAS, _EPS = (0.9, 0.999), 1e-8
_WARM_UP = 0.02  # share of the steps in which the learning rate of a cosine schedule rises
_MAX_FAILED_EPOCHS = 3  # epochs without a single finite step after which training stops


class DivergenceError(ArithmeticError):
    """The loss was not finite in several epochs, though the learning rate was halved each time."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Options of the optimizer, AdamW (Loshchilov and Hutter 2019).

    The learning rate, the batch size and the number of epochs are parameters of the estimators.

    Parameters
    ----------
    schedule : {"cosine", "constant"}, default="cosine"
        Learning-rate schedule over ``max_iter`` epochs: a short linear warm-up and a cosine decay
        to zero, or a constant rate. ``partial_fit`` uses a constant rate.
    weight_decay : float, default=0.0
        Decoupled weight decay, in units of the learning rate.
    max_grad_norm : float, default=10.0
        Norm to which gradients are clipped; ``np.inf`` disables clipping. Gradients through
        ancestral draws from a mixture have heavy tails: if the bound of MissVAE or MissIWAE falls
        and does not recover, use 1.
    amsgrad : bool, default=False
        Whether steps are divided by the greatest mean square of the gradients so far (Reddi, Kale
        and Kumar 2018), instead of the current one.

    Examples
    --------
    >>> from skmissvae import AdamW, MissSIWAEImputer
    >>> imputer = MissSIWAEImputer(optimizer=AdamW(weight_decay=0.01))
    """

    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 10.0
    amsgrad: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(
            self,
            schedule=one_of("cosine", "constant"),
            weight_decay=real(0),
            max_grad_norm=any_of(real(0, above=True), infinity),
            amsgrad=one_of(True, False),
        )


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Early stopping by the bound of held-out rows; the weights of the best epoch are kept.

    Parameters
    ----------
    validation_fraction : float, default=0.1
        Fraction of the rows that is held out.
    n_iter_no_change : int, default=10
        Epochs without an improvement after which training stops.
    tol : float, default=1e-4
        Smallest increase of the bound, in nats, that counts as an improvement.

    Examples
    --------
    >>> from skmissvae import EarlyStopping, VAEDensityEstimator
    >>> density = VAEDensityEstimator(early_stopping=EarlyStopping(n_iter_no_change=20))
    """

    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(
            self,
            validation_fraction=real(0, 1, above=True),
            n_iter_no_change=integer(1),
            tol=real(0),
        )


class TrainingSettings(NamedTuple):
    """How to train, with every default resolved."""

    max_iter: int
    batch_size: int
    learning_rate: float
    optimizer: AdamW = AdamW(schedule="constant", max_grad_norm=math.inf)
    early_stopping: EarlyStopping | None = None  # None: no rows are held out


class FlatParameters:
    """Trained weights and their gradients, side by side in one tensor per data type.

    One norm, one optimizer step and one reset serve all of them: in small networks separate calls
    would take as long as the computation.

    Parameters
    ----------
    weights : iterable of Parameter
        They are views of the flat tensors until ``release``.

    Attributes
    ----------
    weights, gradients : list of Tensor
        The flat tensors.
    exchanged : list of Tensor
        What processes that train one model sum in a step: the gradients, and ``n_errors``.
    n_errors : Tensor of shape ()
        How many processes raised an error.
    """

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        self._parameters = list(weights)
        if not self._parameters:
            raise ValueError("The model has no trainable weight; check the custom networks.")
        by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
        for weight in self._parameters:
            by_dtype.setdefault(weight.dtype, []).append(weight)
        groups = list(by_dtype.values())
        self.weights = [torch.cat([w.detach().flatten() for w in group]) for group in groups]
        self.exchanged = [flat.new_zeros(flat.numel() + 1) for flat in self.weights]
        self.gradients = [values[:-1] for values in self.exchanged]
        self.n_errors = self.exchanged[0][-1]
        for flat, gradient, group in zip(self.weights, self.gradients, groups, strict=True):
            sizes = [weight.numel() for weight in group]
            views = zip(flat.split(sizes), gradient.split(sizes), strict=True)
            for weight, (value, grad) in zip(group, views, strict=True):
                weight.data, weight.grad = value.view(weight.shape), grad.view(weight.shape)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for gradient in self.gradients:
            gradient.zero_()

    def release(self) -> None:
        """Give every weight its own memory again."""
        for weight in self._parameters:
            weight.data, weight.grad = weight.data.clone(), None


@dataclass
class _Counters:
    """Steps and failures of an optimizer so far."""

    n_done: int = 0  # steps
    n_skipped: int = 0  # steps of finished epochs that were skipped
    factor: float = 1.0  # of the learning rate
    n_failed_epochs: int = 0  # in a row, without a single finite step


class Optimizer:
    """AdamW steps that skip gradients that are not finite.

    torch's function is used without its class, whose first step in a process imports torch's
    compiler (2 s).

    Parameters
    ----------
    flat : FlatParameters
        Trained weights.
    settings : TrainingSettings
        How to train.
    n_batches : int
        Steps per epoch.
    state : dict, optional
        ``state`` of an optimizer of the same weights, to continue from.
    """

    def __init__(
        self,
        flat: FlatParameters,
        settings: TrainingSettings,
        n_batches: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._flat, self._settings, self._n_batches = flat, settings, n_batches
        device = flat.weights[0].device
        #: A list per quantity with an entry per flat tensor: steps done, moments of the gradients.
        self.state: dict[str, list[Tensor]] = {
            # single precision whatever the weights are: the kernels of GPUs expect it
            "n_steps": [torch.zeros((), dtype=torch.float32, device=device) for _ in flat.weights],
            "means": [torch.zeros_like(weight) for weight in flat.weights],
            "squares": [torch.zeros_like(weight) for weight in flat.weights],
        }
        if settings.optimizer.amsgrad:
            self.state["greatest_squares"] = [torch.zeros_like(weight) for weight in flat.weights]
        self._n_steps = n_batches * settings.max_iter
        self.counters = _Counters()
        self.learning_rate = settings.learning_rate
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        self._n_skipped = torch.zeros((), device=device)  # in the current epoch
        if state is not None:
            self.restore(state, {})

    def restore(self, state: dict[str, list[Tensor]], counters: dict[str, Any]) -> None:
        """Continue between two epochs from the state and the counters of another optimizer."""
        message = (
            "The state of the optimizer is that of another model. Call fit with warm_start=False "
            "to fit a new model."
        )
        state = dict(state)
        greatest = state.pop("greatest_squares", state.get("squares", []))
        if "greatest_squares" in self.state:  # also if amsgrad was not set before
            state["greatest_squares"] = greatest
        check_form(state, self.state, message)
        for name, moments in self.state.items():
            for moment, previous in zip(moments, state[name], strict=True):
                moment.copy_(previous)
        self.counters = _Counters(**counters)

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Follow the gradients of a loss, (), if all of them are finite.

        Whether a step is skipped is decided on the device, so that a GPU does not wait.
        """
        settings, gradients = self._settings, self._flat.gradients
        options = settings.optimizer
        schedule = schedule_factor(options.schedule, self.counters.n_done, self._n_steps)
        self.learning_rate = self.counters.factor * settings.learning_rate * schedule
        norm = clip_gradients(gradients, options.max_grad_norm)
        skipped = ~(norm.isfinite() & loss.isfinite())
        adamw(
            self._flat.weights,
            gradients,
            self.state["means"],
            self.state["squares"],
            self.state.get("greatest_squares", []),
            self.state["n_steps"],
            fused=True,
            found_inf=skipped.float(),
            amsgrad=bool(options.amsgrad),
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self.learning_rate,
            weight_decay=options.weight_decay,
            eps=_EPS,
            maximize=False,
        )
        self._n_skipped += skipped
        self._total -= torch.where(skipped, 0.0, loss.double())
        self.counters.n_done += 1

    def end_epoch(self, mean: Callable[[Tensor], Tensor] = lambda total: total) -> float:
        """Return the mean bound of the epoch; halve the learning rate if a step was skipped.

        Parameters
        ----------
        mean : callable
            Averages a number over all processes that train the model.

        Raises
        ------
        DivergenceError
            If all steps of several epochs, or of the last one, were skipped.
        """
        totals = torch.stack([mean(self._total), self._n_skipped.double()])
        bound, n_skipped = totals.tolist()  # waits for the device
        self._total.zero_()
        self._n_skipped.zero_()
        counters = self.counters
        counters.n_skipped += int(n_skipped)
        if n_skipped:
            counters.factor *= 0.5
        has_failed = n_skipped == self._n_batches
        counters.n_failed_epochs = counters.n_failed_epochs + 1 if has_failed else 0
        is_last = counters.n_done == self._n_steps
        if counters.n_failed_epochs == _MAX_FAILED_EPOCHS or (has_failed and is_last):
            raise DivergenceError
        return float(bound) / max(self._n_batches - n_skipped, 1)


class EarlyStoppingMonitor:
    """Follows the bound of held-out rows over the epochs.

    Parameters
    ----------
    options : EarlyStopping or None
        When to stop; None is the default.
    """

    def __init__(self, options: EarlyStopping | None) -> None:
        self._options = options or EarlyStopping()
        self.best = self._reference = -math.inf
        self._n_epochs = 0  # without improvement

    @property
    def should_stop(self) -> bool:
        """Whether the bound has not improved for too many epochs."""
        return self._n_epochs >= self._options.n_iter_no_change

    def values(self) -> list[float]:
        """Return the state for ``restore``."""
        return [self.best, self._reference, self._n_epochs]

    def restore(self, values: list[float]) -> None:
        """Continue from what ``values`` returned."""
        self.best, self._reference = values[:2]
        self._n_epochs = int(values[2])

    def is_best(self, score: float) -> bool:
        """Record the bound of an epoch; return whether it is the best so far."""
        if score > self._reference + self._options.tol:
            self._n_epochs, self._reference = 0, score
        else:
            self._n_epochs += 1
        is_best = score > self.best
        self.best = score if is_best else self.best
        return is_best


def clip_gradients(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale gradients to a joint norm of at most ``max_norm``, in place; return their norm, ()."""
    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
    norm = torch.linalg.vector_norm(norms)
    factor = (max_norm / norm).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm


def schedule_factor(schedule: Schedule, step: int, n_steps: int) -> float:
    """Return the factor of the learning rate at a step."""
    if schedule == "constant":
        return 1.0
    warm_up = max(1, round(_WARM_UP * n_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up)))
