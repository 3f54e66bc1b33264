"""Ground truth with errors at chosen rows: as many as a supervisor makes, as sure as it is.

Legend: N rows of one part, C classes, E errors.
"""

from __future__ import annotations

import numpy as np

from weakstrong.derived.base import FloatArray, Given, IntArray, Rule
from weakstrong.errors import DataError


def own_errors(given: Given) -> IntArray:
    """Rows where the supervisor's likeliest class is not the true one, int64 [E]."""
    return np.flatnonzero(given.weak_NC.argmax(1) != truth_of(given))


def truth_of(given: Given) -> IntArray:
    """Ground truth, int64 [N].

    Raises:
        DataError: if it was not handed over.
    """
    if given.truth_N is None:
        raise DataError("this rule puts errors into ground truth, and was given none")
    return given.truth_N


def with_errors_at(given: Given, wrong_E: IntArray) -> FloatArray:
    """Labels that are wrong at ``wrong_E`` and right elsewhere, float32 [N, C].

    The supervisor's own labels are dealt anew: those of its wrong rows to the rows in ``wrong_E``, those of its right
    rows to the others, each once and in random order. A label keeps its probabilities, turned so that they stand to
    the true class of the new row as they stood to that of the old one (class c becomes c + new - old, modulo C). So
    the confidences of right rows, those of wrong rows, and how far errors are from the truth stay exactly as they
    were; only the place of errors differs. Hard labels stay hard.

    Args:
        wrong_E: rows, each once, exactly as many as the supervisor has errors.
    """
    truth_N, rows = truth_of(given), len(given.weak_NC)
    wrong_N, source_N = np.zeros(rows, bool), np.zeros(rows, np.int64)
    wrong_N[wrong_E] = True
    was_wrong_N = np.zeros(rows, bool)
    was_wrong_N[own_errors(given)] = True
    if wrong_N.sum() != was_wrong_N.sum():
        raise DataError(f"{wrong_N.sum()} places for errors, {was_wrong_N.sum()} are wanted")
    for new_N, old_N in ((wrong_N, was_wrong_N), (~wrong_N, ~was_wrong_N)):
        source_N[new_N] = given.generator.permutation(np.flatnonzero(old_N))
    classes = given.weak_NC.shape[1]
    turn_N = truth_N - truth_N[source_N]
    column_NC = (np.arange(classes) - turn_N[:, None]) % classes
    out_NC = np.take_along_axis(given.weak_NC[source_N], column_NC, 1)
    # Where two classes are equally likely the first one counts, and turning may change which is first.
    guess_N = (given.weak_NC.argmax(1)[source_N] + turn_N) % classes
    lost_N = np.flatnonzero(out_NC.argmax(1) != guess_N)
    out_NC[lost_N, guess_N[lost_N]] = np.nextafter(out_NC[lost_N].max(1), np.float32(2))
    return out_NC


class ErrorRule(Rule):
    """Base: ground truth with as many errors as the supervisor makes, at places that the subclass chooses."""

    def places(self, given: Given, errors: int) -> IntArray:
        """Rows that get a wrong label, int64 [errors], each once."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: a rule says where errors are")

    def labels(self, given: Given) -> FloatArray:
        return with_errors_at(given, self.places(given, len(own_errors(given))))
