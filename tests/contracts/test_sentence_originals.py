"""Original forms of the sentence tasks that the real rows do not show, on rows written here, and what users get to read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from weakstrong.errors import ConfigError, DataError
from weakstrong.tasks import TASKS, TaskRows, parse_task

ETHICS = Path(__file__).parent / "rows" / "ethics"
NAMES = (
    "anli-r2", "cola", "ethics-deontology", "ethics-justice", "ethics-utilitarianism", "ethics-virtue", "paws", "sst2",
    "twitter-sentiment", "wic",
)  # fmt: skip


def load(name: str, folder: Path) -> TaskRows:
    return parse_task({"kind": name, "data_dir": str(folder)}).load()


def test_the_release_of_anli_gives_its_second_round(tmp_path: Path) -> None:
    """Rounds lie side by side under equal names; neutral must not count as entailed."""
    with zipfile.ZipFile(tmp_path / "anli_v1.0.zip", "w") as archive:
        for r in (1, 2, 3):
            for part in ("train", "dev", "test"):
                rows = [
                    {"uid": f"{r}{part}{i}", "context": f"passage {r} {part}", "hypothesis": f"claim {i}", "label": label}
                    for i, label in enumerate("enc")
                ]  # fmt: skip
                archive.writestr(f"anli_v1.0/R{r}/{part}.jsonl", "\n".join(map(json.dumps, rows)))
    rows = load("anli-r2", tmp_path).table
    assert rows["text"].to_pylist() == [
        f"Premise: passage 2 {part}\nHypothesis: claim {i}" for part in ("train", "test") for i in range(3)
    ]
    assert rows["label"].to_pylist() == [1, 0, 0] * 2
    assert rows["origin"].to_pylist() == ["train"] * 3 + ["test"] * 3
    assert len(set(rows["group"].to_pylist())) == 2


def test_a_few_rows_of_ethics(tmp_path: Path) -> None:
    """All four readers, on machines without the real rows."""
    justice = load("ethics-justice", ETHICS).table
    assert len(justice) == 16
    assert justice["label"].to_pylist()[:3] == [1, 0, 0]
    assert (
        justice["group"][0] == justice["group"][1]
    )  # the same reason, "because I keep her house clean daily"
    assert justice["group"][2] == justice["group"][3] != justice["group"][0]
    virtue = load("ethics-virtue", ETHICS).table.to_pylist()
    assert {r["text"] for r in virtue if r["label"]} == {
        "He always claimed more than his share of the glory.\nTrait: boastful",
        "When the teenager rear-ended him, he got out of the car to make sure everyone was okay.\nTrait: calm",
        "Martha hired a new babysitter and was totally at ease with her.\nTrait: trustful",
        "On his way to the train, Mark shoved a child into a ditch.\nTrait: brutal",
    }
    assert load("ethics-deontology", ETHICS).table["origin"].to_pylist() == ["train"] * 9 + ["test"] * 8
    pairs = load("ethics-utilitarianism", ETHICS).table
    assert len(pairs) == 10  # no header: the first line is a pair
    better = [t.split("\n")[y][len("Scenario A: ") :] for t, y in zip(pairs["text"].to_pylist(), pairs["label"].to_pylist(), strict=True)]  # fmt: skip
    assert better[0] == "I built a sandcastle with my nephew. We made one small castle."
    assert better[3] == "I cooked breakfast."


def test_latin_1_tweets_survive(tmp_path: Path) -> None:
    """Read as UTF-8 the table stops at its first accent; a polarity of 4 is no class, and 2 is no sentiment."""
    lines = [
        '"0","1","Mon","NO_QUERY","zoé","caf\xe9 ferm\xe9, tant pis"',
        '"4","2","Mon","NO_QUERY","al","@zo\xe9 so &quot;good&quot; &amp; warm, 20\xb0"',
        '"2","3","Mon","NO_QUERY","bo","a train"',
        '"4","4","Mon","NO_QUERY","cy","@dan See YOU there: http://example.org/1"',
        '"4","5","Mon","NO_QUERY","cy","@eve see you there!"',
    ]
    path = tmp_path / "training.1600000.processed.noemoticon.csv"
    path.write_bytes("\r\n".join(lines).encode("latin-1"))
    rows = load("twitter-sentiment", tmp_path)
    assert rows.table["text"].to_pylist()[:2] == ["café fermé, tant pis", '@zoé so "good" & warm, 20°']
    assert rows.table["label"].to_pylist() == [0, 1, 1, 1]
    assert rows.notes == ("1 records without a usable label dropped",)
    groups = rows.table["group"].to_pylist()
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3
    path.write_bytes(b'"0","1","x"\r\n')
    with pytest.raises(DataError, match="line 1 has 3 columns, 6 are wanted: polarity"):
        load("twitter-sentiment", tmp_path)


def test_half_of_the_tweets_are_refused(tmp_path: Path) -> None:
    """One class alone would be found out much later, or never."""
    (tmp_path / "positive.txt").write_text("fine\n")
    with pytest.raises(
        ConfigError, match=r"holds positive\.txt only; positive\.txt and negative\.txt are wanted"
    ):
        load("twitter-sentiment", tmp_path)


def test_paws_sentences_come_out_of_their_byte_strings(tmp_path: Path) -> None:
    r"""b'…' read as text, \xc3\xa9 left as it is, or a sentence that starts with b cut off."""
    head = "id\tsentence1\tsentence2\tlabel"
    rows = [
        r"""1	b'The caf\xc3\xa9 of Lyon is older than Nice .'	b"Nice 's caf\xc3\xa9 is older than Lyon ."	0""",
        "2\tb is a letter '\tbut c' is one too\t1",
        "3\tThe cat saw the dog .\tThe dog saw the cat .\t0",
        "4\tThe cat was seen by the dog .\tThe dog , the cat saw .\t1",
    ]
    (tmp_path / "train.tsv").write_text("\n".join([head, *rows]), encoding="utf-8")
    table = load("paws", tmp_path).table
    texts = table["text"].to_pylist()
    assert texts[0] == (
        "Sentence 1: The café of Lyon is older than Nice .\nSentence 2: Nice 's café is older than Lyon ."
    )
    assert texts[1] == "Sentence 1: b is a letter '\nSentence 2: but c' is one too"
    assert table["label"].to_pylist() == [0, 1, 0, 1]
    groups = table["group"].to_pylist()
    assert groups[2] == groups[3]  # by way of "the dog saw the cat"
    assert len(set(groups)) == 3
    (tmp_path / "train.tsv").write_text(f"{head}\n1\tb'\\xff'\tb'x'\t0", encoding="utf-8")
    with pytest.raises(DataError, match="is no byte string of UTF-8 text"):
        load("paws", tmp_path)


def test_cola_is_read_raw(tmp_path: Path) -> None:
    """The release has every file twice: with tokenised copies the same sentence lies in both halves."""
    for kind, end in (("raw", "."), ("tokenized", " .")):
        (tmp_path / kind).mkdir()
        lines = f"gj04\t1\t\tThe pond froze{end}\ngj04\t0\t*\tThe pond froze the{end}\n"
        (tmp_path / kind / "in_domain_train.tsv").write_text(lines)
    rows = load("cola", tmp_path).table
    assert rows["text"].to_pylist() == ["The pond froze.", "The pond froze the."]
    assert rows["label"].to_pylist() == [1, 0]


def test_wic_labels_are_booleans_and_words_are_groups(tmp_path: Path) -> None:
    """A pair without a label taken for "different"; "Bank" and "bank" in two groups."""
    pairs = [("bank", True), ("Bank", False), ("draw", True)]
    rows = [
        {"word": w, "sentence1": f"one {i}", "sentence2": "two", "label": y} for i, (w, y) in enumerate(pairs)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = load("wic", tmp_path).table
    assert table["label"].to_pylist() == [1, 0, 1]
    groups = table["group"].to_pylist()
    assert groups[0] == groups[1] != groups[2]


# --- what a user gets to read


@pytest.mark.parametrize("name", NAMES)
def test_renamed_files_are_named_as_they_should_be(name: str, tmp_path: Path) -> None:
    """ "No rows" for a misspelt file sends a user looking in the wrong place."""
    (tmp_path / "my_copy.dat").write_text("x")
    with pytest.raises(ConfigError) as caught:
        parse_task({"kind": name, "data_dir": str(tmp_path)})
    said = str(caught.value)
    originals: Any = TASKS.get(name)
    for patterns in originals.originals.values():
        assert all(pattern in said for pattern in patterns)
    assert "my_copy.dat" in said
    with pytest.raises(ConfigError, match="is not a folder"):
        parse_task({"kind": name, "data_dir": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [("ethics-justice", "justice_train.csv", "label,text\n1,a\n", "field 'scenario' is missing"),
     ("ethics-deontology", "deontology_train.csv", "label,scenario\n1,a\n", "field 'excuse' is missing"),
     ("ethics-virtue", "virtue_train.csv", "label,scenario\n1,kind\n", r"no \[SEP\] before the trait"),
     ("ethics-utilitarianism", "util_train.csv", "a,b,c\n", "line 1 has 3 columns, 2 are wanted: baseline"),
     ("anli-r2", "train.jsonl", '{"context": "a", "label": "e"}', "field 'hypothesis' is missing"),
     ("anli-r2", "dev.jsonl", '{"context": "a", "hypothesis": "b", "label": "x"}', "'x'"),
     ("anli-r2", "r2_dev.csv", "context,statement,gold_label,preds-m\na,b,e,\n", "Expecting value"),
     ("cola", "in_domain_train.tsv", "gj04\t1\tA.\n", "has 3 columns, 4 are wanted: source, label, mark, sentence"),
     ("sst2", "train.tsv", "text\tlabel\na\t1\n", "field 'sentence' is missing"),
     ("paws", "train.tsv", "id\tsentence1\tlabel\n1\ta\t1\n", "field 'sentence2' is missing"),
     ("wic", "train.jsonl", '{"sentence1": "a", "sentence2": "b", "label": true}', "field 'word' is missing")],
)  # fmt: skip
def test_a_missing_field_is_named(name: str, file: str, text: str, words: str, tmp_path: Path) -> None:
    """A bare KeyError from the depth of a reader says neither which file nor which record."""
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        load(name, tmp_path)
    assert file in str(caught.value)
