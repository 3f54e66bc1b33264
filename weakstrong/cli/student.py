"""The practitioner's commands: train and predict."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from weakstrong.api import default_store
from weakstrong.cli.console import Screen, is_live
from weakstrong.errors import ConfigError, DataError
from weakstrong.experiment import REGIMES
from weakstrong.redact import spreadsheet_safe
from weakstrong.train import TrainedStudent, train_student
from weakstrong.training.spec import Runtime

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


def train_and_show(
    data: Path,
    weak_label: str,
    out: Path,
    text: str,
    first: str | None,
    second: str | None,
    prompt: str | None,
    student: str,
    method: str,
    regime: str,
    label: str | None,
    weak_labels: Path | None,
    id: str | None,
    group: str | None,
    epochs: int | None,
    learning_rate: float | None,
    precision: str | None,
    seed: int,
    device: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Train, and say what came out and how far to trust it."""
    changes: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate}
    changes = {k: v for k, v in changes.items() if v is not None}
    if precision is not None:
        # A probe's products are those of the forward pass that gives its features.
        own = "precision" in REGIMES[regime].model_fields
        changes |= {"precision": precision} if own else {"features": {"dtype": DTYPES[precision]}}
    training = REGIMES[regime].parse(changes, "the training options")
    with Screen(is_live()) as screen:
        result = train_student(
            data,
            text=text,
            first=first,
            second=second,
            prompt=prompt,
            weak_label=weak_label,
            out=out,
            student=student,
            method=method,
            label=label,
            group=group,
            id=id,
            weak_labels=weak_labels,
            training=training,
            seed=seed,
            store=store or default_store(),
            runtime=Runtime(device=device),
            listener=screen,
        )
    if as_json:
        print(json.dumps(_plain(result), ensure_ascii=False))
        return
    print(f"student: {result.folder}")
    print(f"agreement with the weak labels of held-out rows: {100 * result.agreement:.1f} %")
    if result.score is None or result.weak_score is None:
        print("no rows with ground truth (--label): nothing says how often it is right")
        return
    for name, score in (("student", result.score), ("weak labels", result.weak_score)):
        print(
            f"accuracy of the {name}: {100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}]"
        )


def _plain(result: TrainedStudent) -> dict[str, Any]:
    scores = {"score": result.score, "weak_score": result.weak_score}
    return {
        "folder": str(result.folder),
        "classes": list(result.classes),
        "agreement": result.agreement,
        "rows": result.rows,
    } | {
        k: None if v is None else {"value": v.value, "low": v.low, "high": v.high} for k, v in scores.items()
    }


def predict_and_write(
    folder: Path, file: Path, text: str, format: str, out: Path | None, device: str
) -> None:
    """Write one row per input with ``label`` and ``probabilities``, or with ``reward`` by a reward model."""
    import polars as pl

    from weakstrong.predict import is_reward_model, predict, rewards
    from weakstrong.tasks.file import read_frame

    if format == "parquet" and out is None:
        raise ConfigError("parquet is not text: name a file with --out")
    frame = read_frame(file)
    if text not in frame.columns:
        raise DataError(
            f"{file} has no column {text!r}; its columns are {', '.join(map(repr, frame.columns))}"
        )
    texts = frame[text].to_list()
    empty = [i for i, value in enumerate(texts) if value is None or not str(value).strip()]
    if empty:
        raise DataError(f"{file}: {len(empty)} of {len(texts)} texts are empty, first in row {empty[0] + 1}")
    words, runtime = [str(value) for value in texts], Runtime(device=device)
    rows: list[dict[str, Any]]
    if is_reward_model(folder):
        rows = [{"reward": float(reward)} for reward in rewards(folder, words, runtime=runtime)]
    else:
        classes, probs_NC = predict(folder, words, runtime=runtime)
        rows = [
            {
                "label": classes[int(p_C.argmax())],
                "probabilities": dict(zip(classes, map(float, p_C), strict=True)),
            }
            for p_C in probs_NC
        ]
    if format == "parquet":
        assert out is not None
        pl.DataFrame(rows).write_parquet(out)
        return
    if format == "json":
        content = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    else:
        flat = [
            {
                k: json.dumps(v, ensure_ascii=False) if isinstance(v, dict) else spreadsheet_safe(v)
                for k, v in r.items()
            }
            for r in rows
        ]
        content = pl.DataFrame(flat).write_csv()
    if out is None:
        sys.stdout.write(content)
    else:
        out.write_text(content, encoding="utf-8")
