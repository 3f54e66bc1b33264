"""The four sets with single human ratings, against an independent reading of the published files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest

from weakstrong.errors import DataError
from weakstrong.sources import fetch
from weakstrong.tasks import TaskRows, parse_task
from weakstrong.tasks._rated import RatedTask, by_document

FOLDER = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"


@dataclass(frozen=True)
class Facts:
    """What the files hold, counted apart from the code under test."""

    stem: str
    published: int
    kept: int
    positive: int
    groups: int
    raters: tuple[int, int]
    one_rater: float
    """Share of rows whose label one rater hits, ratings of 0 counted half."""


FACTS = {
    "movie-snippets": Facts("movieReviewSnippets", 10_605, 10_043, 4_982, 10_041, (15, 29), 0.9435),
    "product-snippets": Facts("amazonReviewSnippets", 3_708, 2_943, 1_725, 285, (20, 20), 0.9458),
    "editorial-snippets": Facts("nytEditorialSnippets", 5_190, 2_788, 1_100, 497, (20, 20), 0.8507),
    "rated-tweets": Facts("tweets", 4_200, 3_362, 2_300, 3_209, (20, 99), 0.9218),
}
every_set = pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.download) for n in FACTS])


@dataclass(frozen=True)
class Raw:
    name: str
    mean: float
    text: str
    ratings: list[int]
    deviation: float


def read_raw(stem: str) -> list[Raw]:
    """All published lines of a set, in the order of the file of texts."""
    texts = fetch(f"{FOLDER}{stem}_GroundTruth.txt").read_bytes().removeprefix(b"\xef\xbb\xbf")
    rated = fetch(f"{FOLDER}{stem}_anonDataRatings.txt").read_bytes().removeprefix(b"\xef\xbb\xbf")
    of = {}
    for line in rated.split(b"\r\n"):
        name, _, deviation, ratings = line.split(b"\t")
        of[name] = ([int(n) for n in re.findall(rb"-?\d+", ratings)], float(deviation))
    lines = [line.split(b"\t") for line in texts.split(b"\r\n")]
    assert {name for name, _, _ in lines} == set(of)
    return [Raw(n.decode(), float(m), t.decode("utf-8").strip(), *of[n]) for n, m, t in lines]


@pytest.fixture(scope="module")
def sets() -> dict[str, tuple[TaskRows, list[Raw]]]:
    """Loaded rows of a set, and the published lines that belong to them; each read once."""

    class Lazy(dict[str, tuple[TaskRows, list[Raw]]]):
        def __missing__(self, name: str) -> tuple[TaskRows, list[Raw]]:
            raw = read_raw(FACTS[name].stem)
            assert len(raw) == FACTS[name].published
            self[name] = parse_task(name).load(), [r for r in raw if abs(np.mean(r.ratings)) > 0.5]
            return self[name]

    return Lazy()


Sets = dict[str, tuple[TaskRows, list[Raw]]]


@every_set
def test_rows_are_those_the_files_hold(name: str, sets: Sets) -> None:
    """A line lost at a byte-order mark or a line break, a threshold off by one rating, labels of other rows."""
    rows, raw = sets[name]
    facts = FACTS[name]
    assert rows.table["text"].to_pylist() == [r.text for r in raw]
    labels = rows.table["label"].to_pylist()
    assert labels == [
        int(r.mean > 0) for r in raw
    ]  # the stored mean never has another sign than the ratings'
    assert (len(labels), sum(labels)) == (facts.kept, facts.positive)
    noun = "tweets" if name == "rated-tweets" else "sentences"
    dropped = facts.published - facts.kept
    assert rows.notes == (f"{dropped} of {facts.published} {noun} with |mean rating| ≤ 0.5 dropped",)


@every_set
def test_votes_and_difficulty_are_those_of_the_row(name: str, sets: Sets) -> None:
    """Ratings joined by position (two files are sorted differently), a sign turned round, a sample deviation."""
    rows, raw = sets[name]
    assert rows.table.schema.field("votes").type == pa.list_(pa.int8())
    assert rows.table.schema.field("difficulty").type == pa.float32()
    of_sign = {-1: 0, 0: -1, 1: 1}
    votes = [[of_sign[int(np.sign(x))] for x in r.ratings] for r in raw]
    assert rows.table["votes"].to_pylist() == votes
    difficulty_N = rows.table["difficulty"].to_numpy()
    np.testing.assert_array_equal(difficulty_N, np.array([np.std(r.ratings) for r in raw], np.float32))
    np.testing.assert_allclose(
        difficulty_N, [r.deviation for r in raw], atol=6e-6
    )  # five decimals are stored
    counts = [len(v) for v in votes]
    assert (min(counts), max(counts)) == FACTS[name].raters


@every_set
def test_most_raters_agree_with_the_label(name: str, sets: Sets) -> None:
    """Votes whose classes are swapped, or a label that is not what the raters said."""
    rows, _ = sets[name]
    found: Counter[str] = Counter()
    for votes, label in zip(rows.table["votes"].to_pylist(), rows.table["label"].to_pylist(), strict=True):
        lead = votes.count(label) - votes.count(1 - label)
        found["with" if lead > 0 else "tie" if lead == 0 else "against"] += 1
    # Two film sentences have strong ratings on one side and weak ones on the other.
    others = {"tie": 1, "against": 1} if name == "movie-snippets" else {}
    assert found == {"with": len(rows.table) - len(others), **others}


def chance_right(votes: Sequence[int], label: int, k: int) -> float:
    """How often k of a row's raters, drawn without replacement, have the label in front; ties count half."""
    right, wrong = votes.count(label), votes.count(1 - label)
    idle = len(votes) - right - wrong
    ways = sum(
        comb(right, i) * comb(wrong, j) * comb(idle, k - i - j) * (1 + np.sign(i - j)) / 2
        for i in range(k + 1)
        for j in range(k + 1 - i)
    )
    return float(ways / comb(len(votes), k))


