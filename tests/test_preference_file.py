"""The user's own comparisons: columns and labels in every form read the same, and what is wrong is named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from weakstrong.errors import ConfigError, DataError
from weakstrong.tasks import parse_task
from weakstrong.tasks.base import Task, TaskRows

PROMPTS = ['Say "no", twice', "two\nlines", "a, b; c\td", "Ünïcode – 日本", "", "same"]
BETTER = ['"no", no', "one\n\ntwo", "x, y", "ja ✓", "plain", "this\r\nhere"]
WORSE = ['no "', "one", "x", "nein", "other", "that, there"]
Columns = dict[str, list[Any]]


def task(path: Path, **fields: Any) -> Task:
    return parse_task({"kind": "preference-file", "path": str(path)} | fields)


def load(path: Path, **fields: Any) -> TaskRows:
    return task(path, **fields).load()


def write_csv(path: Path, columns: Columns, separator: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_jsonl(path: Path, columns: Columns) -> Path:
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, columns: Columns) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


WRITERS: dict[str, Callable[[Path, Columns], Path]] = {
    "rows.csv": write_csv,
    "rows.tsv": lambda path, columns: write_csv(path, columns, "\t"),
    "rows.jsonl": write_jsonl,
    "rows.parquet": write_parquet,
}


def chosen(**more: list[Any]) -> Columns:
    return {"prompt": PROMPTS, "chosen": BETTER, "rejected": WORSE} | more


def labelled(first: Any = "first", second: Any = "second", **more: list[Any]) -> Columns:
    """The same comparisons, the better text now first, now second."""
    turn = [False, True, True, False, True, False]
    return {
        "prompt": PROMPTS,
        "first": [w if t else b for b, w, t in zip(BETTER, WORSE, turn, strict=True)],
        "second": [b if t else w for b, w, t in zip(BETTER, WORSE, turn, strict=True)],
        "label": [second if t else first for t in turn],
    } | more


def preferred(rows: TaskRows) -> list[str]:
    columns = (rows.table[c].to_pylist() for c in ("text", "other", "label"))
    return [(text, other)[label] for text, other, label in zip(*columns, strict=True)]


def texts(answers: list[str]) -> list[str]:
    return [f"{p}\n\n{a}".strip() for p, a in zip(PROMPTS, answers, strict=True)]


# --- every form reads the same


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_and_both_forms_give_the_same_rows(tmp_path: Path, name: str) -> None:
    """Quotes, separators and line breaks cut rows apart; a label read from the wrong end turns every preference."""
    one = load(WRITERS[name](tmp_path / name, chosen()), prompt="prompt", chosen="chosen")
    assert preferred(one) == texts(BETTER)
    sides = zip(one.table["text"].to_pylist(), one.table["other"].to_pylist(), strict=True)
    assert [set(pair) for pair in sides] == [set(p) for p in zip(texts(BETTER), texts(WORSE), strict=True)]
    assert one.classes == ("first", "second")
    assert one.notes == ()
    two = load(WRITERS[name](tmp_path / f"two-{name}", labelled()), prompt="prompt", first="first")
    assert two.table.equals(one.table)


NAMED = [("first", "second"), ("A", "B"), (0, 1), (1, 2), (0.0, 1.0), ("model_a", "Model_B")]
FORMS = [(n, v) for n in ("rows.csv", "rows.jsonl", "rows.parquet") for v in NAMED]


@pytest.mark.parametrize(("name", "values"), [*FORMS, ("rows.parquet", (False, True))])
def test_label_values_that_need_no_explanation(tmp_path: Path, name: str, values: tuple[Any, Any]) -> None:
    """1 of 0/1 and 1 of 1/2 are opposite texts; True, 1.0 and 1 are one value."""
    rows = load(WRITERS[name](tmp_path / name, labelled(*values)), prompt="prompt", first="first")
    assert preferred(rows) == texts(BETTER)
    said = [str(int(v)) if not isinstance(v, str) else v.lower() for v in values]
    assert rows.notes == (f"label {said[0]!r} means first", f"label {said[1]!r} means second")


def test_the_names_of_the_columns_are_labels(tmp_path: Path) -> None:
    """A winner named by its column is the usual form of exports from annotation tools."""
    columns = labelled("Answer 1", "answer 2")
    columns = {"Answer 1": columns["first"], "Answer 2": columns["second"], "winner": columns["label"]}
    rows = load(
        write_csv(tmp_path / "rows.csv", columns), first="Answer 1", second="Answer 2", label="winner"
    )
    assert preferred(rows) == [answer.strip() for answer in BETTER]


def test_second_is_turns_a_label_round(tmp_path: Path) -> None:
    """Some data sets write 1 where the first text is preferred (SHP does)."""
    path = write_csv(tmp_path / "rows.csv", labelled(1, 0))
    rows = load(path, prompt="prompt", first="first", second_is="0")
    assert preferred(rows) == texts(BETTER)
    assert preferred(load(path, prompt="prompt", first="first")) == texts(WORSE)
    words = load(
        write_csv(tmp_path / "words.csv", labelled("left", "Tie")),
        prompt="prompt",
        first="first",
        second_is="tie",
    )
    assert preferred(words) == texts(BETTER)


def test_ties_empty_labels_and_equal_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    """A tie taken for the first text is a wrong label; rows that vanish unsaid make a data set look better."""
    columns = labelled()
    columns["label"] = ["first", "second", "TIE", "", " ", "first"]
    columns["second"][5] = f" {columns['first'][5]} "
    rows = load(write_csv(tmp_path / "rows.csv", columns), prompt="prompt", first="first")
    assert preferred(rows) == texts(BETTER)[:2]
    assert rows.notes[2:] == (
        "1 ties dropped",
        "2 empty labels dropped",
        "1 comparisons of two equal texts dropped",
    )
    half = labelled(0, 1)
    half["label"][0] = 0.5
    rows = load(
        write_parquet(tmp_path / "half.parquet", {**half, "label": [float(v) for v in half["label"]]}),
        first="first",
    )
    assert (len(rows.table), rows.notes[2:]) == (5, ("1 ties dropped",))


# --- order, groups, ids, limit


def many(count: int) -> Columns:
    return {
        "prompt": [f"Question {i // 2}" for i in range(count)],
        "chosen": [f"yes {i}, and at length" for i in range(count)],
        "rejected": [f"no {i}" for i in range(count)],
    }


def test_turning_the_file_round_turns_labels_and_not_the_order(tmp_path: Path) -> None:
    """A row order that follows the file gives every label away by position: chosen always first."""
    columns = many(2000)
    one = load(write_csv(tmp_path / "one.csv", columns), prompt="prompt")
    turned = columns | {"chosen": columns["rejected"], "rejected": columns["chosen"]}
    two = load(write_csv(tmp_path / "two.csv", turned), prompt="prompt")
    for column in ("id", "text", "other", "group"):
        assert one.table[column].equals(two.table[column])
    labels = np.array(one.table["label"].to_pylist())
    assert (labels == 1 - np.array(two.table["label"].to_pylist())).all()
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / 2000**0.5


def test_groups_are_the_column_the_prompt_or_the_pair(tmp_path: Path) -> None:
    """Comparisons of one prompt in two halves; or all rows of a file without prompts in one group."""
    columns = many(40) | {"author": [f"author {i // 10}" for i in range(40)]}
    path = write_csv(tmp_path / "rows.csv", columns)
    sizes = [len(set(load(path, **fields).table["group"].to_pylist())) for fields in (
        {"prompt": "prompt"}, {}, {"group": "author"}, {"group": "author", "prompt": "prompt"}
    )]  # fmt: skip
    assert sizes == [20, 40, 4, 4]
    twice = {"chosen": ["a", "b", "c"], "rejected": ["b", "a", "a"]}
    table = load(write_csv(tmp_path / "twice.csv", twice)).table
    groups = table["group"].to_pylist()
    assert groups[0] == groups[1] != groups[2]
    assert len(set(table["id"].to_pylist())) == 3  # two people may judge one pair


def test_ids_are_kept_and_the_limit_follows_them(tmp_path: Path) -> None:
    """An id 007 read as a number joins to nothing; the first rows of a sorted file are one kind of rows."""
    columns = many(40) | {"key": [f"{i:03}" for i in range(40)]}
    rows = load(write_csv(tmp_path / "rows.csv", columns), id="key", limit=12)
    assert rows.notes == ("12 of 40 rows kept (limit)",)
    kept = rows.table["id"].to_pylist()
    assert kept == sorted(kept)
    backwards = {name: values[::-1] for name, values in columns.items()}
    again = load(write_csv(tmp_path / "again.csv", backwards), id="key", limit=12).table
    assert again["id"].to_pylist() == kept[::-1]
    whole = load(tmp_path / "rows.csv", id="key").table["id"].to_pylist()
    assert whole == columns["key"]


def test_a_long_prompt_keeps_its_end(tmp_path: Path) -> None:
    """The turn that is answered is the last one."""
    columns = {"prompt": [" ".join(map(str, range(99)))], "chosen": ["yes"], "rejected": ["no"]}
    rows = load(write_csv(tmp_path / "rows.csv", columns), prompt="prompt", context_words=2)
    assert preferred(rows) == ["… 97 98\n\nyes"]


# --- weak labels


def weak_of(rows: TaskRows) -> np.ndarray:
    return np.stack([rows.table[f"weak_{c}"].to_numpy() for c in (0, 1)], axis=1)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_weak_labels_follow_their_texts(tmp_path: Path, name: str) -> None:
    """A probability of the file's second text that stays second when the row is turned round is its opposite."""
    p = [0.9, 0.2, 0.75, 0.0, 1.0, 0.5]
    rows = load(WRITERS[name](tmp_path / name, chosen(p=p)), prompt="prompt", weak_label="p")
    weak_N2, labels = weak_of(rows), rows.table["label"].to_pylist()
    assert weak_N2[range(6), labels].tolist() == pytest.approx(p)
    assert weak_N2.sum(1) == pytest.approx(np.ones(6))

    columns = labelled(p=p)
    rows = load(
        WRITERS[name](tmp_path / name, columns), prompt="prompt", first="first", label="label", weak_label="p"
    )
    seconds = texts(columns["second"])
    where = [
        int(other == second) for other, second in zip(rows.table["other"].to_pylist(), seconds, strict=True)
    ]
    assert set(where) == {0, 1}
    assert weak_of(rows)[range(6), where].tolist() == pytest.approx(p)
    assert preferred(rows) == texts(BETTER)


