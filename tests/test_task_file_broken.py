"""Files that are damaged, or not what their ending says: refused by place and in words, never read as something else."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from weakstrong.errors import DataError
from weakstrong.tasks import parse_task
from weakstrong.tasks.file import read_frame

HEAD = "text,label\n"


def refuse(path: Path, content: bytes, words: str) -> None:
    """Both ways to read, by rows and whole, say the same."""
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        parse_task({"kind": "file", "path": str(path)}).load()
    with pytest.raises(DataError, match=words):
        read_frame(path)


# --- encodings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "text,label\nplain,a\nMüller und Söhne,b\n".encode("latin-1"),
            r"byte 0xfc in line 3 \(offset 20\) is not UTF-8; it looks like Latin-1 \(Windows-1252\), which reads 'ü' "
            r"there: 'plain,a Müller'|byte 0xfc in line 3 \(offset 20\) .*'ü' there: 'Müller und So?.*save the file as UTF-8",
        ),
        ("text,label\n“quoted”,a\n".encode("cp1252"), r"byte 0x93 in line 2 \(offset 11\).*Windows-1252.*'“'"),
        ("text,label\nx,a\n".encode("utf-16"), r"looks like UTF-16 \(its first bytes are ff fe 74 00\).*save the file as UTF-8"),
        ("text,label\nx,a\n".encode("utf-16-le"), "looks like UTF-16"),
        ("text,label\nx,a\n".encode("utf-16-be"), "looks like UTF-16"),
        (b"\xef\xbb\xbf" + "text,label\nx,ä\n".encode("latin-1"), r"byte 0xe4 in line 2 \(offset 16\)"),
        (HEAD.encode() + b"x,a\ny\0y,b\n", r"line 3 holds a NUL byte \(offset 16\)"),
        (HEAD.encode() + "привет мир,a\n".encode("koi8-r"), r"byte 0xd0 in line 2 \(offset 11\) is not UTF-8; save"),
    ],
)  # fmt: skip
def test_other_encodings_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    """Mangled letters are other tokens and nobody sees it; a codec's traceback tells nobody which program to set right."""
    refuse(tmp_path / "rows.csv", content, words)


def test_a_wrong_byte_far_down_is_found_at_its_offset(tmp_path: Path) -> None:
    """Offsets within a read buffer send the user to the wrong place."""
    good = HEAD.encode() + b"a fair text,a\n" * 50_000
    refuse(
        tmp_path / "rows.csv", good + b"caf\xe9,b\n", rf"byte 0xe9 in line 50002 \(offset {len(good) + 3}\)"
    )


def test_a_byte_order_mark_and_crlf_are_no_part_of_cells(tmp_path: Path) -> None:
    """Spreadsheets write both: a label 'b\\r' is a third class, and a mark before a quote breaks the first name."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbf"text",label\r\n"two\r\nlines",a\r\n"he said ""no""",b\r\n')
    rows = parse_task({"kind": "file", "path": str(path)}).load()
    assert rows.table["text"].to_pylist() == ["two\r\nlines", 'he said "no"']
    assert rows.classes == ("a", "b")
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"text": "x", "label": "a"}\r\n\r\n{"text": "y", "label": "b"}\r\n')
    assert parse_task({"kind": "file", "path": str(lines)}).load().table["text"].to_pylist() == ["x", "y"]


def test_a_carriage_return_in_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    """Python's csv writer leaves it bare where line feeds end lines; taken for a line end it cuts the row in two."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\none\rtwo,a\nx,b\n")
    rows = parse_task({"kind": "file", "path": str(path)}).load()
    assert rows.table["text"].to_pylist() == ["one\rtwo", "x"]


def test_a_very_long_cell_is_read(tmp_path: Path) -> None:
    """The parser's own limit is 131,072 characters: a book is longer."""
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + "word " * 200_000 + "end,a\nshort,b\n", encoding="utf-8")
    lengths = [
        len(t) for t in parse_task({"kind": "file", "path": str(path)}).load().table["text"].to_pylist()
    ]
    assert lengths == [1_000_003, 5]


# --- tables


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"rows\.csv cannot be read: it is empty \(0 bytes\)"),
        (b"\xef\xbb\xbf", r"has no rows"),
        (b"text,label\n", r"rows\.csv has no rows, only the header 'text', 'label'"),
        (b"text,label", r"has no rows, only the header"),
        (b"\n\n", r"has no rows"),
        (b"text,label\rx,a\ry,b\r", r"lines end in carriage returns alone"),
        (b"text,label\nx,a\ny,b,c\n", r"row 2 \(line 3\) has 3 columns, the header has 2 \('text', 'label'\); quote cells"),
        (b"text,label\n\"x\n\nx\",a\ny\nz,b\n", r"row 2 \(line 5\) has 1 columns, the header has 2"),
        (b'text,label\nx,a\n"y,b\nz,a\n', r"row 2 \(from line 3\) opens a quote that is never closed"),
        (b'text,label\n"x\ny",a\n"y" or so,b\n', r"row 2 \(from line 4\) has text after a closing quote"),
        (b'"text,label\nx,a\n', r"the header opens a quote that is never closed"),
        (b"PK\x03\x04\x14\0\x06\0\n", r"it is a zip or Excel file under the ending \.csv"),
        (b"\x1f\x8b\x08\0\n", r"it is a gzip file"),
    ],
)  # fmt: skip
def test_broken_tables_are_refused_by_row_and_line(tmp_path: Path, content: bytes, words: str) -> None:
    """A lenient reader fills, cuts or joins such rows, and every row after them may be another one."""
    refuse(tmp_path / "rows.csv", content, words)


