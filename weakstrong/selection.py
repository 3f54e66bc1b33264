"""What picking the best of several scores on the test rows lifts by chance. No torch.

Legend: K settings, S seeds, N test rows, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong import stats
from weakstrong.errors import ConfigError
from weakstrong.methods.base import Method
from weakstrong.resampling import crossed_bootstrap, stack_correct

PLACE: Final = ("task", "supervisor", "student", "regime")
OVER: Final = ("method", "seed")
RESAMPLES: Final = 1000


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to train a student, scored with some seeds: a row of the aggregate.

    Attributes:
        row: of the aggregate: names, ``recipe``, mean scores.
        method: whose name the row has.
        test: names the test rows.
        correct: correctness [N] by seed; equal ``test``, equal rows in equal order.
    """

    row: Mapping[str, Any]
    method: Method
    test: str
    correct: Mapping[int, npt.NDArray[np.bool_]]

    @property
    def name(self) -> str:
        """The method, and the recipe, which tells apart settings that differ in their training."""
        return f"{self.method.name} [{self.row['recipe']}]"


def lift(settings: Sequence[Setting]) -> float | None:
    """How far the best of the settings would lie above their common mean by chance, were all equal in truth.

    In accuracy: `weakstrong.stats.expected_maximum` of as many normal draws. Their standard deviation is what the crossed
    bootstrap over seeds and test rows gives for a setting's mean score, less what all share, for they are scored on the
    same rows. 0 for one setting; None where no two seeds are common to all.

    >>> lift([])
    0.0
    """
    n_settings = len(settings)
    if n_settings < 2:
        return 0.0
    seeds = sorted(set.intersection(*(set(s.correct) for s in settings)))
    if len(seeds) < 2:
        return None
    correct = {s.name: np.stack([s.correct[seed] for seed in seeds]) for s in settings}
    correct_KSN = stack_correct(correct)
    boot_RK = crossed_bootstrap(correct_KSN, RESAMPLES, 0) / correct_KSN[0].size
    own_RK = boot_RK - boot_RK.mean(0)
    own_RK -= own_RK.mean(1, keepdims=True)
    # The mean of K that is taken out holds a K-th of each setting's own noise.
    sd = math.sqrt(float((own_RK**2).mean()) * n_settings / (n_settings - 1))
    return stats.expected_maximum(n_settings, sd)


def signature(method: Method) -> str:
    """A method without its parameters: ``confidence``, ``generative+bootstrapping``."""
    return "+".join(part.kind for part in parts_of(method))


def parts_of(method: Method) -> Sequence[Method]:
    """The methods that a combination consists of; of any other, the method itself."""
    found: Sequence[Method] = getattr(method, "parts", (method,))
    return found


def differing(settings: Sequence[Setting]) -> list[str]:
    """Parameters in which settings of one method differ, ``training`` for what is no parameter of the method."""
    found = [
        field
        for parts in zip(*(parts_of(s.method) for s in settings), strict=True)
        for field in type(parts[0]).parameters()
        if len({repr(getattr(part, field)) for part in parts}) > 1
    ]
    return found + (["training"] if len({s.row["recipe"] for s in settings}) > 1 else [])


def choices(settings: Iterable[Setting]) -> list[dict[str, Any]]:
    """One mapping for each pair of models in which several settings of one method were scored on the same test rows.

    ``parameters`` are those that differ, ``variants`` the settings, ``expected_maximum`` is `lift` in accuracy and
    ``expected_maximum_pgr`` in PGR, None where no gap was found. Oracles are left out: they are never compared.
    """
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        if not setting.row["uses_ground_truth"]:
            place = tuple(setting.row[k] for k in PLACE)
            groups.setdefault((*place, setting.test, signature(setting.method)), []).append(setting)
    rows = []
    for key, members in groups.items():
        if len(members) > 1:
            lifted = lift(members)
            rows.append(
                dict(zip(PLACE, key, strict=False))
                | {
                    "test": key[-2],
                    "n_test": members[0].row["n_test"],
                    "method": key[-1],
                    "parameters": ", ".join(differing(members)),
                    "n_variants": len(members),
                    "variants": "; ".join(_variants(members)),
                    "expected_maximum": lifted,
                    "expected_maximum_pgr": _in_pgr(lifted, members[0].row),
                }
            )
    return rows


