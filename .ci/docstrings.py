"""For the documentation: examples and tables of docstrings, which Markdown would take for quotations and prose, as code;
and fields of specs with the words that they carry in their description."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?m)^(?P<indent> *)>>> .*(?:\n(?P=indent)(?! *$).*)*")
TABLE = re.compile(r"(?m)^=+  +=+\n(?:.+\n)*?=+  +=+\n(?:.+\n)*?=+  +=+$")


def fenced(text: str) -> str:
    """The docstring with every run of example lines, and every table of ``===`` rules, in a fence.

    >>> fenced("One.\\n\\n>>> 1 + 1\\n2\\n\\nTwo.")
    'One.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```\\n\\nTwo.'
    """

    def fence(found: re.Match[str]) -> str:
        indent = found["indent"]
        return f"{indent}```pycon\n{found[0]}\n{indent}```"

    return TABLE.sub(lambda found: f"```text\n{found[0]}\n```", EXAMPLE.sub(fence, text))


def description(value: str) -> str:
    """The description that a field's default states.

    >>> description('Field(0.5, ge=0, description="of the entropy, in nats")')
    'of the entropy, in nats'
    """
    try:
        call = ast.parse(value, mode="eval").body
    except SyntaxError:
        return ""
    given = call.keywords if isinstance(call, ast.Call) and ast.unparse(call.func) == "Field" else []
    words = [k.value for k in given if k.arg == "description"]
    return str(words[0].value) if words and isinstance(words[0], ast.Constant) else ""


class Readable(griffe.Extension):
    """Called by griffe with every object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence, or describe."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
        elif isinstance(obj, griffe.Attribute) and (words := description(str(obj.value))):
            obj.docstring = griffe.Docstring(words[0].upper() + words[1:] + ".", parent=obj)
