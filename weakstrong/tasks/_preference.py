"""Public comparisons as tasks: of two completions, which one is preferred (paper §4.1, A.3)."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import Field

from weakstrong.tasks._dataset import DatasetTask, Item
from weakstrong.tasks._files import Record
from weakstrong.tasks.base import TaskKind

CLASSES: Final = ("first", "second")
INSTRUCTION: Final = "Say which of two answers is better."
ASSISTANT: Final = "Assistant: "


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt (perhaps a dialogue so far) with its preferred and its other completion.

    ``lead`` stands before either completion. ``group`` names what never straddles the halves: empty, the prompt.
    """

    prompt: str
    chosen: str
    rejected: str
    lead: str = ""
    group: str = ""


class PreferenceTask(DatasetTask):
    """Comparisons; class ``second`` means that the second completion is preferred (label y of the paper).

    Which completion comes first is decided by a hash, so that position says nothing. Comparisons of one prompt are
    one group. A long prompt keeps its last ``context_words`` words: the turn that is answered.
    """

    task_kind: ClassVar[TaskKind] = TaskKind.PREFERENCE
    class_names: ClassVar[tuple[str, ...]] = CLASSES
    instruction: ClassVar[str] = INSTRUCTION
    unusable: ClassVar[str] = "comparisons without a clear preference or with an empty side"

    context_words: int = Field(
        160,
        ge=1,
        description="a prompt is cut to its last words, so that the answers after it are not cut off",
    )

    @abstractmethod
    def comparison(self, record: Record) -> Comparison | None:
        """The comparison of one record; None for a tie or a record without a preference."""

    def items(self, record: Record) -> Iterable[Item]:
        found = self.comparison(record)
        if found is None or not found.chosen.strip() or not found.rejected.strip():
            return
        yield comparison_item(found, self.context_words)


def comparison_item(found: Comparison, prompt_words: int) -> Item:
    """A row of two texts, prompt and completion each, in an order drawn by a hash.

    >>> item = comparison_item(Comparison("Hi?", "Hello.", "Go away."), 10)
    >>> (item.text, item.other)[item.label]
    'Hi?\\n\\nHello.'
    """
    words = found.prompt.split()
    prompt = found.prompt.strip() if len(words) <= prompt_words else "… " + " ".join(words[-prompt_words:])
    chosen, rejected = (
        f"{prompt}\n\n{found.lead}{answer.strip()}".strip() for answer in (found.chosen, found.rejected)
    )
    # The hash knows the two texts as a set, so the coin is not the preference.
    first, second = sorted((chosen, rejected))
    pair = "\0".join((found.prompt, first, second))
    if hashlib.sha256(pair.encode()).digest()[0] & 1:
        first, second = second, first
    group = found.group or found.prompt
    return Item(first, int(second == chosen), group if group.strip() else pair, other=second)


def dialogue(messages: Sequence[Mapping[str, str]]) -> str:
    """A list of chat messages as text.

    >>> dialogue([{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}])
    'Human: Hi?\\n\\nAssistant: Hello.'
    """
    names = {"user": "Human", "assistant": "Assistant", "system": "System"}
    return "\n\n".join(f"{names.get(m['role'], m['role'])}: {m['content'].strip()}" for m in messages)


def opening(messages: Sequence[Mapping[str, str]]) -> str:
    """The first words of the user: turns of one conversation share them, so they are its group.

    >>> opening([{"role": "system", "content": "Be kind."}, {"role": "user", "content": " Hi? "}])
    'Hi?'
    """
    return next((m["content"].strip() for m in messages if m["role"] == "user"), "")
