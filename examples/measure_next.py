"""
What to measure next
====================

A diagnosis rests on ten measurements of cell nuclei, each of which costs time. For every patient
the next measurement is the one that says most about the diagnosis, given those already taken. It is
compared with a random order of the measurements.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

from skmissvae import MissSIWAEImputer, make_missing, value_of_measuring
from skmissvae.inspection import ValueOfMeasuringDisplay

# %%
# A model of measurements and diagnosis
# -------------------------------------
#
# The model is fitted to 469 patients, of whom half of the measurements were taken, and tried on 100
# others.

data = load_breast_cancer(as_frame=True)
table = data.data.iloc[:, :10].assign(diagnosis=np.where(data.target == 1, "benign", "malignant"))
table = table.sample(frac=1, random_state=0).reset_index(drop=True)
patients, others = table[:100], table[100:]
measured = make_missing(others.drop(columns="diagnosis"), "mcar", 0.5, random_state=0)
options = {"max_iter": 100, "n_hidden": 64, "n_importance_draws": 300, "random_state": 0}
imputer = MissSIWAEImputer(**options).fit(measured.assign(diagnosis=others["diagnosis"]))

# %%
# The first measurement
# ---------------------
#
# Without any measurement all patients are alike.

nobody = patients[:1].mask(np.ones((1, 11), dtype=bool))
ValueOfMeasuringDisplay.from_estimator(imputer, nobody, "diagnosis")
plt.show()

# %%
# One after the other
# -------------------
#
# In each step every patient gets one more measurement, and a probability of the diagnosis.


def best(known):
    """Return the best next measurement of each patient."""
    values = value_of_measuring(imputer, known, "diagnosis", n_draws=64)
    return values.drop_duplicates("row").set_index("row")["column"]


def at_random(known):
    """Return a random next measurement of each patient."""
    missing = known.drop(columns="diagnosis").isna()
    return missing.apply(lambda row: rng.choice(row.index[row]), axis=1)


def nats_of_truth(known):
    """Return the mean log-probability of the true diagnoses."""
    cells = imputer.cell_distribution(known, where=["diagnosis"])
    p = cells.pivot_table("probability", "row", "category")
    return np.mean([np.log(p.loc[i, truth]) for i, truth in patients["diagnosis"].items()])


rng = np.random.default_rng(0)
curves = {}
for name, choose in {"best next": best, "random": at_random}.items():
    known = patients.mask(np.ones(patients.shape, dtype=bool))
    curves[name] = [nats_of_truth(known)]
    for _ in range(5):
        for i, column in choose(known).items():
            known.loc[i, column] = patients.loc[i, column]
        curves[name].append(nats_of_truth(known))
known = patients.assign(diagnosis=pd.Series(np.nan, patients.index, dtype=object))
all_measured = nats_of_truth(known)
print(pd.DataFrame(curves).round(3).rename_axis("measurements").to_string())
print(f"All ten measurements: {all_measured:.3f}")

# %%
# Few well-chosen measurements say nearly as much as all ten.

figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for name, curve in curves.items():
    ax.plot(range(6), curve, marker="o", label=name)
ax.axhline(all_measured, color="0.4", lw=1, label="all ten")
ax.set(xlabel="measurements of each patient", ylabel="log-probability of the diagnosis, nats")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
