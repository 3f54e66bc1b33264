"""Calibration, misfit and similarity of errors: against brute force, other libraries, and answers that are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import cohen_kappa_score

from weakstrong.analyses.calibration import Calibration, error_intervals
from weakstrong.analyses.error_similarity import ErrorSimilarity, similarity
from weakstrong.analyses.misfit import Misfit, gain_rows, misfit_rows
from weakstrong.calibration import brier, expected_calibration_error
from weakstrong.errors import ConfigError, DataError
from weakstrong.intervals import function_intervals

Array = Any


class Predictions:
    """What an analysis sees of its runs, from arrays [S, N, C]; ``sealed`` ground truth must not be looked at."""

    def __init__(self, arms: Mapping[str, Array], truth_N: Array, sealed: bool = False) -> None:
        self._arms, self._truth_N, self._sealed = arms, truth_N, sealed

    @property
    def truth(self) -> Array:
        assert not self._sealed, "ground truth was read"
        return self._truth_N

    def probabilities(self, arm: str) -> Array:
        return self._arms[arm].astype(np.float32)

    def guesses(self, arm: str) -> Array:
        return self._arms[arm].argmax(-1)

    def correct(self, arm: str) -> Array:
        return self.guesses(arm) == self.truth


def made(seeds: int = 3, rows: int = 400, classes: int = 3, seed: int = 0) -> tuple[dict[str, Array], Array]:
    """Probabilities of three arms, ever better, with errors in common, and the truth."""
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(0, classes, rows)
    shared_NC = rng.standard_normal((rows, classes))
    arms = {}
    for arm, skill in (("supervisor", 0.7), ("student", 1.2), ("ceiling", 2.0)):
        logit_SNC = shared_NC + rng.standard_normal((seeds, rows, classes)) + skill * np.eye(classes)[truth_N]
        power = np.exp(logit_SNC)
        arms[arm] = (power / power.sum(-1, keepdims=True)).astype(np.float32).astype(float)
    return arms, truth_N


def only(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (found,) = [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]
    return found


@pytest.mark.parametrize("analysis", [Calibration(), Misfit(), ErrorSimilarity()], ids=lambda a: a.kind)
@pytest.mark.parametrize("seeds", [1, 3])
def test_rows_are_flat_and_their_values_lie_in_their_intervals(analysis: Any, seeds: int) -> None:
    """A row without a measure, two rows that nothing tells apart, an interval beside its value."""
    rows = analysis.measure(Predictions(*made(seeds)))
    for row in rows:
        assert {"measure", "value", "low", "high"} <= set(row)
        assert all(isinstance(v, (str, bool, int, float)) for v in row.values())
        if not np.isnan(row["value"]) and "chance" not in row["measure"]:
            assert row["low"] <= row["value"] <= row["high"]
    told_apart = [
        tuple(v for k, v in row.items() if k not in ("value", "low", "high", "count", "confidence"))
        for row in rows
    ]
    assert len(set(told_apart)) == len(rows)


# --- calibration


def test_calibration_errors_and_brier_scores_are_means_over_seeds() -> None:
    """Errors of opposite sign in two seeds that cancel because the seeds were pooled first."""
    arms, truth_N = made()
    rows = Calibration(bins=7).measure(Predictions(arms, truth_N))  # type: ignore[arg-type]
    for arm, probs_SNC in arms.items():
        errors = [expected_calibration_error(p_NC, truth_N, 7) for p_NC in probs_SNC]
        assert only(rows, arm=arm, measure="calibration error")["value"] == pytest.approx(np.mean(errors))
        scores = [brier(p_NC, truth_N) for p_NC in probs_SNC]
        assert only(rows, arm=arm, measure="brier")["value"] == pytest.approx(np.mean(scores))
        sure = probs_SNC.max(-1).mean() - (probs_SNC.argmax(-1) == truth_N).mean()
        assert only(rows, arm=arm, measure="overconfidence")["value"] == pytest.approx(sure)


def test_a_reliability_diagram_row_by_row() -> None:
    """Rows on an edge counted twice or never; an empty bin that shows accuracy 0."""
    arms, truth_N = made()
    rows = Calibration(bins=8).measure(Predictions(arms, truth_N))  # type: ignore[arg-type]
    diagram = [r for r in rows if r["measure"] == "reliability" and r["arm"] == "student"]
    assert [r["bin_low"] for r in diagram] == pytest.approx(np.arange(8) / 8)
    probs_SNC = arms["student"]
    for row in diagram:
        hits = []
        for probs_NC in probs_SNC:
            for p_C, y in zip(probs_NC, truth_N, strict=True):
                if row["bin_low"] < p_C.max() <= row["bin_high"]:
                    hits.append((p_C.max(), p_C.argmax() == y))
        assert row["count"] == len(hits)
        if hits:
            assert (row["confidence"], row["value"]) == pytest.approx(np.mean(hits, axis=0))
        else:
            assert np.isnan([row["value"], row["low"], row["high"], row["confidence"]]).all()
    assert sum(r["count"] for r in diagram) == probs_SNC[..., 0].size


def calibrated(rng: np.random.Generator, shift: float, rows: int = 800) -> tuple[Array, Array]:
    """Confidences [3, N], and answers that are right ``shift`` less often than they say."""
    confidence_SN = rng.uniform(0.65, 1.0, (3, rows))
    return confidence_SN, rng.random((3, rows)) < confidence_SN - shift


def test_labels_right_as_often_as_they_are_sure_have_the_error_of_chance() -> None:
    """A calibration error of 0.03 read as miscalibration where binning alone gives 0.03."""
    rng = np.random.default_rng(0)
    error, chance = error_intervals(*calibrated(rng, 0.0), 15)
    assert error.value < 0.05
    assert error.low < 0.01
    assert chance.low <= error.value <= chance.high
    error, chance = error_intervals(*calibrated(rng, 0.2), 15)
    assert error.value == pytest.approx(0.2, abs=0.03)
    assert error.value > chance.high


def test_the_interval_of_the_calibration_error_covers_the_true_one() -> None:
    """Percentiles of resamples lie above the true error, because every resample adds the noise of binning anew."""
    rng = np.random.default_rng(1)
    # In each bin the answers are right 0.1 less often than they say, so the true error is 0.1.
    held = 0
    for _ in range(60):
        found, _ = error_intervals(*calibrated(rng, 0.1, 300), 10, resamples=200)
        held += found.low <= 0.1 <= found.high
    assert held >= 50  # of 60 at 95 %; 50 or fewer have probability 0.0004


def test_calibration_refuses_what_is_no_probability() -> None:
    """Logits would give a diagram too."""
    arms, truth_N = made()
    with pytest.raises(DataError, match="sum to 1"):
        Calibration().measure(Predictions(arms | {"student": 3 * arms["student"]}, truth_N))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="bins"):
        Calibration.parse({"kind": "calibration", "bins": 0}, "analysis calibration")


# --- misfit


def test_misfit_and_gain_by_hand() -> None:
    """Forward instead of reverse divergence; a gain with the wrong sign; means over classes instead of sums."""
    arms, truth_N = made()
    rows = Misfit().measure(Predictions(arms, truth_N))  # type: ignore[arg-type]
    sums = dict.fromkeys([("squared", "misfit"), ("squared", "gain"), ("kl", "misfit"), ("kl", "gain")], 0.0)
    for weak_NC, student_NC in zip(arms["supervisor"], arms["student"], strict=True):
        for w, p, y in zip(weak_NC, student_NC, truth_N, strict=True):
            for c in range(3):
                sums["squared", "misfit"] += (p[c] - w[c]) ** 2
                sums["squared", "gain"] += (w[c] - (c == y)) ** 2 - (p[c] - (c == y)) ** 2
                sums["kl", "misfit"] += p[c] * np.log(p[c] / w[c])
            sums["kl", "gain"] += np.log(p[y]) - np.log(w[y])
    for (loss, measure), total in sums.items():
        row = only(rows, loss={"kl": "cross entropy"}.get(loss, loss), measure=measure)
        assert row["value"] == pytest.approx(total / (3 * 400), rel=1e-5)
    for loss in ("squared", "cross entropy"):
        misfit, gain, rest = (
            only(rows, loss=loss, measure=m)["value"] for m in ("misfit", "gain", "gain minus misfit")
        )
        assert rest == pytest.approx(gain - misfit, abs=1e-9)
    brier_gain = [
        brier(w, truth_N) - brier(p, truth_N)
        for w, p in zip(arms["supervisor"], arms["student"], strict=True)
    ]
    assert only(rows, loss="squared", measure="gain")["value"] == pytest.approx(np.mean(brier_gain))


def test_what_needs_no_labels_reads_none() -> None:
    """A "label-free" estimate that changes with ground truth, or a reader of it that is not marked."""
    arms, truth_N = made()
    free = Misfit().without_truth(Predictions(arms, truth_N, sealed=True))  # type: ignore[arg-type]
    assert [r["measure"] for r in free] == ["misfit", "misfit"]
    assert not any(r["uses_ground_truth"] for r in free)
    every = [Misfit().measure(Predictions(arms, t)) for t in (truth_N, (truth_N + 1) % 3)]  # type: ignore[arg-type]
    for right, wrong in zip(*every, strict=True):
        assert (right["value"] == wrong["value"]) is not right["uses_ground_truth"]
    assert [r for r in every[0] if not r["uses_ground_truth"]] == free


def test_a_student_that_is_its_supervisor_has_no_misfit_and_no_gain() -> None:
    """A distance that is not 0 between equal labels."""
    arms, truth_N = made()
    rows = Misfit().measure(Predictions(arms | {"student": arms["supervisor"]}, truth_N))  # type: ignore[arg-type]
    assert [(r["value"], r["low"], r["high"]) for r in rows] == [(0.0, 0.0, 0.0)] * 6


def test_hard_weak_labels_have_no_reverse_divergence_and_say_so() -> None:
    """An infinite divergence clipped to some number that depends on the clip."""
    arms, truth_N = made()
    hard = np.eye(3)[arms["supervisor"].argmax(-1)]
    rows = Misfit().measure(Predictions(arms | {"supervisor": hard}, truth_N))  # type: ignore[arg-type]
    for row in rows:
        assert np.isnan(row["value"]) == (row["loss"] == "cross entropy") == bool(row["reason"])


@pytest.mark.parametrize("loss", ["squared", "cross entropy"])
def test_the_theorem_holds_where_its_conditions_do(loss: Any) -> None:
    """The wrong direction of the divergence breaks the inequality that the misfit is reported for."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        # Students: mixtures of four fixed functions, a convex set; the truth is one mixture; weak labels are any.
        part_KNC = rng.dirichlet(np.ones(3), (4, 30))
        truth_NC = np.einsum("k,knc->nc", rng.dirichlet(np.ones(4)), part_KNC)
        weak_NC = rng.dirichlet(2 * np.ones(3), 30)

        def student(mix_K: Array, part_KNC: Array = part_KNC) -> Array:
            return np.einsum("k,knc->nc", mix_K, part_KNC)

        def misfit(mix_K: Array, weak_NC: Array = weak_NC, student: Any = student) -> float:
            return float(misfit_rows(student(mix_K)[None], weak_NC[None], loss).mean())

        best = minimize(
            misfit, np.full(4, 0.25), bounds=[(0, 1)] * 4, method="SLSQP", options={"ftol": 1e-12},
            constraints={"type": "eq", "fun": lambda mix_K: mix_K.sum() - 1},
        )  # fmt: skip
        # The expectation over noisy labels of the gain, class by class.
        gain = sum(
            (truth_NC[:, c] * gain_rows(student(best.x)[None], weak_NC[None], np.full(30, c), loss)[0]).mean()
            for c in range(3)
        )
        assert best.fun > 0.01
        assert gain >= best.fun - 1e-6
        # Another student of the set, further off, has a larger misfit and no such promise.
        assert misfit(np.eye(4)[0]) > best.fun


