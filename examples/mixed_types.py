"""
Tables of mixed types
=====================

Data frames with numbers, counts, binary columns, categories and ordered categories are imputed as
they are, without encoding. The penguins show the types, a census shows the errors.

The census (Adult) is read from ``adult.csv.gz`` in the folder ``$SKMISSVAE_DATA``, or from OpenML.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import fetch_openml

from skmissvae import MissSIWAEImputer, make_missing
from skmissvae.datasets import load_penguins

# %%
# Penguins: kinds of columns, and data types
# ------------------------------------------
#
# The kinds are determined by the data types and the values; ``feature_kinds`` changes them.
# Integers with missing cells are floats in pandas; such columns are recognized, and imputed as
# their means.

penguins = load_penguins()
imputer = MissSIWAEImputer(init="factor_analysis", random_state=0).fit(penguins)
print(imputer.fit_report_[["kind", "role", "n_missing"]].to_string())

# %%
# The result has the data types of the table. Observed cells are unchanged.

completed = imputer.transform(penguins)
is_incomplete = penguins.isna().any(axis=1)
print(completed[is_incomplete].head().to_string())
print("Same data types:", completed.dtypes.equals(penguins.dtypes))
print("Missing cells:", completed.isna().to_numpy().sum())

# %%
# ``cell_distribution`` returns the probability of each category.

cells = imputer.cell_distribution(penguins)
sexes = cells[cells["column"] == "sex"]
print(sexes.pivot(index="row", columns="category", values="probability").round(3).to_string())

# %%
# Census: hidden categories
# -------------------------
#
# A fifth of the cells of 1,000 persons are hidden. Education is declared as an ordered category,
# and imputed numbers cannot be negative.

folder = os.environ.get("SKMISSVAE_DATA")
if folder:
    census = pd.read_csv(Path(folder) / "B_tabular" / "adult.csv.gz")
else:
    census = fetch_openml("adult", version=2, as_frame=True).frame
census.columns = [name.replace("-", "_") for name in census]
census = census.rename(columns={"class": "income"})
census = census.drop(columns=["split", "fnlwgt", "education_num"], errors="ignore")
census = census.sample(1000, random_state=0, ignore_index=True)
levels = ["Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad"]
levels += ["Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters"]
levels += ["Prof-school", "Doctorate"]
census["education"] = census["education"].astype(pd.CategoricalDtype(levels, ordered=True))
incomplete, hidden = make_missing(census, "mcar", 0.2, random_state=0, return_mask=True)

imputer = MissSIWAEImputer(min_value=0, max_iter=40, n_importance_draws=300, random_state=0)
completed = imputer.fit_transform(incomplete)
shares = {}
for j, name in enumerate(census):
    if not pd.api.types.is_numeric_dtype(census[name]):
        true = census[name][hidden[:, j]].astype(object)
        imputed = completed[name][hidden[:, j]].astype(object)
        shares[f"{name} ({census[name].nunique()})"] = {
            "most frequent": np.mean(true == incomplete[name].mode()[0]),
            "MissSIWAEImputer": np.mean(true == imputed),
        }
shares = pd.DataFrame(shares).T.sort_values("MissSIWAEImputer")
print(shares.round(3).to_string())

# %%
# Columns differ in how well the others determine them. The number of categories is in brackets.

figure, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
positions = range(len(shares))
ax.hlines(positions, *shares.T.to_numpy(), color="0.8", lw=2, zorder=0)
ax.scatter(shares["most frequent"], positions, color="0.55", s=50, label="most frequent category")
ax.scatter(shares["MissSIWAEImputer"], positions, color="C0", s=50, label="MissSIWAEImputer")
ax.set_yticks(positions, shares.index)
ax.set(title="Hidden categories that are imputed correctly", xlabel="share", xlim=(0, 1))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="upper left", frameon=False)
plt.show()
