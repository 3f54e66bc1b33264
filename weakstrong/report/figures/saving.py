"""A figure as a file or as one element of a page."""

from __future__ import annotations

import io
import re
from pathlib import Path

from matplotlib.figure import Figure

from weakstrong.errors import ConfigError
from weakstrong.report.figures.style import INK, styled

FORMATS = ("pdf", "svg", "png")


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` as PDF (fonts embedded as TrueType), SVG (`to_svg`) or PNG (300 dpi); no dates inside.

    Args:
        figure: of this package, or any other.
        path: its suffix is the format; folders are made.

    Raises:
        ConfigError: for another suffix.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(
            f"{path} ends in {path.suffix or 'nothing'!r}; a figure is written as .{', .'.join(FORMATS)}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "svg":
        path.write_text(to_svg(figure) + "\n", encoding="utf-8")
        return path
    with styled():
        dates = {"CreationDate": None} if kind == "pdf" else {}
        figure.savefig(path, format=kind, dpi=300, facecolor="white", metadata=dates)
    return path


def to_svg(figure: Figure, prefix: str = "") -> str:
    """The figure as one ``<svg>`` element for a page: text as text, no dates, no metadata, no XML prologue.

    The background is clear and ink is ``currentColor``: on a dark page with light words the figure has light words.
    The same figure gives the same text. ``prefix`` starts every id, so that several figures can share a page.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r">\s*\n\s*<", "><", text)
    # only inside tags: the words of a label are never rewritten
    return re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], prefix), text)


def _tag(tag: str, prefix: str) -> str:
    tag = tag.replace(INK, "currentColor")
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)  # a hundredth of a point is enough, and a third of the bytes
    if not prefix:
        return tag
    tag = re.sub(r'(\sid=")', rf"\g<1>{prefix}", tag)
    tag = re.sub(r"(url\(#)", rf"\g<1>{prefix}", tag)
    return re.sub(r'(href="#)', rf"\g<1>{prefix}", tag)
