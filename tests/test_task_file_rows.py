"""Which of the user's rows are kept, whatever the file's size, and what raters voted."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakstrong.errors import ConfigError, DataError
from weakstrong.tasks import parse_task
from weakstrong.tasks.base import TaskRows
from weakstrong.tasks.file import read_frame


def load(path: Path, **fields: Any) -> TaskRows:
    return parse_task({"kind": "file", "path": str(path)} | fields).load()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path, row_group_size=3000)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def brute_force(rows: list[dict[str, Any]], limit: int, by_id: bool) -> list[dict[str, Any]]:
    """Load all, name all, sort by digest, cut, and restore the order."""
    named: list[dict[str, Any]] = []
    for row in rows:
        name = sha(row["text"])[:16]
        before = sum(other["group"] == name for other in named) if not by_id else 0
        own = row["key"] if by_id else name if not before else f"{name}-{before + 1}"
        named.append({"id": own, "group": name, "text": row["text"], "label": "ab".index(row["label"])})
    chosen = {row["id"] for row in sorted(named, key=lambda row: sha(row["id"]))[:limit]}
    return [row for row in named if row["id"] in chosen]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).map(lambda t: f"{t}.")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(cells, st.sampled_from("ab")), min_size=1, max_size=60),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
    st.integers(10, 40),
    st.booleans(),
)
def test_any_texts_survive_and_the_right_rows_stay(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, str]],
    ending: str,
    limit: int,
    by_id: bool,
) -> None:
    """A reader that loses a line break or a quote, or names the second copy of a text otherwise, moves other rows in."""
    rows = [{"key": f"{i:03d}", "text": text, "label": label} for i, (text, label) in enumerate(pairs)]
    path = write(tmp_path_factory.mktemp("any") / f"rows{ending}", rows)
    table = load(path, limit=limit, classes=["a", "b"], **({"id": "key"} if by_id else {})).table
    assert table.to_pylist() == brute_force(rows, limit, by_id)
    assert read_frame(path)["text"].to_list() == [row["text"] for row in rows]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("count", "pool", "limit"), [(30_000, 400, 10), (30_000, 10**6, 3000), (20_000, 9, 9500)]
)
def test_the_rows_of_many_batches_are_those_of_one(
    tmp_path: Path, ending: str, count: int, pool: int, limit: int
) -> None:
    """Rows cut away early although they belong to the smallest, or copies that count anew in each batch."""
    dice = random.Random(pool)
    rows = [
        {"key": str(i), "text": f"text\n{dice.randrange(pool)}", "label": dice.choice("ab")}
        for i in range(count)
    ]
    loaded = load(write(tmp_path / f"rows{ending}", rows), limit=limit)
    seen: dict[str, int] = {}
    named = []
    for i, row in enumerate(rows):
        name = sha(row["text"])[:16]
        seen[name] = seen.get(name, 0) + 1
        named.append((name if seen[name] == 1 else f"{name}-{seen[name]}", i))
    wanted = sorted(sorted(named, key=lambda pair: sha(pair[0]))[:limit], key=lambda pair: pair[1])
    assert loaded.table["id"].to_pylist() == [name for name, _ in wanted]
    assert loaded.table["text"].to_pylist() == [rows[i]["text"] for _, i in wanted]
    assert [loaded.classes[c] for c in loaded.table["label"].to_pylist()] == [
        rows[i]["label"] for _, i in wanted
    ]
    assert loaded.notes == (f"{limit} of {count} rows kept (limit)",)


def test_all_of_many_rows_are_kept_in_order_under_a_large_limit(tmp_path: Path) -> None:
    """`w2s train` takes all: the final table is made in pieces, which must be all there and in order."""
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(140_000)]
    loaded = load(write(tmp_path / "rows.csv", rows), limit=10_000_000)
    assert loaded.table["text"].to_pylist() == [row["text"] for row in rows]
    assert loaded.table["label"].to_pylist() == [i % 2 for i in range(140_000)]
    assert loaded.notes == ()


def far(change: dict[str, str], at: int = 25_000) -> list[dict[str, str]]:
    rows = [
        {"key": f"k{i}", "text": f"text {i}", "label": "ab"[i % 2], "w": "ab"[i % 2]} for i in range(26_000)
    ]
    p = [{"p_a": "0.25", "p_b": "0.75", "other": f"other {i}"} for i in range(26_000)]
    rows = [row | more for row, more in zip(rows, p, strict=True)]
    rows[at] |= change
    return rows


@pytest.mark.parametrize(
    ("change", "fields", "words"),
    [
        ({"text": " "}, {}, "1 of 26000 texts are empty, first in row 25001"),
        ({"label": ""}, {}, "row 25001 has no value in label column 'label'; 1 of 26000 rows have none"),
        ({"label": "z"}, {"classes": ["a", "b"]}, "row 25001, column 'label': 'z' is none of the classes"),
        ({"key": "k7"}, {"id": "key"}, r"1 ids appear twice, first 'k7' \(rows 8 and 25001\)"),
        ({"key": ""}, {"id": "key"}, "row 25001 has no id in column 'key'"),
        ({"p_a": "0.3"}, {"weak_label": "p_a,p_b"}, r"row 25001 is \[0\.3, 0\.75\], which sums to 1\.05"),
        ({"p_b": "half"}, {"weak_label": "p_a,p_b"}, "weak-label columns p_a, p_b: row 25001: .*'half'"),
        ({"w": "z"}, {"weak_label": "w", "classes": ["a", "b"]}, "row 25001, column 'w': 'z' is none of"),
        ({"w": ""}, {"weak_label": "w"}, "row 25001 has no weak label in column 'w'"),
        ({"other": ""}, {"paraphrase": "other"}, "row 25001 has no paraphrase in column 'other'"),
        ({"label": "", "w": ""}, {"rater": "w"}, "row 25001 has neither a label nor a vote .*'w'; 1 of 26000"),
    ],
)  # fmt: skip
def test_rows_that_are_not_kept_are_checked_too(
    tmp_path: Path, change: dict[str, str], fields: dict[str, Any], words: str
) -> None:
    """Ten of 26,000 rows stay; a bad one among the others says as much about the file, by its place in the file."""
    with pytest.raises(DataError, match=words):
        load(write(tmp_path / "rows.csv", far(change)), limit=10, **fields)


def test_classes_of_rows_that_are_not_kept_count(tmp_path: Path) -> None:
    """A rare class that happens to be cut away would change the index of every class after it."""
    assert load(write(tmp_path / "rows.csv", far({"label": "aa"})), limit=10).classes == ("a", "aa", "b")


def test_a_second_file_of_many_rows_joins_by_id(tmp_path: Path) -> None:
    """Places in a batch taken for places in the file give later batches the weak labels of the first."""
    rows = [{"key": f"k{i}", "text": f"text {i}", "label": "ab"[i % 2]} for i in range(20_000)]
    weak = [{"key": f"k{i}", "p": str(i / 20_000)} for i in range(20_000)]
    random.Random(0).shuffle(weak)
    fields = {"weak_labels_path": str(write(tmp_path / "weak.jsonl", weak)), "weak_label": "p", "id": "key"}
    table = load(write(tmp_path / "rows.csv", rows), **fields).table
    assert table["weak_1"].to_pylist() == pytest.approx([i / 20_000 for i in range(20_000)])


PEAK = """
import sys
import datasets, polars, pyarrow.parquet
from pathlib import Path
from weakstrong.data import make_rows
from weakstrong.tasks import parse_task

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

