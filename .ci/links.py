"""Check a built site: every link and anchor inside leads somewhere, and a page loads nothing from elsewhere.

    python .ci/links.py SITE

MkDocs checks the links of Markdown; links of raw HTML, of the theme and of generated references are seen here only.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src")}
HARMLESS = {"canonical", "prev", "next", "alternate"}
"""Relations of ``<link>`` that load nothing."""


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, and what is linked or loaded."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        for name in ("href", "src"):
            if value := given.get(name):
                self.links.append((value, (tag, name) in LOADING and given.get("rel") not in HARMLESS))


def complaints(site: Path) -> list[str]:
    """What is wrong, one line each."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    out = [] if pages else [f"{site} holds no pages"]
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        if name.name == "404.html":  # its links begin at the server's root
            continue
        for link, loads in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                out += [f"{name} loads {link}"] if loads and parts.scheme != "data" else []
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                out.append(f"{name}: {link} leads nowhere")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                out.append(f"{name}: {link} names an anchor that is not there")
    return out


if __name__ == "__main__":
    found = complaints(Path(sys.argv[1]))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
