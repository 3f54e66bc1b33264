"""The user's own rows: CSV, TSV, JSON lines, Parquet or a Hugging Face data set folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from weakstrong.errors import DataError
from weakstrong.spec import digest
from weakstrong.tasks.base import TASKS, Task, TaskRows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

FORMATS = ".csv, .tsv, .jsonl, .ndjson, .parquet, or a folder written by datasets.save_to_disk"


@TASKS.register
class FileTask(Task):
    """Rows of a file with columns named by the user.

    The key holds the content's SHA-256, not the path, so moving the file recomputes nothing and editing it does.
    """

    located: ClassVar[tuple[str, ...]] = ("path", "weak_labels_path")
    licence: ClassVar[str] = "yours"
    source: ClassVar[str] = "file:PATH"

    kind: Literal["file"] = "file"
    path: str = Field(description=f"the file ({FORMATS})")
    text: str = Field("text", description="column of the texts")
    label: str | None = Field(
        "label", description="column of the ground truth; may be empty for rows without it"
    )
    group: str | None = Field(None, description="column whose equal values never straddle a split")
    id: str | None = Field(None, description="column of unique row names")
    paraphrase: str | None = Field(None, description="column of another wording of the text")
    weak_label: tuple[str, ...] = Field(
        (), description="one column of class names, or one of probabilities per class"
    )
    weak_labels_path: str | None = Field(
        None, description="another file with the weak-label columns, joined by id"
    )
    classes: tuple[str, ...] = Field((), description="class names in order; empty: the sorted labels found")
    limit: int = Field(20_000, ge=10, description="at most this many rows, chosen by a hash of their ids")
    sha256: str = Field("", description="of the content; filled in from the files")

    @field_validator("weak_label", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @model_validator(mode="before")
    @classmethod
    def _fill_digest(cls, values: Any) -> Any:
        paths = (values.get("path"), values.get("weak_labels_path")) if isinstance(values, dict) else ()
        if not paths or not paths[0] or not all(isinstance(p, str | None) for p in paths):
            return values  # the fields' own types say what is wrong
        found = digest(" ".join(_content_digest(p) for p in paths if p))
        if values.get("sha256") and values["sha256"] != found:
            raise ValueError(
                f"{values['path']} has changed: its SHA-256 is {found[:12]}…, {values['sha256'][:12]}… wanted"
            )
        if values.get("weak_labels_path") and not values.get("id"):
            raise ValueError("a second file of weak labels is joined by id: name the id column")
        return values | {"sha256": found}

    @property
    def name(self) -> str:
        """``file:`` and the file's name without its folder."""
        return f"file:{Path(self.path).name}"

    def load(self) -> TaskRows:
        from weakstrong.data import make_rows

        frame = read_frame(Path(self.path))
        wanted = [self.text, self.label, self.group, self.id, self.paraphrase]
        weak_here = () if self.weak_labels_path else self.weak_label
        _require(frame, [c for c in (*wanted, *weak_here) if c], self.path)
        if self.weak_labels_path:
            frame = self._join_weak(frame)
        if len(self.weak_label) == 1:
            _refuse_no_share(frame[self.weak_label[0]].to_list(), self.path, self.weak_label[0])
        texts = ["" if t is None else str(t) for t in frame[self.text].to_list()]
        ids = None if self.id is None else [str(v) for v in frame[self.id].to_list()]
        groups = None if self.group is None else [str(v) for v in frame[self.group].to_list()]
        raw: list[str | None] = (
            [None] * len(texts) if self.label is None else [_text(v) for v in frame[self.label].to_list()]
        )
        classes = self.classes or self._classes(frame, raw)
        labels = [
            -1 if v is None else _class_index(v, classes, i, self.path, self.label) for i, v in enumerate(raw)
        ]
        if self.label is not None and not self.weak_label and -1 in labels:
            first = labels.index(-1)
            raise DataError(f"{self.path}: row {first + 1} has no value in label column {self.label!r}")
        weak_NC = self._weak(frame, classes) if self.weak_label else None
        table = make_rows(texts, labels, ids=ids, groups=groups, weak_NC=weak_NC)
        if self.paraphrase is not None:
            import pyarrow as pa

            other = frame[self.paraphrase].to_list()
            empty = [i for i, v in enumerate(other) if v is None or not str(v).strip()]
            if empty:
                raise DataError(
                    f"{self.path}: row {empty[0] + 1} has no paraphrase in column {self.paraphrase!r}"
                )
            table = table.append_column("paraphrase", pa.array([str(v) for v in other], pa.string()))
        notes: tuple[str, ...] = ()
        if len(table) > self.limit:
            order = sorted(range(len(table)), key=[digest(i) for i in table["id"].to_pylist()].__getitem__)
            notes = (f"{self.limit} of {len(table)} rows kept (limit)",)
            table = table.take(sorted(order[: self.limit]))
        return TaskRows(table, tuple(classes), notes)

    def _join_weak(self, frame: pl.DataFrame) -> pl.DataFrame:
        assert self.weak_labels_path is not None
        assert self.id is not None
        import polars as pl

        other = read_frame(Path(self.weak_labels_path))
        _require(other, [self.id, *self.weak_label], self.weak_labels_path)
        frame, other = (
            frame.with_columns(pl.col(self.id).cast(pl.String)),
            other.with_columns(pl.col(self.id).cast(pl.String)),
        )
        if other[self.id].is_duplicated().any():
            raise DataError(f"{self.weak_labels_path}: ids appear twice in column {self.id!r}")
        strangers = sorted(set(other[self.id].to_list()) - set(frame[self.id].to_list()))
        if strangers:
            raise DataError(
                f"{self.weak_labels_path} has weak labels for {len(strangers)} rows that do not exist in {self.path}, "
                f"first id {strangers[0]!r}"
            )
        clash = [c for c in self.weak_label if c in frame.columns]
        return frame.drop(clash).join(other.select(self.id, *self.weak_label), on=self.id, how="left")

    def _classes(self, frame: pl.DataFrame, raw: list[str | None]) -> tuple[str, ...]:
        found = {v for v in raw if v is not None}
        if len(self.weak_label) > 1 and len(found) != len(self.weak_label):
            return tuple(c.removeprefix("p_") for c in self.weak_label)
        if len(self.weak_label) == 1:
            weak = {v for v in map(_text, frame[self.weak_label[0]].to_list()) if v is not None}
            found |= set() if all(map(_is_share, weak)) else weak
            if not found:
                found = {"0", "1"}
        if len(found) < 2:
            raise DataError(
                f"{self.path}: only one class is present ({sorted(found)}); two or more are needed"
            )
        if len(found) > 1000:
            raise DataError(
                f"{self.path}: {len(found)} different labels; is {self.label!r} really a class column?"
            )
        return tuple(sorted(found))

    def _weak(self, frame: pl.DataFrame, classes: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        import numpy as np

        from weakstrong.data import check_probabilities, one_hot

        by_class = {c.removeprefix("p_"): c for c in self.weak_label}
        # Columns named after the classes go by name, whatever order they were given in.
        names = [by_class[c] for c in classes] if set(by_class) == set(classes) else list(self.weak_label)
        columns = [[_text(v) for v in frame[c].to_list()] for c in names]
        for name, column in zip(names, columns, strict=True):
            if None in column:
                raise DataError(
                    f"{self.path}: row {column.index(None) + 1} has no weak label in column {name!r}"
                )
        if len(columns) == 1 and (
            set(columns[0]) <= set(classes) or not all(_is_share(v or "") for v in columns[0])
        ):
            index = [
                _class_index(v or "", classes, i, self.path, self.weak_label[0])
                for i, v in enumerate(columns[0])
            ]
            return one_hot(index, len(classes)).astype(float)
        try:
            values = np.array([[float(v or "nan") for v in column] for column in columns]).T
        except ValueError as error:
            raise DataError(
                f"{self.path}: weak-label columns {', '.join(self.weak_label)}: {error}"
            ) from None
        if values.shape[1] == 1:
            if len(classes) != 2:
                raise DataError(
                    f"{self.path}: one column of probabilities fits two classes, found {len(classes)}"
                )
            values = np.concatenate([1 - values, values], axis=1)
        if values.shape[1] != len(classes):
            raise DataError(
                f"{self.path}: {values.shape[1]} weak-label columns for {len(classes)} classes {classes}"
            )
        check_probabilities(values, f"{self.path}: weak labels")
        return values


def _refuse_no_share(values: Sequence[object], path: str, column: str) -> None:
    """A column of fractions holds probabilities; one beyond [0, 1] would become a class name instead."""
    numbers: list[float] = []
    for value in values:
        try:
            numbers.append(float(str(value)))
        except ValueError:
            return  # words: class names
    if all(n.is_integer() for n in numbers):
        return
    for i, number in enumerate(numbers):
        if not 0 <= number <= 1:
            raise DataError(
                f"{path}: row {i + 1} has {number} in weak-label column {column!r}, which holds probabilities "
                "of the second class: from 0 to 1"
            )


def read_frame(path: Path) -> pl.DataFrame:
    """A file as a polars frame; CSV and TSV columns stay text.

    Raises:
        DataError: if it does not exist, has another format, is empty or cannot be read; the message says which.
    """
    import polars as pl

    path = path.expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file ({FORMATS})")
    ending = path.suffix.lower()
    try:
        if path.is_dir():
            frame = _read_folder(path)
        elif ending in (".csv", ".tsv"):
            separator = "," if ending == ".csv" else "\t"
            frame = pl.read_csv(path, separator=separator, infer_schema=False)
        elif ending in (".jsonl", ".ndjson"):
            frame = pl.read_ndjson(path, infer_schema_length=None)
        elif ending == ".parquet":
            frame = pl.read_parquet(path)
        else:
            raise DataError(f"{path}: the format {ending or 'without ending'} is not known; wanted {FORMATS}")
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if frame.is_empty():
        raise DataError(f"{path} has no rows")
    return frame


def _read_folder(path: Path) -> pl.DataFrame:
    import datasets
    import polars as pl

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} is not a data set folder ({error}); wanted {FORMATS}") from error
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) != 1:
            raise DataError(f"{path} holds the splits {sorted(loaded)}; point at one of them, {path}/SPLIT")
        loaded = next(iter(loaded.values()))
    frame = pl.from_arrow(loaded.with_format("arrow")[:])
    assert isinstance(frame, pl.DataFrame)
    names = {n: f.names for n, f in loaded.features.items() if isinstance(f, datasets.ClassLabel)}
    return frame.with_columns(
        pl.col(n).cast(pl.String).replace({str(i): v for i, v in enumerate(values)})
        for n, values in names.items()
    )


def _content_digest(text: str) -> str:
    import hashlib

    path = Path(text).expanduser()
    if path.is_dir():
        return digest(
            " ".join(f"{p.name}:{_content_digest(str(p))}" for p in sorted(path.rglob("*")) if p.is_file())
        )
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a file ({FORMATS})")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require(frame: pl.DataFrame, columns: list[str], where: str) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise DataError(
            f"{where} has no column {missing[0]!r}; its columns are {', '.join(map(repr, frame.columns))}"
        )


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = (
        str(int(value))
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
        else str(value).strip()
    )
    return text or None


def _is_share(text: str) -> bool:
    """Whether a text reads as a number in [0, 1]."""
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _class_index(value: str, classes: tuple[str, ...], row: int, where: str, column: str | None) -> int:
    if value not in classes:
        raise DataError(
            f"{where}: row {row + 1}, column {column!r}: {value!r} is none of the classes {list(classes)}"
        )
    return classes.index(value)
