"""OpenTelemetry severity numbers from the words, letters and codes that loggers write."""

import re
from typing import Final

from schemas.records import DEBUG, ERROR, FATAL, INFO, TRACE, UNKNOWN, WARN

_NOTICE: Final = 10
_CRITICAL: Final = 18
_ALERT: Final = 19

_WORDS: Final = {
    **dict.fromkeys(("trace", "trc", "finest", "finer", "all"), TRACE),
    **dict.fromkeys(("debug", "dbg", "verbose", "fine", "config"), DEBUG),
    **dict.fromkeys(("info", "inf", "information", "informational", "default", "normal"), INFO),
    "notice": _NOTICE,
    **dict.fromkeys(("warn", "warning", "wrn"), WARN),
    **dict.fromkeys(("error", "err", "severe", "eror", "fail"), ERROR),
    **dict.fromkeys(("critical", "crit", "dpanic"), _CRITICAL),
    "alert": _ALERT,
    **dict.fromkeys(("fatal", "panic", "emerg", "emergency", "ftl"), FATAL),
}
_LETTERS: Final = {"T": TRACE, "D": DEBUG, "I": INFO, "W": WARN, "E": ERROR, "F": FATAL, "C": _CRITICAL}
_SYSLOG: Final = (FATAL, _ALERT, _CRITICAL, ERROR, WARN, _NOTICE, INFO, DEBUG)  # by syslog severity code, 0 to 7
_PINO: Final = {10: TRACE, 20: DEBUG, 30: INFO, 40: WARN, 50: ERROR, 60: FATAL}  # pino, bunyan; Python's differ by 10
_ALERT_LABELS: Final = {"page": FATAL, "critical": FATAL, "none": UNKNOWN}

_HEAD: Final = 120  # characters in which a level is looked for; further in, the word is about something else
# In running text only words that mean little else are levels, in capitals or where the logger has marked them.
_TEXT_WORDS: Final = {
    word: number
    for word, number in _WORDS.items()
    if word not in {"all", "fine", "finer", "finest", "config", "default", "normal", "fail", "inf"}
}
_CAPITALS: Final = re.compile(r"[A-Z_]{3,}", re.ASCII)
_MARKED: Final = re.compile(r"\[([a-z]{3,13})\]|(?:level|lvl|severity)\"?[=:] ?\"?([A-Za-z]{3,13})|- ([a-z]{4,8}) -")
_OPENING: Final = re.compile(
    r"(?P<fatal>panic: |fatal error: |fatal: |Kernel panic)"
    r"|(?P<error>Traceback \(most recent call last\):|Caused by: |Unhandled |Uncaught |Exception in thread "
    r"|[Ee]rror\b|[\w.$]{0,100}(?:Exception|Error)\b)"
    r"|(?P<warn>[Ww]arning\b)",
    re.ASCII,
)


def level_of(value: object) -> int:
    """The severity that the level field of a logger names: a word, a letter, or a number of pino and bunyan."""
    if isinstance(value, str):
        known = _WORDS.get(value)
        if known is not None:
            return known
        word = value[:16].strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if len(word) == 1 and word.isalpha():
            return _LETTERS.get(word.upper(), UNKNOWN)
        return _PINO.get(int(word), UNKNOWN) if len(word) == 2 and word.isascii() and word.isdigit() else UNKNOWN
    return _PINO.get(value, UNKNOWN) if isinstance(value, int) and not isinstance(value, bool) else UNKNOWN


def letter_severity(letter: str) -> int:
    """The severity of klog's I, W, E and F and its relatives."""
    return _LETTERS.get(letter, UNKNOWN)


def syslog_severity(value: object) -> int:
    """The severity of a syslog code (0 to 7, or a priority, whose lowest three bits it is), or of its name."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 4):
            return level_of(value)
        value = int(value)
    return _SYSLOG[value & 7] if isinstance(value, int) and 0 <= value < 192 else UNKNOWN


def otel_severity(number: object, text: object) -> int:
    """OpenTelemetry's own number where it is one, else what its text says."""
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 24:
        return number
    return level_of(text)


def alert_severity(label: str) -> int:
    """The severity of an alert's `severity` label: whoever is paged is told of something fatal."""
    word = label.strip().lower()
    return _ALERT_LABELS[word] if word in _ALERT_LABELS else level_of(word)


def level_in_text(word: str) -> int:
    """The severity of a word that stands where levels stand in running text."""
    return _TEXT_WORDS.get(word.lower(), UNKNOWN)


def severity_in(text: str) -> int:
    """The severity that a line's opening words tell; UNKNOWN when none does."""
    head = text[:_HEAD]
    opening = _OPENING.match(head)
    if opening is not None and opening.lastgroup == "fatal":
        return FATAL
    for word in _CAPITALS.findall(head):
        if number := level_in_text(word):
            return number
    marked = _MARKED.search(head)
    if marked is not None and (number := level_in_text(marked[marked.lastindex or 0])):
        return number
    if opening is None:
        return UNKNOWN
    return ERROR if opening.lastgroup == "error" else WARN
