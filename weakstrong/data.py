"""Rows, grouped balanced splits, and the sealed ground truth.

Tables are Arrow, on disk Parquet. Every table has a string column ``id`` and is joined on it, never by position.

==========  =============================================================
table       columns
==========  =============================================================
rows        id, group, text, label (int); optionally other (the second completion of a comparison), paraphrase, origin
            (``train`` or ``test``, where the authors fixed a test part), ``weak_0 …`` and ``weak.NAME.0 …`` (float,
            ready weak labels), votes (list of int: each rater's class, -1 for none), difficulty (float)
examples    id, group, text, optionally other, paraphrase: all that student-side code may read
split       id, part
probabilities  id, ``p_0 … p_{C-1}`` (float32, rows sum to one)
==========  =============================================================

Array legend: N rows, C classes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from weakstrong.errors import DataError
from weakstrong.spec import Spec

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


FEWEST_ROWS = 50


class Part(StrEnum):
    """Parts of a split. Ground truth: supervisor's two are open to it; the others are sealed from students.

    ``spare`` holds the rows that no other part wants, for intermediate students that ask for rows of their own.
    """

    WEAK_TRAIN = "weak_train"
    WEAK_VALIDATION = "weak_train_validation"
    TRANSFER = "transfer"
    VALIDATION = "validation"
    TEST = "test"
    SPARE = "spare"


class Split(Spec):
    """How rows are dealt (paper §3, A.1): whole groups, balanced test, equal halves.

    The test rows depend on ``test_seed`` only, so every seed of an experiment is scored on the same rows and
    intervals can pair them; the halves and validation rows depend on ``seed`` too.
    """

    kind: Literal["split"] = "split"
    train_rows: int | None = Field(None, ge=2, description="rows in each half; empty: all that are left")
    validation_rows: int | None = Field(
        None, ge=1, description="rows in each validation part; empty: 5 %, at most 500"
    )
    test_rows: int | None = Field(None, ge=2, description="test rows; empty: 20 %, at most 2000")
    seed: int = Field(0, ge=0)
    test_seed: int = Field(0, ge=0)
    majority_limit: float = Field(
        0.55, gt=0, le=1, description="a larger share of one class is cut down (A.1)"
    )


def text_id(text: str) -> str:
    """16 hexadecimal digits that name a text.

    >>> text_id("a film")
    'eb4d67fa94a1035e'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_rows(
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    others: Sequence[str] | None = None,
    weak_NC: npt.NDArray[np.floating[Any]] | None = None,
) -> pa.Table:
    """The ``rows`` table of a task, checked.

    Without ``ids`` a row is named by its text (of a comparison: both texts); repeated texts get a suffix and share a
    group, so copies of one text never straddle a split.

    Raises:
        DataError: for empty texts, repeated ids, or columns of different lengths.
    """
    count = len(texts)
    columns_given = (
        ("labels", labels), ("ids", ids), ("groups", groups), ("second texts", others), ("weak labels", weak_NC),
    )  # fmt: skip
    for name, column in columns_given:
        if column is not None and len(column) != count:
            raise DataError(f"{len(column)} {name} for {count} texts")
    empty = [
        i
        for i, words in enumerate(zip(texts, others or texts, strict=True))
        if not all(w and w.strip() for w in words)
    ]
    if empty:
        raise DataError(
            f"{len(empty)} of {count} texts are empty, first in row {empty[0] + 1}; fill or drop them"
        )
    named = (
        [text_id(text) for text in texts]
        if others is None
        else [text_id(f"{text}\n\n{other}") for text, other in zip(texts, others, strict=True)]
    )
    if groups is None:
        groups = named
    if ids is None:
        seen: dict[str, int] = {}
        unique = []
        for name in named:
            seen[name] = seen.get(name, 0) + 1
            unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
        ids = unique
    elif len(set(ids)) != count:
        counts = Counter(ids)
        first = next(name for name in ids if counts[name] > 1)
        raise DataError(
            f"{count - len(set(ids))} ids appear twice, first {first!r}; every row needs an id of its own"
        )
    columns: dict[str, Any] = {
        "id": pa.array(list(ids), pa.string()),
        "group": pa.array(list(groups), pa.string()),
        "text": pa.array(list(texts), pa.string()),
        "label": pa.array(list(labels), pa.int64()),
    }
    if others is not None:
        columns["other"] = pa.array(list(others), pa.string())
    if weak_NC is not None:
        check_probabilities(weak_NC, "weak labels")
        columns |= {f"weak_{c}": pa.array(weak_NC[:, c].astype(np.float32)) for c in range(weak_NC.shape[1])}
    return pa.table(columns)


