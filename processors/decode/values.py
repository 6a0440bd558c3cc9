"""Typed reads from bytes and parsed JSON: whatever a shipper wrote, a name is a short string, a mapping a mapping."""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from types import MappingProxyType
from typing import Final

import orjson

from schemas.errors import InvalidRecord

MOST_LEVELS: Final = 64  # of nested JSON; real telemetry stays below twenty
MOST_OBJECTS: Final = 1_000_000  # in one message: some 16 MB of `{}` would otherwise become gigabytes
MOST_LABELS: Final = 64
NAME_LENGTH: Final = 253  # characters; the longest name that Kubernetes allows
NOTE_LENGTH: Final = 4096  # characters of an annotation
UTF8_BOM: Final = b"\xef\xbb\xbf"
NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

# Never quadratic: possessive, and an unterminated string runs to the end of the input.
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]+|\\.?)*+(?:"|\Z)', re.DOTALL)
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ANSI_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control characters, and those that change the direction of text or that have no width.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
_UNSEEN_IN_NAME: Final = re.compile(f"[\t\n\u2028\u2029]|{_UNSEEN.pattern}")


def utf8(raw: bytes) -> str:
    """Text without its byte order mark; raises InvalidRecord."""
    try:
        return raw.removeprefix(UTF8_BOM).decode()
    except UnicodeDecodeError:
        raise InvalidRecord("not UTF-8") from None


def parse_json(raw: bytes) -> object:
    """Any JSON value (NaN, 1e400 and lone surrogates are not JSON); raises InvalidRecord."""
    raw = raw.removeprefix(UTF8_BOM)
    if too_deep(raw):
        raise InvalidRecord("nested too deeply")
    if raw.count(b"{") > MOST_OBJECTS:
        raise InvalidRecord("too many objects in one message")
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        utf8(raw)
        raise InvalidRecord("not JSON") from None
    return value


def too_deep(raw: bytes) -> bool:
    """Whether JSON nests beyond MOST_LEVELS, told from its brackets alone, at the speed of bytes.replace."""
    if raw.count(b"{") + raw.count(b"[") <= MOST_LEVELS:
        return False
    brackets = _JSON_STRING.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS)
    for _ in range(MOST_LEVELS):  # each pass takes the innermost level away
        shorter = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(shorter) == len(brackets):  # what is left was never closed
            return brackets.count(b"{") + brackets.count(b"[") > MOST_LEVELS
        brackets = shorter
    return bool(brackets)


def embedded_object(text: str) -> Mapping[str, object] | None:
    """The JSON object that a log line is, or None."""
    if not text.startswith("{") or not text.endswith("}"):
        return None
    try:
        value = parse_json(text.encode())
    except InvalidRecord:
        return None
    return value if isinstance(value, dict) else None


def mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else NOTHING


def sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def first(source: Mapping[str, object], *keys: str) -> object:
    """The value of the first key that holds something; None when none does."""
    for key in keys:
        value = source.get(key)
        if value is not None and value != "":
            return value
    return None


def scalar(value: object) -> str:
    """A string as it is, a number or truth value spelled out, anything else as the empty string."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def name(value: object, longest: int = NAME_LENGTH) -> str:
    """A scalar fit for a label: on one line, at most `longest` characters, still distinct where it had to be cut."""
    if type(value) is str and len(value) <= longest and value.isprintable():
        return value
    text = scalar(value)
    if not text.isprintable():
        text = _UNSEEN_IN_NAME.sub("\ufffd", text)
    if len(text) <= longest:
        return text
    return f"{text[: longest - 17]}~{blake2b(text.encode(), digest_size=8).hexdigest()}"


def names(source: Mapping[str, object], longest: int = NAME_LENGTH) -> dict[str, str]:
    """The first MOST_LABELS pairs by key, as names; pairs without a scalar are left out."""
    keys: Iterable[str] = source
    if len(source) > MOST_LABELS:
        keys = islice(sorted(source), MOST_LABELS)
    found = ((key, name(source[key], longest)) for key in keys)
    return {name(key): value for key, value in found if value}


def visible(text: str) -> str:
    """Text of any length and number of lines, without colours, every other control character as U+FFFD."""
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _ANSI_ESCAPE.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").rstrip("\r")
    return _UNSEEN.sub("\ufffd", text)
