"""The base class of all estimators: fitting."""

import copy
import math
from typing import Any, ClassVar, Self

from .._utils.progress import progress_of
from .._utils.runtime import unchanged_on_error
from ..training.callbacks import CallbackSupportMixin, FitProgress, with_callbacks
from ..training.defaults import TrainingDefaults
from ..training.fit import FitTask, FittedModel, fit_model
from ..training.loop import joined
from ..training.methods import encoder_epochs
from ..training.processes import joint_errors
from .latent_methods import LatentMethods
from .messages import explain_divergence, warn_of_training
from .parameters import estimator
from .preparation import prepare_fit, prepare_partial_fit, prepare_refit


@estimator
class BaseVAE(LatentMethods, CallbackSupportMixin):
    """Base class of the estimators: a VAE fitted to an incomplete table."""

    #: Default training.
    _defaults: ClassVar[TrainingDefaults]

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: object = None,
        sample_weight: Any = None,
        *,
        lower: Any = None,
        upper: Any = None,
    ) -> Self:
        r"""Fit the model to an incomplete table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Chunks
            The table, with missing values; ``Chunks`` if it is larger than memory.
        y : Ignored
            Not used, present for API consistency by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, such as sampling weights or frequencies; None weights them
            equally. Not for ``Chunks`` or several processes.
        lower, upper : data frame, array-like, mapping or None, default=None
            Limits within which missing cells are known to lie, such as limits of detection: a
            table of X's shape with NaN where there is none, or a mapping from columns (names or
            indices) to a limit, or to one for each row. Observed cells ignore them. For columns of
            numbers, dates and durations. Not for ``Chunks`` or several processes.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, a column of ``X``, ``sample_weight`` or a limit is invalid, or if
            training diverges. The estimator is then unchanged.

        Notes
        -----
        In a process group of ``torch.distributed`` every process calls ``fit`` with its share of
        the rows, and all get the same model. If one of them raises an error, the others raise a
        RuntimeError that names it at their next step. After an error inside an exchange between
        processes, such as too little memory for it, they can wait until the timeout of the group.
        ``partial_fit`` and ``refit_encoder`` do not use the group.

        With ``sample_weight`` the bound, the factor analysis of the initialization and the units of
        the columns are means weighted by :math:`w_i / \bar w`. Only ratios of weights matter, up
        to a million, and a row of weight zero is as if it were absent. A row of weight two counts
        as two equal rows in these means. It is one row for the number of epochs, for the
        uncertainty of the decoder and for calibration.

        With ``lower`` and ``upper`` the bound of a row is one on :math:`\log p(x_{obs}, x_d \in
        [l_d, u_d])`. A cell with limits contributes :math:`\log P(l_d \le x_d \le u_d | z)`. The
        encoder gets the middle of an interval of at most one standard deviation of the column,
        other cells with limits as missing. Units and shapes of columns are those of observed cells;
        a column without any needs intervals with two ends.

        Ctrl-C ends the training of the model: the estimator is fitted up to this epoch, and the
        bootstrap and calibration models of imputers are fitted with as many epochs. In a process
        group, and while an imputer chooses an initialization or fits these models,
        KeyboardInterrupt is raised and the estimator is unchanged.
        """
        with unchanged_on_error(self), joint_errors():
            previous = self.model_ if hasattr(self, "model_") and self.warm_start else None
            task = prepare_fit(self, X, previous, sample_weight, (lower, upper))
            n_epochs = task.method.n_epochs(task.settings.max_iter)
            with explain_divergence(self, task):
                with progress_of(self).task("epoch", n_epochs) as epochs:
                    progress = FitProgress(self, n_epochs, X, y, epochs, sample_weight)
                    model = fit_model(
                        task, previous=previous, progress=progress, interruptible=True
                    )
                self.model_ = model.without_training_state(keep_imputations=self.warm_start)
                self._fit_more_models(task, previous)
            progress.close()
        task.record.close()
        warn_of_training(self, task, [model, *getattr(self, "models_", ())])
        return self

    def partial_fit(self, X: Any, y: object = None) -> Self:
        """Train for one epoch on a chunk of a table; the first chunk determines the schema.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A chunk of the table. The first one determines which columns vary and their units.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            The estimator.
        """
        with unchanged_on_error(self):
            previous = getattr(self, "model_", None)
            task = prepare_partial_fit(self, X, previous)
            with explain_divergence(self, task):
                model = fit_model(task, previous=previous, interruptible=True)
            history = model.history if previous is None else joined(self.history_, model.history)
            self.model_ = model.replace(history=history, validation_score=math.nan)
        warn_of_training(self, task, [model])
        return self

    def refit_encoder(self, X: Any, y: object = None) -> Self:
        """Return a copy whose encoder is trained further for other rows, with the decoder fixed.

        The model p(x) does not change, only its posterior approximation: for rows with other
        patterns of missing cells than in ``fit``, or for complete rows. Their bounds approach their
        densities and their effective sample sizes rise; those of different rows may fall. In
        DeMissVAE it is the encoder of incomplete rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        object
            A fitted estimator; this one does not change.
        """
        task, previous = prepare_refit(self, X), self.model_.without_training_state()
        stages = [task.method.encoder_stage]
        n_epochs = encoder_epochs(task.settings.max_iter)
        with explain_divergence(self, task), progress_of(self).task("epoch", n_epochs) as epochs:
            progress = FitProgress(task=epochs)
            model = fit_model(
                task, previous=previous, stages=stages, progress=progress, interruptible=True
            )
        other = copy.copy(self)
        other.model_ = model.without_training_state()
        warn_of_training(self, task, [model])
        return other

    def _begin_schema(self) -> None:
        """Check and store what depends on a new schema, before training."""

    def _choose_initialization(self, task: FitTask) -> FitTask:
        """Return the fit of a new table in memory, with the initialization for it."""
        return task

    def _fit_more_models(self, task: FitTask, previous: FittedModel | None) -> None:
        """Fit further models, after ``model_``, which continues a previous one if there is one."""
