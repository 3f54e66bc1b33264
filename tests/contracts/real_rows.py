"""Where the real rows of the paper's data sets lie on a developer's machine, for tests only.

``WEAKSTRONG_TEST_DATA`` names the folder; otherwise a folder ``shared/data`` beside the checkout is looked for. Tests
skip where it is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDERS = {
    "anli-r2": "anli_r2", "boolq": "boolq", "cola": "cola", "cosmos-qa": "cosmosqa", "dream": "dream",
    "ethics-deontology": "ethics_deontology", "ethics-justice": "ethics_justice",
    "ethics-utilitarianism": "ethics_utilitarianism", "ethics-virtue": "ethics_virtue", "hellaswag": "hellaswag",
    "hh-rlhf": "hh_rlhf", "mc-taco": "mc_taco", "multirc": "multirc", "openbookqa": "openbookqa", "paws": "paws_qqp",
    "piqa": "piqa",
    "quail": "quail", "sciq": "sciq", "social-iqa": "social_i_qa", "sst2": "sst2",
    "twitter-sentiment": "twitter_sentiment", "wic": "wic",
}  # fmt: skip


def _openbookqa(folder: Path, room: Path) -> None:
    """Questions that lie there as an instruction ("… Answer1: … Answer2: …") as AI2's JSON lines."""
    form = re.compile(
        r"Please choose the correct answer to the question: (.*)\n\n"
        r"Answer1: (.*) Answer2: (.*) Answer3: (.*) Answer4: (.*)\n\nAnswer format: .*",
        re.DOTALL,
    )
    for part in ("train", "test"):
        with (room / f"{part}.jsonl").open("w", encoding="utf-8") as out:
            for i, row in enumerate(json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))):
                found = form.fullmatch(row["instruction"])
                assert found is not None, row
                stem, *answers = found.groups()
                choices = [{"text": a, "label": c} for a, c in zip(answers, "ABCD", strict=True)]
                key = "ABCD"[int(row["answer"].removeprefix("answer")) - 1]
                entry = {
                    "id": f"{part}-{i}",
                    "question": {"stem": stem, "choices": choices},
                    "answerKey": key,
                }
                out.write(json.dumps(entry) + "\n")


def _social_iqa(folder: Path, room: Path) -> None:
    """The authors' zip file alone: a dev.jsonl of another form lies beside it."""
    shutil.copyfile(folder / "socialiqa-train-dev.zip", room / "socialiqa-train-dev.zip")


def _sst2(folder: Path, room: Path) -> None:
    """GLUE's names, and the header that the development sentences lack."""
    shutil.copyfile(folder / "glue_train.tsv", room / "train.tsv")
    rows = (folder / "sent_dev.tsv").read_text(encoding="utf-8")
    (room / "dev.tsv").write_text(f"sentence\tlabel\n{rows}", encoding="utf-8")


CONVERTED: dict[str, Callable[[Path, Path], None]] = {
    "openbookqa": _openbookqa, "social-iqa": _social_iqa, "sst2": _sst2,
}  # fmt: skip
"""Tasks whose rows lie there in another form than the authors published: what writes the original form."""


def real_folder(name: str, room: Path) -> Path:
    """The folder with a task's original files, converted into ``room`` where needed; skips where there is none."""
    root = Path(os.environ.get("WEAKSTRONG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if name not in FOLDERS:
        pytest.skip(f"no real rows of {name} are at hand")
    folder = root / FOLDERS[name]
    if not folder.is_dir():
        pytest.skip(f"the real rows of {name} are not on this machine ({folder})")
    if name in CONVERTED:
        CONVERTED[name](folder, room)
        return room
    return folder
