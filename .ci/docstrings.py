"""For the documentation: examples and tables of docstrings, which Markdown would take for quotations and prose, as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?m)^(?P<indent> *)>>> .*(?:\n(?P=indent)(?! *$).*)*")
TABLE = re.compile(r"(?m)^=+  +=+\n(?:.+\n)*?=+  +=+\n(?:.+\n)*?=+  +=+$")


def fenced(text: str) -> str:
    """The docstring with every run of example lines, and every table of ``===`` rules, in a fence.

    >>> print(fenced("One.\\n\\n>>> 1 + 1\\n2\\n\\nTwo."))
    One.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    Two.
    """

    def fence(found: re.Match[str]) -> str:
        indent = found["indent"]
        return f"{indent}```pycon\n{found[0]}\n{indent}```"

    return TABLE.sub(lambda found: f"```text\n{found[0]}\n```", EXAMPLE.sub(fence, text))


class Fenced(griffe.Extension):
    """Called by griffe with every object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
