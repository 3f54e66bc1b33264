"""How figures look: colours for every kind of sight, fonts that travel, ink that follows the page."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import made_results as made
import numpy as np
import numpy.typing as npt
import pytest

from weakstrong.errors import ConfigError
from weakstrong.report.figures import Given, fig3, save, to_svg
from weakstrong.report.figures.style import GREY, HUES, INK, look

Floats = npt.NDArray[np.float64]
# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB
SIGHTS: dict[str, Floats] = {
    "usual": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> Floats:
    share = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    share = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(first: str, second: str) -> float:
    """Of WCAG 2: 1 to 21."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("sight", SIGHTS)
def test_hues_stay_apart(sight: str) -> None:
    """One man in twelve sees two supervisors in one colour."""
    seen = [lab(SIGHTS[sight] @ linear(hue)) for hue in (*HUES, INK)]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 20
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen[:-1], 2)) > 33


def test_the_simulation_tells_red_from_green_apart() -> None:
    """A simulation that changes nothing would pass any palette."""
    red, green = linear("#d04040"), linear("#709040")
    near = np.linalg.norm(lab(SIGHTS["deuteranopia"] @ red) - lab(SIGHTS["deuteranopia"] @ green))
    assert near < np.linalg.norm(lab(red) - lab(green)) / 3


def test_lines_are_seen_on_white_and_on_a_dark_page() -> None:
    """Yellow on white, dark violet on black."""
    ladder = [look(i, 9).hue for i in range(9)]
    for page in ("#ffffff", "#17181a"):
        assert min(contrast(hue, page) for hue in HUES) > 2.6
        assert min(contrast(hue, page) for hue in ladder) > 1.8
        assert contrast(GREY, page) > 3


def test_series_differ_in_more_than_colour() -> None:
    """A print in grey."""
    assert len({look(i, 8).marker for i in range(8)}) == 8
    assert len({look(i, 12).hue for i in range(12)}) == 12


def test_files_hold_their_fonts_and_no_dates(tmp_path: Path) -> None:
    """Type 3 fonts, which many publishers refuse; a file that differs each day."""
    figure = fig3(Given(made.aggregate(("naive",)), made.MODELS))
    first, second = (save(figure, tmp_path / name / "a.pdf").read_bytes() for name in ("x", "y"))
    assert first == second
    assert b"/FontFile2" in first
    assert b"/Type3" not in first
    assert b"CreationDate" not in first
    assert save(figure, tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert save(figure, tmp_path / "a.svg").read_text().startswith("<svg")
    with pytest.raises(ConfigError, match=r"\.jpg.*\.pdf, \.svg, \.png"):
        save(figure, tmp_path / "a.jpg")


def test_ink_is_the_pages_and_the_ground_is_clear() -> None:
    """Black words on a dark page, or a white box on it."""
    text = to_svg(fig3(Given(made.aggregate(("naive",)), made.MODELS)))
    assert INK not in text
    assert "currentColor" in text
    assert "#ffffff" not in text
    assert "<text" in text
    assert "Helvetica" in text  # where DejaVu Sans lacks