@every_set
def test_more_raters_are_a_better_supervisor(name: str, sets: Sets) -> None:
    """Votes shuffled among rows or with zeros taken for a class: one rater is then much worse than people are."""
    rows, _ = sets[name]
    pairs = list(zip(rows.table["votes"].to_pylist(), rows.table["label"].to_pylist(), strict=True))
    accuracy = [float(np.mean([chance_right(v, y, k) for v, y in pairs])) for k in (1, 2, 3, 5, 10)]
    assert accuracy[0] == pytest.approx(FACTS[name].one_rater, abs=5e-5)
    assert accuracy == sorted(accuracy)
    assert 0.998 < accuracy[-1] < 1


@pytest.mark.download
@pytest.mark.parametrize("name", ["product-snippets", "editorial-snippets"])
def test_a_document_stays_in_one_group(name: str, sets: Sets) -> None:
    """A review whose sentences teach the supervisor and test the student."""
    rows, raw = sets[name]
    of_document: dict[str, set[str]] = defaultdict(set)
    of_words: dict[str, set[str]] = defaultdict(set)
    groups = rows.table["group"].to_pylist()
    for row, group in zip(raw, groups, strict=True):
        of_document[row.name.split("_")[0]].add(group)
        of_words["".join(c for c in row.text.lower() if c.isalnum()) or row.text].add(group)
    assert all(len(names) == 1 for names in [*of_document.values(), *of_words.values()])
    assert len(set(groups)) == FACTS[name].groups
    # Short sentences that several reviews hold join few of them.
    assert max(Counter(groups).values()) < 100


@pytest.mark.download
def test_a_tweet_and_its_variants_stay_in_one_group(sets: Sets) -> None:
    """Thirty tweets recur with capitals and exclamation marks: learnt by heart from one half, tested in the other."""
    rows, _ = sets["rated-tweets"]
    sizes = Counter(rows.table["group"].to_pylist())
    assert len(sizes) == FACTS["rated-tweets"].groups
    assert Counter(n for n in sizes.values() if n > 3) == {6: 30}
    groups = [
        row["group"]
        for row in rows.table.to_pylist()
        if "".join(filter(str.isalpha, row["text"].lower())) == "damnrunninglatesucks"
    ]
    assert len(groups) == 6
    assert len(set(groups)) == 1


@pytest.mark.download
def test_movie_snippets_are_the_rows_of_stored_results(sets: Sets) -> None:
    """Ids, groups, labels and texts as before ratings were read: any change deals every split anew."""
    rows = sets["movie-snippets"][0].table.to_pylist()
    text = "\n".join(f"{r['id']}\t{r['group']}\t{r['label']}\t{r['text']}" for r in rows)
    found = hashlib.sha256(text.encode()).hexdigest()
    assert found == "3bce071d42367cbd9334252fe4422d155e4b16f679230e596a0cadc13ec4dda8"


