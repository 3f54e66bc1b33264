"""The comparison tasks: readings of hand-written hub records, and real rows against an independent reading."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_rows import real_folder

from weakstrong.errors import ConfigError, DataError
from weakstrong.tasks import TaskKind, TaskRows, parse_task
from weakstrong.tasks._dataset import DatasetTask
from weakstrong.tasks._preference import Comparison, comparison_item

HERE = Path(__file__).parent
FILES = {
    "hh-rlhf": ("train.jsonl", "test.jsonl"),
    "ultrafeedback": ("train_prefs.jsonl", "test_prefs.jsonl"),
    "tldr-preference": ("train.jsonl", "validation.jsonl"),
    "shp": ("train.json", "test.json"),
    "helpsteer2": ("train.jsonl", "validation.jsonl"),
    "helpsteer3": ("train.jsonl", "validation.jsonl"),
}
"""Original files of training and test part."""
TIED = "comparisons without a clear preference or with an empty side dropped"
every_task = pytest.mark.parametrize("name", FILES)
Record = dict[str, Any]
Write = Callable[..., DatasetTask]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(name, train, test, **fields)``: the task, its records lying in a folder as original files."""

    def build(name: str, train: list[Record], test: list[Record], **fields: Any) -> DatasetTask:
        for file, part in zip(FILES[name], (train, test), strict=True):
            (tmp_path / file).write_text("".join(json.dumps(r) + "\n" for r in part), encoding="utf-8")
        task = parse_task({"kind": name, "data_dir": str(tmp_path)} | fields)
        assert isinstance(task, DatasetTask)
        return task

    return build


def written(name: str) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = json.loads(
        (HERE / "records" / f"{name}.json").read_text(encoding="utf-8")
    )
    return found


def rows_of(rows: TaskRows) -> list[list[Any]]:
    columns = (rows.table[c].to_pylist() for c in ("text", "other", "label"))
    return [list(row) for row in zip(*columns, strict=True)]


# --- hand-written records


@every_task
def test_renderings_are_as_read_by_eye(name: str, write: Write) -> None:
    """The answers of a pair exchanged, a turn of the dialogue lost, marks of turns left in, another wording."""
    task = write(name, **written(name))
    rows = task.load()
    golden = HERE.parent / "golden" / "renderings" / f"{name}.json"
    assert rows_of(rows) == json.loads(golden.read_text(encoding="utf-8"))
    assert set(rows.table["label"].to_pylist()) == {0, 1}
    assert set(rows.table["origin"].to_pylist()) == {"train", "test"}
    assert task.task_kind is TaskKind.PREFERENCE
    # Each has one comparison that says nothing: a tie, too close a score, or an answer of no words.
    assert rows.notes == (() if name == "tldr-preference" else (f"1 {TIED}",))


TURNED: dict[str, Callable[[Record], Record]] = {
    "hh-rlhf": lambda r: {"chosen": r["rejected"], "rejected": r["chosen"]},
    "ultrafeedback": lambda r: {**r, "chosen": r["rejected"], "rejected": r["chosen"]},
    "tldr-preference": lambda r: {**r, "chosen": r["rejected"], "rejected": r["chosen"]},
    "shp": lambda r: {**r, "labels": 1 - r["labels"]},
    "helpsteer2": lambda r: {**r, "helpfulness": 4 - r["helpfulness"]},
    "helpsteer3": lambda r: {**r, "overall_preference": -r["overall_preference"]},
}
"""The record with the opposite preference."""


@every_task
def test_the_opposite_preference_turns_the_label_and_not_the_order(name: str, write: Write) -> None:
    """An order that follows the preference: position then gives the label away, or a label is always the same."""
    before = rows_of(write(name, **written(name)).load())
    turned = {part: list(map(TURNED[name], records)) for part, records in written(name).items()}
    after = rows_of(write(name, **turned).load())
    assert [row[:2] for row in after] == [row[:2] for row in before]
    assert [row[2] for row in after] == [1 - row[2] for row in before]


