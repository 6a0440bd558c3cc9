"""Control tokens of the model, which never go into a prompt by way of a text, and never come out. Pure."""

import re
from typing import Final

# Harmony's control tokens, https://cookbook.openai.com/articles/openai-harmony; 64: the longest name has 15 characters
_CONTROL_TOKEN: Final = re.compile(r"<\|[^|<>]{0,64}\|>")
# The beginning of one, after others that the removal of an inner token could complete
_MAY_BECOME_ONE: Final = re.compile(r"(?:<\|?[^|<>]{0,64})*<(?:\|[^|<>]{0,64}\|?)?\Z")
_HELD_CHARS: Final = 512


def strip_control_tokens(text: str) -> str:
    """`text` without Harmony's `<|...|>`, also such as appear when an inner one is taken out."""
    while True:
        stripped = _CONTROL_TOKEN.sub("", text)
        if stripped == text:
            return text
        text = stripped


class ControlTokenFilter:
    """Takes control tokens out of a stream, also where they are split over chunks."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What is safe to show so far; the beginning of what may be a control token is held back."""
        clean = strip_control_tokens(self._held + text)
        held = _MAY_BECOME_ONE.search(clean, max(0, len(clean) - _HELD_CHARS))
        cut = held.start() if held else len(clean)
        self._held = clean[cut:]
        return clean[:cut]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held
