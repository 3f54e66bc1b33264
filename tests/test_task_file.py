"""The user's own rows: every format reads the same, and what is wrong is named by row and column."""

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

TEXTS = ['He said "no", twice', "two\nlines", "a, b; c\td", "  Ünïcode – 日本  ", "plain", "another"]
LABELS = ["neg", "pos", "neg", "pos", "pos", "neg"]


def task(path: Path, **fields: Any) -> Task:
    return parse_task({"kind": "file", "path": str(path)} | fields)


def load(path: Path, **fields: Any) -> TaskRows:
    return task(path, **fields).load()


def write_csv(path: Path, columns: dict[str, list[Any]], separator: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_jsonl(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def write_folder(path: Path, columns: dict[str, list[Any]]) -> Path:
    import datasets

    datasets.Dataset.from_dict(columns).save_to_disk(str(path))
    return path


WRITERS: dict[str, Callable[[Path, dict[str, list[Any]]], Path]] = {
    "rows.csv": write_csv,
    "rows.tsv": lambda path, columns: write_csv(path, columns, "\t"),
    "rows.jsonl": write_jsonl,
    "rows.ndjson": write_jsonl,
    "rows.parquet": write_parquet,
    "rows.CSV": write_csv,
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_the_same_rows(tmp_path: Path, name: str) -> None:
    """Quotes, separators and line breaks inside a text cut rows apart when a file is split by hand."""
    path = WRITERS[name](tmp_path / name, {"text": TEXTS, "label": LABELS, "n": list(range(6))})
    rows = load(path)
    assert rows.table["text"].to_pylist() == TEXTS
    assert rows.classes == ("neg", "pos")
    assert rows.table["label"].to_pylist() == [0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    "values", [[0, 1, 0, 1, 1, 0], [0.0, 1.0, 0.0, 1.0, 1.0, 0.0], [False, True, False, True, True, False]]
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_numbers_are_class_names(tmp_path: Path, name: str, values: list[Any]) -> None:
    """Labels 1 and 1.0 of two files must be one class."""
    rows = load(WRITERS[name](tmp_path / name, {"text": TEXTS, "label": values}))
    assert rows.classes == ("0", "1")
    assert rows.table["label"].to_pylist() == [0, 1, 0, 1, 1, 0]


def test_class_labels_of_a_data_set_folder_keep_their_names(tmp_path: Path) -> None:
    """Integers of a ClassLabel without their names lose what the classes mean; one split of a DatasetDict is found."""
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
    )
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 1, 0, 0, 1]}, features=features)
    data.save_to_disk(str(tmp_path / "data"))
    rows = load(tmp_path / "data")
    assert [rows.classes[i] for i in rows.table["label"].to_pylist()] == LABELS
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "one"))
    assert load(tmp_path / "one").table["text"].to_pylist() == TEXTS
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(DataError, match=r"holds the splits \['test', 'train'\]"):
        load(tmp_path / "two")
    assert load(tmp_path / "two" / "train").classes == rows.classes


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    """Spreadsheets write one, and then 'text' is not found."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\nx,a\ny,b\n")
    assert load(path).table["text"].to_pylist() == ["x", "y"]


def test_identifiers_keep_their_zeros(tmp_path: Path) -> None:
    """An id 007 read as a number joins to nothing."""
    path = write_csv(tmp_path / "rows.csv", {"key": ["007", "7"], "text": ["a", "b"], "label": ["x", "y"]})
    assert load(path, id="key").table["id"].to_pylist() == ["007", "7"]


# --- what is wrong is said


def good(**changes: list[Any]) -> dict[str, list[Any]]:
    return {"id": list("abcdef"), "text": TEXTS, "label": LABELS} | changes


@pytest.mark.parametrize(
    ("columns", "fields", "words"),
    [
        (good(), {"text": "body"}, r"no column 'body'; its columns are 'id', 'text', 'label'"),
        (good(), {"label": "y"}, r"no column 'y'; its columns are"),
        (good(), {"weak_label": "p_neg,p_pos"}, r"no column 'p_neg'"),
        (good(), {"group": "user"}, r"no column 'user'"),
        (good(text=["a", "", "c", "d", "e", "f"]), {}, r"1 of 6 texts are empty, first in row 2"),
        (good(label=["a"] * 6), {}, r"only one class is present \(\['a'\]\)"),
        (good(), {"classes": ["neg", "neutral"]}, r"row 2, column 'label': 'pos' is none of the classes \['neg', 'neutral'\]"),
        (good(label=["neg", "", "pos", "neg", "pos", "neg"]), {}, r"row 2 has no value in label column 'label'"),
        (good(id=list("abcabd")), {"id": "id"}, r"2 ids appear twice, first 'a'"),
        (good(p0=["0.5"] * 6, p1=["0.5"] * 5 + ["0.6"]), {"weak_label": "p0,p1"}, r"weak labels: row 6 .* sums to 1\.1"),
        (good(p0=["0.5"] * 6, p1=["0.5"] * 5 + ["x"]), {"weak_label": "p0,p1"}, r"weak-label columns p0, p1: .*'x'"),
        (good(p0=["-0.5"] * 6, p1=["1.5"] * 6), {"weak_label": "p0,p1"}, r"row 1 is \[-0\.5, 1\.5\], which is not within"),
        (good(w=["neg"] * 5 + [""]), {"weak_label": "w"}, r"row 6 has no weak label in column 'w'"),
        (good(w=["neg"] * 5 + ["meh"]), {"weak_label": "w", "classes": ["neg", "pos"]}, r"row 6, column 'w': 'meh' is none"),
        (good(label=list("abcabc"), w=["0.5"] * 6), {"weak_label": "w"}, r"one column of probabilities fits two classes, found 3"),
        (good(p0=["1"] * 6, p1=["0"] * 6, p2=["0"] * 6), {"weak_label": "p0,p1,p2", "classes": ["neg", "pos"]},
         r"3 weak-label columns for 2 classes"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_by_row_and_column(
    tmp_path: Path, columns: dict[str, list[Any]], fields: dict[str, Any], words: str
) -> None:
    """Each of these trains on wrong labels, or ends in a traceback, unless it is refused."""
    with pytest.raises(DataError, match=words):
        load(write_csv(tmp_path / "rows.csv", columns), **fields)


def test_latin_1_is_refused_in_words(tmp_path: Path) -> None:
    """Mangled umlauts are other tokens; a codec traceback helps nobody."""
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nMüller,a\nschön,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.csv cannot be read: .*(?i:utf-?8)"):
        load(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.xlsx", b"x", r"the format \.xlsx is not known; wanted \.csv"),
        ("rows", b"x", r"the format without ending is not known"),
        ("rows.csv", b"", r"rows\.csv cannot be read"),
        ("rows.csv", b"text,label\n", r"rows\.csv has no rows"),
        ("rows.jsonl", b'{"text": "a"\n', r"rows\.jsonl cannot be read"),
        ("rows.parquet", b"not parquet", r"rows\.parquet cannot be read"),
        ("rows.csv", b"text,label\na,b,c\n", r"rows\.csv cannot be read"),
    ],
)
def test_unreadable_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """A library's own exception names no file."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load(tmp_path / name)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    """Pointing at the folder around the file is a common slip."""
    (tmp_path / "some").mkdir()
    with pytest.raises(DataError, match="is not a data set folder"):
        load(tmp_path / "some")