def test_the_coin_knows_neither_preference_nor_length() -> None:
    """Longer texts first, the alphabet first, or one class more often: a floor of a half is then no floor."""
    items = [
        comparison_item(Comparison(f"Question {i}?", f"a {i} " + "long " * 9, f"b {i}"), 99)
        for i in range(4000)
    ]
    share = sum(item.label for item in items) / len(
        items
    )  # also of the longer text, and of the later in order
    assert abs(share - 0.5) < 4 * 0.5 / 4000**0.5


@pytest.mark.parametrize("rest", ["", " and more of it"])
def test_a_long_prompt_keeps_its_end_and_both_texts_share_it(rest: str) -> None:
    """Cut at its end, the turn that is answered is gone; cut together with the answer, both texts are one."""
    prompt = "\n".join(f"word{i}" for i in range(50))
    item = comparison_item(Comparison(prompt, f"yes{rest}", "no", "Assistant: "), 5)
    start = "… word45 word46 word47 word48 word49\n\nAssistant: "
    assert {item.text, item.other} == {f"{start}yes{rest}", f"{start}no"}
    assert comparison_item(Comparison(prompt, "yes", "no"), 50).text.startswith("word0\nword1\n")


def test_comparisons_without_a_prompt_are_groups_of_their_own() -> None:
    """One group of all rows cannot be dealt to two halves; the same two texts in two halves are a leak."""
    one, two, turned = (
        comparison_item(Comparison("", *texts), 9).group for texts in (("a", "b"), ("a", "c"), ("b", "a"))
    )
    assert one == turned != two


@every_task
def test_conversations_and_prompts_are_groups(name: str, write: Write) -> None:
    """Two comparisons of one prompt, or two turns of one conversation, in two halves."""
    rows = write(name, **written(name)).load().table.to_pydict()
    group_of: dict[str, set[str]] = {}
    for text, group in zip(rows["text"], rows["group"], strict=True):
        first = text.removeprefix("System: Answer in one word.\n\n").split("\n\nAssistant:")[0]
        group_of.setdefault(first.rpartition("\n\n")[0] if "Human:" not in first else first, set()).add(group)
    assert all(len(groups) == 1 for groups in group_of.values())
    assert len(set(rows["group"])) == len(group_of) == len(set.union(*group_of.values()))


def test_equal_sides_and_contradictions_are_dropped_and_counted(write: Write) -> None:
    """Two equal texts have no preference; a pair that comes again with the opposite label is noise of two rows."""
    one = {"prompt": "P", "chosen": "good", "rejected": "bad"}
    train = [one, {**one, "rejected": " good "}, {**one, "chosen": "bad", "rejected": "good"}, one]
    rows = write("tldr-preference", train, [{**one, "chosen": "better"}]).load()
    assert len(rows.table) == 2
    assert rows.notes == ("1 comparisons of two equal texts dropped", "2 repeated texts dropped")


def test_dialogues_without_a_shared_prompt_are_dropped(write: Write) -> None:
    """Answers to two questions say nothing of each other."""
    train = [
        *written("hh-rlhf")["train"],
        {"chosen": "\n\nHuman: A\n\nAssistant: a", "rejected": "\n\nHuman: B\n\nAssistant: a"},
    ]
    assert write("hh-rlhf", train, []).load().notes == (f"2 {TIED}",)


def test_the_score_ratio_decides_which_comparisons_stay(write: Write) -> None:
    """A threshold that is read as a lower label, or taken without its bound."""
    records = written("shp")
    counts = [
        len(write("shp", **records, min_score_ratio=ratio).load().table) for ratio in (1, 1.5, 2, 2.01, 5)
    ]
    assert counts == [8, 8, 7, 6, 3]


def test_only_neighbours_of_one_prompt_are_a_pair(write: Write) -> None:
    """An answer left alone shifts all pairs after it by one: answers to two prompts are then compared."""
    rated = [
        ("P", "a", 1),
        ("Q", "b", 0),
        ("Q", "c", 4),
        ("P", "d", 3),
        ("R", "e", 2),
        ("R", "f", 1),
        ("R", "g", 4),
        ("R", "h", 0),
    ]
    train = [{"prompt": p, "response": t, "helpfulness": h} for p, t, h in rated]
    # The last of training and the first of test have one prompt, but are no pair.
    test = [{"prompt": "R", "response": t, "helpfulness": h} for t, h in (("i", 2), ("j", 1), ("k", 0))]
    rows = write("helpsteer2", train, test).load()
    better = [row[:2][row[2]][-1] + row[:2][1 - row[2]][-1] for row in rows_of(rows)]
    assert better == ["cb", "ef", "gh", "ij"]
    assert rows.notes == (f"3 {TIED}",)


