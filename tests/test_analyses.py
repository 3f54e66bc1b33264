"""Analyses over a stored experiment: what they read, how they are named, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from weakstrong import stats
from weakstrong.analyses import ANALYSES, Analysis, parse_analysis
from weakstrong.errors import ConfigError, DataError, UnknownNameError
from weakstrong.stats import ratio_interval


def test_a_ratio_is_a_sum_over_a_sum_and_its_interval_the_crossed_bootstraps() -> None:
    """A mean of the seeds' ratios weighs a seed with few rows as one with many."""
    rng = np.random.default_rng(0)
    where_SN = rng.random((4, 300)) < 0.3
    hit_SN = where_SN & (rng.random((4, 300)) < 0.6)
    found = ratio_interval(hit_SN, where_SN)
    assert found.value == pytest.approx(hit_SN.sum() / where_SN.sum())
    boot = []
    draw = np.random.default_rng(1)
    for _ in range(3000):  # brute force: draw seeds, draw rows, divide
        block = np.ix_(draw.integers(0, 4, 4), draw.integers(0, 300, 300))
        boot.append(hit_SN[block].sum() / where_SN[block].sum())
    low, high = np.quantile(boot, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_a_share_of_no_rows_is_undefined_and_bad_arrays_are_named() -> None:
    """0 for "the supervisor is never wrong" would read as perfect disagreement."""
    none = ratio_interval([[0, 0]], [[0, 0]])
    assert np.isnan([none.value, none.low, none.high]).all()
    with pytest.raises(DataError, match="wanted \\(seeds, test rows\\)"):
        ratio_interval([0.5, 1.0])
    with pytest.raises(DataError, match="finite"):
        ratio_interval([[np.nan, 1.0]])
    with pytest.raises(ConfigError, match="level"):
        stats.ratio_interval([[1, 0]], level=2)


def test_analyses_are_named_with_close_matches() -> None:
    """A misspelt analysis must fail before hours of training, in words."""
    with pytest.raises(UnknownNameError, match="agreement"):
        parse_analysis("agrement")
    with pytest.raises(ConfigError, match="parameter=value"):
        parse_analysis("agreement:10")


def test_every_listed_analysis_is_one_and_says_where_it_comes_from() -> None:
    """A file of the package that is no analysis stops `w2s analyse`, which lists them all."""
    for name in ANALYSES.names():
        entry = ANALYSES.get(name)
        assert issubclass(entry, Analysis)
        assert parse_analysis(name).kind == name
        assert entry.source
        assert (entry.__doc__ or "").strip()
