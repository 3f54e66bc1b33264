"""One row over many tasks, against sorting by hand and scipy's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon

from weakstrong.over_tasks import over_tasks


def row(task: str, method: str, scores: tuple[float, float, float], **changes: Any) -> dict[str, Any]:
    supervisor, student, ceiling = scores
    return {
        "task": task, "supervisor": "weak", "student": "strong", "method": method, "regime": "probe", "recipe": "r",
        "supervisor_score": supervisor, "student_score": student, "ceiling_score": ceiling,
        "pgr": (student - supervisor) / (ceiling - supervisor), "pgr_defined": True, "uses_ground_truth": False,
    } | changes  # fmt: skip


def tasks(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    out = []
    for t in range(count):
        low, high = 0.6 + 0.1 * rng.random(), 0.8 + 0.1 * rng.random()
        naive, better = (low + share * (high - low) for share in rng.uniform(0.1, 0.9, 2))
        out += [row(f"t{t}", "naive", (low, naive, high)), row(f"t{t}", "confidence", (low, better, high))]
    return out


def test_medians_and_tests_against_their_definitions() -> None:
    """A mean in place of a median, an interval of another quantile, or a test on PGR instead of accuracy."""
    rows = tasks(20)
    naive, confidence = over_tasks(rows)
    assert (naive["method"], confidence["method"]) == ("naive", "confidence")
    ordered = sorted(r["pgr"] for r in rows if r["method"] == "confidence")
    assert confidence["pgr_median"] == pytest.approx((ordered[9] + ordered[10]) / 2)
    # The 6th and 15th of 20 enclose the median with probability 0.9586, the 7th and 14th with 0.885.
    assert (confidence["pgr_median_low"], confidence["pgr_median_high"]) == (ordered[5], ordered[14])
    by_method = [[r for r in rows if r["method"] == m] for m in ("confidence", "naive")]
    gain = np.subtract(*([r["student_score"] for r in group] for group in by_method))
    assert confidence["gain_median"] == pytest.approx(np.median(gain))
    assert confidence["n_better"] == (gain > 0).sum()
    assert confidence["wilcoxon_p"] == pytest.approx(wilcoxon(gain, method="exact").pvalue)
    assert confidence["sign_p"] == pytest.approx(binomtest(int((gain > 0).sum()), 20).pvalue)
    assert confidence["wilcoxon_p_holm"] == confidence["wilcoxon_p"]
    assert naive["wilcoxon_p"] is None
    sums = [sum(r[f"{arm}_score"] for r in by_method[0]) for arm in ("supervisor", "student", "ceiling")]
    assert confidence["pgr_summed"] == pytest.approx((sums[1] - sums[0]) / (sums[2] - sums[0]))


def test_undefined_tasks_are_counted_and_never_zero() -> None:
    """A PGR over no gap taken as 0, or as a number, in the median."""
    rows = [row(f"t{i}", "naive", (0.6, 0.7, 0.8)) for i in range(3)]
    rows.append(row("t3", "naive", (0.70, 0.60, 0.69), pgr=10.0, pgr_defined=False))
    (found,) = over_tasks(rows)
    assert (found["n_tasks"], found["n_defined"], found["pgr_median"]) == (4, 3, pytest.approx(0.5))
    assert (found["pgr_median_low"], found["pgr_median_high"]) == (
        None,
        None,
    )  # three tasks enclose nothing at 95 %
    assert found["pgr_summed"] == pytest.approx(0.2 / 0.59)


def test_what_is_not_alike_is_not_joined() -> None:
    """Tasks of another split or training in one median; a single task as a median; an oracle tested against naive."""
    rows = [row("a", "naive", (0.6, 0.7, 0.8)), row("b", "naive", (0.6, 0.7, 0.8), recipe="other")]
    assert over_tasks(rows) == []
    oracle = [row(t, "early-stop:on=oracle", (0.6, 0.75, 0.8), uses_ground_truth=True) for t in "ab"]
    naive = [row(t, "naive", (0.6, 0.7, 0.8)) for t in "ab"]
    found = {r["method"]: r for r in over_tasks(naive + oracle)}
    assert found["early-stop:on=oracle"]["wilcoxon_p"] is None
    assert found["early-stop:on=oracle"]["uses_ground_truth"]


def test_a_negative_summed_gap_gives_no_number() -> None:
    """Human raters above every ceiling: a loss by a negative gap read as a recovery of 103 %."""
    rows = [row(f"t{i}", "naive", (0.97, 0.86, 0.87), pgr=1.1, pgr_defined=False) for i in range(4)]
    (found,) = over_tasks(rows)
    assert (found["pgr_summed"], found["pgr_median"], found["n_defined"]) == (None, None, 0)