def test_the_authors_summaries_are_read_as_the_hubs(tmp_path: Path) -> None:
    """The authors' files mix training and validation, and name the better summary by its place."""

    def entry(i: int, split: str, choice: int) -> Record:
        info = {"id": f"t3_{i}", "post": f"Post {i}.\nEnd.", "title": "T", "subreddit": "cats", "site": None}
        texts = [{"text": f" left {i}", "policy": "sup2"}, {"text": f" right {i}", "policy": "ref"}]
        return {
            "info": info,
            "summaries": texts,
            "choice": choice,
            "worker": "w",
            "split": split,
            "extra": {},
        }

    entries = [entry(0, "train", 0), entry(1, "valid1", 1), entry(2, "train", 1), entry(3, "valid2", 0)]
    text = "".join(json.dumps(e) + "\n" for e in entries)
    (tmp_path / "batch3.json").write_text(text, encoding="utf-8")
    (tmp_path / "cnndm0.json").write_text(text, encoding="utf-8")
    table = parse_task({"kind": "tldr-preference", "data_dir": str(tmp_path)}).load().table.to_pydict()
    prefix = "SUBREDDIT: r/cats\n\nTITLE: T\n\nPOST: Post {}.\nEnd.\n\nTL;DR:\n\n"
    better = [pair[label] for *pair, label in zip(table["text"], table["other"], table["label"], strict=True)]
    assert better == [
        prefix.format(i) + side for i, side in ((0, "left 0"), (2, "right 2"), (1, "right 1"), (3, "left 3"))
    ]
    assert table["origin"] == ["train", "train", "test", "test"]

    (tmp_path / "batch3.json").write_text(json.dumps(entry(0, "train", 2)), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"batch3\.json: record 1 .*choice is 2 of 2 summaries, wanted 0 or 1"
    ):
        parse_task({"kind": "tldr-preference", "data_dir": str(tmp_path)}).load()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("shp", {"labels": 2}, r"labels is 2, wanted 1 \(A is preferred\) or 0"),
        ("helpsteer3", {"overall_preference": 4}, r"overall_preference is 4, wanted"),
        ("helpsteer3", {"context": "Hi"}, "holds a record of another form"),
        ("helpsteer3", {"context": [{"role": "user", "content": None}]}, "holds a record of another form"),
        ("ultrafeedback", {"score_chosen": 1.0}, "the chosen answer has the lower score"),
        ("hh-rlhf", {"chosen": None}, "holds a record of another form"),
        ("tldr-preference", {"prompt": None}, "holds a record of another form"),
    ],
)
def test_records_of_another_form_are_refused(name: str, change: Record, words: str, write: Write) -> None:
    """A convention that changed, or a file of another data set, would train on wrong labels."""
    records = written(name)
    records["train"][0] |= change
    with pytest.raises(DataError, match=rf"^{name}: .*{words}"):
        write(name, **records).load()


# --- subsets of hh-rlhf


def test_a_subset_is_other_files_and_another_key() -> None:
    """All subsets under one key, or one whose files are not those of its name."""
    tasks = {
        s: parse_task({"kind": "hh-rlhf", "subset": s}) for s in ("", "all", "harmless-base", "helpful-base")
    }
    files = {}
    for subset, task in tasks.items():
        assert isinstance(task, DatasetTask)
        files[subset] = task.hub_files()
    assert files["harmless-base"] == {
        "train": "harmless-base/train.jsonl.gz",
        "test": "harmless-base/test.jsonl.gz",
    }
    assert files["all"] == {"train": "*/train.jsonl.gz", "test": "*/test.jsonl.gz"}
    assert tasks[""] == tasks["helpful-base"]
    assert len({task.key() for task in tasks.values()}) == 3
    with pytest.raises(ConfigError, match="subset"):
        parse_task({"kind": "hh-rlhf", "subset": "red-team-attempts"})