@pytest.mark.parametrize("path", ["missing.csv", 5, None, ["a.csv"]])
def test_a_missing_or_impossible_path_is_a_config_error(path: Any) -> None:
    """A TypeError from inside a validator names neither the field nor the file."""
    with pytest.raises(ConfigError, match=r"path|missing\.csv does not exist"):
        parse_task({"kind": "file", "path": path})


# --- weak labels


def weak_of(rows: TaskRows) -> np.ndarray:
    return np.stack([rows.table[f"weak_{c}"].to_numpy() for c in range(len(rows.classes))], axis=1)


def test_columns_named_after_classes_go_by_name(tmp_path: Path) -> None:
    """Columns given as p_pos, p_neg against classes sorted as neg, pos would swap every weak label silently."""
    p = [0.1, 0.9, 0.2, 0.8, 0.7, 0.3]
    columns = good(p_pos=p, p_neg=[1 - x for x in p], pos=p, neg=[1 - x for x in p])
    path = write_csv(tmp_path / "rows.csv", columns)
    for fields in ("p_pos,p_neg", "p_neg,p_pos", "pos,neg"):
        rows = load(path, weak_label=fields)
        assert rows.classes == ("neg", "pos")
        assert weak_of(rows)[:, 1] == pytest.approx(p)
    reordered = load(path, weak_label="p_pos,p_neg", classes=["pos", "neg"])
    assert weak_of(reordered)[:, 0] == pytest.approx(p)


