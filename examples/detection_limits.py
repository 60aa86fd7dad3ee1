"""
Concentrations below a limit of detection
=========================================

Values below a limit of detection are missing, but known to lie below it. Half of the limit, a usual
substitute, and imputation without the limit are compared with ``upper``.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmissvae import MissSIWAEImputer

rng = np.random.default_rng(0)
n = 400
log_dose = rng.normal(size=n)
log_blood = 0.8 * log_dose + 0.8 * rng.normal(size=n)
outcome = 0.5 * log_blood + rng.normal(size=n)
truth = pd.DataFrame({"log_dose": log_dose, "log_blood": log_blood, "outcome": outcome})
limit = -0.5  # 32% of the values are below
X = truth.assign(log_blood=truth["log_blood"].where(truth["log_blood"] >= limit))

# %%
# The limit is passed to ``fit`` and to ``impute``. It is evidence: it moves the other cells of the
# row, too.
imputer = MissSIWAEImputer(max_iter=40, random_state=0)
upper = {"log_blood": limit}
with_limit = list(imputer.fit(X, upper=upper).impute(X, 10, upper=upper, random_state=0))
without = list(imputer.fit(X).impute(X, 10, random_state=0))
substituted = X.fillna({"log_blood": limit - np.log(2)})


# %%
def slope(table):
    """Return the slope of the outcome and its variance."""
    x, y = table["log_blood"] - table["log_blood"].mean(), table["outcome"]
    beta = (x @ y) / (x @ x)
    residual = y - y.mean() - beta * x
    return beta, residual.var() / (x @ x)


print("mean and standard deviation of log_blood, slope of the outcome")
methods = {
    "complete": [truth],
    "with the limit": with_limit,
    "half of the limit": [substituted],
    "without the limit": without,
}
for name, tables in methods.items():
    mean = np.mean([table["log_blood"].mean() for table in tables])
    std = np.mean([table["log_blood"].std() for table in tables])
    beta = np.mean([slope(table)[0] for table in tables])
    print(f"{name:>18}: {mean:6.3f} {std:6.3f} {beta:6.3f}")

# %%
bins = np.linspace(-4, 3, 36)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
shown = {"with the limit": with_limit[0], "half of the limit": substituted}
shown["without the limit"] = without[0]
for ax, (name, table) in zip(axes, shown.items(), strict=True):
    ax.hist(truth["log_blood"], bins, color="0.8", label="truth")
    ax.hist(table["log_blood"], bins, histtype="step", label="completed")
    ax.axvline(limit, color="k", lw=0.8, ls=":")
    ax.set(title=name, xlabel="log_blood")
axes[0].legend()
plt.show()
