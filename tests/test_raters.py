"""From votes to class probabilities: against crowd-kit, against expectation-maximisation written out, by properties."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import MajorityVote
from hypothesis import given, settings
from hypothesis import strategies as st

from weakstrong.errors import ConfigError, DataError
from weakstrong.raters import AGGREGATES, dawid_skene, draw, majority, share

every_aggregate = pytest.mark.parametrize("name", AGGREGATES)


def crowd_table(votes_NR: np.ndarray) -> pd.DataFrame:
    row, rater = np.nonzero(votes_NR >= 0)
    return pd.DataFrame({"task": row, "worker": rater, "label": votes_NR[row, rater]})


def crowd(
    truth_N: np.ndarray, accuracy_R: list[float], n_classes: int, voted: float, seed: int
) -> np.ndarray:
    """Votes of raters who are right with their own probability, and otherwise name another class."""
    rng = np.random.default_rng(seed)
    shape = (len(truth_N), len(accuracy_R))
    wrong = (truth_N[:, None] + rng.integers(1, n_classes, shape)) % n_classes
    votes = np.where(rng.random(shape) < np.array(accuracy_R), truth_N[:, None], wrong)
    votes[rng.random(shape) > voted] = -1
    return votes


@st.composite
def any_votes(draw_: st.DrawFn) -> tuple[np.ndarray, int]:
    n_classes = draw_(st.integers(2, 4))
    rows, raters = draw_(st.integers(1, 8)), draw_(st.integers(1, 5))
    cells = st.lists(st.integers(-1, n_classes - 1), min_size=raters, max_size=raters)
    return np.array(draw_(st.lists(cells, min_size=rows, max_size=rows))), n_classes


@settings(deadline=None)  # crowd-kit works through pandas
@given(any_votes())
def test_share_and_majority_agree_with_crowd_kit(votes: tuple[np.ndarray, int]) -> None:
    """-1 counted as a class, or shares over all raters instead of those who voted, move every weak label."""
    votes_NR, n_classes = votes
    table = crowd_table(votes_NR)
    shares = share(votes_NR, n_classes)
    hard = majority(votes_NR, n_classes)
    wanted = np.full_like(shares, 1 / n_classes)
    if len(table):
        found = MajorityVote().fit_predict_proba(table)
        wanted[found.index] = 0
        wanted[np.ix_(found.index, found.columns)] = found.to_numpy()
        winner = MajorityVote().fit_predict(table)
        for row, label in winner.items():
            tied = np.flatnonzero(hard[row])
            # crowd-kit names one of the tied classes.
            assert label in tied
            assert set(hard[row, tied]) == {1 / len(tied)}
    np.testing.assert_allclose(shares, wanted, atol=1e-12)


def test_ties_share_equally() -> None:
    """Giving ties to the first class makes a balanced pair of raters vote for it always."""
    votes = [[0, 1, -1, -1], [2, 2, 1, 1], [0, 1, 2, -1], [1, 1, 0, -1], [-1, -1, -1, -1]]
    third = 1 / 3
    wanted = [[0.5, 0.5, 0], [0, 0.5, 0.5], [third, third, third], [0, 1, 0], [third, third, third]]
    np.testing.assert_allclose(majority(votes, 3), wanted)


def expectation_maximisation(votes_NR: np.ndarray, n_classes: int, rounds: int) -> Iterator[np.ndarray]:
    """Probabilities after each round of Dawid and Skene's formulas (2.3) to (2.5), cell by cell; all rows have votes."""
    n_rows, n_raters = votes_NR.shape
    probs = np.array([[(row == c).sum() / (row >= 0).sum() for c in range(n_classes)] for row in votes_NR])
    for _ in range(rounds):
        prior = probs.mean(0)
        error = np.zeros((n_raters, n_classes, n_classes))  # true, said
        for r in range(n_raters):
            for true in range(n_classes):
                given_votes = sum(probs[i, true] for i in range(n_rows) if votes_NR[i, r] >= 0)
                for said in range(n_classes):
                    count = sum(probs[i, true] for i in range(n_rows) if votes_NR[i, r] == said)
                    error[r, true, said] = count / given_votes
        for i in range(n_rows):
            likelihood = prior.copy()
            for r in range(n_raters):
                if votes_NR[i, r] >= 0:
                    likelihood *= error[r, :, votes_NR[i, r]]
            probs[i] = likelihood / likelihood.sum()
        yield probs.copy()


