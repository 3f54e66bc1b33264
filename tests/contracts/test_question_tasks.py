"""The question tasks: readings of hand-written hub records, and real rows against an independent reading."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain_questions import READ, Question, json_lines, squeeze
from real_rows import real_folder

from weakstrong.data import Part, Split, deal, text_id
from weakstrong.errors import ConfigError, DataError
from weakstrong.sources import Source, SourceKind, _hub_record
from weakstrong.tasks import TASKS, parse_task
from weakstrong.tasks._dataset import DatasetTask

HERE = Path(__file__).parent
NEEDED = {
    "boolq": ("question", "passage", "answer"),
    "cosmos-qa": ("context", "question", "answer2", "label"),
    "dream": ("dialogue", "question", "choice", "answer"),
    "hellaswag": ("ctx", "endings", "label"),
    "mc-taco": ("sentence", "question", "answer", "label"),
    "multirc": ("paragraph", "question", "answer", "label"),
    "openbookqa": ("question_stem", "choices", "answerKey"),
    "piqa": ("goal", "sol1", "sol2", "label"),
    "quail": ("context", "question", "answers", "correct_answer_id"),
    "quartz": ("para", "question", "choices", "answerKey"),
    "sciq": ("support", "question", "correct_answer", "distractor3"),
    "social-iqa": ("context", "question", "answerB", "label"),
}
"""Fields of the hub that each task reads."""
every_task = pytest.mark.parametrize("name", NEEDED)

Hub = Callable[..., DatasetTask]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """``hub(name, without=field)``: the task, its hand-written records lying in the cache as the hub's Parquet files."""
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))

    def build(name: str, without: str = "") -> DatasetTask:
        kind = TASKS.get(name)
        assert issubclass(kind, DatasetTask)
        parts = json.loads((HERE / "records" / f"{name}.json").read_text(encoding="utf-8"))
        for origin, pattern in kind.hub.files.items():
            path = tmp_path / "snapshot" / pattern.replace("*", "00000-of-00001")
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [{k: v for k, v in row.items() if k != without} for row in parts[origin]]
            pq.write_table(pa.Table.from_pylist(rows), path)
        source = Source(SourceKind.HUB, kind.hub.repo, kind.hub.revision)
        record = _hub_record(source, tmp_path / "cache", tuple(kind.hub.files.values()))
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(str(tmp_path / "snapshot"), encoding="utf-8")
        task = parse_task(name)
        assert isinstance(task, DatasetTask)
        return task

    return build


@every_task
def test_renderings_are_as_read_by_eye(name: str, hub: Hub) -> None:
    """A label counted from the wrong end, a choice lost, marks of how-to articles left in, another wording."""
    table = hub(name).load().table
    wanted = json.loads((HERE.parent / "golden" / "renderings" / f"{name}.json").read_text(encoding="utf-8"))
    assert [list(row) for row in _columns(table, "text", "label")] == wanted


@every_task
def test_both_origins_are_kept_apart_and_questions_share_their_group(name: str, hub: Hub) -> None:
    """The two files mixed up; or rows of one question in two groups, which puts them in two halves."""
    columns = hub(name).load().table.to_pydict()
    assert columns["origin"] == sorted(columns["origin"], reverse=True)
    assert set(columns["origin"]) == {"train", "test"}
    group_of: dict[str, set[str]] = {}
    for text, group in zip(columns["text"], columns["group"], strict=True):
        group_of.setdefault(text.rpartition("\n")[0], set()).add(group)
    assert all(len(groups) == 1 for groups in group_of.values())
    assert len(set(columns["group"])) >= 2


