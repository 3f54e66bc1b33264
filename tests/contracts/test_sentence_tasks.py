"""The paper's tasks on sentences and pairs of sentences: ETHICS, ANLI, CoLA, SST-2, PAWS, WiC, tweets.

Expected rows are made here with plain csv and json code from the original files.
"""

from __future__ import annotations

import csv
import html
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from real_rows import real_folder

from weakstrong.tasks import TASKS, TaskRows, parse_task
from weakstrong.tasks._dataset import _clean

HERE = Path(__file__).parent
NAMES = (
    "anli-r2", "cola", "ethics-deontology", "ethics-justice", "ethics-utilitarianism", "ethics-virtue", "paws", "sst2",
    "twitter-sentiment", "wic",
)  # fmt: skip
Labelled = Iterator[tuple[str, int]]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, TaskRows]]:
    """Folder and all rows of a task by name, each read once."""

    class Lazy(dict[str, tuple[Path, TaskRows]]):
        def __missing__(self, name: str) -> tuple[Path, TaskRows]:
            folder = real_folder(name, tmp_path_factory.mktemp(name))
            task = parse_task({"kind": name, "data_dir": str(folder), "limit": 1_000_000})
            self[name] = (folder, task.load())
            return self[name]

    return Lazy()


# --- independent reading


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def tabbed(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]


def expected(name: str, folder: Path) -> Labelled:
    """Text and label of every row, train first, in the order of the files."""
    for part in ("train", "test"):
        if name in ("ethics-justice", "ethics-deontology", "ethics-virtue"):
            for label, *texts in table(folder / f"{name[7:]}_{part}.csv")[1:]:
                yield "\n".join(texts).replace("[SEP]", "\nTrait:"), int(label)
        elif name == "wic":
            file = folder / {"train": "train.jsonl", "test": "val.jsonl"}[part]
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                contexts = f"Context 1: {row['sentence1']}\nContext 2: {row['sentence2']}"
                yield f"Word: {row['word']}\n{contexts}", 1 if row["label"] is True else 0
        elif name == "cola":
            for path in sorted(folder.glob("*_train.tsv" if part == "train" else "*_dev.tsv")):
                yield from ((sentence, int(label)) for _, label, _, sentence in tabbed(path))
        elif name == "sst2":
            file = folder / {"train": "train.tsv", "test": "dev.tsv"}[part]
            yield from ((sentence, int(label)) for sentence, label in tabbed(file)[1:])
        elif name == "anli-r2" and part == "test":
            head, *rows = table(folder / "r2_dev.csv")
            for row in rows:
                field = dict(zip(head, row, strict=True))
                words = field["context"].split()
                premise = " ".join(words[:160]) + (" …" if len(words) > 160 else "")
                hypothesis = f"Hypothesis: {field['statement']}"
                yield f"Premise: {premise}\n{hypothesis}", int(field["gold_label"] == "e")
        elif name == "twitter-sentiment" and part == "train":
            for label, stem in enumerate(("negative", "positive")):
                lines = (folder / f"{stem}.txt").read_text(encoding="utf-8").split("\n")
                yield from ((html.unescape(line), label) for line in lines)