def test_other_column_names_go_by_order(tmp_path: Path) -> None:
    """Columns without class names follow the order of the classes."""
    p = [0.1, 0.9, 0.2, 0.8, 0.7, 0.3]
    path = write_csv(tmp_path / "rows.csv", good(first=[1 - x for x in p], second=p))
    assert weak_of(load(path, weak_label="first,second"))[:, 1] == pytest.approx(p)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_one_column_of_probabilities_is_the_second_class(tmp_path: Path, name: str) -> None:
    """Exact zeros and ones among probabilities must not turn the column into class names '0' and '1'."""
    p = [0.0, 1.0, 0.25, 0.75, 1.0, 0.5]
    path = WRITERS[name](tmp_path / name, {"text": TEXTS, "label": [0, 1, 0, 1, 1, 0], "w": p})
    rows = load(path, weak_label="w")
    assert weak_of(rows)[:, 1] == pytest.approx(p)
    assert weak_of(rows).sum(1) == pytest.approx(np.ones(6))


def test_class_names_become_certain_weak_labels(tmp_path: Path) -> None:
    """Hard labels of raters or heuristics."""
    path = write_csv(tmp_path / "rows.csv", good(w=["pos", "pos", "neg", "neg", "pos", "neg"]))
    assert weak_of(load(path, weak_label="w")).tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("label", [None, "label"])
def test_integer_weak_labels_of_three_classes(tmp_path: Path, label: str | None) -> None:
    """0 and 1 read as probabilities would leave '2' as the only class."""
    columns = good(w=["0", "1", "2", "2", "1", "0"], label=["0", "", "2", "", "", "1"])
    rows = load(write_csv(tmp_path / "rows.csv", columns), weak_label="w", label=label)
    assert rows.classes == ("0", "1", "2")
    assert weak_of(rows).argmax(1).tolist() == [0, 1, 2, 2, 1, 0]
    assert rows.table["label"].to_pylist() == ([0, -1, 2, -1, -1, 1] if label else [-1] * 6)


def test_half_labelled_rows_load_with_weak_labels(tmp_path: Path) -> None:
    """Rows without ground truth are what the practitioner has; they must be marked, not dropped or guessed."""
    columns = good(label=["neg", "pos", "", "", "", ""], w=["0.2", "0.9", "0.4", "0.6", "0.7", "0.1"])
    rows = load(write_csv(tmp_path / "rows.csv", columns), weak_label="w")
    assert rows.table["label"].to_pylist() == [0, 1, -1, -1, -1, -1]
    assert rows.table["text"].to_pylist() == TEXTS


def test_probability_columns_of_three_classes_without_ground_truth(tmp_path: Path) -> None:
    """Class names come from the columns when no labels say more."""
    columns = good(p_a=[0.2] * 6, p_c=[0.3] * 6, p_b=[0.5] * 6)
    rows = load(write_csv(tmp_path / "rows.csv", columns), weak_label="p_a,p_c,p_b", label=None)
    assert weak_of(rows)[0].tolist() == pytest.approx(
        [{"a": 0.2, "b": 0.5, "c": 0.3}[c] for c in rows.classes]
    )


def test_a_second_file_of_weak_labels_is_joined_by_id(tmp_path: Path) -> None:
    """Joined by place, every row would get another row's weak label."""
    path = write_csv(tmp_path / "rows.csv", good())
    p = dict(zip("abcdef", [0.1, 0.9, 0.2, 0.8, 0.7, 0.3], strict=True))
    order = list("fcadbe")
    other = write_csv(tmp_path / "weak.csv", {"id": order, "p": [p[i] for i in order]})
    fields = {"weak_labels_path": str(other), "weak_label": "p", "id": "id"}
    rows = load(path, **fields)
    assert rows.table["id"].to_pylist() == list("abcdef")
    assert weak_of(rows)[:, 1] == pytest.approx(list(p.values()))

    write_csv(other, {"id": [*order, "zz"], "p": [0.5] * 7})
    with pytest.raises(
        DataError, match=r"weak labels for 1 rows that do not exist in .*rows\.csv, first id 'zz'"
    ):
        load(path, **fields)
    write_csv(other, {"id": order[:-1], "p": [0.5] * 5})
    with pytest.raises(DataError, match="row 5 has no weak label in column 'p'"):
        load(path, **fields)
    write_csv(other, {"id": list("aabcde"), "p": [0.5] * 6})
    with pytest.raises(DataError, match="ids appear twice in column 'id'"):
        load(path, **fields)
    with pytest.raises(ConfigError, match="joined by id: name the id column"):
        load(path, weak_labels_path=str(other), weak_label="p")