task, before = parse_task({"kind": "file", "path": sys.argv[1], "limit": 1000}), peak()
task.load()
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_memory_does_not_follow_the_file(tmp_path: Path, ending: str) -> None:
    """150 MB of texts of which a thousand stay: a reader that loads the file needs twice that, and dies on ten of them."""
    dice = random.Random(0)
    words = [f"w{dice.random():.12f}" for _ in range(3000)]
    rows = [
        {"text": f"{i} " + " ".join(dice.choices(words, k=100)), "label": "ab"[i % 2]} for i in range(100_000)
    ]
    path = write(tmp_path / f"rows{ending}", rows)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 110


# --- raters

RATED: dict[str, list[str]] = {
    "text": list("uvwxyz"),
    "label": ["good", "", "bad", "good", "", "bad"],
    "ann": ["good", "bad", "", "good", "good", "bad"],
    "ben": ["bad", "bad", "", "", "good", "bad"],
    "cid": ["", "good", "", "meh", "", ""],
}


def rated(**changes: list[str]) -> list[dict[str, str]]:
    columns = RATED | changes
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_votes_stand_in_the_order_of_the_raters(tmp_path: Path, ending: str) -> None:
    """Votes sorted, packed or counted lose who gave them; a class that only a rater names is a class."""
    path = write(tmp_path / f"rows{ending}", rated())
    rows = load(path, rater="ann, ben,cid")
    assert rows.classes == ("bad", "good", "meh")
    assert rows.table["votes"].to_pylist() == [
        [1, 0, -1], [0, 0, 1], [-1, -1, -1], [1, -1, 2], [1, 1, -1], [0, 0, -1],
    ]  # fmt: skip
    assert rows.table["votes"].type == pa.list_(pa.int8())
    assert rows.table["label"].to_pylist() == [1, -1, 0, 1, -1, 0]
    swapped = load(path, rater=["cid", "ann"], classes=["meh", "good", "bad"])
    assert swapped.table["votes"].to_pylist()[3] == [0, 1]


