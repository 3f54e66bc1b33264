"""What picking the best of several scores on the test rows lifts by chance. No torch.

Legend: K settings, S seeds, N test rows, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakstrong import stats
from weakstrong.errors import ConfigError
from weakstrong.methods.base import Arm, Method
from weakstrong.resampling import crossed_bootstrap, stack_correct

PLACE: Final = ("task", "supervisor", "student", "regime")
OVER: Final = ("method", "seed")
RESAMPLES: Final = 1000


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to train a student, scored with some seeds: what the aggregate has a row of.

    Attributes:
        names: task, supervisor, student, method, regime and ``recipe`` of the row.
        method: as the row names it.
        test: names the test rows.
        arms: correctness [N] by seed of supervisor, student and ceiling; equal ``test``, equal rows in equal order.
    """

    names: Mapping[str, Any]
    method: Method
    test: str
    arms: Mapping[Arm, Mapping[int, npt.NDArray[np.bool_]]]

    @property
    def correct(self) -> Mapping[int, npt.NDArray[np.bool_]]:
        """The student's."""
        return self.arms["student"]

    @property
    def place(self) -> tuple[Any, ...]:
        """What a choice between settings is about: task, models and regime, and the test rows."""
        return (*(self.names[k] for k in PLACE), self.test)

    @property
    def label(self) -> str:
        """The method, and the recipe, which tells apart settings that differ in their training."""
        return f"{self.method.name} [{self.names['recipe']}]"

    @property
    def n_test(self) -> int:
        """Test rows of each seed."""
        return len(next(iter(self.correct.values())))

    def score(self, arm: Arm = "student") -> float:
        """Mean accuracy over seeds."""
        return float(np.mean([correct_N.mean() for correct_N in self.arms[arm].values()]))

    @cached_property
    def has_gap(self) -> bool:
        """Whether PGR is defined (`weakstrong.stats.pgr_interval`)."""
        stacked = [np.stack(list(self.arms[arm].values())) for arm in ("supervisor", "student", "ceiling")]
        return stats.pgr_interval(*stacked).defined


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
    correct = {s.label: np.stack([s.correct[seed] for seed in seeds]) for s in settings}
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
    return found + (["training"] if len({s.names["recipe"] for s in settings}) > 1 else [])


def choices(settings: Iterable[Setting]) -> list[dict[str, Any]]:
    """One mapping for each pair of models in which several settings of one method were scored on the same test rows.

    ``parameters`` are those that differ, ``variants`` the settings, ``expected_maximum`` is `lift` in accuracy and
    ``expected_maximum_pgr`` in PGR, None where no gap was found. Oracles are left out: they are never compared.
    """
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        if not setting.method.uses_ground_truth:
            groups.setdefault((*setting.place, signature(setting.method)), []).append(setting)
    rows = []
    for key, members in groups.items():
        if len(members) > 1:
            lifted = lift(members)
            rows.append(
                dict(zip(PLACE, key, strict=False))
                | {
                    "test": key[-2],
                    "n_test": members[0].n_test,
                    "method": key[-1],
                    "parameters": ", ".join(differing(members)),
                    "n_variants": len(members),
                    "variants": "; ".join(_variants(members)),
                    "expected_maximum": lifted,
                    "expected_maximum_pgr": _in_pgr(lifted, members[0]),
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
        if not setting.method.uses_ground_truth:
            groups.setdefault(setting.place, []).append(setting)
    out = []
    for members in groups.values():
        top = max(members, key=lambda s: s.score())
        out.append(
            {k: top.names[k] for k in (*PLACE, "method", "recipe")}
            | {"n_choices": len(members), "n_seeds": len(top.correct), "n_test": top.n_test}
            | {"mean": float(np.mean([s.score() for s in members]))}
            | _corrected(top.score(), lift(members), top)
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
        {k: setting.names[k] for k in (*PLACE, "method", "recipe")}
        | {"seed": top, "n_choices": len(scores), "n_test": setting.n_test}
        | {"mean": setting.score()}
        | _corrected(scores[top], lifted, setting)
        | {"warning": f"seed {top} is the luckiest of {len(scores)}; the mean is the result"}
    ]


def _corrected(score: float, lifted: float | None, setting: Setting) -> dict[str, Any]:
    supervisor, gap = _supervisor_and_gap(setting)
    less = None if lifted is None else score - lifted
    return {
        "score": score,
        "expected_maximum": lifted,
        "corrected": less,
        "pgr": (score - supervisor) / gap if setting.has_gap else None,
        "pgr_corrected": (less - supervisor) / gap if less is not None and setting.has_gap else None,
    }


def _supervisor_and_gap(setting: Setting) -> tuple[float, float]:
    return setting.score("supervisor"), setting.score("ceiling") - setting.score("supervisor")


def _warning(members: Sequence[Setting]) -> str:
    if len(members) < 2:
        return ""
    return f"picked on test accuracy among {len(members)} settings: choose on validation rows, or report all of them"


def _variants(members: Sequence[Setting]) -> list[str]:
    several = len({s.names["recipe"] for s in members}) > 1
    return [s.label if several else s.method.name for s in members]


def _in_pgr(lifted: float | None, setting: Setting) -> float | None:
    return lifted / _supervisor_and_gap(setting)[1] if lifted is not None and setting.has_gap else None