def test_a_subset_of_a_folder_is_found_and_named_by_its_content(tmp_path: Path) -> None:
    """A clone of the data set read whole where one part was asked for; a key that depends on where it lies."""
    for subset, part in (("helpful-base", "train"), ("harmless-base", "test")):
        (tmp_path / subset).mkdir()
        for file in FILES["hh-rlhf"]:
            lines = "".join(json.dumps(r) + "\n" for r in written("hh-rlhf")[part])
            with gzip.open(tmp_path / subset / f"{file}.gz", "wt", encoding="utf-8") as out:
                out.write(lines)

    def task(**fields: Any) -> DatasetTask:
        found = parse_task({"kind": "hh-rlhf", "data_dir": str(tmp_path)} | fields)
        assert isinstance(found, DatasetTask)
        return found

    sizes = [
        len(task(**fields).load().table) for fields in ({}, {"subset": "all"}, {"subset": "harmless-base"})
    ]
    assert sizes == [7, 7, 3]
    harmless = task(subset="harmless-base")
    assert harmless.key() == task(data_dir=str(tmp_path / "harmless-base")).key() != task().key()
    assert parse_task(harmless.to_dict()) == harmless
    with pytest.raises(ConfigError, match="subset"):
        task(subset="harmful")


# --- real rows of hh-rlhf, read by plain code


def plainly(path: Path) -> list[tuple[str, str]]:
    """Preferred and other dialogue of each line."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [(row["chosen"], row["rejected"]) for row in map(json.loads, text.rstrip("\n").split("\n"))]


def parts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Shared turns, and what follows in either dialogue, word by word."""
    one, two = (text.split("\n\nAssistant:") for text in (chosen, rejected))
    shared = 0
    while shared < min(len(one), len(two)) - 1 and one[shared] == two[shared]:
        shared += 1
    rest = ["\n\nAssistant:".join(turns[shared:]) for turns in (one, two)]
    return "\n\nAssistant:".join(one[:shared]), rest[0], rest[1]


def plain_words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("which", ["single_turn", "harmless-base"])
def test_real_comparisons_are_those_of_the_files(which: str, tmp_path: Path) -> None:
    """Rows lost or made up, labels turned round, dialogues cut at another turn, a position that tells the label."""
    folder = real_folder("hh-rlhf", tmp_path)
    files = sorted(folder.glob(f"{which}*.jsonl*"))
    assert files
    (tmp_path / "original").mkdir()
    for path in files:
        shutil.copyfile(path, tmp_path / "original" / path.name)
    rows = parse_task(
        {"kind": "hh-rlhf", "data_dir": str(tmp_path / "original"), "context_words": 10**6}
    ).load()

    wanted: dict[frozenset[str], str] = {}  # both texts to the preferred one
    counts = dict.fromkeys((TIED, "comparisons of two equal texts dropped", "repeated texts dropped"), 0)
    for path in sorted(files, key=lambda p: "test" in p.name):
        for pair in plainly(path):
            prompt, chosen, rejected = map(plain_words, parts(*pair))
            texts = [f"{prompt} Assistant: {answer}" for answer in (chosen, rejected)]
            for what, found in zip(
                counts,
                (not chosen or not rejected, chosen == rejected, frozenset(texts) in wanted),
                strict=True,
            ):
                if found:
                    counts[what] += 1
                    break
            else:
                wanted[frozenset(texts)] = texts[0]
    made = [([plain_words(text), plain_words(other)], label) for text, other, label in rows_of(rows)]
    assert {frozenset(texts): texts[label] for texts, label in made} == wanted
    assert len(made) == len(wanted)
    assert dict(reversed(note.split(" ", 1)) for note in rows.notes) == {
        w: str(n) for w, n in counts.items() if n
    }

    bound = 4 * 0.5 / len(made) ** 0.5
    for said, share in {
        "the second is preferred": [label == 1 for _, label in made],
        "the second is longer": [len(texts[1]) > len(texts[0]) for texts, _ in made],
        "the second is later in the alphabet": [texts[1] > texts[0] for texts, _ in made],
    }.items():
        assert abs(sum(share) / len(made) - 0.5) < bound, said
