"""Typed reads from bytes and parsed JSON: whatever a shipper wrote, a name is a short string, a mapping a mapping."""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from heapq import nsmallest
from types import MappingProxyType
from typing import Final

import orjson

from schemas.errors import InvalidRecord

MOST_LEVELS: Final = 64  # of nested JSON; real telemetry stays below twenty
MOST_VALUES: Final = 1_000_000  # in one JSON text: 16 MB of `[],` would otherwise become gigabytes
MOST_LABELS: Final = 64
MORE: Final = "~more"  # the label that stands for those that were left out
NAME_LENGTH: Final = 253  # characters; the longest name that Kubernetes allows
NOTE_LENGTH: Final = 4096  # characters of an annotation
UTF8_BOM: Final = b"\xef\xbb\xbf"
NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

_CARRIAGE: Final = 16  # names of full length that a set of labels may fill
# Labels that tell who speaks; kept before all others where there are too many.
_TELLING: Final = frozenset(
    ("__name__", "alertname", "severity", "cluster", "namespace", "pod", "container", "node", "instance", "job")
    + ("exported_namespace", "exported_pod", "exported_container", "exported_node", "deployment", "statefulset")
    + ("daemonset", "cronjob", "job_name", "replicaset", "service", "app", "host")
)
# How compressed data begins. Values are never unpacked: a few kilobytes could become gigabytes.
_PACKED: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"), (b"BZh", "bzip2"),
                  (b"\xfd7zXZ", "xz"), (b"\x78\x01", "zlib"), (b"\x78\x9c", "zlib"), (b"\x78\xda", "zlib"))  # fmt: skip
_NO_UTF8: Final = (*(magic for magic, _ in _PACKED), b"\xff\xfe", b"\xfe\xff")  # and what begins UTF-16
TORN: Final = re.compile("[\udc80-\udcff]")
_CONTROL: Final = bytes((*range(9), *range(14, 27), *range(28, 32)))  # not tabs, line ends, escapes
_CONTROL_CHARACTER: Final = re.compile(f"[{_CONTROL.decode()}]")
_SEEN: Final = re.compile("[^\x00-\x20\x7f]")
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_ANSI_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control characters, and those that change the direction of text or that have no width.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
_UNSEEN_IN_NAME: Final = re.compile(f"[\t\n\u2028\u2029]|{_UNSEEN.pattern}")


depth: Callable[[bytes], int] | None
try:
    from freshet_kernel import depth
except ImportError:  # `too_deep` tells the same
    depth = None


def utf8(raw: bytes) -> str:
    """Text without its byte order mark; raises InvalidRecord."""
    try:
        return raw.removeprefix(UTF8_BOM).decode()
    except UnicodeDecodeError:
        raise InvalidRecord(_unreadable(raw)) from None


def plain_text(raw: bytes) -> tuple[str, bool]:
    """Text of many lines, and whether some are torn: those are not UTF-8 and hold lone surrogates (`TORN`).

    Raises InvalidRecord for what is no text: binary data, or when most lines are torn.
    """
    raw = raw.removeprefix(UTF8_BOM)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="surrogateescape")
        lines = [line for line in text.split("\n") if _SEEN.search(line)]
        torn = [line for line in lines if TORN.search(line)]
        binary = raw.startswith(_NO_UTF8) or any(map(_CONTROL_CHARACTER.search, torn))
        if binary or 2 * len(torn) > len(lines):
            raise InvalidRecord(_unreadable(raw)) from None
        return text, True
    # Zeros at both ends are what is left of a log file that was cut while it was written to.
    if not text.isprintable() and controls(raw) and 8 * controls(core := raw.strip(b"\x00")) > len(core):
        raise InvalidRecord("binary, not text")
    return text, False


def controls(raw: bytes) -> int:
    """How many bytes are control characters that no text needs; in UTF-8 they are no part of others."""
    return len(raw) - len(raw.translate(None, _CONTROL))


