"""The methods: what each trains, with which objective, and how it conditions on observed cells."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from typing_extensions import override

from .._utils.random import SeedStream, StreamNoise, derive_seed
from ..inference.samplers import SAMPLERS, Sampler
from ..vae.bounds import elbo, iwelbo
from ..vae.vae import VAE, Draws, Gradient
from .data import TrainingRows
from .demissvae import DeMissObjective, ImputationStore, Term
from .objectives import Batch, BoundObjective, Objective

if TYPE_CHECKING:
    from .fit import FitTask, FittedModel

GradientOption = Literal["auto", "stl", "dreg", "plain"]

_ENCODER_SHARE = 0.5  # epochs of an encoder that is trained alone, as a share of max_iter
_N_CATCH_UP_STEPS = 10  # steps of the chains of rows that the model was not trained on


@dataclass(frozen=True)
class Stage(ABC):
    """One training run of a fit: which network, which objective, and what the fit takes from it.

    Unless a method is overridden, all of ``FittedModel.vae`` is trained.
    """

    #: Key of the state of the optimizer.
    name: ClassVar[str]
    #: Parts of the model that are not trained.
    frozen: ClassVar[tuple[str, ...]] = ()
    #: Whether history, epochs and validation score of the fit are those of this stage.
    is_main: ClassVar[bool] = True

    def network(self, model: FittedModel) -> VAE:
        """Return the network to train, which is copied."""
        return model.vae

    @abstractmethod
    def objective(self, vae: VAE, rows: Batch, model: FittedModel, task: FitTask) -> Objective:
        """Return the objective of the copy, given all rows on its device."""

    def updates(self, vae: VAE, objective: Objective, model: FittedModel) -> dict[str, Any]:
        """Return the fields of ``FittedModel`` that change, given the trained network."""
        return {"vae": vae}

    def task(self, task: FitTask, model: FittedModel) -> FitTask:
        """Return the task of this stage."""
        return task


@dataclass(frozen=True)
class WholeModelStage(Stage):
    """Training of encoder and decoder by one bound."""

    make_objective: Callable[[], BoundObjective]
    name = "vae"

    @override
    def objective(self, vae: VAE, rows: Batch, model: FittedModel, task: FitTask) -> Objective:
        return replace(self.make_objective(), weight=task.rows.weight(rows.x.device))


@dataclass(frozen=True)
class EncoderStage(WholeModelStage):
    """Training of the encoder of incomplete rows for a fixed decoder."""

    name = "encoder"
    frozen = ("decoder", "prior", "likelihood", "missingness")
    is_main = False

    @override
    def updates(self, vae: VAE, objective: Objective, model: FittedModel) -> dict[str, Any]:
        if model.completed_vae is None:
            return {"vae": vae}
        # both encoders share one decoder
        return {"vae": vae, "completed_vae": vae.with_posterior_of(model.completed_vae)}

    @override
    def task(self, task: FitTask, model: FittedModel) -> FitTask:
        """Return a task on all rows in memory, with half as many epochs as the model was given."""
        max_iter = task.settings.max_iter
        if model.stopped_by is not None:
            max_iter = max(1, len(model.history["bound"]))
        settings = task.settings._replace(max_iter=encoder_epochs(max_iter), early_stopping=None)
        seed = derive_seed(task.seed, SeedStream.DEMISSVAE_ENCODER)
        return task._replace(rows=TrainingRows(task.rows.rows), settings=settings, seed=seed)


@dataclass(frozen=True)
class StoredImputationsStage(Stage):
    """Training of the decoder and the encoder of completed rows, over stored imputations."""

    sampler: Sampler
    n_draws: int
    term: Term | None
    name = "completed_vae"

    @override
    def network(self, model: FittedModel) -> VAE:
        assert model.completed_vae is not None, "built for this method"
        return model.completed_vae

    @override
    def objective(self, vae: VAE, rows: Batch, model: FittedModel, task: FitTask) -> Objective:
        """Return the objective; chains of an earlier fit are continued if the rows are the same."""
        seed, device = derive_seed(task.seed, SeedStream.DEMISSVAE_IMPUTATIONS), rows.x.device
        generator = torch.Generator(device).manual_seed(seed)
        n_latents = model.spec.n_latents if self.sampler.keeps_z else 0
        held_out = task.rows.held_out
        source = rows if held_out is None else rows.part(~held_out.to(device))
        imputations = ImputationStore(rows, model.spec.K, n_latents, generator, source)
        weight = task.rows.weight(device)
        objective = DeMissObjective(
            imputations, self.sampler, self.n_draws, self.term, weight=weight
        )
        if model.imputations is not None and imputations.matches(model.imputations):
            imputations.restore(model.imputations)
        elif model.n_iter:  # other rows than those of the earlier fit
            imputations.visited[:] = True
            noise = StreamNoise(generator)
            for _ in range(_N_CATCH_UP_STEPS):
                for batch in rows.split(task.settings.batch_size):
                    objective.update_unused(vae, batch, noise)
        return objective

    @override
    def updates(self, vae: VAE, objective: Objective, model: FittedModel) -> dict[str, Any]:
        assert isinstance(objective, DeMissObjective), "of this stage"
        return {
            "completed_vae": vae,
            "vae": vae.with_posterior_of(model.vae),
            "imputations": objective.imputations.state(),
        }


@dataclass(frozen=True)
class Method(ABC):
    """A way to fit a model.

    Parameters
    ----------
    name : str
        Name in the literature.
    n_draws : int
        Draws per row and step; per component or imputation if they are stratified.
    sampler : Sampler or None
        Sampler that conditions on observed cells; None uses importance weights.
    """

    name: str
    n_draws: int = 1
    sampler: Sampler | None = None

    #: Whether chains run only for rows with a low effective sample size.
    chains_for_low_ess: ClassVar[bool] = False
    #: Whether imputations of all rows are stored, which requires rows in memory, and completed rows
    #: have their own encoder.
    stores_imputations: ClassVar[bool] = False
    #: Whether the model may be initialized from factor analysis.
    factor_analysis: ClassVar[bool] = True
    #: Whether the posterior is a mixture of K components.
    mixture: bool = True

    @abstractmethod
    def configured(self, n_draws: int, gradient: GradientOption, sampler: Sampler | None) -> Self:
        """Return the method with the options of an estimator.

        Raises
        ------
        ValueError
            If an option does not hold for the method.
        """

    def check_training(self) -> None:
        """Raise a ValueError if the sampler cannot update stored imputations in training."""
        sampler = self.sampler
        if self.stores_imputations and (sampler is None or not sampler.sees_completed):
            raise ValueError(
                f"Parameter 'sampler' cannot be 'importance' or ImportanceResampling for "
                f"{self.name}: the stored imputations are updated by a chain; choose 'lair', "
                "'metropolis' or 'pseudo_gibbs'."
            )

    @property
    @abstractmethod
    def stages(self) -> list[Stage]:
        """The training runs of a fit, in order."""

    @property
    @abstractmethod
    def encoder_stage(self) -> Stage:
        """The training of the encoder of incomplete rows alone."""

    def n_epochs(self, max_iter: int) -> int:
        """Return the number of epochs over all stages."""
        return max_iter + (encoder_epochs(max_iter) if self.stores_imputations else 0)


@dataclass(frozen=True)
class BoundMethod(Method):
    """A bound over a way of drawing."""

    bound: Callable[[Draws], Tensor] = elbo
    stratified: bool = False
    gradient: Gradient = "stl"

    @override
    def configured(self, n_draws: int, gradient: GradientOption, sampler: Sampler | None) -> Self:
        gradient = self.gradient if gradient == "auto" else gradient
        if gradient == "dreg" and (self.bound is not iwelbo or self.stratified):
            raise ValueError(
                f"Parameter 'gradient' cannot be 'dreg' for {self.name}, only for MIWAE and "
                "MissIWAE: gradient must not be 'dreg': doubly reparameterized gradients hold for "
                "the importance-weighted bound over ancestral draws only; choose 'plain' or 'stl'."
            )
        return replace(self, n_draws=n_draws, gradient=gradient, sampler=sampler)

    def objective(self) -> BoundObjective:
        """Return the objective."""
        return BoundObjective(
            self.bound, self.n_draws, stratified=self.stratified, gradient=self.gradient
        )

    @property
    def stages(self) -> list[Stage]:
        """One run of the whole model."""
        return [WholeModelStage(self.objective)]

    @property
    def encoder_stage(self) -> Stage:
        """The encoder by the bound of the method."""
        return EncoderStage(self.objective)


@dataclass(frozen=True)
class DecomposedMethod(Method):
    """DeMissVAE, or a control of its paper in which both networks maximize one ``term``."""

    term: Term | None = None
    sampler: Sampler | None = SAMPLERS["lair"]
    encoder_method: BoundMethod = BoundMethod("MissSIWAE", bound=iwelbo, stratified=True)

    chains_for_low_ess = True
    stores_imputations = True
    # imputations from factor analysis were worse on each of five tables
    factor_analysis = False

    @override
    def configured(self, n_draws: int, gradient: GradientOption, sampler: Sampler | None) -> Self:
        named = replace(self.encoder_method, name=self.name)  # for errors
        encoder_method = named.configured(n_draws, gradient, sampler)
        return replace(self, n_draws=n_draws, sampler=sampler, encoder_method=encoder_method)

    @property
    def stages(self) -> list[Stage]:
        """The decoder with the encoder of completed rows, then the encoder of incomplete rows."""
        assert self.sampler is not None, "checked before training"
        stored = StoredImputationsStage(self.sampler, self.n_draws, self.term)
        return [stored, self.encoder_stage]

    @property
    def encoder_stage(self) -> Stage:
        """The encoder of incomplete rows by the bound of MissSIWAE."""
        return self.encoder_method.encoder_stage


def encoder_epochs(max_iter: int) -> int:
    """Return the epochs of an encoder that is trained for a fixed decoder."""
    return math.ceil(_ENCODER_SHARE * max_iter)


#: The methods by their names in the literature.
METHODS: dict[str, Method] = {
    "MVAE": BoundMethod("MVAE", bound=elbo, mixture=False),
    "MissVAE": BoundMethod("MissVAE", bound=elbo),
    "MissSVAE": BoundMethod("MissSVAE", bound=elbo, stratified=True),
    "MIWAE": BoundMethod("MIWAE", bound=iwelbo, mixture=False, gradient="dreg"),
    "MissIWAE": BoundMethod("MissIWAE", bound=iwelbo, gradient="dreg"),
    "MissSIWAE": BoundMethod("MissSIWAE", bound=iwelbo, stratified=True),
    "DeMissVAE": DecomposedMethod("DeMissVAE"),
    "CVI-VAE": DecomposedMethod("CVI-VAE", term="cvi"),
    "MVB-VAE": DecomposedMethod("MVB-VAE", term="mvb"),
}