def test_votes_need_no_labels_and_go_with_weak_labels(tmp_path: Path) -> None:
    """Raters are an alternative to weak labels, not an appendix of them."""
    path = write(tmp_path / "rows.csv", rated(p=["0.5"] * 6, ann=["good"] * 6))
    alone = load(path, rater="ann,ben", label=None)
    assert alone.classes == ("bad", "good")
    assert alone.table["label"].to_pylist() == [-1] * 6
    both = load(path, rater="ann,ben", weak_label="p")
    assert both.table["weak_1"].to_pylist() == [0.5] * 6
    assert both.table["votes"].to_pylist() == alone.table["votes"].to_pylist()


def test_votes_are_kept_with_their_own_rows(tmp_path: Path) -> None:
    """Votes of all rows beside the rows that stay would be another row's votes."""
    rows = [{"text": f"text {i}", "label": "ab"[i % 2], "r": "ba"[i % 2]} for i in range(300)]
    table = load(write(tmp_path / "rows.csv", rows), rater="r", limit=40).table
    assert [v for [v] in table["votes"].to_pylist()] == [1 - c for c in table["label"].to_pylist()]


@pytest.mark.parametrize(
    ("changes", "fields", "words"),
    [
        ({}, {"rater": "dan"}, "no column 'dan'; its columns are 'text', 'label', 'ann'"),
        ({}, {"rater": "ann", "label": None}, "row 3 has neither a label nor a vote .*'ann'; 1 of 6 rows"),
        ({"label": [""] * 6}, {"rater": "ann,ben"}, "row 3 has neither a label nor a vote .*'ann', 'ben'"),
        ({}, {"rater": "cid", "classes": ["bad", "good"]}, "row 4, column 'cid': 'meh' is none of the classes"),
        ({}, {"rater": "ann", "classes": [f"{i}" for i in range(126)] + ["bad", "good"]}, "at most 127 classes"),
    ],
)  # fmt: skip
def test_votes_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, list[str]], fields: dict[str, Any], words: str
) -> None:
    """A misspelt class would be a class of its own; a row that nobody labelled teaches nothing."""
    with pytest.raises(DataError, match=words):
        load(write(tmp_path / "rows.csv", rated(**changes)), **fields)


def test_a_rater_is_named_once(tmp_path: Path) -> None:
    """A column given twice counts one person's votes double."""
    with pytest.raises(ConfigError, match="'ann' is named twice"):
        load(write(tmp_path / "rows.csv", rated()), rater="ann,ben,ann")


def test_raters_are_in_the_key(tmp_path: Path) -> None:
    """Rows with other votes must not be served from the store."""
    path = write(tmp_path / "rows.csv", rated())
    keys = {parse_task({"kind": "file", "path": str(path), "rater": r}).key() for r in ("", "ann", "ann,ben")}
    assert len(keys) == 3
