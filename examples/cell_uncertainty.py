"""Uncertainty of imputed cells, in five displays.

Cells of scikit-learn's diabetes table are hidden at random given other columns (MAR). One imputer
is fitted. The displays show the missingness patterns, the course of training, the imputed values,
the calibration of intervals, and the use of the mixture components.
"""

import warnings
from pathlib import Path

import matplotlib as mpl
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, overimputation_report
from skmissvae.inspection import (
    ImputedDensityDisplay,
    MissingnessDisplay,
    MixtureUseDisplay,
    OverimputationDisplay,
    TrainingDisplay,
)

mpl.use("Agg")


def save(display, name):
    """Save a figure in the folder of this file."""
    display.figure_.savefig(Path(__file__).with_name(f"cell_uncertainty_{name}.png"), dpi=110)


# -- missingness -----------------------------------------------------------------------------------

complete = load_diabetes(as_frame=True, scaled=False).data
names = "age sex bmi pressure cholesterol LDL HDL ratio triglycerides glucose"
complete = complete.set_axis(names.split(), axis=1)
complete = complete.astype({"age": int, "sex": int}).astype({"sex": "category"})
incomplete = make_missing(complete, "mar", 0.3, random_state=0)

display = MissingnessDisplay.from_data(incomplete, max_patterns=15)
save(display, "patterns")
print(
    f"{incomplete.isna().to_numpy().mean():.0%} of the cells are missing, in {len(display.n_rows)} "
    f"patterns; {len(incomplete.dropna())} of the {len(incomplete)} rows are complete."
)

# -- training --------------------------------------------------------------------------------------

# Early stopping keeps the weights of the epoch with the best bound of held-out rows.
imputer = MissSIWAEImputer(early_stopping=True, random_state=0).fit(incomplete)
save(TrainingDisplay.from_estimator(imputer), "training")
print(f"Training ended after {imputer.n_iter_} epochs.")

# -- imputed values --------------------------------------------------------------------------------

# The distributions of imputed and observed values may differ, because rows with high values have
# more missing cells. Imputed values should be plausible, and imputations should be similar.
columns = ["age", "sex", "pressure", "LDL", "HDL", "ratio"]
display = ImputedDensityDisplay.from_estimator(imputer, incomplete, columns, random_state=0)
save(display, "densities")

# -- calibration of intervals ----------------------------------------------------------------------

# Observed cells are hidden, and the imputer is refitted without them.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a few rows have a low effective sample size
    report = overimputation_report(imputer, incomplete, n_repeats=3, random_state=0)
display = OverimputationDisplay(report).plot()
save(display, "overimputation")
print(f"90% intervals contain {display.coverage:.0%} of {len(display.cells)} hidden numbers.\n")
summary = report.summary.query("column == 'all' and kind == 'numeric'").dropna(axis=1, how="all")
print(summary.to_string(index=False, na_rep="", float_format="{:.3f}".format))

# -- components of the mixture ---------------------------------------------------------------------

display = MixtureUseDisplay.from_estimator(imputer, incomplete)
save(display, "mixture")
weights = ", ".join(f"{weight:.2f}" for weight in display.mean)
print(f"\nAverage weights of the mixture components: {weights}.")