@pytest.mark.parametrize(("n_classes", "seed"), [(2, 0), (3, 1)])
def test_dawid_skene_is_the_published_algorithm(n_classes: int, seed: int) -> None:
    """Rows or classes mixed up on the way through a table of votes give probabilities that still sum to one."""
    truth = np.random.default_rng(seed).integers(0, n_classes, 120)
    votes = crowd(truth, [0.9, 0.8, 0.7, 0.6, 0.85], n_classes, 0.8, seed)
    votes = votes[(votes >= 0).any(1)]
    found = dawid_skene(votes, n_classes)
    # crowd-kit stops when a round gains little, so its answer is that of one of the rounds.
    off = [np.abs(found - probs).max() for probs in expectation_maximisation(votes, n_classes, 60)]
    assert min(off) < 1e-6
    assert np.argmin(off) > 2


def test_dawid_skene_sees_through_an_adversary() -> None:
    """Its reason to exist: raters who are mostly wrong carry information, and a majority counts them as right."""
    truth = np.random.default_rng(0).integers(0, 2, 600)
    votes = crowd(truth, [0.8, 0.8, 0.8, 0.03, 0.03], 2, 1.0, 0)
    right = {name: (f(votes, 2).argmax(1) == truth).mean() for name, f in AGGREGATES.items()}
    assert right["majority"] < 0.6
    assert right["dawid-skene"] > 0.95
    one = crowd(truth, [0.75, 0.75, 0.03], 2, 1.0, 1)
    better = (dawid_skene(one, 2).argmax(1) == truth).mean() - (majority(one, 2).argmax(1) == truth).mean()
    assert better > 0.2


@every_aggregate
@settings(max_examples=40, deadline=None)
@given(votes=any_votes())
def test_every_way_gives_probabilities_row_by_row(name: str, votes: tuple[np.ndarray, int]) -> None:
    """Rows without votes or classes without votes must not become nan, or shift the rows after them."""
    votes_NR, n_classes = votes
    probs = AGGREGATES[name](votes_NR, n_classes)
    assert probs.shape == (len(votes_NR), n_classes)
    assert (probs >= 0).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    silent = (votes_NR < 0).all(1)
    np.testing.assert_allclose(probs[silent], 1 / n_classes)
    if name != "dawid-skene":  # its maximum need not follow the votes
        order = np.random.default_rng(0).permutation(len(votes_NR))
        np.testing.assert_allclose(AGGREGATES[name](votes_NR[order], n_classes), probs[order])


# --- drawing


@given(any_votes(), st.integers(1, 5), st.integers(0, 99))
def test_a_draw_keeps_so_many_votes_in_their_places(votes: tuple[np.ndarray, int], k: int, seed: int) -> None:
    """A rater's column moved in drawing gives Dawid–Skene one person's errors under another's name."""
    votes_NR, _ = votes
    before = votes_NR.copy()
    drawn = draw(votes_NR, k, np.random.default_rng(seed))
    assert ((drawn == votes_NR) | (drawn == -1)).all()
    assert ((drawn >= 0).sum(1) == np.minimum(k, (votes_NR >= 0).sum(1))).all()
    assert (drawn == draw(votes_NR, k, np.random.default_rng(seed))).all()
    assert (votes_NR == before).all()


def test_every_rater_who_voted_is_drawn_equally_often() -> None:
    """Drawing places and then dropping the empty ones leaves rows with too few votes, from the first raters mostly."""
    votes = np.tile([0, -1, 1, 2, -1, 0], (6000, 1))
    often = (draw(votes, 2, np.random.default_rng(0)) >= 0).mean(0)
    assert often[[1, 4]].tolist() == [0, 0]
    np.testing.assert_allclose(often[[0, 2, 3, 5]], 0.5, atol=0.03)


# --- what is refused


@every_aggregate
@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ([[0, 1], [2, 0]], r"row 2, rater 1 is 2, wanted a class from 0 to 1, or -1"),
        ([[0, -2]], r"row 1, rater 2 is -2"),
        ([0, 1], r"shape \(2,\), wanted whole numbers \[rows, raters\]"),
        ([[0.0, 0.5]], r"found float64"),
    ],
)
def test_votes_that_are_none_are_refused(name: str, votes: Any, words: str) -> None:
    """A class that does not exist would be dropped from counts, and -2 taken for the last class but one."""
    with pytest.raises(DataError, match=words):
        AGGREGATES[name](votes, 2)


def test_no_raters_cannot_be_drawn() -> None:
    """Zero would give rows without a single vote."""
    with pytest.raises(ConfigError, match="found 0 raters"):
        draw([[0, 1]], 0, np.random.default_rng(0))


def test_a_missing_crowd_kit_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: a bare ImportError in the middle of a run tells nobody what to install."""
    monkeypatch.setitem(sys.modules, "crowdkit.aggregation", None)
    with pytest.raises(ConfigError, match=r'pip install "weakstrong\[raters\]"'):
        dawid_skene([[0, 1]], 2)
    assert share([[0, 1]], 2).tolist() == majority([[0, 1]], 2).tolist() == [[0.5, 0.5]]