def check_probabilities(probs_NC: npt.NDArray[np.floating[Any]], what: str) -> None:
    """Refuse rows that are not class probabilities (range [0, 1], sum one to 1e-3).

    >>> check_probabilities(np.array([[0.5, 0.6]]), "weak labels")
    Traceback (most recent call last):
    weakstrong.errors.DataError: weak labels: row 1 is [0.5, 0.6], which sums to 1.1, not to one
    """
    bad = ~np.isfinite(probs_NC).all(1) | (probs_NC < -1e-6).any(1) | (probs_NC > 1 + 1e-6).any(1)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise DataError(f"{what}: row {i + 1} is {probs_NC[i].tolist()}, which is not within [0, 1]")
    off = np.abs(probs_NC.sum(1) - 1) > 1e-3
    if off.any():
        i = int(np.flatnonzero(off)[0])
        raise DataError(
            f"{what}: row {i + 1} is {probs_NC[i].tolist()}, which sums to {probs_NC[i].sum():.4g}, not to one"
        )


def deal(rows: pa.Table, n_classes: int, spec: Split) -> pa.Table:
    """Deal rows to parts; returns the ``split`` table (rows that are not used are absent).

    Whole groups go to one part. A class above ``majority_limit`` is cut down to the size of all others together. The
    test part holds equally many rows of each class; where the authors fixed one (column ``origin``), it is drawn from
    their test rows only, and the others of these are left out.

    Raises:
        DataError: with the counts found and wanted, when there are too few rows or only one class.
    """
    label_N = rows["label"].to_numpy()
    ids = rows["id"].to_pylist()
    _, group_N = np.unique(
        np.asarray(rows["group"].to_pylist(), dtype=object).astype(str), return_inverse=True
    )
    counts_C = np.bincount(label_N, minlength=n_classes)
    if (counts_C > 0).sum() < 2:
        raise DataError(
            f"only one class is present (rows per class: {counts_C.tolist()}); two or more are needed"
        )
    fixed_N = _fixed_test(rows)
    learn_N = np.ones(len(rows), bool) if fixed_N is None else ~fixed_N
    keep_N = _cut_majority(
        np.where(learn_N, label_N, -1), np.bincount(label_N[learn_N], minlength=n_classes), spec
    )
    keep = np.flatnonzero(keep_N)
    if len(keep) < FEWEST_ROWS and spec.test_rows is None:
        raise DataError(
            f"too few rows: {len(keep)} (rows per class {counts_C.tolist()}), at least {FEWEST_ROWS} are wanted for "
            "parts that say anything; add rows, or insist with --train-rows and --test-rows"
        )
    test, rest = _take_test(keep, label_N, group_N, n_classes, spec, fixed_N)
    part_of = dict.fromkeys(test.tolist(), Part.TEST)
    part_of |= _deal_rest(rest, group_N, len(keep) if fixed_N is None else len(rest), spec)
    order = sorted(part_of)
    return pa.table({"id": [ids[i] for i in order], "part": [str(part_of[i]) for i in order]})


def _fixed_test(rows: pa.Table) -> npt.NDArray[np.bool_] | None:
    """Which rows the authors set aside as test, or None where they set aside none or all."""
    if "origin" not in rows.column_names:
        return None
    fixed_N = np.asarray(rows["origin"].to_pylist(), dtype=object) == "test"
    return None if fixed_N.all() or not fixed_N.any() else fixed_N


def _cut_majority(label_N: IntArray, counts_C: IntArray, spec: Split) -> npt.NDArray[np.bool_]:
    keep_N = np.ones(len(label_N), bool)
    top = int(counts_C.argmax())
    others = int(counts_C.sum() - counts_C[top])
    if counts_C[top] > spec.majority_limit * counts_C.sum():
        where = np.flatnonzero(label_N == top)
        keep_N[np.random.default_rng(spec.test_seed).permutation(where)[others:]] = False
    return keep_N