def _unreadable(raw: bytes) -> str:
    packed = next((kind for magic, kind in _PACKED if raw.startswith(magic)), "")
    return f"{packed} inside the value: let the producer compress instead" if packed else "not UTF-8"


def parse_json(raw: bytes) -> object:
    """Any JSON value (NaN, 1e400 and lone surrogates are not JSON); raises InvalidRecord."""
    raw = raw.removeprefix(UTF8_BOM)
    opened = raw.count(b"{") + raw.count(b"[")
    if opened > MOST_LEVELS or len(raw) > MOST_VALUES:
        _refuse_bombs(raw, opened)
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        utf8(raw)
        raise InvalidRecord("not JSON") from None
    return value


def _refuse_bombs(raw: bytes, opened: int) -> None:
    """Raises InvalidRecord for JSON that would take far more room than its bytes do, or more stack."""
    if opened + raw.count(b",") > MOST_VALUES:
        raw = _without_strings(raw)
        opened = raw.count(b"{") + raw.count(b"[")
        if opened + raw.count(b",") > MOST_VALUES:
            raise InvalidRecord("too many values in one message")
    if opened > MOST_LEVELS and (too_deep(raw) if depth is None else depth(raw) > MOST_LEVELS):
        raise InvalidRecord("nested too deeply")


def _without_strings(raw: bytes) -> bytes:
    """JSON without what stands in quotes; an unterminated string runs to the end. Raises InvalidRecord."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if raw.count(b'"') > 2 * MOST_VALUES:
        raise InvalidRecord("too many values in one message")
    return b"".join(raw.split(b'"')[::2])


def too_deep(raw: bytes) -> bool:
    """Whether JSON nests beyond MOST_LEVELS, told from its brackets alone, at the speed of bytes.replace."""
    brackets = _without_strings(raw).translate(_BRACES, _ALL_BUT_BRACKETS)
    for _ in range(MOST_LEVELS):  # each pass takes the innermost level away
        shorter = brackets.replace(b"{}", b"")
        if len(shorter) == len(brackets):  # what is left was never closed
            return brackets.count(b"{") > MOST_LEVELS
        brackets = shorter
    return bool(brackets)


def embedded_object(text: str) -> Mapping[str, object] | None:
    """The JSON object that a log line is, or None."""
    if not text.startswith("{") or not text.endswith("}"):
        return None
    try:
        value = parse_json(text.encode(errors="surrogatepass"))  # what is torn is no JSON
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


def told(value: object) -> str:
    """What a value says as text: a scalar as it is, a list or an object as JSON, the empty string for nothing."""
    return orjson.dumps(value).decode() if value and isinstance(value, list | dict) else scalar(value)


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
    """All pairs as names; pairs without a scalar are left out.

    Of too many or too long ones those that tell who speaks and the first by key are kept. What stands in for the
    others has their digest, so that two sets which differ there only stay two.
    """
    if len(source) <= MOST_LABELS:
        found = {name(key): text for key, value in source.items() if (text := name(value, longest))}
        if len(found) <= _CARRIAGE or sum(map(len, found)) + sum(map(len, found.values())) <= _CARRIAGE * longest:
            return found
    kept: dict[str, str] = {}
    room = _CARRIAGE * longest
    for key in nsmallest(MOST_LABELS, source, key=lambda key: (key not in _TELLING, key)):
        label, text = name(key), name(source[key], longest)
        if text and len(label) + len(text) <= room:
            kept[label] = text
            room -= len(label) + len(text)
    rest = sorted(f"{key}={scalar(source[key])}" for key in source.keys() - kept.keys())
    said = blake2b("\x1f".join(rest).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return kept | {MORE: f"{len(source) - len(kept)}~{said}"}


def visible(text: str) -> str:
    """Text of any length and number of lines, without colours, every other control character as U+FFFD."""
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _ANSI_ESCAPE.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").rstrip("\r")
    return _UNSEEN.sub("\ufffd", text)
