"""Text from machines and strangers, shown as text: nothing in it is a link, an image, a tag or markup. Pure."""

import re
from typing import Final

# Control characters but tab and newline; those that reorder or hide text; tags that no reader sees.
UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
NAME_CHARS: Final = 120
_MARKUP: Final = re.compile(r"([\\\[\]<>*`|~$])")
_LEADING: Final = re.compile(r"^[#+=-]")  # of a heading, an item, a rule
_CODE: Final = re.compile(r"(`[^`\n]+`)")
_LINK: Final = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,1000}\)")


def one_line(text: str) -> str:
    return " ".join(UNSEEN.sub(" ", text).split())


def plain(text: str) -> str:
    """Prose on one line. What a renderer would make a link of by itself stands as code."""
    words = (code(word) if _linked(word) else _MARKUP.sub(r"\\\1", word) for word in one_line(text).split(" "))
    return _LEADING.sub(r"\\\g<0>", " ".join(words))


def code(text: str) -> str:
    """A code span, in which nothing has a meaning."""
    return f"`{one_line(text).replace('`', chr(39)) or ' '}`"


def name(text: str) -> str:
    """The name of a thing, as telemetry says it."""
    return plain(text[:NAME_CHARS])


def markdown(text: str) -> str:
    """A line of a runbook: its code stays code, its links and images become their words."""
    parts = _CODE.split(_LINK.sub(r"\1", one_line(text)))
    shown = (code(part[1:-1]) if place % 2 else _spaced(part) for place, part in enumerate(parts))
    return "".join(shown).strip()


def _spaced(part: str) -> str:
    words = plain(part.replace("**", "").replace("__", ""))
    return f"{' ' * part.startswith(' ')}{words}{' ' * part.endswith(' ')}"


def _linked(word: str) -> bool:
    lowered = word.lower()
    # An escaped bracket is the beginning of a formula in Open WebUI.
    return "://" in lowered or "www." in lowered or "@" in lowered or "[" in lowered
