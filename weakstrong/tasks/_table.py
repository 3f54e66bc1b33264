"""Tables of the user: CSV, TSV, JSON lines, Parquet or a Hugging Face data set folder, in batches of rows.

A row in a message counts from one without the header; a line counts every line of the file. CSV goes through the
standard library: it alone keeps line breaks, quotes and carriage returns inside cells whatever the file's size, and
says in which row quoting breaks.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from weakstrong.errors import DataError

if TYPE_CHECKING:
    import polars as pl

FORMATS: Final = ".csv, .tsv, .jsonl, .ndjson, .parquet, or a folder written by datasets.save_to_disk"
BATCH: Final = 2048  # rows
BATCH_LENGTH: Final = 2**22  # characters, in text formats: a batch of long documents has fewer rows
HIDDEN: Final = "\udc0d"  # a lone surrogate: no text that was UTF-8 holds one
LONGEST_CELL: Final = 2**24  # characters; the parser holds four bytes of each
SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
NO_TEXT: Final = {b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "a gzip file", b"PAR1": "a Parquet file"}

Batch = dict[str, list[Any]]


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
    """The named columns as lists of at most `BATCH` values; cells of CSV and TSV are text, empty ones None.

    Raises:
        DataError: if the file does not exist, has another format, has no rows, cannot be read or lacks a column; the
            message says which, and where.
    """
    path = path.expanduser()
    wanted = list(dict.fromkeys(columns))
    kind = _kind(path)
    if kind in SEPARATORS:
        batches = _csv(path, wanted)
    elif kind == ".jsonl":
        batches = _json_columns(path, wanted)
    else:
        batches = ({c: frame[c].to_list() for c in frame.columns} for frame in _arrow_frames(path, wanted))
    yield from _not_empty(path, batches)


def read_frame(path: Path) -> pl.DataFrame:
    """A whole file as a polars frame; columns of CSV and TSV stay text.

    Raises:
        DataError: as `read_batches` does.
    """
    import polars as pl

    path = path.expanduser()
    kind = _kind(path)
    if kind in SEPARATORS:
        frames = [pl.DataFrame(batch, schema=dict.fromkeys(batch, pl.String)) for batch in _csv(path, None)]
    elif kind == ".jsonl":
        rows = [row for _, row in _json_rows(path)]
        frames = [pl.DataFrame(rows, infer_schema_length=None, strict=False)]
    else:
        frames = list(_arrow_frames(path, None))
    if not sum(map(len, frames)):
        raise DataError(f"{path} has no rows")
    return pl.concat(frames)


def require(columns: Sequence[str], have: Sequence[str], where: Path | str) -> None:
    """Refuse a table that lacks one of ``columns``, or has one of them twice."""
    for column in columns:
        if column not in have:
            raise DataError(
                f"{where} has no column {column!r}; its columns are {', '.join(map(repr, have)) or 'none'}"
            )
        if list(have).count(column) > 1:
            raise DataError(f"{where} has two columns {column!r}; rename one of them")


def _kind(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file ({FORMATS})")
    if path.is_dir():
        return "folder"
    ending = path.suffix.lower()
    if ending in SEPARATORS or ending == ".parquet":
        return ending
    if ending in (".jsonl", ".ndjson"):
        return ".jsonl"
    raise DataError(f"{path}: the format {ending or 'without ending'} is not known; wanted {FORMATS}")


def _not_empty(path: Path, batches: Iterator[Batch]) -> Iterator[Batch]:
    some = False
    for batch in batches:
        some = True
        yield batch
    if not some:
        raise DataError(f"{path} has no rows")


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read: {why}")


# --- text


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, cut at line feeds only: a carriage return, like other line breaks of Unicode, is text."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    _refuse_other_formats(path, raw)
                    if raw.startswith(BYTE_ORDER_MARK):
                        raw, offset = raw[3:], 3
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    _refuse_encoding(path, raw, error, number, offset)
                if "\0" in line:
                    at = offset + raw.index(b"\0")
                    raise _unreadable(
                        path,
                        f"line {number} holds a NUL byte (offset {at}); the file is damaged or no text: "
                        "export it anew as UTF-8",
                    )
                offset += len(raw)
                yield line
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if not offset:
        raise _unreadable(path, "it is empty (0 bytes)")


def _refuse_other_formats(path: Path, raw: bytes) -> None:
    for mark, what in NO_TEXT.items():
        if raw.startswith(mark):
            raise _unreadable(
                path, f"it is {what} under the ending {path.suffix}; unpack it, or save it as text"
            )
    head = raw[:1000]
    # Every other byte of plain words in UTF-16 is NUL, with a byte-order mark in front or without.
    halves = (head[::2].count(0), head[1::2].count(0))
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or max(halves) > 0.4 * max(1, len(head) // 2) > min(halves):
        raise _unreadable(
            path,
            f"it looks like UTF-16 (its first bytes are {head[:4].hex(' ')}), wanted UTF-8; save the file as UTF-8",
        )


def _refuse_encoding(path: Path, raw: bytes, error: UnicodeDecodeError, number: int, offset: int) -> NoReturn:
    start = error.start
    found = f"byte {raw[start]:#04x} in line {number} (offset {offset + start}) is not UTF-8"
    try:
        around = raw[max(0, start - 12) : start + 12].decode("cp1252")
        letter = raw[start : start + 1].decode("cp1252")
    except UnicodeDecodeError:
        around = letter = ""
    # Western text has lone letters beyond ASCII; Asian and Cyrillic encodings have runs of such bytes.
    if letter.isprintable() and letter and not raw[start + 1 : start + 2] > b"\x7f":
        found += f"; it looks like Latin-1 (Windows-1252), which reads {letter!r} there: {' '.join(around.split())!r}"
    raise _unreadable(path, f"{found}; save the file as UTF-8") from error


def _csv(path: Path, wanted: Sequence[str] | None) -> Iterator[Batch]:
    # The limit is one number for the whole process, and 131,072 by default: less than a long document.
    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    hidden: list[str] = []
    lines = _hide_returns(_lines(path), hidden)
    reader = csv.reader(lines, delimiter=SEPARATORS[path.suffix.lower()], strict=True)
    header: list[str] = []
    names: Sequence[str] = ()
    chosen: list[int] = []
    rows: list[list[str]] = []
    length, number, line = 0, 0, 1  # characters in rows; row and line of what comes next
    try:
        for row in reader:
            if hidden:
                if not header:
                    raise _unreadable(
                        path, "its lines end in carriage returns alone; save it with line feeds"
                    )
                row = [text.replace(HIDDEN, "\r") for text in row]
                hidden.clear()
            if not header:
                header = row
                if header:
                    require(wanted or (), header, path)
                    names = _distinct(header) if wanted is None else wanted
                    chosen = [(names if wanted is None else header).index(n) for n in names]
            elif row or len(header) == 1:
                number += 1
                row = row or [""]  # the blank line of a single column is its empty cell
                if len(row) != len(header):
                    raise _unreadable(path, _ragged(header, row, number, line))
                rows.append(row)
                length += sum(map(len, row))
                if len(rows) == BATCH or length > BATCH_LENGTH:
                    yield _columns(names, chosen, rows)
                    rows, length = [], 0
            line = reader.line_num + 1
    except csv.Error as error:
        raise _unreadable(path, _broken(str(error), number + 1, line, bool(header))) from error
    if rows:
        yield _columns(names, chosen, rows)
    elif not number:
        raise DataError(f"{path} has no rows, only the header {', '.join(map(repr, header)) or '(blank)'}")


def _hide_returns(lines: Iterable[str], hidden: list[str]) -> Iterator[str]:
    """Lines with another sign for carriage returns that end none, as a parser takes them for line ends outside quotes.

    Writers leave such cells without quotes where line feeds end lines. ``hidden`` gets each line that was changed.
    """
    for line in lines:
        if "\r" in line:
            end = "\r\n" if line.endswith("\r\n") else line[-1]
            body = line[: -len(end)]
            if "\r" in body:
                line = body.replace("\r", HIDDEN) + end
                hidden.append(line)
        yield line


def _columns(names: Sequence[str], chosen: Sequence[int], rows: Sequence[Sequence[str]]) -> Batch:
    return {name: [row[i] or None for row in rows] for name, i in zip(names, chosen, strict=True)}


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of a frame's columns: a repeated one gets a number, as the spreadsheet's nameless last columns do."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_duplicated_{seen[name] - 2}")
    return found


def _ragged(header: Sequence[str], row: Sequence[str], number: int, line: int) -> str:
    names = ", ".join(map(repr, header))
    advice = (
        "quote cells that hold the separator, a quote or a line break"
        if len(row) > len(header)
        else "every row needs all of them, if empty"
    )
    return (
        f"row {number} (line {line}) has {len(row)} columns, the header has {len(header)} ({names}); {advice}"
    )


def _broken(error: str, number: int, line: int, in_rows: bool) -> str:
    """What a parser's message means, and where."""
    where = f"row {number} (from line {line})" if in_rows else "the header"
    if "unexpected end" in error:
        return f"{where} opens a quote that is never closed; double a quote that is text, and quote its cell"
    if "field larger" in error:
        return (
            f"{where} has a cell of more than {LONGEST_CELL} characters; probably a quote is never closed: "
            "double a quote that is text, and quote its cell"
        )
    return (
        f"{where} has text after a closing quote ({error}); double a quote that is text, and quote its cell"
    )


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Length and object of each line; blank lines are passed over."""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\ud" in line or "\\uD" in line:
                json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except json.JSONDecodeError as error:
            advice = (
                "; an object on several lines, or a list of all? Write one object a line"
                if number == 1
                else ""
            )
            raise _unreadable(
                path, f"line {number} is not JSON ({error.msg}, column {error.colno}): {_short(line)}{advice}"
            ) from error
        except RecursionError as error:
            raise _unreadable(path, f"line {number} is nested too deeply") from error
        except UnicodeEncodeError as error:
            raise _unreadable(
                path, f"line {number} holds half of a surrogate pair: {_short(line)}"
            ) from error
        if not isinstance(row, dict):
            raise _unreadable(
                path, f"line {number} is no JSON object: {_short(line)}; write one object a line"
            )
        yield len(line), row


def _json_columns(path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
    """Names that a row lacks are None there; a column is missing if all rows lack it."""
    names: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    some, length = False, 0
    for characters, row in _json_rows(path):
        some = True
        length += characters
        if not row.keys() <= names.keys():
            names |= dict.fromkeys(row)
        rows.append(row)
        if len(rows) == BATCH or length > BATCH_LENGTH:
            yield {c: [r.get(c) for r in rows] for c in wanted}
            rows, length = [], 0
    if some:
        require(wanted, list(names), path)
    if rows:
        yield {c: [r.get(c) for r in rows] for c in wanted}


def _short(line: str) -> str:
    return repr(line.strip()[:80]) + ("…" if len(line.strip()) > 80 else "")


# --- Arrow


def _arrow_frames(path: Path, wanted: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    return _folder(path, wanted) if path.is_dir() else _parquet(path, wanted)


def _parquet(path: Path, wanted: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _refuse_cut_parquet(path)
        # Without buffers of whole column pieces, into which a writer may put a million rows, and without threads, each
        # of which holds memory of its own; and without metadata of columns, at which polars panics if it is no text.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            names = file.schema_arrow.names
            require(wanted or (), names, path)
            columns = names if wanted is None else list(wanted)
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                frame = pl.DataFrame(pa.RecordBatch.from_arrays(batch.columns, batch.schema.names))
                yield frame.select(names if wanted is None else wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error


def _refuse_cut_parquet(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        length = file.seek(0, 2)
        file.seek(max(0, length - 4))
        tail = file.read(4)
    if not length:
        raise _unreadable(path, "it is empty (0 bytes)")
    if head not in (b"PAR1", b"PARE"):
        raise _unreadable(path, f"it is no Parquet file (it begins with {head!r}, wanted b'PAR1')")
    if tail not in (b"PAR1", b"PARE") or length < 12:
        raise _unreadable(
            path, f"it is cut short: its {length} bytes end without Parquet's closing mark; copy it anew"
        )


def _folder(path: Path, wanted: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    import datasets
    import polars as pl
    import pyarrow as pa

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        tables = sorted(
            p.name for p in path.iterdir() if p.suffix.lower() in (*SEPARATORS, ".jsonl", ".parquet")
        )
        advice = f"; name one of its files: {', '.join(tables[:5])}" if tables else ""
        raise DataError(f"{path} is not a data set folder ({error}); wanted {FORMATS}{advice}") from error
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) != 1:
            raise DataError(f"{path} holds the splits {sorted(loaded)}; point at one of them, {path}/SPLIT")
        loaded = next(iter(loaded.values()))
    require(wanted or (), loaded.column_names, path)
    if wanted is not None:
        loaded = loaded.select_columns(list(wanted))
    names = {n: f.names for n, f in loaded.features.items() if isinstance(f, datasets.ClassLabel)}
    for batch in loaded.with_format("arrow").iter(BATCH):
        frame = pl.from_arrow(pa.Table.from_arrays(batch.columns, batch.column_names))
        assert isinstance(frame, pl.DataFrame)
        yield frame.with_columns(
            pl.col(n).cast(pl.String).replace({str(i): v for i, v in enumerate(values)})
            for n, values in names.items()
        )
