"""The user's own rows: CSV, TSV, JSON lines, Parquet or a Hugging Face data set folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from weakstrong.spec import digest
from weakstrong.tasks._table import FORMATS, read_batches, read_frame
from weakstrong.tasks.base import TASKS, Task, TaskRows

__all__ = ["FileTask", "read_frame"]


@TASKS.register
class FileTask(Task):
    """Rows of a file with columns named by the user.

    The key holds the content's SHA-256, not the path, so moving the file recomputes nothing and editing it does. Rows are
    read in batches, and every one is checked; of more than ``limit`` those with the smallest SHA-256 of their ids stay.
    Columns of raters become the column ``votes`` of the rows table.
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
    rater: tuple[str, ...] = Field(
        (), description="columns of single raters: class names, empty where one did not vote"
    )
    classes: tuple[str, ...] = Field((), description="class names in order; empty: the sorted labels found")
    limit: int = Field(20_000, ge=10, description="at most this many rows, chosen by a hash of their ids")
    sha256: str = Field("", description="of the content; filled in from the files")

    @field_validator("weak_label", "rater", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("rater", mode="after")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [column for column in value if value.count(column) > 1]:
            raise ValueError(f"column {twice[0]!r} is named twice: one rater's votes would count double")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_digest(cls, values: Any) -> Any:
        paths = (values.get("path"), values.get("weak_labels_path")) if isinstance(values, dict) else ()
        if not paths or not paths[0] or not all(isinstance(p, str | None) for p in paths):
            return values  # the fields' own types say what is wrong
        found = digest(" ".join(content_digest(p) for p in paths if p))
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
        from weakstrong.tasks._scan import Scan

        scan = Scan(self)
        for batch in read_batches(Path(self.path), scan.columns()):
            scan.add(batch)
        return scan.rows()


def content_digest(text: str) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        ValueError: if there is nothing at ``text``.
    """
    import hashlib

    path = Path(text).expanduser()
    if path.is_dir():
        return digest(
            " ".join(f"{p.name}:{content_digest(str(p))}" for p in sorted(path.rglob("*")) if p.is_file())
        )
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a file ({FORMATS})")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