def best(settings: Sequence[Setting], over: str, corrected: bool = False) -> list[dict[str, Any]]:
    """The best setting of each pair of models, or the best seed of each setting, by the student's accuracy on test rows.

    ``score`` and ``pgr`` are what was measured, ``corrected`` and ``pgr_corrected`` the same less ``expected_maximum``:
    what the best of ``n_choices`` equal ones has by chance. Where they are not equal in truth the correction is too
    large rather than too small. Of seeds, the standard deviation is that between their scores, and ``mean`` is the
    number to report.

    Raises:
        ConfigError: for another ``over``, and for seeds unless ``corrected``.
    """
    if over not in OVER:
        raise ConfigError(f"best: found {over!r}, wanted {' or '.join(OVER)}")
    if over == "method":
        return _best_settings(settings)
    if not corrected:
        raise ConfigError(
            "the best seed is no result: seeds differ by chance only, so the best of them shows luck, and another run "
            "will not repeat it (the best of 16 seeds lies 1.77 standard deviations above their mean, in published runs "
            "0.18 PGR). Report the mean over all seeds, as w2s results --aggregate does; or ask for the best seed less "
            "its expected maximum: w2s results --best seed --corrected, Results.best('seed', corrected=True)"
        )
    return [row for setting in settings for row in _best_seed(setting)]


def _best_settings(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        if not setting.row["uses_ground_truth"]:
            groups.setdefault((*(setting.row[k] for k in PLACE), setting.test), []).append(setting)
    out = []
    for members in groups.values():
        top = max(members, key=lambda s: s.row["student_score"])
        lifted = lift(members)
        out.append(
            {k: top.row[k] for k in PLACE}
            | {"method": top.row["method"], "recipe": top.row["recipe"]}
            | {"n_choices": len(members), "n_seeds": top.row["n_seeds"], "n_test": top.row["n_test"]}
            | {"mean": float(np.mean([s.row["student_score"] for s in members]))}
            | _corrected(top.row["student_score"], lifted, top.row)
            | {"warning": _warning(members)}
        )
    return out


def _best_seed(setting: Setting) -> list[dict[str, Any]]:
    scores = {seed: float(correct_N.mean()) for seed, correct_N in setting.correct.items()}
    if len(scores) < 2:
        return []
    top = max(scores, key=lambda seed: scores[seed])
    lifted = stats.expected_maximum(len(scores), float(np.std(list(scores.values()), ddof=1)))
    return [
        {k: setting.row[k] for k in (*PLACE, "method", "recipe")}
        | {"seed": top, "n_choices": len(scores), "n_test": setting.row["n_test"]}
        | {"mean": float(np.mean(list(scores.values())))}
        | _corrected(scores[top], lifted, setting.row)
        | {"warning": f"seed {top} is the luckiest of {len(scores)}; the mean is the result"}
    ]


def _corrected(score: float, lifted: float | None, row: Mapping[str, Any]) -> dict[str, Any]:
    less = None if lifted is None else score - lifted
    supervisor, ceiling = row["supervisor_score"], row["ceiling_score"]
    pgrs = [
        None if s is None or not row["pgr_defined"] else stats.pgr(supervisor, min(max(s, 0.0), 1.0), ceiling)
        for s in (score, less)
    ]
    return {
        "score": score,
        "expected_maximum": lifted,
        "corrected": less,
        "pgr": pgrs[0],
        "pgr_corrected": pgrs[1],
    }


def _warning(members: Sequence[Setting]) -> str:
    if len(members) < 2:
        return ""
    return f"picked on test accuracy among {len(members)} settings: choose on validation rows, or report all of them"


def _variants(members: Sequence[Setting]) -> list[str]:
    several = len({s.row["recipe"] for s in members}) > 1
    return [s.name if several else s.method.name for s in members]


def _in_pgr(lifted: float | None, row: Mapping[str, Any]) -> float | None:
    gap = row["ceiling_score"] - row["supervisor_score"]
    return lifted / gap if lifted is not None and row["pgr_defined"] else None