def neat(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(lines).strip()


@pytest.mark.parametrize("name", NAMES)
def test_renderings_are_those_read_by_eye(name: str) -> None:
    """A label turned round, a field left out or a changed prompt; stored results are about these very texts."""
    parts = json.loads((HERE / "records" / f"{name}.json").read_text(encoding="utf-8"))
    golden = json.loads((HERE.parent / "golden" / "renderings" / f"{name}.json").read_text(encoding="utf-8"))
    task = TASKS.get(name).parse({}, name)
    items = [item for part in ("train", "test") for record in parts[part] for item in task.items(record)]  # type: ignore[attr-defined]
    assert [[_clean(item).text, item.label] for item in items] == golden


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("ethics-utilitarianism", "paws")])
def test_all_rows_are_there_with_their_labels(name: str, real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Rows lost to quotes, line breaks, a header or a label code; labels of a neighbour; a test row taken for train."""
    folder, rows = real[name]
    wanted: dict[str, int] = {}
    for text, label in expected(name, folder):
        if text.strip():
            wanted.setdefault(neat(text), label)
    found = dict(zip(rows.table["text"].to_pylist(), rows.table["label"].to_pylist(), strict=True))
    assert len(rows.table) == len(found)
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "train", "test", "repeated"),
    [("ethics-justice", 21_791, 2_704, 10), ("ethics-deontology", 18_164, 3_596, 2), ("ethics-virtue", 28_245, 4_975, 242),
     ("ethics-utilitarianism", 13_738, 4_808, 166), ("anli-r2", 0, 1_000, 0), ("cola", 8_551, 1_043, 41),
     ("sst2", 67_349, 872, 372), ("wic", 5_428, 638, 0), ("twitter-sentiment", 100_000, 0, 663)],
)  # fmt: skip
def test_row_counts_are_those_published(
    name: str, train: int, test: int, repeated: int, real: dict[str, tuple[Path, TaskRows]]
) -> None:
    """A header read as a row or a row as a header; test rows in the train part (whose repeats are dropped)."""
    _, rows = real[name]
    origins = Counter(rows.table["origin"].to_pylist())
    assert origins.total() == train + test - repeated
    assert origins["train"] <= train
    assert origins["test"] <= test
    assert rows.notes == ((f"{repeated} repeated texts dropped",) if repeated else ())


# --- groups


def groups_by(rows: TaskRows, feature: Any) -> dict[str, set[str]]:
    """The groups of the rows that have a feature in common (a text gives several)."""
    found: dict[str, set[str]] = defaultdict(set)
    for text, group in zip(rows.table["text"].to_pylist(), rows.table["group"].to_pylist(), strict=True):
        for value in feature(text):
            found[value].add(group)
    return found


@pytest.mark.parametrize(("name", "scenarios"), [("ethics-virtue", 4_400), ("ethics-deontology", 5_600)])
def test_a_scenario_is_one_group(name: str, scenarios: int, real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Grouped by row: four traits of a scenario with the supervisor, the fifth, then obvious, with the student."""
    _, rows = real[name]
    found = groups_by(rows, lambda text: [text.split("\n")[0]])
    assert len(found) > scenarios
    assert all(len(groups) == 1 for groups in found.values())
    assert len(set.union(*found.values())) > 0.98 * len(found)


def test_utilitarian_scenarios_stay_in_one_group(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """A scenario that is the better of one pair and the worse of the next, with one of them in each half."""
    _, rows = real["ethics-utilitarianism"]

    def scenarios(text: str) -> list[str]:
        first, second = text.split("\n")
        return [first.removeprefix("Scenario A: "), second.removeprefix("Scenario B: ")]

    found = groups_by(rows, scenarios)
    assert all(len(groups) == 1 for groups in found.values())
    counts = Counter(rows.table["group"].to_pylist())
    assert len(counts) > 7_000
    assert counts.most_common(1)[0][1] < 0.25 * len(rows.table)


def test_utilitarian_pairs_come_in_a_fair_order(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """The better one always first makes every model perfect; columns taken the wrong way round make it useless."""
    folder, rows = real["ethics-utilitarianism"]
    pairs = [tuple(map(neat, p)) for part in ("train", "test") for p in table(folder / f"util_{part}.csv")]
    better = {(frozenset(pair), pair[0]) for pair in pairs}
    for text, label in zip(rows.table["text"].to_pylist(), rows.table["label"].to_pylist(), strict=True):
        first, second = text.removeprefix("Scenario A: ").split("\nScenario B: ")
        assert (frozenset((first, second)), (first, second)[label]) in better
    share = sum(rows.table["label"].to_pylist()) / len(rows.table)
    assert 0.48 < share < 0.52


def test_justice_rows_of_one_stem_stay_together(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Rows of one writer's block differ in a few words: across the halves they are the same question twice."""
    folder, rows = real["ethics-justice"]
    group_of = dict(zip(rows.table["text"].to_pylist(), rows.table["group"].to_pylist(), strict=True))
    together = kin = 0
    for part in ("train", "test"):
        texts = [neat(text) for _, text in table(folder / f"justice_{part}.csv")[1:]]
        for one, two in pairwise(texts):
            left, right = set(one.lower().split()), set(two.lower().split())
            if len(left & right) >= 0.5 * len(left | right):
                kin += 1
                together += group_of[one] == group_of[two]
    assert kin > 13_000
    assert together > 0.94 * kin
    counts = Counter(rows.table["group"].to_pylist())
    assert len(counts) > 7_000
    assert counts.most_common(1)[0][1] < 0.06 * len(rows.table)


def test_phrases_go_with_their_sentence(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Nine in ten SST-2 rows are part of another one: dealt by row, the student is tested on what it was taught."""
    _, rows = real["sst2"]
    texts, groups = rows.table["text"].to_pylist(), rows.table["group"].to_pylist()
    padded = [f" {text} " for text in texts]
    whole = sorted(range(len(texts)), key=lambda i: -len(texts[i].split()))[:4_000:100]
    together = parts = 0
    for w in whole:
        for i, phrase in enumerate(padded):
            if i != w and phrase.count(" ") > 5 and phrase in padded[w]:
                parts += 1
                together += groups[i] == groups[w]
    assert parts > 300
    assert together > 0.97 * parts
    assert Counter(groups).most_common(1)[0][1] < 100


def test_words_premises_and_copies_of_tweets_are_groups(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Contexts of a word, statements on a passage and one tweet to several people come back in other rows."""
    _, wic = real["wic"]
    words = groups_by(wic, lambda text: [text.split("\n")[0].lower()])
    assert len(words) == len(set.union(*words.values())) == 1_635
    assert all(len(groups) == 1 for groups in words.values())
    _, anli = real["anli-r2"]
    premises = groups_by(anli, lambda text: [text.split("\nHypothesis: ")[0]])
    assert len(premises) == len(set.union(*premises.values())) == 872
    _, tweets = real["twitter-sentiment"]
    copies = groups_by(tweets, lambda text: [text.lower()])
    assert all(len(groups) == 1 for groups in copies.values())


# --- ANLI's eight models


def test_anli_holds_eight_ready_supervisors(real: dict[str, tuple[Path, TaskRows]]) -> None:
    """Classes in the file's order instead of ours turn every supervisor round; rows in another order mix them up."""
    folder, rows = real["anli-r2"]
    head, *raw = table(folder / "r2_dev.csv")
    names = [c.removeprefix("preds-") for c in head if c.startswith("preds-") and "PredLabel" not in c]
    assert len(names) == 8
    columns = {c for c in rows.table.column_names if c.startswith("weak.")}
    assert columns == {f"weak.{name}.{c}" for name in names for c in (0, 1)}
    exceptions = 0
    for name in names:
        no_N, yes_N = (rows.table[f"weak.{name}.{c}"].to_numpy() for c in (0, 1))
        assert abs(no_N + yes_N - 1).max() < 1e-6
        for no, yes, line in zip(no_N, yes_N, raw, strict=True):
            field = dict(zip(head, line, strict=True))
            probs = json.loads(field[f"preds-{name}"])
            assert yes == pytest.approx(probs[0], abs=1e-6)
            if (yes > no) != (field[f"preds-{name}PredLabel"] == "e"):
                exceptions += 1  # entailment is the likeliest of three, yet less likely than not
                assert max(probs) == probs[0] < 0.5
    assert exceptions == 2 + 3 + 11 + 0 + 1 + 0 + 9 + 2
