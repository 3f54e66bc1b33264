"""What every rule for weak labels must keep, found by name; and each rule against brute force.

Legend: N rows of one part, C classes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from weakstrong.derived import DERIVED, Given, parse_rule

NAMES = DERIVED.names()
ERRORS = [name for name in NAMES if name.endswith("-errors")]
every_rule = pytest.mark.parametrize("name", NAMES)
every_error_rule = pytest.mark.parametrize("name", ERRORS)
CASES = [(2, "soft"), (2, "hard"), (2, "tied"), (3, "soft"), (4, "hard"), (5, "tied")]
cases = pytest.mark.parametrize(("classes", "form"), CASES)


def given(
    classes: int = 2, form: str = "soft", seed: int = 0, rows: int = 201, accuracy: float = 0.7
) -> Given:
    """A part: a supervisor right on about ``accuracy`` of the rows, texts of repeated lengths, a stronger model."""
    rng = np.random.default_rng([seed, classes])
    truth_N = rng.integers(0, classes, rows)

    def predictions(share: float) -> Any:
        wrong_N = (truth_N + rng.integers(1, classes, rows)) % classes
        guess_N = np.where(rng.random(rows) < share, truth_N, wrong_N)
        logits_NC = rng.normal(size=(rows, classes))
        logits_NC[np.arange(rows), guess_N] = logits_NC.max(1) + rng.random(rows)
        probs_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
        return probs_NC.astype(np.float32)

    weak_NC = predictions(accuracy)
    if form == "hard":
        weak_NC = np.eye(classes, dtype=np.float32)[weak_NC.argmax(1)]
    if form == "tied":  # a third of the rows: two classes equally likely, the others not at all
        for i in range(0, rows, 3):
            weak_NC[i] = 0
            weak_NC[i, rng.choice(classes, 2, replace=False)] = 0.5
    return Given(
        weak_NC, np.random.default_rng([seed, 1]), truth_N, rng.integers(1, 30, rows), predictions(0.85)
    )


def errors(labels_NC: Any, one: Given) -> set[int]:
    return set(np.flatnonzero(labels_NC.argmax(1) != one.truth_N).tolist())


# --- every rule


@every_rule
@cases
def test_labels_are_probabilities_and_the_seed_decides_them(name: str, classes: int, form: str) -> None:
    """Rows that sum to two, labels in another type, another draw with the same seed, or an input that was changed."""
    one = given(classes, form)
    before_NC = one.weak_NC.copy()
    made_NC = parse_rule(name).labels(one)
    assert made_NC.shape == one.weak_NC.shape
    assert made_NC.dtype == np.float32
    assert np.allclose(made_NC.sum(1), 1, atol=1e-5)
    assert (made_NC >= 0).all()
    assert np.array_equal(one.weak_NC, before_NC)
    assert np.array_equal(parse_rule(name).labels(given(classes, form)), made_NC)
    other = given(classes, form)
    object.__setattr__(other, "generator", np.random.default_rng(99))
    if form == "soft":
        assert not np.array_equal(parse_rule(name).labels(other), made_NC)


@every_rule
@cases
def test_confidences_are_the_supervisors(name: str, classes: int, form: str) -> None:
    """Errors that look surer than the supervisor's would be told apart by their confidence, not by their place."""
    one = given(classes, form)
    made_NC = parse_rule(name).labels(one)
    assert np.allclose(np.sort(made_NC.max(1)), np.sort(one.weak_NC.max(1)), atol=1e-6)
    if name in ERRORS:
        for chosen in (True, False):
            was_N, is_N = ((x.argmax(1) != one.truth_N) == chosen for x in (one.weak_NC, made_NC))
            assert np.allclose(np.sort(made_NC[is_N].max(1)), np.sort(one.weak_NC[was_N].max(1)), atol=1e-6)
            # How far the label is from the truth is part of an error too: with more than two classes not all are equal.
            far = [
                Counter(((x.argmax(1) - one.truth_N)[n] % classes).tolist())
                for x, n in ((one.weak_NC, was_N), (made_NC, is_N))
            ]
            assert far[0] == far[1]
    if form == "hard":
        assert set(np.unique(made_NC)) == {0.0, 1.0}


@every_error_rule
@cases
@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_there_are_exactly_as_many_errors(name: str, classes: int, form: str, accuracy: float) -> None:
    """One error more or less, in a tie say, and the accuracies that are compared are not equal."""
    for seed in range(5):
        one = given(classes, form, seed, accuracy=accuracy)
        made_NC = parse_rule(name).labels(one)
        assert len(errors(made_NC, one)) == len(errors(one.weak_NC, one))


