"""QuAIL: questions about stories, news, blogs and forum posts, four answers, "not enough information" among them.

Source: A. Rogers et al., "Getting Closer to AI Complete Question Answering: A Set of Prerequisite Real Tasks",
AAAI 2020, CC BY-NC-SA 4.0. The validation part (dev) is the test; in a folder without it, the challenge set is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal
from xml.etree import ElementTree

from weakstrong.errors import DataError
from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks.base import TASKS


@TASKS.register
class Quail(DatasetTask):
    """Is this the right answer to a question about a text?"""

    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    source: ClassVar[str] = "hub:textmachinelab/quail"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 12_410
    instruction: ClassVar[str] = "Say whether the answer to the question about the text is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "textmachinelab/quail",
        "b9aea018de340fc2b00b3a7cb3889ee921a91001",
        {"train": "quail/train/*.parquet", "test": "quail/validation/*.parquet"},
    )
    originals: ClassVar = {
        "train": ("train.jsonl", "*train.xml"),
        "test": ("dev.jsonl", "*dev.xml", "challenge.jsonl", "*challenge.xml"),
    }

    kind: Literal["quail"] = "quail"

    def items(self, record: Record) -> Iterable[Item]:
        stem = f"{self.context(record['context'])}\nQuestion: {record['question']}"
        return choices(stem, record["answers"], {int(record["correct_answer_id"])}, record["context"])

    def original(self, file: DataFile) -> Iterable[Record]:
        return _xml(file) if Path(file.name).suffix == ".xml" else super().original(file)


def _xml(file: DataFile) -> Iterator[Record]:
    with file.text() as text:
        document = text.read()
    # Entities of a document type can blow up a small file to any size; QuAIL has none.
    if "<!DOCTYPE" in document or "<!ENTITY" in document:
        raise DataError(
            f"{file} declares a document type or entities, which QuAIL's files do not; fetch it anew"
        )
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise DataError(f"{file} is not XML: {error}; fetch it anew") from error
    for passage in root.iter("text"):
        for question in passage.iter("q"):
            where = f"{file}: text {passage.get('id')}, question {question.get('id')}"
            right = [i for i, a in enumerate(question.iter("a")) if a.get("correct") == "True"]
            if len(right) != 1:
                raise DataError(f'{where} has {len(right)} answers with correct="True", one is wanted')
            yield {
                "context": _inside(passage.find("text_body"), f"{where}: text_body"),
                "question": _inside(question, where),
                "answers": [_inside(a, f"{where}: an answer") for a in question.iter("a")],
                "correct_answer_id": right[0],
            }


def _inside(element: ElementTree.Element | None, where: str) -> str:
    if element is None or not (element.text or "").strip():
        raise DataError(f"{where} is missing or empty")
    return (element.text or "").strip()
