"""
Uncertainty of cells, in five displays
======================================

Cells of scikit-learn's diabetes table are hidden at random given other columns (MAR). One imputer
is fitted. The displays show the patterns of missing cells, the training, the imputed values, the
calibration of intervals, and the use of the mixture components.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, overimputation_report
from skmissvae.inspection import (
    ImputedDensityDisplay,
    MissingnessDisplay,
    MixtureUseDisplay,
    OverimputationDisplay,
    TrainingDisplay,
)

# %%
# Missing cells
# -------------
#
# Each row of the figure is a set of columns that are missing together.

complete = load_diabetes(as_frame=True, scaled=False).data
names = "age sex bmi pressure cholesterol LDL HDL ratio triglycerides glucose"
complete = complete.set_axis(names.split(), axis=1)
complete = complete.astype({"age": int, "sex": int}).astype({"sex": "category"})
incomplete = make_missing(complete, "mar", 0.3, random_state=0)

display = MissingnessDisplay.from_data(incomplete, max_patterns=15)
plt.show()
print(
    f"{incomplete.isna().to_numpy().mean():.0%} of the cells are missing, in {len(display.n_rows)} "
    f"patterns; {len(incomplete.dropna())} of the {len(incomplete)} rows are complete."
)

# %%
# Training
# --------
#
# Early stopping keeps the weights of the epoch with the best bound of held-out rows.

imputer = MissSIWAEImputer(init="factor_analysis", early_stopping=True, random_state=0)
imputer.set_params(n_importance_draws=300).fit(incomplete)
TrainingDisplay.from_estimator(imputer)
plt.show()
print(f"Training ended after {imputer.n_iter_} epochs.")

# %%
# Imputed values
# --------------
#
# The distributions of imputed and observed values may differ, because rows with high values have
# more missing cells. Imputed values should be plausible, and imputations should be similar.

# sphinx_gallery_thumbnail_number = 3
columns = ["age", "sex", "pressure", "LDL", "HDL", "ratio"]
ImputedDensityDisplay.from_estimator(imputer, incomplete, columns, random_state=0)
plt.show()

# %%
# Calibration of intervals
# ------------------------
#
# :func:`~skmissvae.overimputation_report` hides observed cells and refits the imputer without
# them. 90% of the intervals should contain the hidden value.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a few rows have a low effective sample size
    report = overimputation_report(imputer, incomplete, n_repeats=1, random_state=0)
display = OverimputationDisplay(report).plot()
plt.show()
print(f"90% intervals contain {display.coverage:.0%} of {len(display.cells)} hidden numbers.\n")
summary = report.summary.query("column == 'all' and kind == 'numeric'").dropna(axis=1, how="all")
print(summary.to_string(index=False, na_rep="", float_format="{:.3f}".format))

# %%
# Components of the mixture
# -------------------------
#
# The posterior of a row is a mixture; the display shows how much each component is used.

display = MixtureUseDisplay.from_estimator(imputer, incomplete)
plt.show()
print("Average weights:", ", ".join(f"{weight:.2f}" for weight in display.mean))
