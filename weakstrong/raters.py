"""From the votes of several raters to class probabilities.

Legend: N rows, R raters, C classes. Votes are whole numbers [N, R]: a class index, or -1 where a rater did not vote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from weakstrong.errors import ConfigError, DataError

Votes = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


def draw(votes_NR: npt.ArrayLike, k: int, generator: np.random.Generator) -> Votes:
    """The votes of ``k`` raters of each row, drawn without replacement from those who voted; -1 elsewhere.

    Rows with fewer votes keep all of them.

    >>> draw([[1, -1, 0, 1], [-1, 0, -1, -1]], 2, np.random.default_rng(0)).tolist()
    [[-1, -1, 0, 1], [-1, 0, -1, -1]]

    Raises:
        ConfigError: for fewer than one rater.
        DataError: for votes that are no whole numbers of at least -1 in two dimensions.
    """
    if k < 1:
        raise ConfigError(f"draw: found {k} raters, wanted at least 1")
    votes = _checked(votes_NR)
    place = generator.random(votes.shape)
    place[votes < 0] = np.inf
    rank = place.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.where(rank < k, votes, np.int64(-1))


def share(votes_NR: npt.ArrayLike, n_classes: int) -> Probabilities:
    """Each class's share of a row's votes, [N, C]; a row without votes has equal shares.

    >>> share([[0, 0, 1, -1], [-1, -1, -1, -1]], 2).round(2).tolist()
    [[0.67, 0.33], [0.5, 0.5]]

    Raises:
        DataError: for votes outside -1 ... C-1.
    """
    return _normal(_counts(votes_NR, n_classes))


def majority(votes_NR: npt.ArrayLike, n_classes: int) -> Probabilities:
    """One for the class with most votes, [N, C]; classes that tie share it equally, and so do all without votes.

    >>> majority([[0, 0, 1, -1], [2, 1, -1, -1]], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]

    Raises:
        DataError: for votes outside -1 ... C-1.
    """
    counts = _counts(votes_NR, n_classes)
    return _normal((counts == counts.max(axis=1, keepdims=True)).astype(np.float64))


def dawid_skene(votes_NR: npt.ArrayLike, n_classes: int) -> Probabilities:
    """Class probabilities under a confusion matrix for each rater (Dawid and Skene 1979), [N, C].

    Matrices, class shares and probabilities are estimated together by crowd-kit (expectation-maximisation from the
    shares of votes), so a rater who is mostly wrong counts against what they say. Needs rows that several raters share.
    A row without votes has equal shares.

    Raises:
        DataError: for votes outside -1 ... C-1.
        ConfigError: if crowd-kit is not installed.
    """
    votes = _checked(votes_NR, n_classes)
    try:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        raise ConfigError(
            f'dawid-skene needs crowd-kit ({error}): pip install "weakstrong[raters]", or use share or majority'
        ) from error
    probs_NC = np.full((len(votes), n_classes), 1 / n_classes)
    row, rater = np.nonzero(votes >= 0)
    if len(row):
        table = pd.DataFrame({"task": row, "worker": rater, "label": votes[row, rater]})
        found = DawidSkene().fit_predict_proba(table)
        probs_NC[found.index] = 0.0  # classes that nobody voted for have no column
        probs_NC[np.ix_(found.index, found.columns)] = found.to_numpy()
    return probs_NC


AGGREGATES: Final[Mapping[str, Callable[[npt.ArrayLike, int], Probabilities]]] = MappingProxyType(
    {"share": share, "majority": majority, "dawid-skene": dawid_skene}
)
"""Ways to join votes, by name."""


def _checked(votes_NR: npt.ArrayLike, n_classes: int | None = None) -> Votes:
    votes = np.asarray(votes_NR)
    if votes.ndim != 2 or not np.issubdtype(votes.dtype, np.integer):
        raise DataError(
            f"votes: found {votes.dtype} of shape {votes.shape}, wanted whole numbers [rows, raters], -1 for none"
        )
    bad = votes < -1 if n_classes is None else (votes < -1) | (votes >= n_classes)
    if bad.any():
        row, rater = np.argwhere(bad)[0].tolist()
        top = "" if n_classes is None else f" to {n_classes - 1}"
        raise DataError(
            f"votes: row {row + 1}, rater {rater + 1} is {votes[row, rater]}, wanted a class from 0{top}, or -1 for none"
        )
    return votes.astype(np.int64)


def _counts(votes_NR: npt.ArrayLike, n_classes: int) -> Probabilities:
    votes = _checked(votes_NR, n_classes)
    return np.stack([(votes == c).sum(axis=1) for c in range(n_classes)], axis=1).astype(np.float64)


def _normal(counts_NC: Probabilities) -> Probabilities:
    total_N1 = counts_NC.sum(axis=1, keepdims=True)
    shares: Probabilities = np.where(
        total_N1 > 0, counts_NC / np.maximum(total_N1, 1), 1 / counts_NC.shape[1]
    )
    return shares
