"""Default training by the size and the columns of a table."""

import dataclasses

import pytest

from skmissvae import AdamW, EarlyStopping
from skmissvae.training.defaults import (
    DensityDefaults,
    ImputationDefaults,
    TableSize,
    epochs_from_random,
)

IMPUTATION, DENSITY = ImputationDefaults(), DensityDefaults()
NUMERIC = TableSize(50, 4, is_numeric=True, from_factor_analysis=True)


def settings_of(defaults, table, **options):
    return defaults.settings(table, n_all_rows=table.n_rows, **options)


@pytest.mark.parametrize(
    ("n_columns", "epochs"),
    [
        (4, {50: 30, 200: 50, 399: 100, 1000: 400, 10_000: 64, 10**6: 10}),
        (20, {50: 30, 400: 30, 700: 115, 1000: 200}),
    ],
)
def test_epochs_of_imputers_rise_with_the_rows_up_to_a_number_of_steps(n_columns, epochs):
    for n_rows, expected in epochs.items():
        table = NUMERIC._replace(n_rows=n_rows, n_columns=n_columns)
        assert settings_of(IMPUTATION, table).max_iter == expected


def test_larger_batches_for_imputers_of_numbers_from_factor_analysis():
    for n_rows, step in {9: (64, 2e-3), 599: (64, 2e-3), 600: (128, 4e-3)}.items():
        settings = settings_of(IMPUTATION, NUMERIC._replace(n_rows=n_rows))
        assert (settings.batch_size, settings.learning_rate) == step
    large = NUMERIC._replace(n_rows=10_000)
    for defaults, table in (
        (DENSITY, large),
        (IMPUTATION, large._replace(is_numeric=False)),
        (IMPUTATION, large._replace(from_factor_analysis=False)),
    ):
        settings = settings_of(defaults, table)
        assert (settings.batch_size, settings.learning_rate) == (64, 2e-3)


def test_epochs_of_random_weights_and_densities_are_those_of_a_number_of_steps():
    random = NUMERIC._replace(from_factor_analysis=False)
    for n_rows, epochs in {50: 200, 10_000: 16, 10**6: 10}.items():
        assert epochs_from_random(n_rows, 64) == epochs
        assert settings_of(DENSITY, NUMERIC._replace(n_rows=n_rows)).max_iter == epochs
        assert settings_of(IMPUTATION, random._replace(n_rows=n_rows)).max_iter == epochs


def test_epochs_of_mixed_tables_are_limited():
    mixed = NUMERIC._replace(is_numeric=False)
    assert settings_of(IMPUTATION, mixed).max_iter == 100
    assert settings_of(IMPUTATION, mixed._replace(n_rows=10_000)).max_iter == 16


def test_parameters_replace_defaults():
    table = NUMERIC._replace(n_rows=600)
    settings = settings_of(IMPUTATION, table, batch_size=32)
    assert (settings.batch_size, settings.learning_rate) == (32, 4e-3)
    assert settings.max_iter == settings_of(IMPUTATION, table).max_iter
    settings = settings_of(IMPUTATION, table, learning_rate=1e-4, max_iter=7)
    assert (settings.batch_size, settings.learning_rate, settings.max_iter) == (128, 1e-4, 7)
    assert settings.optimizer == AdamW()
    optimizer = dataclasses.replace(AdamW(), weight_decay=0.1)
    assert settings_of(IMPUTATION, table, optimizer=optimizer).optimizer is optimizer


@pytest.mark.parametrize(
    ("defaults", "n_rows", "n_iter_no_change"), [(IMPUTATION, 5000, 10), (DENSITY, 100, 40)]
)
def test_rows_are_held_out_of_large_tables(defaults, n_rows, n_iter_no_change):
    small, large = NUMERIC._replace(n_rows=n_rows - 1), NUMERIC._replace(n_rows=n_rows)
    default = EarlyStopping(n_iter_no_change=n_iter_no_change)
    assert settings_of(defaults, small).early_stopping is None
    assert settings_of(defaults, large).early_stopping == default
    assert settings_of(defaults, small, early_stopping=True).early_stopping == default
    assert settings_of(defaults, large, early_stopping=False).early_stopping is None
    custom = EarlyStopping(tol=1.0)
    assert settings_of(defaults, small, early_stopping=custom).early_stopping is custom
