"""Ways to save and load an estimator."""

import io
import pickle
import tempfile
from pathlib import Path

import joblib
import skops.io

from skmissvae import SKOPS_TYPES, load


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def by_skops(estimator, prefixes=()):
    """Trust the listed types of this package, and those with one of the given prefixes."""
    data = skops.io.dumps(estimator)
    types = skops.io.get_untrusted_types(data=data)
    of_others = [name for name in types if name.startswith(tuple(prefixes))]
    return skops.io.loads(data, trusted=[*SKOPS_TYPES, *of_others])


def by_model_file(estimator):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        estimator.save(path)
        assert [file.name for file in Path(folder).iterdir()] == ["model"]
        return load(path)
