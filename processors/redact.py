"""Text -> the same text without secrets: typed placeholders such as `<redacted:jwt>`, before anything is stored.

A rule is tried only where one of its literals occurs, or where a gate opens: gates are a few patterns, made from the
table, that leap from one rare character to the next, so a clean line costs some two dozen quick looks.

Those looks do not care which digit stands where, nor what a hexadecimal id is: with the canonical form of the text, and
every digit of the literals as 0, they let pass what they let pass before, and perhaps more. So what they said of a form
is remembered, and a clean line that differs from an earlier one in numbers and ids only costs one look. What a rule
does is never remembered.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import zip_longest
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from processors.canonical import MOST_CHARS, canonical
from processors.redact_keyed import IP_ADDRESSES, KEYED, NAMES
from processors.redact_rules import CARD, LONG_RUN, TOKENS, Rule, mixed, scattered, secret_group, shuffled
from schemas.settings import Redaction

REDACTION_VERSION: Final = 2

_MAX_PASSES: Final = 24  # a placeholder may end a word in front of another secret; each pass sees what the last left
_MAX_NESTING: Final = 2  # base64 in base64

# A message may hold nothing but lines of a key's body, or but its last line.
_KEY_BODY: Final = Rule(
    name="private-key",
    literals=(),
    pattern=re.compile(r"\A\s*(?:[A-Za-z0-9+/]{60,80}={0,2}(?:\s|\\[nr])*+)++(?:[A-Za-z0-9+/=]{1,80}\s*)?\Z"),
    check=lambda match: scattered(match[0]),
)
_KEY_END: Final = Rule(
    name="private-key",
    literals=(),
    pattern=re.compile(r"\A\s*[A-Za-z0-9+/]{10,80}={0,2}\s*\Z"),
    check=lambda match: shuffled(match[0]),
)
_ENCODED: Final = re.compile(rf"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{{{LONG_RUN},}}+={{0,2}}", re.ASCII)
_STANDARD: Final = str.maketrans("-_", "+/")
# A word of a URL or a form with escapes in it.
_ESCAPED: Final = re.compile(r"(?<![^\s\"'<>])[^\s\"'<>%]*+(?:%[0-9A-Fa-f]{2}[^\s\"'<>%]*+)++")
_READABLE: Final = re.compile(r"[\t\n\r -~]*")

# What a gate made of a literal asks of the text: what stands right before its rare character, and behind it.
_RARE: Final = "_-.$/"
_ENOUGH: Final = r"[\w+/=.$-]{14}"  # behind a literal that ends in its rare character a token goes on
# Digits, hyphens, what may not stand right before a card, and what may: letters too, such as that of \\n.
_DIGITS: Final = bytes(
    ord("0" if 48 <= i < 58 else "-" if i == 45 else "x" if i in b"_.+" else " ") for i in range(256)
)
_GROUPED: Final = re.compile(rb" 0000(?:0{11}|[ -]0000[ -]0000|[ -]000000[ -]00000)")
_LETTERS: Final = bytes(97 if chr(i).isalnum() and i < 128 else 32 for i in range(256))
_RUN: Final = b"a" * LONG_RUN

REMEMBERED: Final = 1 << 14  # clean texts by the places of their digits
_ZEROS: Final = str.maketrans("123456789", "000000000")


class Redactor:
    """Replaces secrets by typed placeholders: pure, linear in the text, and its own output stays as it is."""

    def __init__(self, settings: Redaction, *, keep: frozenset[str] = frozenset()) -> None:
        """`keep`: names of kinds that are left alone."""
        extra = tuple(Rule(name=e.name, literals=(), pattern=re.compile(e.regex)) for e in settings.extra)
        addresses = IP_ADDRESSES if settings.ip_addresses else ()
        rules = (*extra, *TOKENS, *KEYED, *addresses, *(NAMES if settings.names else ()))
        self._rules = tuple(rule for rule in rules if rule.name not in keep)
        self._gates, self._zero_gates = _gates(self._rules), _gates(self._rules, _ZEROS)
        self._words = _words(self._rules)
        self._in_runs = tuple((word, i) for word, i in _exact(self._rules) if self._rules[i].run)
        self._extra = list(range(len(extra)))
        self._clean = lru_cache(maxsize=REMEMBERED)(self.looks_clean)
        shown = f"{REDACTION_VERSION}:{settings.model_dump_json()}"
        self.identity = f"redaction-{hashlib.sha256(shown.encode()).hexdigest()[:12]}"

    def __call__(self, text: str) -> str:
        if len(text) <= MOST_CHARS and text.isascii() and self._clean(canonical(text)):
            return text
        return self._redacted(text, _MAX_NESTING)

    def looks_clean(self, text: str) -> bool:
        """Whether no line of this canonical form can hold anything: `_pass` would not try a rule. ASCII only."""
        zeroed = text.encode()
        if self._extra or "%" in text or _one_word(text) or _GROUPED.search(b" " + zeroed.translate(_DIGITS)):
            return False
        for sign, gate, _, _ in self._zero_gates:
            if sign in text and gate.search(text):
                return False
        letters = zeroed.translate(_LETTERS)
        for word in _long_words(text, letters) if _RUN in letters else ():
            if scattered(word) or any(literal.translate(_ZEROS) in word for literal, _ in self._in_runs):
                return False
        lower = text.lower()
        found = [looks for word, looks in self._words if word in lower]
        return not any(near is None or near.search(lower) for looks in found for near, _ in looks)

    def _redacted(self, text: str, nesting: int) -> str:
        for _ in range(_MAX_PASSES):
            redacted = self._pass(text, nesting)
            if redacted == text:
                break
            text = redacted
        return text

    def _pass(self, text: str, nesting: int) -> str:
        one_word = _one_word(text)
        if one_word and len(text) >= 60:  # before a token is seen in what is random
            text = _apply(_KEY_BODY, text)
        raw = text.encode("latin-1", "replace")  # one byte a character
        letters = raw.translate(_LETTERS)
        long_words = _long_words(text, letters) if _RUN in letters else ()
        candidates = self._extra.copy()
        for sign, gate, literals, gated in self._gates:
            if sign in text and gate.search(text):
                candidates += [i for literal, i in literals if literal in text]
                candidates += gated
        lower = text.lower()
        for looks in [looks for word, looks in self._words if word in lower]:
            candidates += [i for near, i in looks if near is None or near.search(lower)]
        if long_words:
            candidates += [i for literal, i in self._in_runs if any(literal in word for word in long_words)]
        for i in sorted(set(candidates)) if candidates else ():
            text = _apply(self._rules[i], text)
        if _GROUPED.search(b" " + raw.translate(_DIGITS)):
            text = _apply(CARD, text)
        if one_word:
            text = _apply(_KEY_END, text)
        if long_words and nesting and any(map(scattered, long_words)):
            text = _ENCODED.sub(lambda match: self._decoded(match, nesting - 1), text)
        if "%" in text and nesting:
            text = _ESCAPED.sub(lambda match: self._unescaped(match, nesting - 1), text)
        return text

    def _unescaped(self, match: re.Match[str], nesting: int) -> str:
        """Without its escapes where that shows a secret: a placeholder is no URL anyway."""
        plain = unquote(match[0])
        redacted = self._redacted(plain, nesting)
        return match[0] if redacted == plain else redacted

    def _decoded(self, match: re.Match[str], nesting: int) -> str:
        """Base64 of a text that holds a secret goes as a whole."""
        word = match[0].rstrip("=").translate(_STANDARD)
        if not mixed(match):
            return match[0]
        try:
            text = base64.b64decode(word[: len(word) - (len(word) % 4 == 1)] + "==").decode()
        except (binascii.Error, UnicodeDecodeError):
            return match[0]
        if not _READABLE.fullmatch(text) or self._redacted(text, nesting) == text:
            return match[0]
        return "<redacted:encoded>"


def _one_word(text: str) -> bool:
    """Not even two: what lines of a key are."""
    return " " not in text[8:60] and " " not in text.strip()[:60]


def _long_words(text: str, letters: bytes) -> list[str]:
    """The first characters of each run of letters and digits that could be a token."""
    at = letters.find(_RUN)
    words = []
    while at >= 0:
        words.append(text[at : at + LONG_RUN])
        at = letters.find(_RUN, at + LONG_RUN)
    return words


_Numbered = tuple[tuple[str, int], ...]  # literals with the number of their rule
_Gate = tuple[str, re.Pattern[str], _Numbered, list[int]]
_Looks = tuple[tuple[re.Pattern[str] | None, int], ...]


def _words(rules: Iterable[Rule]) -> tuple[tuple[str, _Looks], ...]:
    """Each literal of the rules in any case once, with the closer looks behind it."""
    words: dict[str, list[tuple[re.Pattern[str] | None, int]]] = {}
    for i, rule in enumerate(rules):
        for word, near in zip_longest(rule.literals, rule.near) if rule.any_case else ():
            words.setdefault(word, []).append((near, i))
    return tuple((word, tuple(looks)) for word, looks in words.items())


def _exact(rules: Iterable[Rule]) -> _Numbered:
    return tuple((word, i) for i, rule in enumerate(rules) if not rule.any_case for word in rule.literals)


def _anchor(word: str) -> int:
    """Where in a literal its rarest character stands: the last sign with two characters before it, or a capital."""
    signs = [i for i, char in enumerate(word) if char in _RARE and i >= 2]
    return signs[-1] if signs else next(i for i, char in enumerate(word) if char.isupper())


def _gates(rules: tuple[Rule, ...], zeros: Mapping[int, int] = MappingProxyType({})) -> tuple[_Gate, ...]:
    """One pattern for each rare sign and one for all capitals; behind each the literals to look for, or rules.

    `zeros` translates the literals; gates that rules bring along hold no digit but in classes of all digits.
    """
    befores: dict[str, dict[str, list[str]]] = {sign: {} for sign in _RARE}  # by sign, by what stands behind it
    capitals: dict[str, list[str]] = {}
    words: dict[str, list[tuple[str, int]]] = {sign: [] for sign in (*_RARE, "")}
    gated: dict[str, list[int]] = {sign: [] for sign in words}
    for literal, i in _exact(rules):
        if rules[i].run:
            continue
        word = literal.translate(zeros)
        at = _anchor(word)
        sign, behind = word[at] if word[at] in _RARE else "", re.escape(word[at + 1 :])
        if sign:
            befores[sign].setdefault(behind or _ENOUGH, []).append(word[max(0, at - 4) : at])
        else:
            capitals.setdefault(word[at], []).append((f"(?<={re.escape(word[: at + 1])})" if at else "") + behind)
        words[sign].append((literal, i))
    for i, rule in enumerate(rules):
        for gate in rule.gates:
            sign = gate[0] if gate[0] in _RARE else ""
            (befores[sign].setdefault(gate[1:], []) if sign else capitals.setdefault(gate[0], []).append(gate[1:]))
            gated[sign].append(i)
    patterns = {sign: _behind(sign, looks) for sign, looks in befores.items()}
    # Each branch begins with one character, and so with few of them: `re` leaps from one to the next.
    patterns[""] = "|".join(f"{char}(?:{'|'.join(dict.fromkeys(looks))})" for char, looks in sorted(capitals.items()))
    return tuple((sign, re.compile(each, re.ASCII), tuple(words[sign]), gated[sign]) for sign, each in patterns.items())


def _behind(sign: str, looks: Mapping[str, list[str]]) -> str:
    """The sign first, so that `re` leaps to it; then two characters before it, which refuse most places."""
    escaped, each = re.escape(sign), []
    for behind, befores in looks.items():
        for width in sorted({len(before) for before in befores}):  # a look behind has one width
            before = "|".join(re.escape(b) for b in dict.fromkeys(befores) if len(b) == width)
            each.append(f"(?<=(?:{before}){escaped}){behind}")
    literal = [before for befores in looks.values() for before in befores]
    near = "".join(f"[{re.escape(''.join(sorted({before[at] for before in literal})))}]" for at in (-2, -1))
    own = [behind for behind, befores in looks.items() if not befores]
    return f"{escaped}(?:{'|'.join([f'(?<={near}{escaped})(?:' + '|'.join(each) + ')', *own])})"


def _apply(rule: Rule, text: str) -> str:
    placeholder = f"<redacted:{rule.name}>"

    def replace(match: re.Match[str]) -> str:
        if rule.check and not rule.check(match):
            return match[0]
        start, end = match.span(secret_group(match))
        return match.string[match.start() : start] + placeholder + match.string[end : match.end()]

    return rule.pattern.sub(replace, text)
