"""
Survey weights
==============

A survey interviewed as many people in a small, rich region as in all others. Incomes are missing
more often for older people. Each respondent has a weight, the number of people that he or she
stands for; the region itself is not in the public file. The mean income and a regression are
estimated from complete rows, and from imputations by models that ignore or use the weights.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmissvae import MissSIWAEImputer, pool_models

# %%
# The survey
# ----------
#
# A twentieth of the people live in the rich region, and half of the respondents. There income does
# not depend on age; elsewhere it rises with it.

rng = np.random.default_rng(0)
n = 100_000
is_rich = rng.random(n) < 0.05
age = rng.normal(0, 1, n)
hours = rng.normal(0, 1, n)
income = np.where(is_rich, 3.0 + 0.0 * age, 1.0 * age) + 0.5 * hours + rng.normal(0, 0.5, n)
people = pd.DataFrame({"age": age, "hours": hours, "income": income})

chosen = np.concatenate(
    [rng.choice(np.flatnonzero(is_rich == rich), 300, replace=False) for rich in (False, True)]
)
survey = people.iloc[chosen].reset_index(drop=True)
weight = np.where(is_rich[chosen], is_rich.sum(), (~is_rich).sum()) / 300
is_missing = rng.random(600) < 1 / (1 + np.exp(-1.5 * survey["age"]))
survey["income"] = survey["income"].mask(is_missing)
print(
    f"{is_missing.mean():.0%} of the incomes are missing; weights are {np.unique(weight).round()}."
)

# %%
# Two models
# ----------
#
# The second one is fitted with the weights. Networks train for 60 epochs here, to save time.

options = {"max_iter": 60, "n_importance_draws": 200, "random_state": 0}
tables = {
    "imputed, without weights": MissSIWAEImputer(**options).fit(survey).impute(survey, 10),
    "imputed, with weights": MissSIWAEImputer(**options)
    .fit(survey, sample_weight=weight)
    .impute(survey, 10),
    "complete rows": [survey],
}

# %%
# Weighted analyses
# -----------------
#
# Both analyses use the weights, whatever the imputation model did. Standard errors of weighted
# estimates need the sandwich formula.


class WeightedRegression:
    """Weighted least squares of income on other columns, with a sandwich covariance matrix."""

    def __init__(self, table, columns):
        w = weight[table["income"].notna()]
        table = table.dropna()
        X = table[columns].assign(mean=1.0)
        A, y = X.to_numpy(), table["income"].to_numpy()
        inverse = np.linalg.inv((A.T * w) @ A)
        estimate = inverse @ (A.T * w) @ y
        score = A * (w * (y - A @ estimate))[:, None]
        self.params, self.df_resid = pd.Series(estimate, X.columns), len(X) - X.shape[1]
        self._cov = inverse @ (score.T @ score) @ inverse

    def cov_params(self):
        """Return the covariance matrix of the estimates."""
        return pd.DataFrame(self._cov, self.params.index, self.params.index)


truth = pd.Series({"mean": income.mean(), "age": np.polyfit(age, income, 1)[0]})
results = {}
for name, completed in tables.items():
    for term, columns in (("mean", []), ("age", ["age"])):
        models = [WeightedRegression(table, columns) for table in completed]
        if len(models) == 1:
            std_error = np.sqrt(models[0].cov_params().loc[term, term])
            results[name, term] = {"estimate": models[0].params[term], "std_error": std_error}
        else:
            results[name, term] = (
                pool_models(models).to_frame()[["estimate", "std_error"]].loc[term]
            )
results = pd.DataFrame(results).T
results["truth"] = truth.loc[results.index.get_level_values(1)].to_numpy()
print(results.astype(float).round(3).to_string())

# %%
# Complete rows are of younger people, whose incomes are lower. The model without weights gives half
# of the missing incomes the level of the rich region, in which a twentieth of the people live.
# Intervals are 1.96 standard errors.

figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
titles = {"mean": "mean income", "age": "slope of income by age"}
for ax, (term, title) in zip(axes, titles.items(), strict=True):
    part = results.xs(term, level=1)
    ax.errorbar(part["estimate"], part.index, xerr=1.96 * part["std_error"], fmt="o", color="C0")
    ax.axvline(truth[term], color="C3", lw=1)
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