@every_rule
def test_a_rule_reads_only_what_it_names(name: str) -> None:
    """A rule that looks at what it does not declare gets nothing of it in a run: found there, it costs the run."""
    rule, one = parse_rule(name), given()
    bare = Given(
        one.weak_NC,
        one.generator,
        one.truth_N if "truth" in rule.reads else None,
        one.length_N if "texts" in rule.reads else None,
        one.ceiling_NC if "ceiling" in rule.reads else None,
    )
    assert np.array_equal(rule.labels(bare), rule.labels(given()))


@every_rule
def test_names_rebuild_rules(name: str) -> None:
    """A name in a table that does not parse back cannot be repeated."""
    rule = parse_rule(name)
    assert parse_rule(rule.name) == parse_rule(rule.to_dict()) == rule
    assert rule.source
    assert rule.__doc__


# --- each rule against brute force


def test_shuffled_labels_are_a_permutation() -> None:
    """Labels drawn with replacement have other class shares; labels left in place are no control."""
    one = given(3)
    made_NC = parse_rule("shuffled").labels(one)
    assert sorted(map(tuple, made_NC.tolist())) == sorted(map(tuple, one.weak_NC.tolist()))
    assert (made_NC != one.weak_NC).any(1).mean() > 0.9


def test_random_errors_fall_anywhere() -> None:
    """Errors at the supervisor's places, or away from them, are not random: each row must be wrong equally often."""
    counts_N, own = np.zeros(201), errors(given().weak_NC, given())
    for seed in range(400):
        one = given()
        object.__setattr__(one, "generator", np.random.default_rng(seed))
        counts_N[list(errors(parse_rule("random-errors").labels(one), one))] += 1
    share_N, wanted = counts_N / 400, len(own) / 201
    assert abs(share_N[sorted(own)].mean() - wanted) < 0.03
    assert share_N.std() < 2 * np.sqrt(wanted * (1 - wanted) / 400)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_mixed_errors_keep_their_share(share: float) -> None:
    """The share of all rows in place of the errors; places kept that are then hit again and lost."""
    found = []
    for seed in range(200):
        one = given(seed=seed)
        own, made = (
            errors(one.weak_NC, one),
            errors(parse_rule(f"mixed-errors:share={share}").labels(one), one),
        )
        kept = round(share * len(own))
        assert len(made & own) >= kept
        # What is left falls on any row without an error yet, those of the supervisor's other errors among them.
        by_chance = (len(own) - kept) ** 2 / (len(one.weak_NC) - kept)
        found.append(len(made & own) - kept - by_chance)
        if share == 1:
            assert made == own
    assert abs(np.mean(found)) < 0.7


def ranked(name: str, one: Given) -> list[int]:
    """Rows in the order in which they get errors, by plain Python sorting; rows that are alike in their own order."""
    assert one.length_N is not None
    assert one.ceiling_NC is not None
    assert one.truth_N is not None
    rows = range(len(one.weak_NC))
    lengths, sure, truth = one.length_N.tolist(), one.ceiling_NC.tolist(), one.truth_N.tolist()
    keys: dict[str, Any] = {
        "longest-errors": lambda i: -lengths[i],
        "shortest-errors": lambda i: lengths[i],
        "ceiling-unsure-errors": lambda i: max(sure[i]),
        "ceiling-sure-errors": lambda i: -sure[i][truth[i]],
    }
    return sorted(rows, key=keys[name])


@pytest.mark.parametrize(
    "name", ["longest-errors", "shortest-errors", "ceiling-unsure-errors", "ceiling-sure-errors"]
)
@cases
def test_errors_are_where_the_rule_says(name: str, classes: int, form: str) -> None:
    """The longest for the shortest; the surest whether right or wrong; an order that is turned around."""
    one = given(classes, form)
    wanted = ranked(name, one)[: len(errors(one.weak_NC, one))]
    assert errors(parse_rule(name).labels(one), one) == set(wanted)


def test_ceiling_sure_errors_hit_rows_it_has_right_first() -> None:
    """An error where the ceiling is sure and wrong already is the truth turned to the ceiling's side."""
    one = given(accuracy=0.8)
    assert one.ceiling_NC is not None
    hit = sorted(errors(parse_rule("ceiling-sure-errors").labels(one), one))
    assert (one.ceiling_NC[hit].argmax(1) == one.truth_N[hit]).all()  # type: ignore[index]
