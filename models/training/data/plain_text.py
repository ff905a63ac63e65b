"""Plain text to continue, for the "base model" use: Debian's handbook, stories and small facts.

The handbook is not part of this repository. It is read from the Debian package
``debian-handbook`` (Raphaël Hertzog and Roland Mas; GPL-2.0-or-later or CC-BY-SA-3.0), from
``usr/share/doc/debian-handbook/html/{zh-CN,en-US}/*.html`` under a root folder that may be ``/``
or a place where the package was unpacked with ``dpkg -x``.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from random import Random

from . import facts, project, translation
from .stories import plain_story

HANDBOOK = Path("usr/share/doc/debian-handbook/html")


class _Paragraphs(HTMLParser):
    """Collect the text of the ``<div class="para">`` elements, which hold no other ``<div>``."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div":
            self._inside = ("class", "para") in attrs
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.paragraphs[-1] += data


def load_handbook(root: Path) -> list[str]:
    """The paragraphs of the Chinese and the English handbook, in order."""
    pages = [
        page
        for language in ("zh-CN", "en-US")
        for page in sorted((root / HANDBOOK / language).glob("*.html"))
    ]
    if not pages:
        raise FileNotFoundError(
            f"no handbook under {root / HANDBOOK}: install the Debian package debian-handbook, or "
            "unpack it (apt-get download debian-handbook; dpkg -x debian-handbook_*.deb ROOT) and "
            "pass --text-root ROOT"
        )
    paragraphs: list[str] = []
    for page in pages:
        parser = _Paragraphs()
        parser.feed(page.read_text(encoding="utf-8"))
        texts = (" ".join(paragraph.split()) for paragraph in parser.paragraphs)
        paragraphs.extend(text for text in texts if len(text) >= 40)
    return paragraphs


def passage(rng: Random, paragraphs: list[str]) -> str:
    """A few successive paragraphs of the handbook."""
    start = rng.randrange(len(paragraphs))
    return "\n".join(paragraphs[start : start + rng.randint(1, 4)])


def small_facts(rng: Random) -> str:
    """True sentences of the training world, one after the other."""
    topics = (
        facts.capital,
        facts.colour,
        facts.opposite,
        facts.animal,
        project.term,
        facts.general,
        translation.translate,
    )
    topic = rng.choice(topics)
    return " ".join(topic(rng)[1].content for _ in range(rng.randint(2, 8)))


def text(rng: Random, paragraphs: list[str]) -> tuple[str, bool]:
    """A text, and whether it is complete (so that the model should stop after it)."""
    kind = rng.random()
    if kind < 0.7:
        return passage(rng, paragraphs), False
    if kind < 0.85:
        return plain_story(rng), True
    return small_facts(rng), True