def test_a_quote_that_is_never_closed_does_not_swallow_the_memory(tmp_path: Path) -> None:
    """The parser holds four bytes of each character of an open cell: of a large file, all of them."""
    content = b'text,label\n"x,a\n' + b"a fair text of some words,b\n" * 700_000
    refuse(
        tmp_path / "rows.csv", content, r"row 1 \(from line 2\) has a cell of more than 16777216 characters"
    )


def test_a_column_that_stands_twice_is_refused_if_it_is_wanted(tmp_path: Path) -> None:
    """Either one could be meant; nameless columns at a spreadsheet's end harm nobody."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label,label,,\nx,a,b,,\ny,b,a,,\n", encoding="utf-8")
    with pytest.raises(DataError, match="has two columns 'label'"):
        parse_task({"kind": "file", "path": str(path)}).load()
    path.write_text("text,label,,\nx,a,,\ny,b,,\n", encoding="utf-8")
    assert parse_task({"kind": "file", "path": str(path)}).load().classes == ("a", "b")
    assert read_frame(path).columns == ["text", "label", "", "_duplicated_0"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "x", "label": "a"}\n{"text": "y", "label": \n', r"line 2 is not JSON \(.*\): '\{\"text\": \"y\""),
        ('{"text": "x", "label": "a"}\n\n["y", "b"]\n', r"line 3 is no JSON object: '\[\"y\", \"b\"\]'"),
        ('[\n{"text": "x", "label": "a"}\n]\n', r"line 1 is not JSON .*Write one object a line"),
        ('{"text": "x\\ud83d", "label": "a"}\n', r"line 1 holds half of a surrogate pair"),
        ("[" * 200_000 + "\n", r"line 1 is (nested too deeply|not JSON)"),
        ("\n", r"rows\.jsonl has no rows"),
    ],
)  # fmt: skip
def test_broken_json_lines_are_refused_by_line(tmp_path: Path, content: str, words: str) -> None:
    """'Expecting value: line 1 column 1' is said of every line."""
    refuse(tmp_path / "rows.jsonl", content.encode(), words)


def test_a_column_that_no_json_line_has_is_missing(tmp_path: Path) -> None:
    """Names may be left out of some objects, not of all; the first object alone says neither."""
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "v", "label": "b", "w": "b"}, {"text": "x"}, {"text": "y", "label": "a", "w": "a"}]
    rows.append({"text": "z", "w": "b"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"no column 'truth'; its columns are 'text', 'label', 'w'"):
        parse_task({"kind": "file", "path": str(path), "label": "truth"}).load()
    with pytest.raises(DataError, match=r"row 2 has no value in label column 'label'; 2 of 4 rows have none"):
        parse_task({"kind": "file", "path": str(path)}).load()
    with pytest.raises(DataError, match="row 2 has no weak label in column 'w'; 1 of 4 rows have none"):
        parse_task({"kind": "file", "path": str(path), "weak_label": "w"}).load()


@pytest.mark.parametrize("keep", [0, 3, 60, -1, -9])
def test_a_cut_parquet_file_is_refused(tmp_path: Path, keep: int) -> None:
    """A download that stopped early."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"text": ["x", "y"], "label": ["a", "b"]}).write_parquet(path)
    words = {0: r"it is empty \(0 bytes\)", 3: "it is no Parquet file"}.get(
        keep, "it is cut short: its .* copy it anew"
    )
    refuse(path, path.read_bytes()[:keep], words)


def test_a_parquet_file_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    """The two marks are there; the library's error must still name the file."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"text": [f"text {i}" for i in range(5000)], "label": ["a", "b"] * 2500}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[200:4000] = b"\xff" * 3800
    refuse(path, bytes(content), r"rows\.parquet cannot be read")


def test_a_folder_with_a_table_in_it_names_the_table(tmp_path: Path) -> None:
    """The folder around the file is given more often than the file's name is wrong."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.csv").write_text(HEAD + "x,a\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"is not a data set folder .*name one of its files: rows\.csv"):
        parse_task({"kind": "file", "path": str(folder)}).load()


def test_labels_that_are_no_classes_name_their_column(tmp_path: Path) -> None:
    """The text column named as label gives as many classes as rows."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"t{i},l{i}\n" for i in range(1200)), encoding="utf-8")
    with pytest.raises(DataError, match="more than 1000 different labels; is 'label' really a class column"):
        parse_task({"kind": "file", "path": str(path)}).load()
