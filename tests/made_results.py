"""Made rows of every kind that a figure draws: no training, the same each time, values as a paper might have them."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
REASON = "the gap's interval [-0.004, 0.031] covers zero"
MODELS: dict[str, dict[str, Any]] = {
    "minilm-l6": {"parameters": 22_713_216, "flops_per_token": 2.1e7},
    "smollm2-135m:8": {"parameters": 56_600_000, "flops_per_token": 5.7e7},
    "smollm2-135m:12": {"parameters": 70_700_000, "flops_per_token": 8.5e7},
    "smollm2-135m:22": {"parameters": 106_200_000, "flops_per_token": 1.56e8},
    "smollm2-135m": {"parameters": 134_515_008, "flops_per_token": 2.12e8},
}
OWN = {"minilm-l6": 0.77, "smollm2-135m:8": 0.715}
CEILING = {"smollm2-135m:12": 0.79, "smollm2-135m:22": 0.858, "smollm2-135m": 0.885}
GAIN = {
    "naive": 0.4,
    "confidence": 0.72,
    "product": 0.6,  # one of the methods that only `curves` and `pgr-bars` draw
    "generative:rows=200": 0.55,
    "few-shot": -0.5,
    "trivial-imitation": 0.01,
    "trivial-imitation+confidence": 0.06,
}
ASKED = {"zero-shot": 0.55, "few-shot:labels=truth": 0.64}
"""No supervisor has a part in these scores."""
STRUCTURES = {
    "random-errors:": 0.95,
    "longest-errors:": 0.7,
    "shortest-errors:": 0.75,
    "ceiling-unsure-errors:": 0.2,
    "ceiling-sure-errors:": 0.6,
    "mixed-errors:share=0.5:": 0.66,
}


def result(
    supervisor: str,
    student: str,
    method: str,
    scores: tuple[float, float, float],
    **more: object,
) -> Row:
    """A row of an aggregate with supervisor, student and ceiling at ``scores``; a small gap makes PGR undefined."""
    low, mid, high = scores
    row: Row = {"task": "movie-snippets", "supervisor": supervisor, "student": student, "method": method}
    row |= {"regime": "probe", "recipe": "0123456789ab", "n_seeds": 5, "n_test": 2000}
    for role, score in zip(("supervisor", "student", "ceiling"), (low, mid, high), strict=True):
        row |= {f"{role}_score": score, f"{role}_low": score - 0.01, f"{role}_high": score + 0.012}
    defined = high - low > 0.03
    pgr = (mid - low) / (high - low) if defined else None
    row |= {"pgr": pgr, "pgr_defined": defined, "pgr_reason": "" if defined else REASON}
    row |= {"pgr_low": None if pgr is None else pgr - 0.1, "pgr_high": None if pgr is None else pgr + 0.12}
    row |= {"uses_ground_truth": method == "few-shot:labels=truth"}
    return row | {"p_vs_naive": None, "p_vs_naive_holm": None} | more


def aggregate(
    methods: tuple[str, ...] = (*GAIN, *ASKED), task: str = "movie-snippets", **more: object
) -> list[Row]:
    """Two supervisors and three students; one pair has no gap."""
    found = []
    for s, low in OWN.items():
        for j, (t, high) in enumerate(CEILING.items()):
            for m in methods:
                mid = ASKED[m] + 0.03 * j if m in ASKED else low + GAIN[m] * (high - low) * (1 - 0.1 * j)
                found.append(result(s, t, m, (low, mid, high), task=task, **more))
    return found


def derived_aggregate(methods: tuple[str, ...] = ("naive", "confidence")) -> list[Row]:
    """Supervisors with errors elsewhere, and such as see few features; random errors at each accuracy."""
    found = []
    for i, method in enumerate(methods):
        for rule, gain in STRUCTURES.items():
            found.append(_moved(f"{rule}minilm-l6", method, 0.77, gain + 0.03 * i))
        for k, own in ((8, 0.62), (32, 0.7), (128, 0.78)):
            found.append(_moved(f"first-features:k={k}:smollm2-135m:22", method, own, 0.02 + 0.1 * i))
            name = f"random-errors:first-features:k={k}:smollm2-135m:22"
            found.append(_moved(name, method, own, 0.9 + 0.03 * i))
    return found


def _moved(supervisor: str, method: str, own: float, gain: float) -> Row:
    return result(supervisor, "smollm2-135m:22", method, (own, own + gain * (0.858 - own), 0.858))


def measured(measure: str, value: float | None, width: float = 0.02, **more: object) -> Row:
    """What an analysis adds to the names of a row."""
    ends = (None, None) if value is None else (value - width, value + width)
    return {"measure": measure, "value": value, "low": ends[0], "high": ends[1]} | more


def names(row: Row, analysis: str) -> Row:
    """The names of a row of an analysis."""
    kept = ("task", "supervisor", "student", "method", "regime", "recipe", "n_seeds")
    return {"analysis": analysis} | {name: row[name] for name in kept}


def agreement(rows: list[Row]) -> list[Row]:
    """Students agree less where the supervisor is wrong, and less the larger they are."""
    found = []
    for row in rows:
        size, method = list(CEILING).index(row["student"]), list(GAIN).index(row["method"])
        for arm, drop in (("student", 0.01 * method), ("ceiling", 0.12)):
            base = 0.93 - 0.02 * size - 0.03 * list(OWN).index(row["supervisor"]) - drop
            for where, value in (
                ("all", base),
                ("supervisor right", base + 0.04),
                ("supervisor wrong", base - 0.3),
            ):
                found.append(names(row, "agreement") | measured("agreement", value, arm=arm, where=where))
            found.append(names(row, "agreement") | measured("cross entropy", 0.4, arm=arm, where="all"))
    return found


def overfitting(rows: list[Row]) -> list[Row]:
    """Accuracy rises and falls, agreement rises; PGR at three moments, undefined where the row's is."""
    found = []
    for i, row in enumerate(rows):
        name = names(row, "overfitting")
        for step in range(11):
            share = step / 10
            score = row["student_score"] + 0.03 - 0.09 * (share - 0.4) ** 2
            more: Row = {"arm": "student", "moment": step + 1, "epoch": 2.0 * step, "where": "all"}
            found.append(name | measured("accuracy", score, **more))
            found.append(name | measured("agreement", 0.75 + 0.2 * share - 0.01 * i, **more))
            more["where"] = "supervisor wrong"
            found.append(name | measured("agreement", 0.3 + 0.4 * share - 0.01 * i, **more))
        for stop, lift in (("best", 0.15), ("weak", 0.0), ("last", -0.1)):
            pgr = row["pgr"] + lift if row["pgr_defined"] else None
            found.append(name | measured("pgr", pgr, 0.09, stop=stop, epoch=9.0, where="all"))
    return found