# --- the key


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    """A moved file must recompute nothing; an edited one must not be served the old result."""
    path = write_csv(tmp_path / "rows.csv", good())
    before = task(path).key()
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "renamed.csv"
    shutil.copy(path, moved)
    assert task(moved).key() == before
    moved.write_text(moved.read_text().replace("plain", "plaid"), encoding="utf-8")
    assert task(moved).key() != before
    assert task(path, text="id").key() != before
    assert task(path, limit=10).key() != before


def test_the_key_follows_the_content_of_weak_labels_and_folders(tmp_path: Path) -> None:
    """Digesting only the first file would serve students of older weak labels."""
    path = write_csv(tmp_path / "rows.csv", good())
    other = write_csv(tmp_path / "weak.csv", {"id": list("abcdef"), "p": [0.5] * 6})
    fields = {"weak_labels_path": str(other), "weak_label": "p", "id": "id"}
    before = task(path, **fields).key()
    write_csv(other, {"id": list("abcdef"), "p": [0.6] * 6})
    assert task(path, **fields).key() != before

    folder = write_folder(tmp_path / "data", {"text": TEXTS, "label": LABELS})
    key = task(folder).key()
    shutil.move(folder, tmp_path / "moved")
    assert task(tmp_path / "moved").key() == key
    arrow = next((tmp_path / "moved").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes() + b"\0")
    assert task(tmp_path / "moved").key() != key


def test_a_file_edited_after_planning_is_refused(tmp_path: Path) -> None:
    """A stored experiment names a content; reading another one would break its key."""
    path = write_csv(tmp_path / "rows.csv", good())
    stored = task(path).to_dict()
    write_csv(path, good(label=LABELS[::-1]))
    with pytest.raises(ConfigError, match="has changed"):
        parse_task(stored)


def test_the_limit_keeps_the_same_rows_whatever_their_order(tmp_path: Path) -> None:
    """Taking the first rows of a sorted file keeps one class."""
    texts = [f"text {i}" for i in range(50)]
    labels = ["a"] * 25 + ["b"] * 25
    one = load(write_csv(tmp_path / "a.csv", {"text": texts, "label": labels}), limit=20)
    two = load(write_csv(tmp_path / "b.csv", {"text": texts[::-1], "label": labels[::-1]}), limit=20)
    assert len(one.table) == 20
    assert set(one.table["text"].to_pylist()) == set(two.table["text"].to_pylist())
    assert len(set(one.table["label"].to_pylist())) == 2
    assert one.notes == ("20 of 50 rows kept (limit)",)


def test_infinite_labels_are_a_data_error(tmp_path: Path) -> None:
    """int(inf) is an OverflowError with no file or row."""
    path = write_parquet(
        tmp_path / "rows.parquet", {"text": TEXTS, "label": [0.0, 1.0, float("inf"), 0.0, 1.0, 0.0]}
    )
    with pytest.raises(DataError, match="row 3, column 'label': 'inf'"):
        load(path, classes=["0", "1"])


def test_fractions_beyond_one_are_no_class_names(tmp_path: Path) -> None:
    """Scores such as 1.7 became hundreds of classes, each its own name, and training went on."""
    path = tmp_path / "rows.csv"
    path.write_text("text,guess\n" + "\n".join(f"text {i},{i / 40}" for i in range(60)))
    task = parse_task({"kind": "file", "path": str(path), "label": None, "weak_label": "guess"})
    with pytest.raises(
        DataError, match=r"row 42 has 1\.025 in weak-label column 'guess', which holds probabilities"
    ):
        task.load()