# --- similarity of errors


def capa_by_hand(a_NC: Array, b_NC: Array, truth_N: Array) -> float:
    """The definition of Goel et al., one row after another."""
    n, observed, a, b, spread = len(truth_N), 0.0, 0.0, 0.0, 0.0
    for p, q, y in zip(a_NC, b_NC, truth_N, strict=True):
        observed += sum(p[c] * q[c] for c in range(len(p))) / n
        a, b, spread = a + p[y] / n, b + q[y] / n, spread + 1 / (len(p) - 1) / n
    expected = a * b + spread * (1 - a) * (1 - b)
    return (observed - expected) / (1 - expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_similarities_against_other_implementations(classes: int) -> None:
    """Accuracies in place of mean probabilities, wrong mass spread over all classes, marginals of the wrong model."""
    arms, truth_N = made(classes=classes)
    rows = ErrorSimilarity().measure(Predictions(arms, truth_N))  # type: ignore[arg-type]
    assert {(r["arm"], r["other"]) for r in rows} == {
        ("supervisor", "student"), ("supervisor", "ceiling"), ("student", "ceiling"),
    }  # fmt: skip
    for first, second in {(r["arm"], r["other"]) for r in rows}:
        a, b = (arms[arm].reshape(-1, classes) for arm in (first, second))
        y, guess_a, guess_b = np.tile(truth_N, 3), a.argmax(-1), b.argmax(-1)
        hard = np.eye(classes)
        wanted = {
            "capa": capa_by_hand(a, b, y),
            "capa of guesses": capa_by_hand(hard[guess_a], hard[guess_b], y),
            "cohen's kappa": cohen_kappa_score(guess_a, guess_b),
            # Cohen's kappa of right and wrong has the same expectation as error consistency.
            "error consistency": cohen_kappa_score(guess_a == y, guess_b == y),
            "agreement": np.mean(guess_a == guess_b),
        }
        for measure, value in wanted.items():
            assert only(rows, arm=first, other=second, measure=measure)["value"] == pytest.approx(
                value, abs=1e-6
            )


def test_independent_errors_are_not_similar_and_equal_answers_are() -> None:
    """Two good models agree often by chance; a measure that calls that similarity says nothing."""
    rng = np.random.default_rng(2)
    truth_N = rng.integers(0, 4, 6000)
    answers = []
    for share in (0.9, 0.8):
        wrong_N = (truth_N + rng.integers(1, 4, 6000)) % 4
        answers.append(np.eye(4)[np.where(rng.random(6000) < share, truth_N, wrong_N)][None])
    found = similarity(*answers, truth_N)
    assert found["agreement"].value > 0.7
    for measure in ("capa", "capa of guesses", "error consistency"):
        assert found[measure].low < 0 < found[measure].high
        assert abs(found[measure].value) < 0.03
    same = similarity(answers[0], answers[0], truth_N)
    assert [i.value for i in same.values()] == pytest.approx([1.0] * 5)


def test_two_models_that_are_always_right_have_no_similarity_of_errors() -> None:
    """0 / 0 reported as 0 or as 1."""
    truth_N = np.arange(12) % 3
    right = np.eye(3)[truth_N][None]
    found = similarity(right, right, truth_N)
    for measure in ("capa", "capa of guesses", "error consistency"):
        assert np.isnan([found[measure].value, found[measure].low, found[measure].high]).all()
    assert found["agreement"].value == 1


# --- statistics of sums


def test_intervals_of_a_function_against_brute_force() -> None:
    """Rows drawn anew for each arm, which widens the interval of a difference of paired arms."""
    rng = np.random.default_rng(3)
    easy_N = rng.random(200)
    values_ASN = (easy_N + 0.3 * rng.random((2, 4, 200)) > 0.6).astype(float)
    found = function_intervals(values_ASN, lambda t: np.stack([t[:, 0] / t[:, 1], t[:, 0] - t[:, 1]], 1))
    boot = []
    for _ in range(3000):
        block = values_ASN[:, rng.integers(0, 4, 4)][:, :, rng.integers(0, 200, 200)].sum((1, 2))
        boot.append((block[0] / block[1], block[0] - block[1]))
    for k, interval in enumerate(found):
        low, high = np.quantile([b[k] for b in boot], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    with pytest.raises(DataError, match="arms, seeds, test rows"):
        function_intervals(np.ones((2, 3)), lambda t: t)
    with pytest.raises(DataError, match="finite"):
        function_intervals(np.full((1, 1, 3), np.inf), lambda t: t)
