"""Leaks that are planted in a split must be found, and clean rows must draw no warning."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_texts import named, sentence
from real_rows import real_folder

from weakstrong.data import Part, Split, deal, make_rows
from weakstrong.errors import DataError
from weakstrong.leaks import Finding, Level, check_split, near_duplicates, render
from weakstrong.tasks import parse_task


def split_of(rows: pa.Table, sizes: dict[Part, int]) -> pa.Table:
    """The first rows to the first part, and so on; the rest is not used."""
    parts = [str(part) for part, size in sizes.items() for _ in range(size)]
    return pa.table({"id": rows["id"].to_pylist()[: len(parts)], "part": pa.array(parts, pa.string())})


THREE = {Part.WEAK_TRAIN: 400, Part.TRANSFER: 400, Part.TEST: 400}


def balanced(rng: np.random.Generator, count: int, n_classes: int = 2) -> list[int]:
    """Labels of parts of 400 rows, each with equally many of each class (to one)."""
    return [int(c) for _ in range(count // 400) for c in rng.permutation(np.arange(400) % n_classes)]


def clean(seed: int = 0, n_classes: int = 2, comparisons: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    texts = [sentence(rng, int(n)) for n in rng.integers(8, 40, 1200)]
    columns: dict[str, Any] = {"texts": texts, "labels": balanced(rng, 1200, n_classes)}
    if comparisons:
        columns["texts"] = [f"{prompt} Answer: {sentence(rng, 12)}" for prompt in texts]
        columns["others"] = [f"{prompt} Answer: {sentence(rng, 12)}" for prompt in texts]
    return columns


def check(columns: dict[str, Any], sizes: dict[Part, int] = THREE, n_classes: int = 2) -> dict[str, Finding]:
    rows = make_rows(columns["texts"], columns["labels"], **{k: v for k, v in columns.items() if k not in ("texts", "labels")})  # fmt: skip
    found = check_split(rows, split_of(rows, sizes), n_classes, near_duplicates(rows))
    json.dumps([asdict(f) for f in found], allow_nan=False)
    return {f.check: f for f in found}


def warned(found: dict[str, Finding]) -> set[str]:
    return {name for name, finding in found.items() if finding.level is Level.WARNING}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n_classes", "comparisons"), [(2, False), (5, False), (2, True)])
def test_clean_rows_draw_no_warning(seed: int, n_classes: int, comparisons: bool) -> None:
    """Warnings that always sound are not read: chance of C classes taken as 1/2, bounds without a margin."""
    found = check(clean(seed, n_classes, comparisons), n_classes=n_classes)
    assert warned(found) == set()
    assert {
        "near-duplicates of test",
        "groups in one part",
        "class balance of test",
        "text length alone",
    } <= set(found)


def test_twins_across_parts_are_counted() -> None:
    """Pairs within a part counted as leaks, pairs counted as rows, or parts mixed up."""
    columns = clean()
    texts, labels = columns["texts"], columns["labels"]
    for test, learn in ((800, 0), (801, 0), (802, 1), (803, 500), (804, 501), (805, 502)):
        texts[test] = f"{texts[learn].capitalize()}!"
        labels[test] = 1 - labels[learn]
    texts[401] = f"{texts[2]} ."
    texts[1199] = f"{texts[1100]} ."
    found = check(columns)
    numbers = found["near-duplicates of test"].numbers
    assert numbers == {
        "rows": 400, "with_twin": 6, "share": 0.015, "pairs_with_weak_train": 3, "pairs_with_transfer": 3,
        "pairs_with_different_labels": 6,
    }  # fmt: skip
    assert found["near-duplicates of transfer"].numbers["with_twin"] == 1
    # The labels of test were changed too, so its balance may be named.
    assert warned(found) - {"class balance of test"} == {"near-duplicates of test"}
    assert len(found["near-duplicates of test"].examples) == 3
    texts[804], texts[805] = (sentence(np.random.default_rng(9), 20) for _ in range(2))
    assert "near-duplicates of test" not in warned(check(columns))


def test_groups_that_straddle_and_groups_that_fill_a_part() -> None:
    """A passage on both sides of the split; one passage that is a quarter of the test part."""
    columns = clean() | {"groups": [str(i) for i in range(1200)]}
    columns["groups"][800] = columns["groups"][0] = "torn"
    found = check(columns)
    assert warned(found) == {"groups in one part"}
    assert found["groups in one part"].numbers == {"groups": 1199, "straddling": 1}
    assert found["groups in one part"].examples == ("torn (test, weak_train)",)
    columns = clean() | {"groups": [str(i) for i in range(1100)] + ["large"] * 100}
    found = check(columns)
    assert warned(found) == {"large groups"}
    assert found["large groups"].numbers["test_largest_share"] == 0.25
    assert found["large groups"].numbers["weak_train_groups"] == 400


def test_a_row_is_no_large_group() -> None:
    """In a part of four rows each is a quarter; that is no group that fills it."""
    assert warned(check(clean(), {Part.WEAK_VALIDATION: 4, Part.VALIDATION: 3})) == set()


def test_class_balance() -> None:
    """A half of three quarters one class, a test part where a constant answer beats chance, an absent class."""
    columns = clean()
    columns["labels"] = [int(i % 4 == 0) for i in range(400)] + columns["labels"][400:]
    assert warned(check(columns)) == {"class balance of weak_train"}
    columns = clean()
    columns["labels"] = [*columns["labels"][:800], *[int(i % 4 > 0) for i in range(400)]]
    assert "class balance of test" in warned(check(columns))
    columns = clean()
    assert {"class balance of weak_train", "class balance of transfer"} <= warned(check(columns, n_classes=3))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_length_gives_the_class_away(n_classes: int) -> None:
    """Lengths compared with one threshold miss a class in the middle; those of the test part must not be fitted."""
    columns = clean(n_classes=n_classes)
    rng = np.random.default_rng(1)
    columns["texts"] = [sentence(rng, 10 + 8 * c + int(rng.integers(9))) for c in columns["labels"]]
    found = check(columns, n_classes=n_classes)
    assert warned(found) == {"text length alone"}
    numbers = found["text length alone"].numbers
    assert numbers["accuracy"] > 0.9
    assert numbers["low"] < numbers["accuracy"] < numbers["high"]
    assert numbers["chance"] == 1 / n_classes
    # Fitted on weak_train: where its lengths mean other classes, the same test part gives nothing away.
    columns["labels"] = [(c + 1) % n_classes for c in columns["labels"][:400]] + columns["labels"][400:]
    assert check(columns, n_classes=n_classes)["text length alone"].numbers["accuracy"] < 0.1


def test_a_longer_answer_is_preferred() -> None:
    """For comparisons neither length alone says anything, their difference does."""
    columns = clean(comparisons=True)
    rng = np.random.default_rng(2)
    pairs = zip(columns["others"], columns["labels"], strict=True)
    columns["others"] = [f"{t} {sentence(rng, 3)}" if c else " ".join(t.split()[:-3]) for t, c in pairs]
    assert warned(check(columns)) == {"text length alone", "answer length alone"}


def test_a_position_that_is_mostly_right() -> None:
    """Preferred completions that come second: every model that says so looks good."""
    columns = clean(comparisons=True) | {"labels": [int(i % 5 > 0) for i in range(1200)]}
    found = check(columns)
    assert {"position alone", "class balance of weak_train", "class balance of test"} <= warned(found)
    assert found["position alone"].numbers["accuracy"] == 0.8
    assert "label prior alone" not in found


def test_an_answer_that_is_usually_wrong() -> None:
    """Choices that repeat over questions ("none of the above") say whether they are right without a question."""
    columns = clean()
    rng = np.random.default_rng(3)
    texts = columns["texts"]
    for i, label in enumerate(columns["labels"]):
        answer = (
            "None of the above."
            if label == 0 and i % 4 < 2
            else f"{sentence(rng, 1)} {sentence(rng, 2)} is it"
        )
        texts[i] = f"{texts[i]}\nAnswer: no\nAnswer: {answer}"
    found = check(columns)
    numbers = found["answer alone"].numbers
    assert "answer alone" in warned(found)
    assert numbers["accuracy"] == 1
    assert numbers["rows"] == sum("None" in t for t in texts[800:])
    assert numbers["covered"] == numbers["rows"] / 400
    assert found["answer alone"].examples[0].startswith("none of the above: right on")
    # Seen in the test part only, it was never learnt.
    for i in range(400):
        texts[i] = texts[i].replace("None of the above.", sentence(rng, 3))
    found = check(columns)
    assert "answer alone" not in warned(found)
    assert found["answer alone"].numbers == {"rows": 0, "covered": 0, "chance": 0.5}
    assert "answer alone" not in check(clean())


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("comparisons", [False, True])
def test_a_word_gives_the_class_away(where: str, comparisons: bool) -> None:
    """Case or a full stop hides the word; a comparison's first word is its prompt's, which both texts share."""
    columns = clean(comparisons=comparisons)

    def mark(text: str, right: int) -> str:
        word = ("Yes", "no,")[right]
        if where == "last":
            return f"{text} {word}."
        return text.replace("Answer:", f"Answer: {word}") if comparisons else f"{word} {text}"

    labels = columns["labels"]
    columns["texts"] = [mark(t, c) for t, c in zip(columns["texts"], labels, strict=True)]
    if comparisons:
        columns["others"] = [mark(t, 1 - c) for t, c in zip(columns["others"], labels, strict=True)]
    found = check(columns)
    assert warned(found) == {f"{where} word alone"}
    assert found[f"{where} word alone"].numbers["accuracy"] == 1


def test_a_word_tells_of_a_rare_class() -> None:
    """Fitted on 60 % one class, the majority answer for every word is that class, and the leak is not seen."""
    columns = clean(n_classes=3)
    columns["labels"] = [max(0, i % 5 - 2) for i in range(400)] + columns["labels"][400:]
    tells = [f"mark{c}" if c and i % 10 else f"mark{i % 3}" for i, c in enumerate(columns["labels"])]
    columns["texts"] = [f"{word} {text}" for word, text in zip(tells, columns["texts"], strict=True)]
    found = check(columns, n_classes=3)
    assert warned(found) == {"first word alone"}
    assert found["first word alone"].numbers["accuracy"] > 0.6


def test_rows_whose_label_is_unknown_do_not_count() -> None:
    """-1, for no label, taken as a class: counts that fail, or a twin "with another label"."""
    columns = clean()
    columns["labels"] = [-1 if i < 800 else c for i, c in enumerate(columns["labels"])]
    columns["texts"][900] = f"{columns['texts'][0]} ."
    found = check(columns)
    assert warned(found) == set()
    assert found["near-duplicates of test"].numbers["pairs_with_different_labels"] == 0
    assert "weak_train has 0 rows with labels" in found["baselines"].message


@pytest.mark.parametrize("missing", [*THREE, None])
@pytest.mark.parametrize("comparisons", [False, True])
def test_empty_parts_do_not_fail(missing: Part | None, comparisons: bool) -> None:
    """A user's file without ground truth has no test part; a split of none has no rows at all."""
    sizes = {p: n for p, n in THREE.items() if p is not missing and missing is not None}
    assert warned(check(clean(comparisons=comparisons), sizes)) == set()


