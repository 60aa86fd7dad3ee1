"""Cells and columns that the parameter where selects."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet, tiny
from pandas.testing import assert_frame_equal
from table_cases import N, mixed

from skmissvae import MVAEImputer

pytestmark = quiet


def test_only_requested_cells_are_imputed():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    full = imputer.transform(frame)
    selected = imputer.transform(frame, where=["word", "count"])
    for name in frame:
        expected = full if name in ("word", "count") else frame
        pd.testing.assert_series_equal(selected[name], expected[name])
    mask = np.zeros(frame.shape, dtype=bool)
    mask[1, 0] = mask[2, 1] = True  # a missing and an observed cell
    cells = imputer.transform(frame, where=mask)
    restored = cells.copy()
    restored.iloc[1, 0], restored.iloc[2, 1] = frame.iloc[1, 0], frame.iloc[2, 1]
    assert_frame_equal(restored, frame)
    hidden = frame.copy()
    hidden.iloc[2, 1] = pd.NA
    assert cells.iloc[2, 1] == imputer.transform(hidden).iloc[2, 1]
    assert cells.iloc[1, 0] == full.iloc[1, 0]
    lazily = imputer.impute(frame, 2, where=["word"])
    assert lazily[0]["count"].isna().equals(frame["count"].isna())
    for wrong in (np.zeros((2, 2), dtype=bool), "word", ["nothing"], np.zeros(frame.shape)):
        with pytest.raises(ValueError, match="where"):
            imputer.transform(frame, where=wrong)


def test_masks_of_columns_and_frames():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    by_name = imputer.transform(frame, where=["count", "word"])
    chosen = [False, True, False, True, False]
    for where in (chosen, np.array(chosen)):
        assert_frame_equal(imputer.transform(frame, where=where), by_name)
    mask = frame.isna() & chosen
    for where in (mask, mask[mask.columns[::-1]], mask.astype("boolean")):
        assert_frame_equal(imputer.transform(frame, where=where), by_name)
    with pytest.raises(ValueError, match="where and X have different indices"):
        imputer.transform(frame, where=mask[::-1])
    array, labelled = frame.to_numpy(dtype=object), mask.set_axis([f"r{i}" for i in range(N)])
    imputer = tiny(MVAEImputer).fit(array)
    labelled.columns = range(mask.shape[1])
    assert imputer.transform(array, where=labelled.to_numpy()).shape == array.shape