def _take_test(
    keep: IntArray,
    label_N: IntArray,
    group_N: IntArray,
    n_classes: int,
    spec: Split,
    fixed_N: npt.NDArray[np.bool_] | None = None,
) -> tuple[IntArray, IntArray]:
    """Balanced test rows, and the rows of all groups that have none of them (none of the fixed test rows, if there are any)."""
    pool = keep if fixed_N is None else keep[fixed_N[keep]]
    present_C = np.bincount(label_N[pool], minlength=n_classes)
    wanted = spec.test_rows if spec.test_rows is not None else min(2000, len(keep) // 5)
    if fixed_N is not None and spec.test_rows is None:
        wanted = min(wanted, n_classes * int(present_C.min()))
    quota_C = np.full(n_classes, wanted // n_classes)
    if wanted < n_classes or (present_C < quota_C).any():
        raise DataError(
            f"too few rows for {wanted} balanced test rows of {n_classes} classes: rows per class "
            f"{present_C.tolist()}; lower --test-rows or add rows"
        )
    members = _by_group(pool, group_N)
    taken: list[int] = []
    used: set[int] = set()
    for group in np.random.default_rng(spec.test_seed).permutation(np.array(sorted(members))).tolist():
        if not quota_C.any():
            break
        for i in members[group]:
            if quota_C[label_N[i]] > 0:
                quota_C[label_N[i]] -= 1
                taken.append(i)
                used.add(group)
    every = _by_group(keep if fixed_N is None else keep[~fixed_N[keep]], group_N)
    rest = np.array([i for group in sorted(every) if group not in used for i in every[group]], dtype=np.int64)
    return np.array(taken, dtype=np.int64), rest


def _deal_rest(rest: IntArray, group_N: IntArray, total: int, spec: Split) -> dict[int, Part]:
    validation = spec.validation_rows if spec.validation_rows is not None else max(1, min(500, total // 20))
    train = spec.train_rows if spec.train_rows is not None else (len(rest) - 2 * validation) // 2
    quota = {
        Part.WEAK_VALIDATION: validation,
        Part.VALIDATION: validation,
        Part.WEAK_TRAIN: train,
        Part.TRANSFER: train,
    }
    wanted = dict(quota)
    members = _by_group(rest, group_N)
    dealt: dict[int, Part] = {}
    for group in (
        np.random.default_rng([spec.seed, 1]).permutation(np.array(sorted(members), dtype=np.int64)).tolist()
    ):
        part = max(quota, key=lambda p: quota[p] / max(1, wanted[p]))
        chosen = members[group][: quota[part]]
        dealt |= dict.fromkeys(chosen, part)
        quota[part] -= len(chosen)
    missing = {str(p): n for p, n in quota.items() if n > 0}
    # Groups are dealt whole, so with no explicit size parts may not come out even; a few large groups leave much over.
    short = any(2 * quota[p] > wanted[p] for p in quota)
    if train < 2 or (missing and (spec.train_rows is not None or short)):
        need = 2 * (train + validation)
        raise DataError(
            f"too few rows: {len(rest)} are left after the test part, {need} are wanted "
            f"(2 × {train} train, 2 × {validation} validation); lower --train-rows or --test-rows, or add rows"
        )
    # Whole groups only: a group that a part has cut short must not go on in another.
    touched = {int(group_N[i]) for i in dealt}
    return dealt | {i: Part.SPARE for g, rows in members.items() if g not in touched for i in rows}


def _by_group(indices: IntArray, group_N: IntArray) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i in indices.tolist():
        members.setdefault(int(group_N[i]), []).append(i)
    return members


def probability_table(ids: Sequence[str], probs_NC: npt.NDArray[np.floating[Any]]) -> pa.Table:
    """A ``probabilities`` table."""
    columns: dict[str, Any] = {"id": pa.array(list(ids), pa.string())}
    columns |= {f"p_{c}": pa.array(probs_NC[:, c].astype(np.float32)) for c in range(probs_NC.shape[1])}
    return pa.table(columns)


def read_probabilities(path: Path) -> tuple[list[str], FloatArray]:
    """Ids and float32 [N, C] probabilities of a stored ``probabilities`` table."""
    table = pq.read_table(path)
    columns = [name for name in table.column_names if name.startswith("p_")]
    return table["id"].to_pylist(), np.stack([table[c].to_numpy() for c in columns], axis=1)


def one_hot(label_N: Iterable[int], n_classes: int) -> FloatArray:
    """Float32 [N, C] with a one at each label."""
    return np.eye(n_classes, dtype=np.float32)[np.asarray(list(label_N), dtype=np.int64)]


def positions(wanted: Sequence[str], have: Sequence[str], what: str) -> IntArray:
    """Where each wanted id stands in ``have``.

    Raises:
        DataError: naming ids that are not there.
    """
    index = {name: i for i, name in enumerate(have)}
    missing = [name for name in wanted if name not in index]
    if missing:
        raise DataError(f"{what}: {len(missing)} of {len(wanted)} rows do not exist, first {missing[0]!r}")
    return np.array([index[name] for name in wanted], dtype=np.int64)
