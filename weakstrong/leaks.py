"""Checks that run before an experiment: does a split leak, and what do trivial predictors reach?

These functions read ground truth of every part, the sealed ones too. They are for whoever plans or judges an
experiment; nothing that trains a student may call them or see what they return.

Array legend: N rows, C classes, R labelled training rows, T labelled test rows. A label of -1 is unknown.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weakstrong.data import IntArray, Part, positions
from weakstrong.stats import wilson
from weakstrong.twins import near_duplicates, words_of

__all__ = ["Finding", "Level", "check_split", "near_duplicates", "render"]

TWIN_LIMIT = 0.01
"""A larger share of rows with a near-duplicate in a part that is learnt from draws a warning."""
GROUP_LIMIT = 0.2
"""So does a group with a larger share of its part,"""
MAJORITY_LIMIT = 0.6
"""a class with a larger share of a half,"""
MARGIN = 0.05
"""and a baseline whose interval begins further than this above chance,"""
WORD_MARGIN = 0.1
"""or this, for a single word: in a sentence about a film it is part of what is asked for, not a leak."""


class Level(StrEnum):
    """How a finding should be read."""

    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """What one check found: plain words, the numbers behind them (counts, shares in [0, 1]), up to three examples."""

    check: str
    level: Level
    message: str
    numbers: dict[str, float] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


# --- checks of a split


@dataclass(frozen=True)
class _Rows:
    """The rows of a split, in its order."""

    ids: list[str]
    group_N: npt.NDArray[np.str_]
    text: list[str]
    other: list[str] | None
    label_N: IntArray
    part_N: npt.NDArray[np.str_]

    def labelled(self, part: Part) -> IntArray:
        """Where the rows of a part stand whose label is known."""
        return np.flatnonzero((self.part_N == str(part)) & (self.label_N >= 0))


def check_split(rows: pa.Table, split: pa.Table, n_classes: int, duplicates: pa.Table) -> list[Finding]:
    """What could make the numbers of a split mislead: twins, groups, class balance, trivial predictors.

    ``duplicates`` is the table of `near_duplicates`. The predictors are fitted on weak_train and scored on test, with
    95 % Wilson intervals; classes weigh the same in fitting, as in a balanced test part, where chance is 1 / C.
    A check without rows says so.

    Raises:
        DataError: where the split names rows that do not exist.
    """
    at = positions(split["id"].to_pylist(), rows["id"].to_pylist(), "the split")
    taken = rows.take(pa.array(at))
    joined = _Rows(
        taken["id"].to_pylist(),
        np.array(taken["group"].to_pylist(), dtype=str),
        taken["text"].to_pylist(),
        taken["other"].to_pylist() if "other" in taken.column_names else None,
        taken["label"].to_numpy(),
        np.array(split["part"].to_pylist(), dtype=str),
    )
    return [
        *_twins(joined, duplicates),
        *_groups(joined),
        *_balance(joined, n_classes),
        *_baselines(joined, n_classes),
    ]


def _twins(rows: _Rows, duplicates: pa.Table) -> list[Finding]:
    index = {name: i for i, name in enumerate(rows.ids)}
    pairs = [
        (index[a], index[b])
        for a, b in zip(duplicates["a"].to_pylist(), duplicates["b"].to_pylist(), strict=True)
        if a in index and b in index
    ]
    return [
        _twins_of(rows, pairs, Part.TEST, (Part.WEAK_TRAIN, Part.TRANSFER)),
        _twins_of(rows, pairs, Part.TRANSFER, (Part.WEAK_TRAIN,)),
    ]


def _twins_of(rows: _Rows, pairs: Sequence[tuple[int, int]], part: Part, learn: tuple[Part, ...]) -> Finding:
    """Which rows of a part have a twin in the parts that are learnt from."""
    parts, labels = rows.part_N.tolist(), rows.label_N.tolist()
    ordered = [(i, j) if parts[i] == part else (j, i) for i, j in pairs]
    ordered = [(i, j) for i, j in ordered if parts[i] == part and parts[j] in learn]
    total = parts.count(part)
    twinned = len({i for i, _ in ordered})
    unlike = sum(labels[i] != labels[j] and min(labels[i], labels[j]) >= 0 for i, j in ordered)
    share = twinned / max(1, total)
    numbers: dict[str, float] = {"rows": total, "with_twin": twinned, "share": share}
    numbers |= {f"pairs_with_{p}": sum(parts[j] == p for _, j in ordered) for p in learn}
    numbers["pairs_with_different_labels"] = unlike
    return Finding(
        f"near-duplicates of {part}",
        Level.WARNING if share > TWIN_LIMIT else Level.INFO,
        f"{twinned} of {total} {part} rows ({share:.1%}) have a near-duplicate in {' or '.join(learn)}; "
        f"{unlike} of {len(ordered)} such pairs have different labels",
        numbers,
        tuple(f"{rows.ids[i]} ~ {rows.ids[j]} ({parts[j]}): {_short(rows.text[i])}" for i, j in ordered[:3]),
    )


def _groups(rows: _Rows) -> list[Finding]:
    places: dict[str, set[str]] = {}
    for group, part in zip(rows.group_N.tolist(), rows.part_N.tolist(), strict=True):
        places.setdefault(group, set()).add(part)
    torn = sorted(group for group, parts in places.items() if len(parts) > 1)
    found = [
        Finding(
            "groups in one part",
            Level.WARNING if torn else Level.INFO,
            f"{len(torn)} of {len(places)} groups have rows in several parts"
            + ("; rows of one group must stay together" if torn else ""),
            {"groups": len(places), "straddling": len(torn)},
            tuple(f"{_short(group)} ({', '.join(sorted(places[group]))})" for group in torn[:3]),
        )
    ]
    numbers: dict[str, float] = {}
    large = []
    for part in Part:
        group_N = rows.group_N[rows.part_N == str(part)]
        if part is Part.SPARE or not len(group_N):
            continue
        counts = Counter(group_N.tolist())
        name, most = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
        numbers |= {f"{part}_groups": len(counts), f"{part}_largest_share": most / len(group_N)}
        # One row in a part of four is a quarter of it, and no group.
        if most > 1 and most > GROUP_LIMIT * len(group_N):
            large.append(f"{_short(name)} ({most} of {len(group_N)} rows of {part})")
    shares = [share for key, share in numbers.items() if key.endswith("_share")]
    return [
        *found,
        Finding(
            "large groups",
            Level.WARNING if large else Level.INFO,
            f"the largest group holds {max(shares, default=0):.1%} of its part"
            + ("; such rows are not independent, so intervals are too narrow" if large else ""),
            numbers,
            tuple(large[:3]),
        ),
    ]


def _balance(rows: _Rows, n_classes: int) -> list[Finding]:
    found = []
    for part in Part:
        count_C = np.bincount(rows.label_N[rows.labelled(part)], minlength=n_classes)
        total = int(count_C.sum())
        if not total or part is Part.SPARE:
            continue
        share = float(count_C.max() / total)
        wrong = ""
        if part is Part.TEST and np.ptp(count_C) > 1:
            wrong = "; the test part should hold equally many of each"
        elif part in (Part.WEAK_TRAIN, Part.TRANSFER) and share > MAJORITY_LIMIT:
            wrong = f"; one class has {share:.1%}"
        elif part in (Part.WEAK_TRAIN, Part.TRANSFER) and not count_C.all():
            wrong = f"; {int((count_C == 0).sum())} of {n_classes} classes are absent"
        numbers: dict[str, float] = {"rows": total, "majority": share}
        numbers |= {f"class_{c}": count for c, count in enumerate(count_C.tolist())}
        listed = ", ".join(map(str, count_C.tolist()[:10])) + (", …" if n_classes > 10 else "")
        found.append(
            Finding(
                f"class balance of {part}",
                Level.WARNING if wrong else Level.INFO,
                f"rows per class: {listed}{wrong}",
                numbers,
            )
        )
    return found


# --- predictors that know next to nothing


def _baselines(rows: _Rows, n_classes: int) -> list[Finding]:
    train_R, test_T = rows.labelled(Part.WEAK_TRAIN), rows.labelled(Part.TEST)
    if not len(train_R) or not len(test_T):
        message = f"not scored: weak_train has {len(train_R)} rows with labels, test {len(test_T)}"
        return [Finding("baselines", Level.INFO, message)]
    label_R, count = rows.label_N[train_R], len(train_R)
    at = [*train_R.tolist(), *test_T.tolist()]
    sides = [[side[i] for i in at] for side in (rows.text, rows.other) if side is not None]
    words = [[words_of(text) for text in side] for side in sides]
    answers = [[_answer(text) for text in side] for side in sides]

    lengths = {"text length": [[len(text.split()) for text in side] for side in sides]}
    keys: dict[str, list[list[str | None]]] = {
        "first word": _first_words(words),
        "last word": [[w[-1] if w else None for w in side] for side in words],
    }
    if any(answer is not None for side in answers for answer in side):
        lengths["answer length"] = [[len((a or "").split()) for a in side] for side in answers]
        keys["answer"] = answers

    majority = int(np.bincount(label_R, minlength=n_classes).argmax())
    said = {"label prior" if len(sides) == 1 else "position": np.full(len(test_T), majority)}
    for name, length in lengths.items():
        value = np.array(length[1]) - np.array(length[0]) if len(length) > 1 else np.array(length[0])
        edges = np.unique(np.quantile(value[:count], np.arange(1, 10) / 10))
        bins: list[str | None] = [str(b) for b in np.searchsorted(edges, value, side="right")]
        said[name] = _by_key(bins, label_R, n_classes)
    for name, key in keys.items():
        said[name] = _by_key(key[0], label_R, n_classes) if len(key) == 1 else _by_wins(key, label_R)
    shown = {name: key[0][count:] for name, key in keys.items() if len(key) == 1}
    return [
        _scored(name, said_T, rows.label_N[test_T], n_classes, shown.get(name, ()))
        for name, said_T in said.items()
    ]


def _answer(text: str) -> str | None:
    """What stands after the last ``Answer:``, normalised; None without one."""
    _, mark, answer = text.rpartition("Answer:")
    return " ".join(words_of(answer)) if mark else None


def _first_words(words: list[list[list[str]]]) -> list[list[str | None]]:
    """First words; of a comparison, the first words at which its two texts part, since both begin with the prompt."""
    if len(words) == 1:
        return [[w[0] if w else None for w in words[0]]]
    parted = [
        next((pair for pair in itertools.zip_longest(a, b) if pair[0] != pair[1]), (None, None))
        for a, b in zip(*words, strict=True)
    ]
    return [[first for first, _ in parted], [second for _, second in parted]]


def _by_key(key: Sequence[str | None], label_R: IntArray, n_classes: int) -> IntArray:
    """For rows of which the first R are labelled: the class of each later key, -1 for keys not seen among the first.

    The class whose rows have the key most often, in shares of the class.
    """
    weight_C = 1 / np.maximum(1, np.bincount(label_R, minlength=n_classes))
    seen: dict[str, npt.NDArray[np.float64]] = {}
    for name, label in zip(key, label_R.tolist(), strict=False):
        if name is not None:
            seen.setdefault(name, np.zeros(n_classes))[label] += weight_C[label]
    classes = {name: int(share_C.argmax()) for name, share_C in seen.items()}
    return np.array([-1 if k is None else classes.get(k, -1) for k in key[len(label_R) :]], dtype=np.int64)


def _by_wins(keys: Sequence[Sequence[str | None]], label_R: IntArray) -> IntArray:
    """For comparisons: the completion whose key was preferred in the larger share of its training rows.

    Shares are shrunk by one win and one loss; -1 where they are equal, as for two keys not seen.
    """
    wins: Counter[str | None] = Counter()
    met: Counter[str | None] = Counter()
    for first, second, label in zip(*keys, label_R.tolist(), strict=False):
        wins[second if label else first] += 1
        met.update((first, second))
    later = zip(*(side[len(label_R) :] for side in keys), strict=True)
    rated = [[(wins[k] + 1) / (met[k] + 2) for k in pair] for pair in later]
    return np.array([-1 if a == b else int(b > a) for a, b in rated], dtype=np.int64)


def _scored(
    name: str, said_T: IntArray, label_T: IntArray, n_classes: int, key_T: Sequence[str | None]
) -> Finding:
    """Accuracy on the test rows a predictor speaks of (not -1), against chance; examples are the most frequent keys."""
    covered_T = said_T >= 0
    rows, chance = int(covered_T.sum()), 1 / n_classes
    numbers: dict[str, float] = {"rows": rows, "covered": rows / len(said_T), "chance": chance}
    if not rows:
        return Finding(
            f"{name} alone", Level.INFO, "not scored: no test row has one seen in weak_train", numbers
        )
    score = wilson(int((said_T == label_T)[covered_T].sum()), rows)
    numbers |= {"accuracy": score.value, "low": score.low, "high": score.high}
    of = "" if rows == len(said_T) else f" on the {numbers['covered']:.1%} of test rows it covers"
    leaks = score.low > chance + (WORD_MARGIN if name.endswith("word") else MARGIN)
    met = Counter(key for key, said in zip(key_T, said_T.tolist(), strict=False) if said >= 0)
    right = Counter(key for key, hit in zip(key_T, (said_T == label_T).tolist(), strict=False) if hit)
    # Ties go by the alphabet, so that the order of rows does not show.
    most = sorted(met, key=lambda key: (-met[key], str(key)))[:3]
    return Finding(
        f"{name} alone",
        Level.WARNING if leaks else Level.INFO,
        f"accuracy {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]{of}; chance {chance:.3f}",
        numbers,
        tuple(f"{_short(str(key))}: right on {right[key]} of {met[key]} test rows" for key in most),
    )


# --- words for the terminal


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def render(findings: Sequence[Finding]) -> list[str]:
    """Lines for the terminal, warnings first, with their examples.

    >>> render([Finding("groups", Level.INFO, "none straddles"), Finding("twins", Level.WARNING, "1 of 9", {}, ("a ~ b",))])
    ['warning: twins: 1 of 9', '    a ~ b', 'info: groups: none straddles']
    """
    lines = []
    for finding in sorted(findings, key=lambda f: f.level != Level.WARNING):
        lines.append(f"{finding.level}: {finding.check}: {finding.message}")
        if finding.level == Level.WARNING:
            lines += [f"    {example}" for example in finding.examples]
    return lines