def test_the_split_names_rows_that_exist() -> None:
    """A split of other rows, joined by position, would be checked against the wrong texts."""
    rows = named(["one", "two"])
    split = pa.table({"id": ["r0", "else"], "part": ["test", "test"]})
    with pytest.raises(DataError, match="the split: 1 of 2 rows do not exist, first 'else'"):
        check_split(rows, split, 2, near_duplicates(rows))


def test_lines_for_the_terminal_put_warnings_first() -> None:
    """A warning under twenty lines of good news is not seen; findings read back from JSON have plain strings."""
    findings = [
        Finding("a", Level.INFO, "fine", {}, ("x",)),
        Finding("b", Level("warning"), "bad", {}, ("y", "z")),
    ]
    assert render(findings) == ["warning: b: bad", "    y", "    z", "info: a: fine"]
    stored = [Finding(**f) for f in json.loads(json.dumps([asdict(f) for f in findings]))]
    assert render(stored) == render(findings)


def test_real_multiple_choice_has_an_answer_that_is_usually_wrong(tmp_path: Path) -> None:
    """What is known of CosmosQA must be seen: "none of the above" is a choice of many questions, and seldom right."""
    folder = real_folder("cosmos-qa", tmp_path)
    rows = parse_task({"kind": "cosmos-qa", "data_dir": str(folder)}).load().table
    found = {f.check: f for f in check_split(rows, deal(rows, 2, Split()), 2, near_duplicates(rows))}
    assert warned(found) >= {"answer alone"}
    assert found["answer alone"].examples[0].startswith("none of the above choices")
    assert found["groups in one part"].numbers["straddling"] == 0
