"""Supervisors that are no model: weak labels that come with the rows, or in a file of their own. No torch.

Written ``file`` (the task's own weak labels), ``file:NAME`` (a named set that the task stores, such as the predictions of
one of several models), ``raters:3`` (three of each row's human raters, drawn anew for each seed), or
``raters:3:dawid-skene``. As a mapping they may name a file whose rows are joined by id (``w2s tasks show NAME --out``
writes the ids): ``{kind: file-labels, path: labels.csv, id: id, weak_label: [p_no, p_yes]}``, or
``{kind: rater-labels, path: votes.csv, id: id, rater: [ann, bob, eve]}``.

Others are made from a supervisor (``docs/controls.md``): ``random-errors:minilm-l6`` (`weakstrong.derived`), and
``first-features:k=8:smollm2-135m:22``, a probe that sees only a model's first features.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from weakstrong.derived.base import DERIVED, Rule, parse_rule
from weakstrong.errors import ConfigError
from weakstrong.models.base import MODELS, ModelSpec, parse_model
from weakstrong.parameters import parameters_in
from weakstrong.registry import unknown
from weakstrong.spec import Spec
from weakstrong.tasks.file import FileTask, content_digest

Aggregate = Literal["share", "majority", "dawid-skene"]
PREFIX = "weak."
FIRST = "first-features"


class GivenLabels(Spec):
    """Base: weak labels of the task's rows, or of a file of their own.

    The key holds the file's SHA-256, not where it lies.
    """

    located: ClassVar[tuple[str, ...]] = ("path",)
    columns_field: ClassVar[str]

    path: str | None = Field(None, description="a file with the labels; empty: the task's own rows")
    id: str = Field("id", description="with path: column of the rows' ids")
    sha256: str = Field("", description="of that file; filled in")

    @model_validator(mode="before")
    @classmethod
    def _fill_digest(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("path"), str):
            return values
        if not values.get(cls.columns_field):
            raise ValueError(f"a file of labels has columns of them: name these with {cls.columns_field}")
        found = content_digest(values["path"])
        if values.get("sha256") and values["sha256"] != found:
            raise ValueError(
                f"{values['path']} has changed: its SHA-256 is {found[:12]}…, {values['sha256'][:12]}… wanted"
            )
        return values | {"sha256": found}

    @field_validator("weak_label", "rater", mode="before", check_fields=False)
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    def of_ids(self, classes: tuple[str, ...]) -> FileTask:
        """The file as a task whose texts are the ids: it checks and reads the columns as those of the user's rows."""
        columns = {self.columns_field: getattr(self, self.columns_field)}
        named = {"path": self.path, "text": self.id, "id": self.id, "label": None, "classes": classes}
        return FileTask.parse(named | columns | {"limit": 10_000_000}, f"supervisor {self.path}")


class FileLabels(GivenLabels):
    """Class names or probabilities."""

    columns_field: ClassVar[str] = "weak_label"
    kind: Literal["file-labels"] = "file-labels"
    stored: str = Field(
        "", description="name of one of several sets that the task stores; empty: the unnamed one"
    )
    weak_label: tuple[str, ...] = Field(
        (), description="with path: one column of class names, or of probabilities for each class"
    )

    @property
    def name(self) -> str:
        """How tables call it."""
        return ":".join(filter(None, ("file", self.stored or (self.path and Path(self.path).name))))

    @property
    def prefix(self) -> str:
        """What the columns of its class probabilities start with, in the rows table."""
        return f"{PREFIX}{self.stored}." if self.stored else "weak_"


class RaterLabels(GivenLabels):
    """The votes of people, joined."""

    columns_field: ClassVar[str] = "rater"
    kind: Literal["rater-labels"] = "rater-labels"
    k: int | None = Field(None, ge=1, description="raters drawn for each row; empty: all")
    aggregate: Aggregate = Field("share", description="how votes become class probabilities")
    rater: tuple[str, ...] = Field((), description="with path: columns of single raters' class names")

    @property
    def name(self) -> str:
        """How tables call it."""
        words = ["raters", "" if self.k is None else str(self.k)]
        if self.aggregate != "share":
            words.append(self.aggregate)
        own = "" if self.path is None else f" of {Path(self.path).name}"
        return ":".join(words).rstrip(":") + own


