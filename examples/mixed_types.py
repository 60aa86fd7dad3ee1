"""Tables of mixed types: strings, binary columns, counts and ordinal columns.

Penguins: the fit report and data types. Passengers: an imputer in a Pipeline. Census: errors of
categorical columns. Survey: multiple imputation. The tables are read from the folder
$SKMISSVAE_DATA, or from OpenML, except for the survey.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import fetch_openml
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from skmissvae import MissSIWAEImputer

FILES = {
    "penguins": "E_real_missing/penguins.csv.gz",
    "titanic": "E_real_missing/titanic.csv.gz",
    "adult": "B_tabular/adult.csv.gz",
    "nhanes": "E_real_missing/nhanes_2009_2012.csv.gz",
}


def load(name, rows):
    """Return a table, a sample of at most ``rows`` rows."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if folder:
        table = pd.read_csv(Path(folder) / FILES[name])
    elif name == "nhanes":
        raise SystemExit(
            "The survey is in R's package NHANES: save it as "
            f"{FILES[name]} below a folder, and set $SKMISSVAE_DATA to the folder."
        )
    else:
        try:
            table = fetch_openml(name, version=1, as_frame=True).frame
        except OSError as error:
            raise SystemExit(
                f"OpenML is not available ({error}): save {name} as {FILES[name]} below a folder, "
                "and set $SKMISSVAE_DATA to the folder."
            ) from error
    return table.sample(min(rows, len(table)), random_state=0).reset_index(drop=True)


def heading(text):
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


# -- penguins: kinds and data types ----------------------------------------------------------------

heading("Penguins")
penguins = load("penguins", 400)
imputer = MissSIWAEImputer(random_state=0).fit(penguins)
completed = imputer.transform(penguins)
print(imputer.fit_report_[["kind", "role", "n_missing"]].to_string())
print("\nRows that were incomplete:")
print(completed[penguins.isna().any(axis=1)].head().to_string())
assert completed.dtypes.equals(penguins.dtypes)
assert not completed.isna().any(axis=None)

# -- passengers: a step of a Pipeline --------------------------------------------------------------

heading("Passengers: accuracy of predicted survival, five folds")
passengers = load("titanic", 900).rename(columns=str.lower)
survived = passengers.pop("survived").astype(int)
passengers = passengers.drop(columns=["name", "ticket", "cabin"], errors="ignore")
strings = passengers.select_dtypes(exclude="number").columns.tolist()


def pipeline(imputer):
    """Return a pipeline of an imputer, codes of strings, and a random forest."""
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), strings),
        remainder="passthrough",
    )
    return make_pipeline(imputer, codes, RandomForestClassifier(300, random_state=0))


# ages from 0 to 90; categories that are absent from a fold are treated as missing
imputer = MissSIWAEImputer(
    min_value={"age": 0}, max_value={"age": 90}, handle_unknown="missing", random_state=0
)
most_frequent = SimpleImputer(strategy="most_frequent").set_output(transform="pandas")
for name, step in (("most frequent", most_frequent), ("MissSIWAEImputer", imputer)):
    scores = cross_val_score(pipeline(step), passengers, survived, cv=5)
    print(f"{name:20s} {scores.mean():.3f} ({scores.std():.3f})")

# -- census: hidden categories ---------------------------------------------------------------------

heading("Census: share of hidden categories that are imputed correctly")
census = load("adult", 3000).drop(columns=["split", "fnlwgt"], errors="ignore")
hidden = np.random.default_rng(0).random(census.shape) < 0.2
hidden &= census.notna().to_numpy()
incomplete = census.astype(dict.fromkeys(census.select_dtypes("integer"), "Int64")).mask(hidden)
completed = MissSIWAEImputer(random_state=0).fit_transform(incomplete)
rows = {}
for j, name in enumerate(census):
    if not pd.api.types.is_numeric_dtype(census[name]):
        rows_hidden = hidden[:, j]
        correct = (completed[name] == census[name])[rows_hidden].mean()
        mode = (census[name][rows_hidden] == incomplete[name].mode()[0]).mean()
        rows[name] = {"most frequent": mode, "MissSIWAEImputer": correct}
print(pd.DataFrame(rows).T.round(3).to_string())

# -- survey: multiple imputation of selected columns -----------------------------------------------

heading("Survey: depression and sleep, pooled over ten imputations")
survey = load("nhanes", 10_000).query("Age >= 20")
survey = survey[
    [
        *("Age", "Gender", "Race1", "Education", "HHIncomeMid", "BMI", "BPSysAve", "Pulse"),
        *("Smoke100", "HealthGen", "DaysMentHlthBad", "SleepHrsNight", "SleepTrouble"),
        *("PhysActive", "Depressed"),
    ]
].sample(2000, random_state=0)
ordered = {
    "HealthGen": ["Poor", "Fair", "Good", "Vgood", "Excellent"],
    "Depressed": ["none", "Several", "Most"],
}
survey = survey.astype({n: pd.CategoricalDtype(r, ordered=True) for n, r in ordered.items()})
model = MissSIWAEImputer(min_value=0, random_state=0).fit(survey)
share = [
    (table["Depressed"] != "none").groupby(table["SleepTrouble"]).mean()
    for table in model.impute(survey, 10)
]
complete_cases = survey.dropna(subset=["Depressed", "SleepTrouble"])
print("share with depression on several or most days, by trouble with sleep")
pooled = pd.concat(share, axis=1)
columns = {
    "complete cases": (complete_cases["Depressed"] != "none")
    .groupby(complete_cases["SleepTrouble"])
    .mean(),
    "imputed": pooled.mean(axis=1),
    "std over imputations": pooled.std(axis=1),
}
print(pd.DataFrame(columns).round(4).to_string())
