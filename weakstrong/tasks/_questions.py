"""What several question tasks share: nested originals, answers over several records, labels in a file of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from weakstrong.errors import DataError
from weakstrong.tasks._dataset import DatasetTask, Origin
from weakstrong.tasks._files import DataFile, Record, find_files, lines, records

Located = tuple[Origin, DataFile, Record]
LABELS = "-labels.lst"


def converted(
    file: DataFile, convert: Callable[[Any], Iterable[Record]], columns: Sequence[str] = ()
) -> Iterator[Record]:
    """The records that ``convert`` makes of each record of an original file.

    Raises:
        DataError: naming file, record and what is missing, for a record of another form.
    """
    for number, record in enumerate(records(file, columns), 1):
        try:
            made = list(convert(record))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            said = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{file}: record {number} has another form ({said}): {record!s:.200}") from error
        yield from made


def joined(found: Iterable[Located], question: Sequence[str]) -> Iterator[Located]:
    """One record for each run of records with equal ``question`` fields; these lie in its field ``answers``.

    Only so can equally many right and wrong answers of a question be kept, where every answer is a record.
    """
    # A missing field is None here; items() then says which one is missing, with the record.
    for _, run in groupby(found, lambda f: (f[0], *(f[2].get(name) for name in question))):
        rows = list(run)
        origin, file, first = rows[0]
        yield origin, file, {**first, "answers": [record for _, _, record in rows]}


class LabelsApart(DatasetTask):
    """A task whose original ``PART.jsonl`` has its labels line by line in ``PART-labels.lst``."""

    @classmethod
    def _find(cls, folder: str) -> dict[Origin, list[DataFile]]:
        # With the labels, so that the digest of the files covers them.
        return {
            origin: [part for file in files for part in (file, _labels_of(file, folder))]
            for origin, files in super()._find(folder).items()
        }

    def original(self, file: DataFile) -> Iterable[Record]:
        if file.name.endswith(LABELS) or self.data_dir is None:
            return
        beside = _labels_of(file, self.data_dir)
        labels = [line for line in lines(beside) if line.strip()]
        questions = 0
        for record, label in zip_longest(records(file), labels):
            questions += record is not None
            if record is not None and label is not None:
                yield {**record, "label": label.strip()}
        if questions != len(labels):
            raise DataError(
                f"{file} has {questions} records, {beside} {len(labels)} labels: they do not match"
            )


def _labels_of(file: DataFile, folder: str) -> DataFile:
    """The file of labels that belongs to one of records: beside it, or elsewhere in the folder."""
    wanted = Path(file.name).stem + LABELS
    found = find_files(Path(folder).expanduser(), (wanted,))
    if not found:
        raise ValueError(f"the labels of {file} are missing: {folder} holds no {wanted}")
    return min(found, key=lambda labels: _place(labels) != _place(file))


def _place(file: DataFile) -> tuple[Path, Path]:
    return file.path if file.member else file.path.parent, Path(file.member).parent
