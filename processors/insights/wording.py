"""What a text says beyond its words: that it complains, whom it names. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from processors.insights.mentions import peers_of, words_of
from schemas.records import ERROR, UNKNOWN, WARN

MENTIONS: Final = 8
SHOWN_CHARS: Final = 160  # of a line, inside a sentence

# For lines whose severity nobody has told. What a process does not survive, and what merely goes wrong.
_GRAVE: Final = re.compile(
    r"\b(?:panic|fatal|segfault|segmentation fault|core dumped|out ?of ?memory|oom|oomkilled|oom-kill\w*)\b", re.I
)
_BAD: Final = re.compile(
    r"\b(?:\w*errors?|\w*exception|fail(?:ed|ure|s|ing)?|time[ds]? ?out|timeout|refused|denied|unreachable|unavailable|"
    r"unhealthy|cannot|could not|unable|aborted|corrupt\w*|no space left|reset by peer|deadline exceeded)\b",
    re.I,
)


@lru_cache(maxsize=8192)
def complaint(severity: int, text: str) -> int:
    """The severity by which a line is judged: its own, or what its words tell where it has none; 0: no complaint."""
    if severity >= WARN:
        return severity
    if severity != UNKNOWN:
        return 0
    return ERROR if _GRAVE.search(text) else WARN if _BAD.search(text) else 0


# How Linux says that a group of processes, a container, has met its own limit (mm/oom_kill.c): it is not the node's.
_LIMIT: Final = re.compile(r"\bmemory cgroup\b|constraint_memcg", re.I)


def of_limit(text: str) -> bool:
    """Whether it tells, of whatever node or agent, that a container has used the memory that it may."""
    return _LIMIT.search(text) is not None


_NO_NAME: Final = re.compile(r"(?=[^g-z]*\d)[0-9a-f-]{8,}|.*[^\x00-\x7f].*", re.I)  # an id, in hexadecimal
# Said by anybody of anything: as plain words they name nobody.
_PLAIN: Final = frozenset({
    "the", "and", "for", "from", "with", "not", "was", "were", "has", "have", "had", "been", "are", "its",
    "this", "that", "than", "more", "most", "after", "before", "while", "when", "which", "who", "into",
    "onto", "over", "under", "above", "below", "all", "any", "some", "none", "did", "does", "done", "can",
    "cannot", "could", "will", "would", "should", "may", "failed", "fails", "failing", "failure", "call",
    "calls", "called", "request", "requests", "retrying", "giving", "attempt", "timed", "timeout",
    "connection", "reset", "refused", "denied", "closed", "open", "opened", "exceeded", "deadline", "context",
    "percent", "time", "times", "seconds", "minutes", "answered", "answers", "get", "got", "post", "put",
    "http", "https", "tcp", "udp", "info", "warn", "warning", "fatal", "debug", "exception",
})  # fmt: skip


def mentions(text: str, labels: Mapping[str, str] | None = None, *, own: str = "") -> tuple[str, ...]:
    """Words that may name a peer, the surest first: at most eight, none of them the speaker itself."""
    called, _ = peers_of(labels or {})
    words = [*called, *(word for word in words_of(text) if not word.calls)]
    words = [word for word in words if word.name not in _PLAIN and not _NO_NAME.fullmatch(word.name)]
    words.sort(key=lambda word: -word.sure)
    found = dict.fromkeys(f"{word.name}.{word.namespace}" if word.namespace else word.name for word in words)
    return tuple(word for word in found if word != own)[:MENTIONS]


def clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%H:%M:%S} UTC"


def short(text: str, chars: int = SHOWN_CHARS) -> str:
    """The first line of a text, or as many of its words as fit."""
    words = " ".join(text.split("\n", 1)[0].split())
    if len(words) <= chars:
        return words
    fitting = words[: chars - 2]
    whole = fitting.rpartition(" ")[0]
    return (whole if len(whole) > chars // 2 else fitting[:-1]).rstrip(" ,;:…") + "..."


# What loggers write before the message, masked or not: time, process, level, thread, class, file and line.
_COLUMNS: Final = re.compile(
    r"""(?:\*(?::|(?=\s+(?:---|\[|(?-i:[A-Z]{3,}\b|[A-Z][a-z]))))\s* | -{1,3}\s+ | \[[^\]]*\]:?\s+
    |(?:trace|debug|info|notice|log|warn|warning|error|fatal|panic|critical|severe)\b[:\]]?\s+(?=\S)(?<=[:\]]\s)
    |(?:[a-z]\w*\.)+\w+\s+:\s+ | [\w./@-]+\.(?:go|py|java|c|js|rs):\d+[:\]]\s+)+""",
    re.I | re.X,
)


def message(template: str) -> str:
    """The words of a pattern behind its logger's columns, masked parts as an ellipsis: what a person would call it."""
    line = template.split("\n", 1)[0].strip()
    found = _COLUMNS.match(line)
    rest = line[found.end() :] if found else line
    named = rest if " " in rest.strip() and re.search(r"[^\W\d_]{3}", rest) else line
    return re.sub(r"\*+", "…", named)


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def lasting(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
