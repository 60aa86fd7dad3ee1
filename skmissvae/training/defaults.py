"""Default training: batch size, learning rate and epochs by the table, and when rows are held out.

Imputers train less than density estimators: point estimates of models that are initialized from
factor analysis do not gain from more epochs, densities do.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from typing_extensions import override

from .optim import AdamW, EarlyStopping, TrainingSettings

_N_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 2500, 10, 200

# Imputers of numbers that are initialized from factor analysis: epochs rise linearly from
# _FEW_EPOCHS at _FEW_ROWS rows to _MAX_EPOCHS at _MANY_ROWS rows; small tables overfit otherwise.
_FEW_ROWS, _FEW_EPOCHS = 400, 30
_MANY_ROWS = 1000
_NARROW = 8  # columns; a row of a narrower table has less information, and more epochs help
_LARGE_BATCHES_FROM = 600  # rows
_MAX_EPOCHS_MIXED = 100  # of tables with binary or categorical columns

_SMALL_STEP, _LARGE_STEP = (64, 2e-3), (128, 4e-3)  # batch size and learning rate


class TableSize(NamedTuple):
    """The properties of a table on which the default training depends."""

    n_rows: int
    n_columns: int  # modelled
    is_numeric: bool  # whether no modelled column is binary, categorical or ordinal
    from_factor_analysis: bool  # whether all columns are initialized from factor analysis


class TrainingDefaults(ABC):
    """Default training of one kind of estimator."""

    #: Number of rows from which ``early_stopping="auto"`` holds rows out.
    hold_out_from: ClassVar[int]
    #: Early stopping if rows are held out.
    early_stopping: ClassVar[EarlyStopping]

    @abstractmethod
    def step(self, table: TableSize) -> tuple[int, float]:
        """Return the default batch size and learning rate."""

    @abstractmethod
    def max_iter(self, table: TableSize, batch_size: int) -> int:
        """Return the default number of epochs."""

    def settings(
        self,
        table: TableSize,
        *,
        n_all_rows: int,
        max_iter: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        early_stopping: EarlyStopping | bool | Literal["auto"] | None = "auto",
    ) -> TrainingSettings:
        """Return how to train, with every default resolved.

        Parameters
        ----------
        table : TableSize
            The training rows.
        n_all_rows : int
            Number of rows including those that may be held out.
        max_iter, batch_size, learning_rate, optimizer, early_stopping : object
            The parameters of the estimator; None and "auto" are resolved.
        """
        default_batch_size, default_learning_rate = self.step(table)
        batch_size = batch_size or default_batch_size
        if not isinstance(early_stopping, EarlyStopping):
            if early_stopping == "auto":
                early_stopping = n_all_rows >= self.hold_out_from
            early_stopping = self.early_stopping if early_stopping else None
        return TrainingSettings(
            max_iter=max_iter or self.max_iter(table, batch_size),
            batch_size=batch_size,
            learning_rate=learning_rate or default_learning_rate,
            optimizer=optimizer or AdamW(),
            early_stopping=early_stopping,
        )


class DensityDefaults(TrainingDefaults):
    """Defaults of density estimators, whose models overfit sooner than means do."""

    hold_out_from = 100
    early_stopping = EarlyStopping(n_iter_no_change=40)

    @override
    def step(self, table: TableSize) -> tuple[int, float]:
        return _SMALL_STEP

    @override
    def max_iter(self, table: TableSize, batch_size: int) -> int:
        return epochs_from_random(table.n_rows, batch_size)


class ImputationDefaults(TrainingDefaults):
    """Defaults of imputers."""

    hold_out_from = 5000
    early_stopping = EarlyStopping()

    @override
    def step(self, table: TableSize) -> tuple[int, float]:
        is_large = table.from_factor_analysis and table.is_numeric
        return _LARGE_STEP if is_large and table.n_rows >= _LARGE_BATCHES_FROM else _SMALL_STEP

    @override
    def max_iter(self, table: TableSize, batch_size: int) -> int:
        if not table.from_factor_analysis:
            return epochs_from_random(table.n_rows, batch_size)
        if not table.is_numeric:
            return min(epochs_from_random(table.n_rows, batch_size), _MAX_EPOCHS_MIXED)
        factor = min(max(1.0, _NARROW / table.n_columns), 2.0)
        share = (table.n_rows - _FEW_ROWS) / (_MANY_ROWS - _FEW_ROWS)
        by_rows = factor * (_FEW_EPOCHS + share * (_MAX_EPOCHS - _FEW_EPOCHS))
        epochs = round(max(_FEW_EPOCHS, by_rows, table.n_rows / table.n_columns))
        return min(epochs_from_random(table.n_rows, batch_size, factor), epochs)


def epochs_from_random(n_rows: int, batch_size: int, factor: float = 1.0) -> int:
    """Return the epochs of a model with random initial weights, times a factor."""
    n_batches = math.ceil(n_rows / batch_size)
    n_epochs = max(math.ceil(factor * _N_STEPS / n_batches), _MIN_EPOCHS)
    return min(n_epochs, round(factor * _MAX_EPOCHS))
