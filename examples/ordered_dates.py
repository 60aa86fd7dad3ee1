"""
Stays that end after they begin
===============================

Dates of admission and discharge are missing for some stays in a hospital. The model does not know
their order, and some of its draws have negative lengths. ``constraints`` rejects them.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmissvae import MissSIWAEImputer

rng = np.random.default_rng(0)
n = 400
severity = rng.normal(size=n)
admission = rng.uniform(0, 60, n)
length = rng.gamma(2, 4 * np.exp(0.4 * severity))  # in days


def dates(days):
    """Return dates by days of the year 2026."""
    return pd.Timestamp("2026-01-01") + pd.to_timedelta(np.round(days), "D")


truth = pd.DataFrame(
    {"severity": severity, "admission": dates(admission), "discharge": dates(admission + length)}
)
X = truth.mask(rng.random(truth.shape) < [0.1, 0.3, 0.3])

# %%
# An observed date limits the other one of its stay. If both are missing, draws in the wrong order
# are rejected; ``rejected`` returns their share.
options = {"max_iter": 30, "init": "factor_analysis", "n_importance_draws": 100, "random_state": 0}
free = MissSIWAEImputer(**options).fit(X).impute(X, 5)
ordered = MissSIWAEImputer(constraints=["admission <= discharge"], **options).fit(X).impute(X, 5)


def days(table):
    """Return the lengths of the stays in days."""
    return (table["discharge"] - table["admission"]).dt.days


print("stays of negative length in each imputation:")
print("  without constraints", [int((days(table) < 0).sum()) for table in free])
print("  with the constraint", [int((days(table) < 0).sum()) for table in ordered])
print(ordered.rejected())

# %%
# Mean lengths, and those of stays with an imputed date.
incomplete = X[["admission", "discharge"]].isna().any(axis=1)
for name, tables in (("complete", [truth]), ("free", free), ("ordered", ordered)):
    lengths = np.mean([[days(t).mean(), days(t)[incomplete].mean()] for t in tables], axis=0)
    print(f"{name:>8}: {lengths[0]:5.2f} {lengths[1]:5.2f}")

# %%
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bins = np.arange(-20, 60, 2)
for name, table in (("complete", truth), ("free", free[0]), ("ordered", ordered[0])):
    ax.hist(days(table)[incomplete], bins, histtype="step", label=name)
ax.set(xlabel="days, stays with a missing date", ylabel="stays")
ax.legend()
