"""Four tables as people have them: words, flags, counts, ranks, and the same table out.

Penguins with a few holes, passengers whose age nobody wrote down, a census with unknown jobs, and
a health survey to draw inferences from. The tables are read from the folder $SKMISSVAE_DATA, or,
but for the survey, from OpenML.
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
    """Return a table, at most so many rows of it."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if folder:
        table = pd.read_csv(Path(folder) / FILES[name])
    elif name == "nhanes":
        raise SystemExit(
            "The survey is that of R's package NHANES: save it as "
            f"{FILES[name]} below a folder, and set $SKMISSVAE_DATA to the folder."
        )
    else:
        try:
            table = fetch_openml(name, version=1, as_frame=True).frame
        except OSError as error:
            raise SystemExit(
                f"OpenML is out of reach ({error}): save {name} as {FILES[name]} below a folder, "
                "and set $SKMISSVAE_DATA to the folder."
            ) from error
    return table.sample(min(rows, len(table)), random_state=0).reset_index(drop=True)


def heading(text):
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


# -- penguins: what goes in comes out --------------------------------------------------------------

heading("Penguins")
penguins = load("penguins", 400)
imputer = MissSIWAEImputer(random_state=0).fit(penguins)
completed = imputer.transform(penguins)
print(imputer.fit_report_[["kind", "role", "n_missing"]].to_string())
print("\nRows that had holes:")
print(completed[penguins.isna().any(axis=1)].head().to_string())
assert completed.dtypes.equals(penguins.dtypes)
assert not completed.isna().any(axis=None)

# -- passengers: a step of a Pipeline --------------------------------------------------------------

heading("Passengers: accuracy of predicted survival, five folds")
passengers = load("titanic", 900).rename(columns=str.lower)
survived = passengers.pop("survived").astype(int)
passengers = passengers.drop(columns=["name", "ticket", "cabin"], errors="ignore")
words = passengers.select_dtypes(exclude="number").columns.tolist()


def pipeline(imputer):
    """Return an imputer, codes for the columns of words, and a forest."""
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), words),
        remainder="passthrough",
    )
    return make_pipeline(imputer, codes, RandomForestClassifier(300, random_state=0))


# ages from 0 to 90, and what no fold has seen is no error
ours = MissSIWAEImputer(
    min_value={"age": 0}, max_value={"age": 90}, handle_unknown="missing", random_state=0
)
usual = SimpleImputer(strategy="most_frequent").set_output(transform="pandas")
for name, step in (("most frequent", usual), ("MissSIWAEImputer", ours)):
    scores = cross_val_score(pipeline(step), passengers, survived, cv=5)
    print(f"{name:20s} {scores.mean():.3f} ({scores.std():.3f})")

# -- a census: unknown jobs ------------------------------------------------------------------------

heading("Census: hidden words that are found again")
census = load("adult", 3000).drop(columns=["split", "fnlwgt"], errors="ignore")
some = np.random.default_rng(0).random(census.shape) < 0.2
some &= census.notna().to_numpy()
holed = census.astype(dict.fromkeys(census.select_dtypes("integer"), "Int64")).mask(some)
completed = MissSIWAEImputer(random_state=0).fit_transform(holed)
rows = {}
for j, name in enumerate(census):
    if not pd.api.types.is_numeric_dtype(census[name]):
        hidden = some[:, j]
        found = (completed[name] == census[name])[hidden].mean()
        mode = (census[name][hidden] == holed[name].mode()[0]).mean()
        rows[name] = {"most frequent": mode, "MissSIWAEImputer": found}
print(pd.DataFrame(rows).T.round(3).to_string())

# -- a survey: many imputations, and only those columns that matter --------------------------------

heading("Survey: depression and sleep, pooled over ten imputations")
survey = load("nhanes", 10_000).query("Age >= 20")
survey = survey[
    [
        *("Age", "Gender", "Race1", "Education", "HHIncomeMid", "BMI", "BPSysAve", "Pulse"),
        *("Smoke100", "HealthGen", "DaysMentHlthBad", "SleepHrsNight", "SleepTrouble"),
        *("PhysActive", "Depressed"),
    ]
].sample(2000, random_state=0)
ranks = {
    "HealthGen": ["Poor", "Fair", "Good", "Vgood", "Excellent"],
    "Depressed": ["none", "Several", "Most"],
}
survey = survey.astype({n: pd.CategoricalDtype(r, ordered=True) for n, r in ranks.items()})
model = MissSIWAEImputer(min_value=0, random_state=0).fit(survey)
share = [
    (table["Depressed"] != "none").groupby(table["SleepTrouble"]).mean()
    for table in model.impute(survey, 10)
]
seen = survey.dropna(subset=["Depressed", "SleepTrouble"])
print("often or sometimes depressed, by trouble with sleep")
pooled = pd.concat(share, axis=1)
answers = {
    "complete cases": (seen["Depressed"] != "none").groupby(seen["SleepTrouble"]).mean(),
    "imputed": pooled.mean(axis=1),
    "spread of imputations": pooled.std(axis=1),
}
print(pd.DataFrame(answers).round(4).to_string())
