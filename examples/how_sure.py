"""See what is missing, how training went, and how sure the model is of what it fills in.

Nearly a third of the cells of the diabetes table that comes with scikit-learn is hidden, the more
so the higher other values of their rows are. One imputer fills them, and six pictures tell how far
to believe it. They are saved beside this file.
"""

import warnings
from pathlib import Path

import matplotlib as mpl
from sklearn.datasets import load_diabetes

from skmissvae import MissSIWAEImputer, make_missing, overimputation_report
from skmissvae.inspection import (
    ImputedDensityDisplay,
    LatentDisplay,
    MissingnessDisplay,
    MixtureUseDisplay,
    OverimputationDisplay,
    TrainingDisplay,
)

mpl.use("Agg")


def save(display, name):
    """Save a picture beside this file."""
    display.figure_.savefig(Path(__file__).with_name(f"how_sure_{name}.png"), dpi=110)


# -- what is missing -------------------------------------------------------------------------------

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

# -- how training went -----------------------------------------------------------------------------

# With rows held out, the weights of the epoch that is best for these are kept. Up to the step in
# the curve only the encoder learned: the decoder starts as a linear model, and waits for it.
imputer = MissSIWAEImputer(early_stopping=True, random_state=0).fit(incomplete)
save(TrainingDisplay.from_estimator(imputer), "training")
print(f"Training ended after {imputer.n_iter_} epochs.")

# -- what it fills in ------------------------------------------------------------------------------

# Imputed values need not be distributed as observed ones: rows with high values lost more cells.
# But they should lie where values can lie, and each imputation tell much the same.
columns = ["age", "sex", "pressure", "LDL", "HDL", "ratio"]
display = ImputedDensityDisplay.from_estimator(imputer, incomplete, columns, random_state=0)
save(display, "densities")

# -- how sure it is, and whether it should be ------------------------------------------------------

# Observed cells are hidden, the model is fitted anew without them, and asked for them.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # one row or another has poor importance weights
    report = overimputation_report(imputer, incomplete, n_repeats=3, random_state=0)
display = OverimputationDisplay(report).plot()
save(display, "overimputation")
print(f"Its 90% intervals hold {display.coverage:.0%} of {len(display.cells)} hidden numbers.\n")
summary = report.summary.query("column == 'all' and kind == 'numeric'").dropna(axis=1, how="all")
print(summary.to_string(index=False, na_rep="", float_format="{:.3f}".format))

# -- where rows lie, and what the encoder knows of it ----------------------------------------------

# With two latents all that the model knows of a row can be seen: the fewer cells are observed, the
# wider the posterior. Row 350 can lie in two places, which only a mixture can tell; the encoder's
# has both, though it does not know how much likelier the lower one is.
flat = MissSIWAEImputer(n_latents=2, random_state=0).fit(incomplete)
save(LatentDisplay.from_estimator(flat, incomplete, rows=[187, 238, 350, 9]), "latents")

# -- what the mixture is used for ------------------------------------------------------------------

display = MixtureUseDisplay.from_estimator(flat, incomplete)
save(display, "mixture")
weights = ", ".join(f"{weight:.2f}" for weight in display.mean)
print(f"\nThe components of its posterior have the average weights {weights}.")