def saliency(rows: list[Row]) -> list[Row]:
    """The paper's five strategies."""
    scores = {"lp(weak)": 0.7, "lp(gt)": 0.72, "ft(weak)": 0.755, "ft(weak)+lp(gt)": 0.78, "ft(gt)": 0.82}
    return [
        names(row, "saliency") | measured("accuracy", score - 0.02 * i, strategy=strategy)
        for i, row in enumerate(rows)
        for strategy, score in scores.items()
    ]


def easy_to_hard(rows: list[Row], name: str) -> list[Row]:
    """Accuracy against the cut-off, easy and random, all and hard."""
    found = []
    for row in rows:
        drop = 0.04 * list(CEILING).index(row["student"])  # no supervisor has a part in it
        for where, base in (("all", 0.7), ("hard", 0.55)):
            for arm, cutoff in (
                ("easy", 1.0),
                ("easy", 2.0),
                ("easy", 3.0),
                ("random", None),
                ("ceiling", None),
            ):
                value = base - drop + (0.02 * cutoff if cutoff else {"random": 0.09, "ceiling": 0.12}[arm])
                more: Row = {"arm": arm, "cutoff": cutoff, "scale": "value", "where": where}
                found.append(names(row, name) | measured("accuracy", value, **more))
            found.append(
                names(row, name) | measured("gain over random", 0.01, arm="easy", cutoff=1.0, where=where)
            )
    return found


def calibration(rows: list[Row]) -> list[Row]:
    """Ten bins for each arm, one of them empty, and the error."""
    found = []
    for row in rows:
        for arm, slope in (("supervisor", 0.9), ("student", 0.7), ("ceiling", 1.0)):
            for b in range(10):
                confidence = 0.525 + 0.05 * b
                value = None if (arm, b) == ("student", 3) else 0.5 + slope * (confidence - 0.5)
                more: Row = {
                    "arm": arm,
                    "bin_low": 0.5 + 0.05 * b,
                    "bin_high": 0.55 + 0.05 * b,
                    "count": 1000,
                }
                more["confidence"] = None if value is None else confidence
                found.append(names(row, "calibration") | measured("reliability", value, 0.03, **more))
            found.append(
                names(row, "calibration") | measured("calibration error", 0.3 * (1 - slope), arm=arm)
            )
            found.append(names(row, "calibration") | measured("brier", 0.3, arm=arm))
    return found


def misfit(rows: list[Row]) -> list[Row]:
    """Misfit and gain for two losses."""
    found = []
    for i, row in enumerate(rows):
        for loss, scale in (("squared", 1.0), ("cross entropy", 1.6)):
            name = names(row, "misfit")
            more: Row = {"loss": loss, "reason": ""}
            found.append(
                name | measured("misfit", scale * (0.03 + 0.012 * i), 0.006, uses_ground_truth=False, **more)
            )
            found.append(
                name | measured("gain", scale * (0.05 + 0.006 * i), 0.008, uses_ground_truth=True, **more)
            )
    return found


def everything() -> tuple[list[Row], dict[str, list[Row]]]:
    """An aggregate and analyses that fill every figure."""
    both = aggregate(("naive", "confidence"))
    finetuned = aggregate(("naive",), regime="finetune", recipe="fedcba987654")
    others = [
        row
        for task in ("product-snippets", "rated-tweets")
        for row in aggregate(("naive", "confidence"), task)
    ]
    moved = derived_aggregate()
    few = [row for row in both if row["student"] != "smollm2-135m:12"]
    of_errors = [row for row in moved if "first-features" not in row["supervisor"]]
    return aggregate() + finetuned + others + moved, {
        "agreement": agreement(both + others),
        "overfitting": overfitting([*few, both[0], *of_errors]),
        "saliency": saliency(few[:2]),
        "easy-to-hard": easy_to_hard(few[:2], "easy-to-hard"),
        "easy-to-hard:by=judged": easy_to_hard(few[:2], "easy-to-hard:by=judged"),
        "easy-to-hard:by=given": easy_to_hard(few[:2], "easy-to-hard:by=given"),
        "calibration": calibration(few[:4]),
        "misfit": misfit(both),
    }
