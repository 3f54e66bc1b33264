"""Original files of public data sets, record by record: CSV, TSV, JSON, JSON lines, Parquet, lines of text.

Files may be compressed (.gz, .bz2), or members of a .zip that lies in the folder. Every reader is a generator, so a
large file never lies in memory whole (a single JSON document does).
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from weakstrong.errors import DataError

Record = dict[str, Any]


@dataclass(frozen=True)
class DataFile:
    """A file on the disk, or a member of a zip file there."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """File name without its folders, compression endings cut off: what readers go by."""
        name = Path(self.member or self.path).name
        return name.removesuffix(".gz").removesuffix(".bz2")

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, decompressed."""
        if self.member:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file
            return
        import fsspec

        with fsspec.open(str(self.path), "rb", compression="infer") as file:
            yield file

    @contextmanager
    def text(self) -> Iterator[IO[str]]:
        """The text, in UTF-8 with or without a byte-order mark, line ends untouched.

        Raises:
            DataError: naming file and offset, if it is not UTF-8.
        """
        with self.open() as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            try:
                yield file
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self}: byte {error.object[error.start]:#04x} is not UTF-8 ({error.reason}); "
                    "save the file as UTF-8"
                ) from error
            except (EOFError, OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{self} is cut short or damaged: {error}; fetch it anew") from error


def find_files(folder: Path, patterns: Sequence[str]) -> list[DataFile]:
    """All files below ``folder`` (and in zip files there) that match the first pattern that any file matches.

    A pattern is a glob on the file's name, compression endings left aside, e.g. ``train*.jsonl``.
    """
    files = [DataFile(p) for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".zip"]
    for path in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
        files += [DataFile(path, name) for name in sorted(names)]
    for pattern in patterns:
        if found := [f for f in files if fnmatch.fnmatch(f.name, pattern)]:
            return found
    return []


def records(file: DataFile, columns: Sequence[str] = ()) -> Iterator[Record]:
    """The records of a file by its ending; ``columns`` name those of a CSV or TSV file without a header.

    A TSV file is read as plain lines cut at tabs: quotes in it are text. A ``.txt`` file gives ``{"text": line}``.

    Raises:
        DataError: naming file and line, for what cannot be read.
    """
    ending = Path(file.name).suffix.lower()
    if ending == ".csv":
        yield from _csv(file, columns)
    elif ending == ".tsv":
        yield from _tsv(file, columns)
    elif ending in (".jsonl", ".ndjson"):
        yield from json_lines(file)
    elif ending == ".json":
        yield from _json(file)
    elif ending == ".parquet":
        yield from _parquet(file)
    elif ending in (".txt", ".lst"):
        yield from ({"text": line} for line in lines(file))
    else:
        raise DataError(f"{file}: files ending in {ending or 'nothing'} are not read")


def lines(file: DataFile) -> Iterator[str]:
    """Lines of a text file, cut at line feeds only (other line breaks of Unicode are text)."""
    with file.text() as text:
        for line in text:
            # newline="" splits at a lone carriage return too, which universal newlines would have merged.
            yield line.rstrip("\r\n")


def json_lines(file: DataFile) -> Iterator[Record]:
    """One JSON object a line; empty lines are passed over."""
    for number, line in enumerate(lines(file), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{file}: line {number} is not JSON ({error.msg})") from error


def _json(file: DataFile) -> Iterator[Record]:
    """A list of records, or JSON lines under the ending .json."""
    with file.text() as text:
        head = text.read(1)
        while head and head.isspace():
            head = text.read(1)
    if head != "[":
        yield from json_lines(file)
        return
    with file.text() as text:
        try:
            yield from json.load(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{file} is not JSON: {error}") from error


def _csv(file: DataFile, columns: Sequence[str]) -> Iterator[Record]:
    with file.text() as text:
        reader = csv.reader(text, strict=True)
        names = list(columns)
        try:
            for row in reader:
                if not names:
                    names = row
                elif row:
                    yield _named(file, reader.line_num, names, row)
        except csv.Error as error:
            raise DataError(f"{file}: line {reader.line_num}: {error}") from error


def _tsv(file: DataFile, columns: Sequence[str]) -> Iterator[Record]:
    names = list(columns)
    for number, line in enumerate(lines(file), 1):
        if not names:
            names = line.split("\t")
        elif line:
            yield _named(file, number, names, line.split("\t"))


def _named(file: DataFile, line: int, names: Sequence[str], row: Sequence[str]) -> Record:
    if len(row) != len(names):
        raise DataError(
            f"{file}: line {line} has {len(row)} columns, {len(names)} are wanted: {', '.join(names)}"
        )
    return dict(zip(names, row, strict=True))


def _parquet(file: DataFile) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open() as raw:
        try:
            source = raw if not file.member else io.BytesIO(raw.read())
            for batch in pq.ParquetFile(source).iter_batches(4096):
                yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise DataError(f"{file} is no Parquet file: {error}") from error
