"""Statistics of single columns."""

import numpy as np
import pytest
from scipy import stats

from skmissvae.tables.column_statistics import robust_location_scale


def test_robust_location_and_scale_are_those_of_a_normal_whatever_the_outliers():
    x = 3.0 + 2.0 * stats.norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    x[:100] = 1e6
    assert robust_location_scale(x) == pytest.approx((3.0, 2.0), abs=0.1)
