"""Codecs of dates and times."""

import datetime

import narwhals as nw
import numpy as np

from skmissvae.tables.codecs import Dates

DAY = 86_400_000_000  # microseconds


def test_numbers_are_decoded_to_the_nearest_multiple_of_the_resolution():
    codec = Dates("continuous", nw.Date(), DAY)
    dates = codec.decode(np.array([0.6, 1.4, -0.6, -1.4]) * DAY)
    first = datetime.date(1970, 1, 1)
    assert [(date - first).days for date in dates] == [1, 1, -1, -1]


def test_limits_without_a_time_zone_are_in_that_of_the_column():
    limit = datetime.datetime(2024, 7, 1, 12)
    codec = Dates("continuous", nw.Datetime("us", "Europe/Berlin"))
    (decoded,) = codec.decode(np.array([codec.encode_limit(limit)]))
    assert decoded == datetime.datetime(2024, 7, 1, 10, tzinfo=datetime.UTC)
    without_zone = Dates("continuous", nw.Datetime("us"))
    assert without_zone.decode(np.array([without_zone.encode_limit(limit)])) == [limit]