def test_weak_labels_need_no_ground_truth(tmp_path: Path) -> None:
    """Rows without ground truth are what the practitioner trains on: they are marked, not dropped or guessed."""
    columns = labelled(p=[0.5] * 6)
    columns["label"] = ["first", "", "tie", "", "", "first"]
    path = write_csv(tmp_path / "rows.csv", columns)
    rows = load(path, prompt="prompt", first="first", label="label", weak_label="p")
    labels = rows.table["label"].to_pylist()
    assert labels[1:5] == [-1] * 4
    assert [preferred(rows)[i] for i in (0, 5)] == [texts(BETTER)[i] for i in (0, 5)]
    assert rows.notes[1:] == ("1 ties without ground truth", "3 empty labels without ground truth")
    unnamed = load(path, prompt="prompt", first="first", weak_label="p")
    assert unnamed.table["label"].to_pylist() == [-1] * 6
    columns["label"] = [""] * 6
    empty = load(write_csv(tmp_path / "empty.csv", columns), first="first", label="label", weak_label="p")
    assert empty.table["label"].to_pylist() == [-1] * 6


# --- what is wrong is said


@pytest.mark.parametrize(
    ("columns", "fields", "words"),
    [
        ({"text": ["a"], "label": ["b"]}, {}, r"no column 'rejected'; its columns are 'text', 'label'"),
        (chosen(), {"chosen": "best"}, r"no column 'best'; its columns are 'prompt', 'chosen', 'rejected'"),
        (chosen(), {"prompt": "question"}, r"no column 'question'; its columns are"),
        (labelled(), {"first": "first", "label": "winner"}, r"no column 'winner'; its columns are"),
        (chosen(), {"weak_label": "p"}, r"no column 'p'"),
        (chosen(rejected=["x", "", "y", " ", "z", "w"]), {}, r"2 of 6 rows have no text in column 'rejected', first row 2"),
        (labelled("left", "right"), {"first": "first"}, r"column 'label' holds 'left', 'right', which does not say .* second_is"),
        (labelled(1, 1), {"first": "first"}, r"column 'label' holds '1', which does not say .* second_is"),
        (labelled(), {"first": "first", "second_is": "b"}, r"holds 'first', 'second', and none of them is second_is='b'"),
        (labelled(label=list("012012")), {"first": "first"}, r"holds '0', '1', '2'; wanted one value for either text"),
        (labelled(label=[""] * 6), {"first": "first"}, r"column 'label' holds no label"),
        (chosen(rejected=BETTER), {}, r"no row says which of two different texts is preferred"),
        (chosen(key=list("abcdea")), {"id": "key"}, r"id 'a' in column 'key' names rows 1 and 6"),
        (chosen(key=["a", "", *"cdef"]), {"id": "key"}, r"row 2 has no id in column 'key'"),
        (chosen(p=["1", "0", "1.5", "0", "0", "0"]), {"weak_label": "p"}, r"row 3 has '1.5' .*'p'; wanted .* that chosen is better"),
        (labelled(p=["1", "", "1", "0", "0", "0"]), {"first": "first", "weak_label": "p"}, r"row 2 has None .* the second text is better"),
        (labelled(p=["first"] * 6), {"first": "first", "weak_label": "p"}, r"row 1 has 'first' in weak-label column 'p'"),
        (labelled(p=["nan"] * 6), {"first": "first", "weak_label": "p"}, r"row 1 has 'nan' in weak-label column 'p'"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_by_row_and_column(
    tmp_path: Path, columns: Columns, fields: dict[str, Any], words: str
) -> None:
    """Each of these trains on wrong labels, or ends in a traceback, unless it is refused."""
    with pytest.raises(DataError, match=rf"rows\.csv.*{words}"):
        load(write_csv(tmp_path / "rows.csv", columns), **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"chosen": "chosen", "first": "first"}, "chosen and first do not go together"),
        ({"rejected": "rejected", "second_is": "b"}, "rejected and second_is do not go together"),
        ({"text": "text"}, "text"),
        ({"limit": 1}, "limit"),
        ({"sha256": "0" * 64}, "has changed"),
        ({"path": "missing.csv"}, r"missing\.csv does not exist"),
        ({"path": None}, "path"),
    ],
)
def test_fields_that_do_not_fit_are_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """A form that is guessed where two are named gives other rows than were meant."""
    path = write_csv(tmp_path / "rows.csv", chosen())
    with pytest.raises(ConfigError, match=words):
        parse_task({"kind": "preference-file", "path": str(path)} | fields)


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    """A moved file must recompute nothing; an edited one, or other columns, must not be served the old result."""
    path = write_csv(tmp_path / "rows.csv", chosen())
    made = task(path)
    assert parse_task(made.to_dict()) == made
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(path, tmp_path / "elsewhere" / "renamed.csv")
    assert task(moved).key() == made.key()
    assert task(path, chosen="chosen", rejected="rejected").key() == made.key()
    turned = task(path, chosen="rejected", rejected="chosen")
    assert len({made.key(), turned.key(), task(path, prompt="prompt").key()}) == 3
    stored = made.to_dict()
    write_csv(path, chosen(chosen=WORSE, rejected=BETTER))
    assert task(path).key() != made.key()
    with pytest.raises(ConfigError, match="has changed"):
        parse_task(stored)
