"""What every task must keep, found by name; and the movie snippets counted independently.

Public data sets are read from their original files where these are at hand (`real_rows`).
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from real_rows import real_folder

from weakstrong.data import Part, Split, deal
from weakstrong.sources import fetch
from weakstrong.tasks import TASKS, Task, TaskKind, TaskRows, parse_task
from weakstrong.tasks._dataset import DatasetTask
from weakstrong.tasks.movie_snippets import MovieSnippets

OWN = ("file", "preference-file")


def is_download(name: str) -> bool:
    """Whether the rows come from a package index."""
    return name not in OWN and not issubclass(TASKS.get(name), DatasetTask)


NAMES = [pytest.param(n, marks=[pytest.mark.download] if is_download(n) else []) for n in TASKS.names()]
every_task = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Task, TaskRows]]:
    """Loaded tasks by name; the user's tasks get rows of their own."""
    made: dict[str, tuple[Task, TaskRows]] = {}
    room = tmp_path_factory.mktemp("rows")
    path, pairs = room / "rows.csv", room / "pairs.csv"
    path.write_text(
        "text,label\n" + "".join(f"sentence {i},{'good' if i % 3 else 'bad'}\n" for i in range(600))
    )
    rng = random.Random(0)
    pairs.write_text(
        "chosen,rejected\n"
        + "".join(
            f"w{rng.random()} says w{rng.random()},w{rng.random()} says w{rng.random()}\n" for _ in range(600)
        )
    )

    class Lazy(dict[str, tuple[Task, TaskRows]]):
        def __missing__(self, name: str) -> tuple[Task, TaskRows]:
            own = {
                "file": {"path": str(path)},
                "preference-file": {"path": str(pairs), "chosen": "chosen", "rejected": "rejected"},
            }
            if name in own or is_download(name):
                values = own.get(name, {})
            else:
                values = {"data_dir": str(real_folder(name, tmp_path_factory.mktemp(name)))}
            task = parse_task({"kind": name} | values)
            self[name] = (task, task.load())
            return self[name]

    return Lazy(made)


@every_task
def test_rows_are_named_texts_with_labels(name: str, loaded: dict[str, tuple[Task, TaskRows]]) -> None:
    """Repeated ids join wrongly; an empty text has no features; a class nobody has is a wrong head."""
    task, rows = loaded[name]
    columns = rows.table.to_pydict()
    assert len(set(columns["id"])) == len(columns["id"])
    both = columns["text"] + columns.get("other", [])
    assert all(text == text.strip() and text for text in both)
    assert ("other" in columns) is (task.task_kind is TaskKind.PREFERENCE)
    assert set(columns["label"]) == set(range(len(rows.classes)))
    assert len(set(rows.classes)) == len(rows.classes)
    if task.size is not None:
        assert len(rows.table) == task.size
    if task.class_names:
        assert rows.classes == task.class_names


@every_task
def test_no_text_gives_its_label_away(name: str, loaded: dict[str, tuple[Task, TaskRows]]) -> None:
    """A rating or class name left in the text by a parsing slip makes every model perfect."""
    _, rows = loaded[name]
    texts, labels = rows.table["text"].to_pylist(), rows.table["label"].to_pylist()
    if "other" in rows.table.column_names and name not in OWN:  # which side it is says nothing
        assert abs(sum(labels) / len(labels) - 0.5) < 0.05
    assert not any("\t" in text or "\r" in text for text in texts)
    shares = Counter(labels)
    for feature in (
        lambda t: t.split()[0].lower(),
        lambda t: t.split()[-1].lower(),
        lambda t: t[0].isdigit(),
    ):
        guess: dict[object, Counter[int]] = {}
        for text, label in zip(texts, labels, strict=True):
            guess.setdefault(feature(text), Counter())[label] += 1
        common = [counts for counts in guess.values() if counts.total() >= 20]
        right = sum(max(counts.values()) for counts in common)
        chance = max(shares.values()) / len(labels)
        assert right <= (chance + 0.25) * sum(c.total() for c in common)


@every_task
def test_halves_are_disjoint_by_group_and_balanced(
    name: str, loaded: dict[str, tuple[Task, TaskRows]]
) -> None:
    """Leakage between supervisor and student halves, or a test set in which one class is better than chance."""
    _, rows = loaded[name]
    split = deal(rows.table, len(rows.classes), Split())
    of = {row["id"]: row for row in rows.table.to_pylist()}
    parts: dict[str, list[str]] = {}
    for i, part in zip(split["id"].to_pylist(), split["part"].to_pylist(), strict=True):
        parts.setdefault(part, []).append(i)
    groups = [{of[i]["group"] for i in ids} for ids in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    texts = [{(of[i]["text"], of[i].get("other")) for i in ids} for ids in parts.values()]
    assert sum(map(len, texts)) == len(set.union(*texts))
    counts = Counter(of[i]["label"] for i in parts[Part.TEST])
    assert len(set(counts.values())) == 1
    assert abs(len(parts[Part.WEAK_TRAIN]) - len(parts[Part.TRANSFER])) <= 0.1 * len(parts[Part.TRANSFER])
    whole = Counter(of[i]["label"] for i in parts[Part.TRANSFER] + parts[Part.WEAK_TRAIN])
    assert max(whole.values()) <= (Split().majority_limit + 0.05) * whole.total()


@every_task
def test_loading_twice_gives_the_same_rows(name: str, loaded: dict[str, tuple[Task, TaskRows]]) -> None:
    """Rows in another order, or drawn anew, are another experiment under the same key."""
    task, rows = loaded[name]
    assert task.load().table == rows.table
    assert task.cached()


@pytest.mark.download
def test_movie_snippets_have_the_rows_their_authors_published(
    loaded: dict[str, tuple[Task, TaskRows]],
) -> None:
    """str.splitlines() breaks rows at Unicode line breaks inside texts; a wrong threshold shifts the classes."""
    path: Path = fetch(MovieSnippets.source)
    lines = [line for line in path.read_bytes().split(b"\r\n") if line]
    assert len(lines) == 10_605
    means = [float(line.split(b"\t")[1]) for line in lines]
    _, rows = loaded["movie-snippets"]
    assert len(rows.table) == sum(abs(m) > 0.5 for m in means) == 10_043
    assert sum(rows.table["label"].to_pylist()) == sum(m > 0.5 for m in means) == 4_982
    assert rows.notes == ("562 of 10605 sentences with |mean rating| ≤ 0.5 dropped",)
    everything = parse_task({"kind": "movie-snippets", "min_mean": 0}).load().table
    assert len(everything) == sum(m != 0 for m in means)


@pytest.mark.download
def test_movie_snippets_golden_rows(loaded: dict[str, tuple[Task, TaskRows]]) -> None:
    """Ids, texts and labels of single rows, as read by eye in the file; ids are part of stored results."""
    _, rows = loaded["movie-snippets"]
    of = {row["text"]: row for row in rows.table.to_pylist()}
    assert (of["Crummy."]["id"], of["Crummy."]["label"]) == ("9bb5b19f47ff48ee", 0)
    assert (of["Eh."]["id"], of["Eh."]["label"]) == ("f67717014f6f7999", 0)
    first, last = rows.table.slice(0, 1).to_pylist()[0], rows.table.slice(len(rows.table) - 1).to_pylist()[0]
    assert (first["id"], first["label"]) == ("4a0ab5be6f824c50", 1)
    assert first["text"].startswith("The Rock is destined to be the 21st Century's new ''Conan''")
    assert (last["id"], last["label"]) == ("7fd64c7c141d6755", 0)
    assert last["text"].endswith("In this case zero.")
