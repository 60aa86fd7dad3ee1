"""Shifts of imputed values: exact differences, exact odds, and unchanged other cells."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_imputer, quiet, table, tiny
from helpers import generator, uniform

from skmissvae import MissSIWAEImputer, MVAEImputer
from skmissvae.inference import LAIR
from skmissvae.vae import BernoulliLikelihood, CategoricalLikelihood, CumulativeLogitLikelihood
from skmissvae.vae.likelihoods.bernoulli import BernoulliColumns
from skmissvae.vae.likelihoods.tilted import tilted

pytestmark = quiet


def mixed(n=60, seed=0):
    """Return columns of all kinds that can be shifted, with missing cells."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    levels = ["low", "middle", "high"]
    frame = pd.DataFrame(
        {
            "real": 100 + 20 * z,
            "count": pd.array(rng.poisson(np.exp(1 + 0.5 * z)), dtype="Int64"),
            "flag": pd.array(z + rng.normal(size=n) > 0, dtype="boolean"),
            "word": rng.choice(list("uvw"), n),
            "level": pd.Categorical(rng.choice(levels, n), levels, ordered=True),
            "complete": z,
        }
    )
    missing = rng.random(frame.shape) < 0.3
    missing[:, -1] = False
    return frame.mask(missing)


@every_imputer
def test_numbers_move_by_the_shift_and_nothing_else_changes(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    tables = imputer.impute(X, 2)
    for unit, size in (("column", 30.0), ("sd", 30.0 / imputer.schema_.scale[1])):
        shifted = imputer.impute(X, 2, shift={"x1": size}, shift_unit=unit)
        for before, after in zip(tables, shifted, strict=True):
            expected = before + 30.0 * (np.isnan(X) & (np.arange(4) == 1))
            np.testing.assert_allclose(after, expected, rtol=1e-9)
            np.testing.assert_array_equal(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
            np.testing.assert_array_equal(after[~np.isnan(X)], X[~np.isnan(X)])


OPTIONS = {"one model": {}, "bootstrap": {"n_bootstrap": 2}, "chains": {"sampler": LAIR(n_steps=3)}}


@functools.cache
def fitted(options="one model"):
    """Return an imputer of mixed columns."""
    return tiny(MissSIWAEImputer, max_iter=1, **OPTIONS[options]).fit(mixed())


SHIFTS = [
    {"real": -7.5},
    {"count": 2},
    {"flag": 1.5},
    {"word": {"u": 2.0, "v": -1.0}},
    {"level": -1.0},
    {"level": {"middle": 3.0}},
]


CASES = [("one model", shift) for shift in SHIFTS]
CASES += [(options, {"real": -7.5, "flag": 1.5}) for options in ("bootstrap", "chains")]


@pytest.mark.parametrize(("options", "shift"), CASES, ids=str)
def test_only_missing_cells_of_the_column_change(options, shift):
    X, imputer = mixed(), fitted(options)
    for before, after in zip(imputer.impute(X, 2), imputer.impute(X, 2, shift=shift), strict=True):
        others = X.columns.difference(list(shift))
        pd.testing.assert_frame_equal(before[others], after[others])
        for column in shift:
            observed = X[column].notna()
            cells = before.loc[observed, column], after.loc[observed, column]
            pd.testing.assert_series_equal(*cells)
            assert (before[column] != after[column]).any()
            assert before[column].dtype == after[column].dtype


def test_categories_move_in_the_direction_of_the_shift():
    X = mixed(150)
    imputer = tiny(MVAEImputer, max_iter=1, init="factor_analysis").fit(X)
    missing = X.isna()

    without = imputer.impute(X, 3).to_frame()

    def share(column, value, shift=None):
        table = without
        if shift is not None:
            table = imputer.impute(X, 3, shift={column: shift}).to_frame()
        return (table.loc[np.tile(missing[column], 3), column] == value).mean()

    for column, value, shift in (
        ("flag", True, 1.0),
        ("level", "high", 1.0),
        ("word", "u", {"u": 1.0}),
        ("level", "middle", {"middle": 1.0}),
    ):
        for sign in (1, -1):
            size = sign if isinstance(shift, float) else {value: sign}
            change = share(column, value, size) - share(column, value)
            assert 0.05 < sign * change < 0.4


def test_zero_shifts_change_nothing_and_several_shifts_combine():
    X, imputer = mixed(), fitted()
    by_series = imputer.impute(X, 1, shift=pd.Series({"real": 5.0}))[0]
    pd.testing.assert_frame_equal(by_series, imputer.impute(X, 1, shift={"real": 5.0})[0])
    zero = {"real": 0.0, "flag": 0.0, "word": {"u": 0}, "count": 0}
    pd.testing.assert_frame_equal(
        imputer.impute(X, 1)[0], imputer.impute(X, 1, shift=zero)[0], check_exact=True
    )
    both = imputer.impute(X, 1, shift={"real": 5.0, "flag": 2.0})[0]
    for shift in ({"real": 5.0}, {"flag": 2.0}):
        (column,) = shift
        single = imputer.impute(X, 1, shift=shift)[0]
        pd.testing.assert_series_equal(single[column], both[column])


def test_shifted_numbers_stay_within_limits():
    X = mixed()
    imputer = tiny(MVAEImputer, min_value={"real": 90.0}).fit(X)
    shifted = imputer.impute(X, 1, shift={"real": -500.0, "count": -50})[0]
    assert (shifted.loc[X["real"].isna(), "real"] == 90.0).all()
    assert (shifted.loc[X["count"].isna(), "count"] == 0).all()
    binary = tiny(MVAEImputer, min_value=0).fit(X.assign(flag=X["flag"].astype(float)))
    filled = binary.impute(X.assign(flag=X["flag"].astype(float)), 1, shift={"flag": 20.0})[0]
    assert (filled.loc[X["flag"].isna(), "flag"] == 1).all()


def test_a_copy_and_its_original_move_together():
    X = table(60)
    X = np.column_stack([X, X[:, 1]])
    imputer = tiny(MVAEImputer).fit(X)
    for name in ("x1", "x4"):
        shifted, plain = imputer.impute(X, 1, shift={name: 3.0})[0], imputer.impute(X, 1)[0]
        moved = np.isnan(X[:, 1])
        np.testing.assert_allclose((shifted - plain)[moved][:, [1, 4]], 3.0, rtol=1e-9)


def normal(*shape):
    return torch.randn(*shape, generator=generator())


COUNTS = [[5, 3, 2, 1], [4, 4, 0, 9]]
LIKELIHOODS = {
    "categorical": CategoricalLikelihood(COUNTS),
    "rare": CategoricalLikelihood([[1, 1, 8, 5], [9, 1, 1, 1]]),
    "ordinal": CumulativeLogitLikelihood(COUNTS),
    "binary": BernoulliLikelihood(2),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_odds_are_multiplied(name):
    likelihood = LIKELIHOODS[name].double()
    params = normal(3, 5, likelihood.n_params).double()
    base, n = likelihood(params), 2 if name == "binary" else 4
    log_odds = torch.tensor([[0.0, 1.2, -0.7, 0.3], [0.5, 0, 0, 2.0]]).double()[:, :n]
    assert tilted(base, 0 * log_odds) is base
    columns = tilted(base, log_odds)
    codes = torch.arange(n).double().view(n, 1, 1, 1).expand(n, 3, 5, 2)
    log_p, expected = (torch.stack([d.log_prob(code) for code in codes]) for d in (columns, base))
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(3, 5, 2).double())
    change = log_p - log_p[:1] - (expected - expected[:1])
    added = (log_odds - log_odds[:, :1]).T.view(n, 1, 1, 2).expand_as(change)
    torch.testing.assert_close(change, added, atol=1e-9, rtol=0)
    torch.testing.assert_close((log_p.exp() * codes).sum(0), columns.mean())
    torch.testing.assert_close(log_p.exp().cumsum(0), torch.stack([columns.cdf(c) for c in codes]))
    for u in (0.01, 0.4, 0.99):
        code = columns.icdf(torch.full((3, 5, 2), u).double())
        assert (columns.cdf(code) >= u - 1e-9).all()
        assert (torch.where(code > 0, columns.cdf(code - 1), 0.0) < u).all()


def test_columns_of_a_part_without_a_shift_keep_their_bits():
    for name, likelihood in LIKELIHOODS.items():
        n = 2 if name == "binary" else 4
        log_odds = torch.zeros(2, n).double()
        log_odds[0, -1] = 1.5
        params = 5 * normal(200, likelihood.n_params)
        columns = likelihood.float()(params)
        edges = columns.cdf(torch.ones(200, 2)).clamp_max(1 - 1e-6)  # where rounding decides
        for u in (uniform(200, 2).float(), edges):
            other, base = tilted(columns, log_odds).icdf(u), columns.icdf(u)
            torch.testing.assert_close(other[:, 1], base[:, 1], rtol=0, atol=0)
            assert u is edges or (other[:, 0] != base[:, 0]).any()


def test_certain_categories_are_drawn_and_small_probabilities_have_their_digits():
    likelihood = CumulativeLogitLikelihood([[5, 5, 5, 5]])
    log_odds = torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double()
    for loc, code in ((1e4, 3), (-1e4, 0)):
        columns = tilted(likelihood(torch.tensor([[[loc, 0.0]]])), log_odds)
        for u in (1e-6, 0.3, 0.999):
            assert columns.icdf(torch.full((1, 1, 1), u)).item() == code
    params = torch.tensor([[[-14.0, 0.0]]])
    single, double = (
        tilted(likelihood.to(dtype)(params.to(dtype)), 14 * log_odds).probabilities()
        for dtype in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-6)
    categorical = CategoricalLikelihood([[5, 5, 5]]).float()
    columns = tilted(categorical(torch.tensor([[[-200.0, 0.0, 0.0]]])), log_odds[:, 1:])
    assert columns.icdf(torch.full((1, 1, 1), 0.99)).item() == 2


def test_categories_that_a_column_does_not_have_stay_impossible():
    likelihood = CategoricalLikelihood([[5, 5], [5, 5, 5, 5]])
    log_odds = torch.tensor([[0.0, 3.0, -np.inf, -np.inf], [0.0, 0.0, 0.0, 1.0]]).double()
    columns = tilted(likelihood(normal(40, likelihood.n_params)), log_odds)
    assert (columns.probabilities()[:, 0, 2:] == 0).all()
    assert (columns.icdf(uniform(40, 2).float())[:, 0] < 2).all()


class OwnBernoulli(BernoulliLikelihood):
    """A likelihood whose distributions are of a class of its own."""

    class Columns(BernoulliColumns):
        pass

    def forward(self, params):
        return self.Columns(params)


def test_a_custom_likelihood_of_binary_columns_is_shifted():
    X = np.where(np.isnan(table()), np.nan, table() > np.nanmean(table(), 0))
    imputer = tiny(MVAEImputer, max_iter=1, likelihood=OwnBernoulli).fit(X)
    shifted = imputer.impute(X, 1, shift={"x0": 40.0})[0]
    assert (shifted[np.isnan(X[:, 0]), 0] == 1).all()


INVALID = {
    "text": ("income", TypeError, "must be a mapping from columns to shifts"),
    "unknown column": ({"y": 1.0}, ValueError, "names column 'y', which X does not have"),
    "infinite": ({"real": np.inf}, TypeError, "'real' must be a finite number; got inf"),
    "missing": ({"real": None}, TypeError, "'real' must be a finite number; got None"),
    "bool": ({"real": True}, TypeError, "'real' must be a finite number; got True"),
    "fraction": ({"count": 0.3}, ValueError, r"'count' is 0\.3, but.*feature_kinds=\{'count': 'c"),
    "number of words": ({"word": 1.0}, TypeError, "'word' must be a mapping from categories"),
    "unknown category": ({"word": {"z": 1.0}}, ValueError, "names the category 'z'.*'u'"),
    "infinite odds": ({"word": {"u": np.inf}}, TypeError, "finite log-odds"),
    "text of odds": ({"flag": "a"}, TypeError, "a finite number of log-odds, or a mapping"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_shifts_are_refused(kind):
    shift, error, message = INVALID[kind]
    imputer = fitted()
    with pytest.raises(error, match=message):
        imputer.impute(mixed(), 1, shift=shift)


def test_columns_that_are_not_numbers_or_categories_are_refused():
    X = mixed().assign(constant=1.0, day=pd.date_range("2020", periods=60))
    X.loc[::3, "day"] = pd.NaT
    imputer = tiny(MVAEImputer, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="'constant', which is not modelled: its role is 'const"):
        imputer.impute(X, 1, shift={"constant": 1.0})
    with pytest.raises(ValueError, match="'day', which holds dates or times"):
        imputer.impute(X, 1, shift={"day": 1.0})
    with pytest.raises(ValueError, match="not possible for column 'count', whose values are int"):
        imputer.impute(X, 1, shift={"count": 1.0}, shift_unit="sd")
    X = table()
    imputer = tiny(MVAEImputer, max_iter=1, random_state=np.random.RandomState(0)).fit(X)
    state = imputer.random_state.get_state()[1].copy()
    with pytest.raises(ValueError, match="columns 'x0' and 0, which are the same variable"):
        imputer.impute(X, 1, shift={"x0": 1.0, 0: 2.0})
    np.testing.assert_array_equal(imputer.random_state.get_state()[1], state)
    with pytest.raises(ValueError, match="shift_unit must be 'column' or 'sd'; got 'SD'"):
        imputer.impute(X, 1, shift={"real": 1.0}, shift_unit="SD")
