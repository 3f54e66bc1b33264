"""A headless Chromium of this machine for tests of the page; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _refuse(why: str) -> None:
    # A page that nobody tests in CI breaks unseen.
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"CI must test the page in a browser: {why}")
    pytest.skip(why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; skips where there is none, and fails in CI."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _refuse("Playwright is not installed; pip install playwright (its own browsers are not needed)")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        _refuse(f"there is no Chromium ({', '.join(NAMES)}); apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """``open_page(url, width=1280, **options)``: a page; at the end no error may be on its console."""
    errors: list[str] = []
    contexts = []

    def opened(url: str, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