FIELDS = [
    pytest.param(name, field, id=f"{name}-{field}") for name, fields in NEEDED.items() for field in fields
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_missing_field_is_named(name: str, field: str, hub: Hub) -> None:
    """The hub renames a column: 'NoneType has no attribute' from deep inside says nothing."""
    with pytest.raises(DataError, match=f"^{name}: .*field '{field}' is missing"):
        hub(name, without=field).load()


# --- real rows against the tests' own reading of them

every_real_task = pytest.mark.parametrize("name", READ)


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _real(name: str, room: Path) -> tuple[DatasetTask, list[Question]]:
    folder = real_folder(name, room)
    read, count = READ[name]
    questions = list(read(folder))
    assert len(questions) == count
    task = parse_task({"kind": name, "data_dir": str(folder), "limit": 1_000_000})
    assert isinstance(task, DatasetTask)
    return task, questions


FORMS = {
    "hellaswag": "{} Ending: {}",
    "piqa": "Goal: {} Solution: {}",
}


@every_real_task
def test_real_questions_keep_as_many_right_as_wrong_answers(name: str, tmp_path: Path) -> None:
    """Questions lost or taken twice by a parser; a question with two wrong answers for a right one (paper, A.1)."""
    task, questions = _real(name, tmp_path)
    kept = [[item.label for item in task.items(record)] for _, _, record in task.records()]
    assert len(kept) == len(questions)
    for labels, question in zip(kept, questions, strict=True):
        assert labels.count(1) == labels.count(0) == question.each
    rows = task.load()
    repeats = sum(int(note.split()[0]) for note in rows.notes if note.endswith("repeated texts dropped"))
    # Repeats are texts that were seen before: what is left has none, and nothing else went.
    assert len(rows.table) + repeats == 2 * sum(question.each for question in questions)
    assert len(set(rows.table["text"].to_pylist())) == len(rows.table)
    assert repeats < 0.07 * len(rows.table)


@every_real_task
def test_real_labels_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    """Labels of the neighbouring line, counted from one instead of zero, or of the other option."""
    task, questions = _real(name, tmp_path)
    form = FORMS.get(name, "Question: {} Answer: {}")
    truth: dict[str, set[int]] = {}
    for question in questions:
        for i, answer in enumerate(question.answers):
            truth.setdefault(question.text(answer, form), set()).add(int(i in question.right))
    rows = [(squeeze(text), label) for text, label in _columns(task.load().table, "text", "label")]
    if name == "hellaswag":  # marks of how-to articles change the text; the golden renderings have some
        rows = [row for row in rows if row[0] in truth]
        assert len(rows) > 1000
    assert all(label in truth[text] for text, label in rows)
    # Some questions are asked again with other options, of which one that was right is wrong.
    assert sum(len(truth[text]) > 1 for text, _ in rows) < 0.01 * len(rows)


@pytest.mark.parametrize("name", sorted(set(READ) - {"sciq"}))
def test_real_groups_are_the_passages(name: str, tmp_path: Path) -> None:
    """A group per row lets questions about one passage straddle the halves; one group for all leaves no split."""
    task, questions = _real(name, tmp_path)
    rows = task.load()
    wanted = {text_id(question.passage) for question in questions if question.each}
    found = set(rows.table["group"].to_pylist())
    assert found <= wanted
    # A passage whose every row is a repeat has none left.
    assert len(found) >= 0.99 * len(wanted)
    parts = deal(rows.table, 2, Split())["part"].to_pylist()
    assert parts.count(str(Part.TRANSFER)) >= 500


def test_real_sciq_groups_hold_both_questions_and_paragraphs_together(tmp_path: Path) -> None:
    """The same question with another paragraph in the other half: the student's answer is known by heart."""
    task, questions = _real("sciq", tmp_path)
    table = task.load().table
    group_of = {squeeze(text): group for text, group in _columns(table, "text", "group")}
    asked: dict[str, set[str]] = {}
    for question in questions:
        for answer in question.answers:
            group = group_of.get(question.text(answer, "Question: {} Answer: {}"))
            for key in {f"q {question.words.strip().lower()}", f"p {question.passage}"} - {"p "}:
                asked.setdefault(key, set()).update({group} if group else ())
    assert all(len(groups) == 1 for groups in asked.values())
    assert 12_500 < len(set(group_of.values())) < 12_679


def test_real_boolq_rows_are_the_files(tmp_path: Path) -> None:
    """Yes and no swapped, questions lost, or a group that is not the passage."""
    folder = real_folder("boolq", tmp_path)
    lines = json_lines((folder / "val.jsonl").read_text(encoding="utf-8"))
    table = parse_task({"kind": "boolq", "data_dir": str(folder)}).load().table
    assert len(table) == len(lines) == 3270
    for row, line in zip(table.to_pylist(), lines, strict=True):
        assert row["text"].endswith(f"\nQuestion: {squeeze(line['question'])}?")
        assert (row["label"], row["group"]) == (int(line["label"]), text_id(line["passage"]))


def test_real_quail_challenge_is_read_where_dev_is_missing(tmp_path: Path) -> None:
    """The JSON form has its right answer as text; read as a position in a string it is wrong."""
    shutil.copyfile(real_folder("quail", tmp_path) / "challenge.jsonl", tmp_path / "challenge.jsonl")
    lines = json_lines((tmp_path / "challenge.jsonl").read_text(encoding="utf-8"))
    table = parse_task({"kind": "quail", "data_dir": str(tmp_path)}).load().table
    right = {
        squeeze(f"Question: {x['question']} Answer: {x['answers'][int(x['correct_answer_id'])]}")
        for x in lines
    }
    yes = [
        squeeze(text[text.index("\nQuestion: ") :])
        for text, label in _columns(table, "text", "label")
        if label
    ]
    assert len(lines) == 556
    # "Who is Debra?" is asked twice, both times with "not enough information" as the right answer.
    assert len(yes) == 555
    assert set(yes) == right


# --- folders that do not fit


@every_task
def test_a_folder_without_the_files_says_which_are_wanted(name: str, tmp_path: Path) -> None:
    """A user with renamed files must learn what they should be called, and what was found."""
    (tmp_path / "renamed.bin").write_bytes(b"rows")
    kind = TASKS.get(name)
    assert issubclass(kind, DatasetTask)
    with pytest.raises(ConfigError, match=r"renamed\.bin") as caught:
        parse_task({"kind": name, "data_dir": str(tmp_path)})
    assert all(f in str(caught.value) for files in kind.originals.values() for f in files)


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".").replace("_", "-")).write_text(text, encoding="utf-8")


