"""Copies are found whatever their case, order or number, and no near-duplicate may be made up."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_texts import named, sentence

from weakstrong.errors import ConfigError
from weakstrong.leaks import near_duplicates
from weakstrong.twins import SHORT_WORDS


def pairs_of(found: pa.Table) -> dict[tuple[str, str], float]:
    return {(r["a"], r["b"]): r["similarity"] for r in found.to_pylist()}


def twins(*texts: str) -> dict[tuple[str, str], float]:
    return pairs_of(near_duplicates(named(list(texts))))


def reference(texts: list[str], threshold: float) -> dict[tuple[str, str], float]:
    """Every pair compared, on sets of strings; for ASCII texts."""
    sets = []
    for text in texts:
        words = re.findall(r"[a-z0-9]+", text.lower())
        line = f" {' '.join(words)} "
        sets.append(
            {line[i : i + 4] for i in range(max(1, len(line) - 3))}
            if len(words) < SHORT_WORDS
            else set(zip(words, words[1:], words[2:], strict=False))
        )
    found = {}
    for i, j in itertools.combinations(range(len(texts)), 2):
        similarity = len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        if similarity >= threshold:
            a, b = sorted((f"r{i}", f"r{j}"))
            found[a, b] = similarity
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_duplicates_equal_a_comparison_of_all_pairs(threshold: float) -> None:
    """Bands that miss what is alike, an estimated similarity in place of the exact one, pairs below the threshold."""
    rng = np.random.default_rng(5)
    texts = [sentence(rng, int(n)) for n in rng.integers(1, 60, 250)]
    for i in range(0, 150, 3):
        words = texts[i].split()
        words[int(rng.integers(len(words)))] = "new"
        texts.append(" ".join(words))
        texts.append(f"{texts[i].upper()} !  More, {sentence(rng, 1)}.")
    found = pairs_of(near_duplicates(named(texts), threshold))
    wanted = reference(texts, threshold)
    assert set(found) <= set(wanted)
    assert {p for p, s in wanted.items() if s >= max(0.9, threshold)} <= set(found)
    assert len(found) >= 0.97 * len(wanted)
    assert found == pytest.approx({p: wanted[p] for p in found}, abs=1e-6)
    assert {0.5: 60, 0.8: 30, 1.0: 0}[threshold] <= len(wanted)


def test_case_punctuation_and_blanks_do_not_count() -> None:
    """A copy with another dash or a capital counts as new; letters outside ASCII are dropped with the punctuation."""
    long = "it was the best of times, it was the worst of times; it was the age of wisdom"
    other = "IT WAS — the best of times it was the worst\tof times it was the Age of “Wisdom”…"
    assert twins(long, other) == {("r0", "r1"): 1.0}
    # ﬁ is one letter that stands for two, and the last word ends in a letter with a mark of its own.
    assert twins("Der ﬁlm ist groß, très passé", "der FILM ist GROSS tre\u0300s passe\u0301!") == {
        ("r0", "r1"): 1.0
    }
    assert twins("यह फिल्म बहुत अच्छी है", "यह फिल्म बहुत अच्छा था", "这部电影非常好看", "这部电影非常难看") == {}
    assert twins("这部电影非常好看。", "这部电影非常好看") == {("r0", "r1"): 1.0}


def test_short_texts_match_themselves_and_little_else() -> None:
    """Word 3-grams of a text of two words are none: then all short texts are the same, or none is its own copy."""
    texts = [
        "good",
        "bad",
        "no",
        "a",
        "?!",
        "?",
        "😀",
        "😢",
        "good film",
        "bad film",
        "a very good film",
        "this film is bad",
    ]
    assert twins(*texts) == {}
    assert twins("fun 😀", "fun 😢") == {}
    found = twins(*texts, *[f"{t} " for t in texts], "Good!", "a Very good film")
    same = {("r0", "r24"), ("r12", "r24"), ("r10", "r25"), ("r22", "r25")}
    assert set(found) == {tuple(sorted((f"r{i}", f"r{i + 12}"))) for i in range(12)} | same
    assert set(found.values()) == {1.0}
    assert (
        len(
            twins(
                "the presentations were really wonderful",
                "the presentation were really wonderful",
                "the end was wonderful",
            )
        )
        == 1
    )


def test_rows_of_one_group_are_left_out() -> None:
    """Questions about one passage are alike by design; reporting them hides what leaks."""
    texts = ["a passage of many words that two questions share"] * 3
    assert set(pairs_of(near_duplicates(named(texts, groups=["p", "p", "q"])))) == {
        ("r0", "r2"),
        ("r1", "r2"),
    }


def test_both_texts_of_a_comparison_count() -> None:
    """Comparisons of one prompt with quite other answers are no copies; a swapped copy is one."""
    rng = np.random.default_rng(0)
    a, b, c, d = (sentence(rng, 20) for _ in range(4))
    found = pairs_of(near_duplicates(named([a, b, a, a], [b, a, c, d])))
    assert set(found) == {("r0", "r1")}
    assert found["r0", "r1"] > 0.89


def test_a_crowd_does_not_become_all_its_pairs() -> None:
    """Thousands of copies of one text would fill the memory; none of them may drop out of the report altogether."""
    count = 1500
    rows = named(["the same text stands in every row of the file"] * count)
    found = near_duplicates(rows, crowd=10)
    assert len(found) == 10 * count
    met = np.unique(found["a"].to_pylist() + found["b"].to_pylist(), return_counts=True)
    assert (met[1] == 20).all()
    assert len(met[0]) == count


def test_a_crowd_does_not_depend_on_the_order_of_rows() -> None:
    """Whom a row of a crowd meets must not be a matter of where it stands in the file."""
    rows = named(["the same text stands in every row of the file"] * 60)
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(60)))
    assert near_duplicates(shuffled, crowd=5) == near_duplicates(rows, crowd=5)


def test_no_rows_and_bad_thresholds() -> None:
    """An empty table fails somewhere in numpy; a threshold of 80 finds nothing and says so to nobody."""
    none = named(["a text"]).slice(0, 0)
    assert near_duplicates(none).schema == near_duplicates(named(["a text"])).schema
    for threshold in (0, 80, float("nan")):
        with pytest.raises(ConfigError, match="at most 1"):
            near_duplicates(none, threshold)


TEXTS = st.lists(
    st.lists(st.sampled_from(["red", "green", "blue", "été", "好", "?"]), min_size=1, max_size=12).map(
        " ".join
    )
    | st.text(min_size=1, max_size=20).filter(lambda t: bool(t.strip())),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, seed=st.integers(0, 1000))
def test_the_order_of_rows_and_of_a_pair_says_nothing(texts: list[str], seed: int) -> None:
    """Ids paired with themselves, a pair reported twice, or results that change when the file is sorted."""
    rows = named(texts)
    found = near_duplicates(rows, 0.6)
    shuffled = rows.take(pa.array(np.random.default_rng(seed).permutation(len(rows))))
    assert near_duplicates(shuffled, 0.6) == found
    listed = found.to_pylist()
    assert all(row["a"] < row["b"] and 0.59 < row["similarity"] <= 1 for row in listed)
    assert len({(row["a"], row["b"]) for row in listed}) == len(listed)
    # The other way round: of two texts alone, whichever comes first.
    for row in listed[:3]:
        i, j = int(row["a"][1:]), int(row["b"][1:])
        assert list(twins(texts[j], texts[i]).values()) == list(twins(texts[i], texts[j]).values())
    copies = {(a, b) for a, b in itertools.combinations(range(len(texts)), 2) if texts[a] == texts[b]}
    assert {tuple(sorted((f"r{a}", f"r{b}"))) for a, b in copies} <= {(row["a"], row["b"]) for row in listed}