def parse_labels(value: object) -> FileLabels | RaterLabels | None:
    """A supervisor that is no model from its name or mapping; None where ``value`` names something else.

    >>> parse_labels("raters:3:majority").name
    'raters:3:majority'
    >>> parse_labels("minilm-l6") is None
    True

    Raises:
        ConfigError: for a name that begins right and goes on wrong.
    """
    if isinstance(value, FileLabels | RaterLabels):
        return value
    if isinstance(value, dict) and value.get("kind") in ("file-labels", "rater-labels"):
        found = FileLabels if value["kind"] == "file-labels" else RaterLabels
        return found.parse(value, "supervisor")
    if not isinstance(value, str):
        return None
    head, _, rest = value.partition(":")
    if head == "file":
        return FileLabels(stored=rest)
    if head != "raters":
        return None
    count, _, aggregate = rest.partition(":")
    if count and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ConfigError(f"supervisor {value!r}: write raters, raters:3 or raters:3:majority")
    known = get_args(Aggregate)
    if aggregate and aggregate not in known:
        raise unknown("way to join raters", aggregate, known)
    return RaterLabels.parse(
        {"k": int(count) if count else None} | ({"aggregate": aggregate} if aggregate else {})
    )


class FirstFeatures(Spec):
    """A probe on the first features of a model's representation: a probe on all of them can say just the same.

    Such a supervisor is perfectly simulable by a student that is a probe on the same model (Burns et al. 2023, E.1).
    """

    kind: Literal["first-features"] = "first-features"
    k: int | None = Field(None, ge=1, description="how many features")
    share: float | None = Field(None, gt=0, le=1, description="or: which share of them")
    of: Annotated[ModelSpec, BeforeValidator(parse_model)]

    @model_validator(mode="after")
    def _one_of_both(self) -> FirstFeatures:
        if (self.k is None) == (self.share is None):
            raise ValueError(
                "first-features wants k or share, one of them: first-features:k=8:smollm2-135m:22"
            )
        return self

    @property
    def name(self) -> str:
        """How tables call it."""
        how = f"share={self.share}" if self.k is None else f"k={self.k}"
        return f"{FIRST}:{how}:{self.of.name}"


class DerivedLabels(Spec):
    """Labels that a rule makes from those of another supervisor, part by part."""

    kind: Literal["derived-labels"] = "derived-labels"
    rule: Annotated[SerializeAsAny[Rule], BeforeValidator(parse_rule)]
    of: AnySupervisor

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.rule.name}:{self.of.name}"

    @property
    def uses_ground_truth(self) -> bool:
        """Whether ground truth decides where labels are wrong; never compared with what a real supervisor teaches."""
        return "truth" in self.rule.reads or uses_ground_truth(self.of)


Supervisor = ModelSpec | FileLabels | RaterLabels | FirstFeatures | DerivedLabels


def uses_ground_truth(supervisor: Supervisor) -> bool:
    """Whether the labels depend on ground truth beyond what the supervisor was trained on."""
    return isinstance(supervisor, DerivedLabels) and supervisor.uses_ground_truth


def parse_supervisor(value: object) -> Supervisor:
    """A model, weak labels that come with the rows, or what is made from either.

    >>> parse_supervisor("random-errors:raters:3").name
    'random-errors:raters:3'
    >>> parse_supervisor("first-features:k=8:smollm2-135m:22").of.name
    'smollm2-135m:22'

    Raises:
        UnknownNameError: with close matches.
        ConfigError: for a name that begins right and goes on wrong, or parameters that do not fit.
    """
    if isinstance(value, FirstFeatures | DerivedLabels):
        return value
    if isinstance(value, dict) and value.get("kind") in (FIRST, "derived-labels"):
        found = FirstFeatures if value["kind"] == FIRST else DerivedLabels
        return found.parse(value, "supervisor")
    labels = parse_labels(value)
    if labels is not None:
        return labels
    if isinstance(value, str) and _is_derived(value):
        return _derived(value)
    return parse_model(value)


def _is_derived(text: str) -> bool:
    head, colon, rest = text.partition(":")
    if head in (FIRST, *DERIVED.names()):
        return True
    # A name before a name is a rule that does not exist: a model has a number after its colon, hub: or a path.
    own = head in MODELS.names() or head == "hub" or "/" in head or head.startswith((".", "~"))
    if colon and not own and re.search("[a-z]", rest):
        raise unknown("supervisor", head, ["file", "raters", "hub", FIRST, *DERIVED.names()])
    return False


def _derived(text: str) -> Supervisor:
    head, _, rest = text.partition(":")
    words, _, after = rest.partition(":")
    has_parameters = re.match("[a-z_]+=", words) is not None
    of = after if has_parameters else rest
    values = parameters_in(words, f"supervisor {text!r}", "share=0.5") if has_parameters else {}
    if not of:
        raise ConfigError(f"supervisor {text!r}: of which supervisor? Write {head}:minilm-l6, say")
    if head == FIRST:
        return FirstFeatures.parse({"of": of} | values, f"supervisor {text!r}")
    return DerivedLabels.parse({"rule": {"kind": head} | values, "of": of}, f"supervisor {text!r}")


AnySupervisor = Annotated[Supervisor, BeforeValidator(parse_supervisor)]
DerivedLabels.model_rebuild()