GOAL = '{"goal": "Dry boots.", "sol1": "Use paper.", "sol2": "Use a pond."}\n'


def test_labels_in_a_file_of_their_own_must_match(tmp_path: Path) -> None:
    """Labels of another version shift by a line and still look like labels; missing ones must be asked for by name."""
    _write(tmp_path, dev__jsonl=GOAL * 3)
    with pytest.raises(ConfigError, match=r"labels of .*dev\.jsonl are missing: .* holds no dev-labels\.lst"):
        parse_task({"kind": "piqa", "data_dir": str(tmp_path)})
    _write(tmp_path, dev_labels__lst="0\n1\n")
    with pytest.raises(DataError, match=r"dev\.jsonl has 3 records, .*dev-labels\.lst 2 labels"):
        parse_task({"kind": "piqa", "data_dir": str(tmp_path)}).load()


def test_labels_are_part_of_what_the_key_covers(tmp_path: Path) -> None:
    """Corrected labels under the old key serve the old results."""
    _write(tmp_path, dev__jsonl=GOAL, dev_labels__lst="0\n")
    before = parse_task({"kind": "piqa", "data_dir": str(tmp_path)})
    assert before.load().table["label"].to_pylist() == [1, 0]
    _write(tmp_path, dev_labels__lst="1\n")
    after = parse_task({"kind": "piqa", "data_dir": str(tmp_path)})
    assert after.load().table["label"].to_pylist() == [0, 1]
    assert before.key() != after.key()


def test_labels_beside_their_questions_are_taken_before_others(tmp_path: Path) -> None:
    """The same file names lie twice, loose and in a zip file: each part goes with the labels of its own place."""
    with zipfile.ZipFile(tmp_path / "physicaliqa.zip", "w") as archive:
        archive.writestr("physicaliqa/dev.jsonl", GOAL.replace("boots", "socks"))
        archive.writestr("physicaliqa/dev-labels.lst", "1\n")
    _write(tmp_path, dev__jsonl=GOAL, dev_labels__lst="0\n")
    table = parse_task({"kind": "piqa", "data_dir": str(tmp_path)}).load().table
    right = [row["text"] for row in table.to_pylist() if row["label"]]
    assert right == ["Goal: Dry boots.\nSolution: Use paper.", "Goal: Dry socks.\nSolution: Use a pond."]


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [("boolq", "dev.jsonl", '{"question": "is it", "passage": "It is."}', r"record 1 .*field 'label' is missing"),
     ("dream", "test.json", '[[["M: Hi."], [{"question": "Who?"}]]]', r"record 1 .*expected 3, got 2"),
     ("mc-taco", "dev_3783.tsv", "s\tq\ta\tmaybe\tc\n", r"record 1 has another form"),
     ("multirc", "val.jsonl", '{"passage": {"text": "A."}}', r"record 1 .*field 'questions' is missing"),
     ("openbookqa", "test.jsonl", '{"question": {"stem": "A"}}', r"record 1 .*field 'choices' is missing"),
     ("quail", "dev.xml", "<data><text", r"dev\.xml is not XML"),
     ("quail", "dev.xml", '<!DOCTYPE d [<!ENTITY a "b">]><d>&a;</d>', r"declares a document type"),
     ("quail", "dev.xml", '<d><text id="t"><q id="7">Q<a correct="False">x</a></q></text></d>', r"text t, question 7 has 0"),
     ("quartz", "test.jsonl", '{"question": {"choices": []}}', r"record 1 .*field 'stem' is missing")],
)  # fmt: skip
def test_original_files_of_another_form_are_refused(
    name: str, file: str, text: str, words: str, tmp_path: Path
) -> None:
    """A traceback from inside a parser; or a document that unfolds without end."""
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        parse_task({"kind": name, "data_dir": str(tmp_path)}).load()


def test_quartz_reads_the_authors_form_as_the_hubs(hub: Hub, tmp_path: Path) -> None:
    """No real rows are at hand: the nested question of the authors' files must give the same rows."""
    table = hub("quartz").load().table
    parts = json.loads((HERE / "records" / "quartz.json").read_text(encoding="utf-8"))
    for origin, rows in parts.items():
        with (tmp_path / f"{origin}.jsonl").open("w", encoding="utf-8") as out:
            for row in rows:
                given = [
                    {"text": t, "label": c}
                    for t, c in zip(row["choices"]["text"], row["choices"]["label"], strict=True)
                ]
                question = {"stem": row["question"], "choices": given}
                out.write(
                    json.dumps({"question": question, "para": row["para"], "answerKey": row["answerKey"]})
                )
                out.write("\n")
    assert parse_task({"kind": "quartz", "data_dir": str(tmp_path)}).load().table == table