GOLDEN: dict[str, tuple[tuple[str, str, str, int, str, float], ...]] = {
    "movie-snippets": (
        ("9574e32a64368c56", "9574e32a64368c56", "The film is flat.", 0, "0000000000100-0", 1.07497),
        ("7fd64c7c141d6755", "7fd64c7c141d6755", "Her fans walked out", 0, "00001-1000000000", 1.46709),
    ),
    "product-snippets": (
        ("cfb76d65450eaf52", "document 5", "* sigh.", 0, "00---00-00-000---000", 0.69821),
        ("43404bbfb0ac1efa", "document 309", "it did lock up on me", 0, "00010000000000000000", 1.13468),
    ),
    "editorial-snippets": (
        ("9c719f019fee73d8", "document 1", "It's mainly a holiday", 1, "11111111111-11111-11", 0.86603),
        ("b98c2b2364e5310f", "document 500", "''The quality of our", 1, "111-1-1--1111------1", 0.72629),
    ),
    "rated-tweets": (
        ("b00b84d8a6dd77e4", "wording 84bd93fc0cf77723", "Somehow I was blessed", 1, "1" * 39 + "0" + "1" * 55, 1.09007),
        ("29dcb7341ac58fcd", "wording c719c7c34d00a550", "Imagine you can touch", 1, "111-111-1110-1--1111", 1.04403),
    ),
}  # fmt: skip
"""Id, group, first words, label, votes (``-`` for -1) and difficulty, read by eye in the files."""


@every_set
def test_golden_rows(name: str, sets: Sets) -> None:
    """Ids and groups are part of stored results; votes of another row would look right everywhere else."""
    of = {row["id"]: row for row in sets[name][0].table.to_pylist()}
    for key, group, words, label, votes, difficulty in GOLDEN[name]:
        row = of[key]
        assert (row["group"], row["label"]) == (group, label)
        assert row["text"].startswith(words)
        assert "".join("-" if v < 0 else str(v) for v in row["votes"]) == votes
        assert row["difficulty"] == pytest.approx(difficulty, abs=1e-5)


# --- files of our own


def written(folder: Path, texts: str, ratings: str) -> RatedTask:
    paths = folder / "texts.txt", folder / "ratings.txt"
    for path, content in zip(paths, (texts, ratings), strict=True):
        path.write_bytes(content.replace("\n", "\r\n").encode())

    class OwnRated(RatedTask):
        source: ClassVar[str] = str(paths[0])
        sha256: ClassVar[str] = hashlib.sha256(paths[0].read_bytes()).hexdigest()
        ratings: ClassVar[str] = str(paths[1])
        ratings_sha256: ClassVar[str] = hashlib.sha256(paths[1].read_bytes()).hexdigest()
        kind: Literal["own-rated"] = "own-rated"

        def groups(self, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
            return by_document(ids, texts)

    return OwnRated()


def test_ratings_are_joined_by_id_and_a_stored_mean_does_not_count(tmp_path: Path) -> None:
    """Joined by position, or labelled by a mean of other ratings, a row has a label that its votes contradict."""
    task = written(
        tmp_path,
        "1_1\t-2.0\tFine\u2028film.\n1_2\t1\t Bad. \n2_1\t0.5\tSo so.\n",
        "\ufeff2_1\t0.5\t0.5\t[0, 1]\n1_2\t-1.5\t0.5\t[-1, -2]\n1_1\t1\t1.63299\t[3, 1, -1]\n",
    )
    rows = task.load()
    assert rows.table.drop(["id", "difficulty"]).to_pylist() == [
        {"group": "document 1", "text": "Fine\u2028film.", "label": 1, "votes": [1, 1, 0]},
        {"group": "document 1", "text": "Bad.", "label": 0, "votes": [0, 0]},
    ]
    assert rows.table["difficulty"].to_pylist() == pytest.approx([np.sqrt(8 / 3), 0.5])
    assert rows.notes == ("1 of 3 sentences with |mean rating| ≤ 0.5 dropped",)


@pytest.mark.parametrize(
    ("texts", "ratings", "message"),
    [
        pytest.param("1\t2\tGood.\n2\t2\tBetter.", "1\t2\t0\t[2]", "no ratings of '2'", id="unrated"),
        pytest.param("1\t2\tGood.\n2\tBetter.", "1\t2\t0\t[2]", "line 2 has 2 tab", id="no mean"),
        pytest.param("1\t2\tGood.", "\n1\t2\t[2]", "line 2 has 3 tab", id="no deviation"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, texts: str, ratings: str, message: str) -> None:
    """A bare KeyError or ValueError that does not tell the file and the line."""
    with pytest.raises(DataError, match=message):
        written(tmp_path, texts, ratings).load()
