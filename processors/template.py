"""Redacted log text -> template: the text with its variable tokens masked, as a pure function of the line.

The template is part of a pattern's identity, so nothing here learns or remembers (the caches are invisible): stream,
replay and Spark agree, and a change of any rule is a new TEMPLATE_VERSION. Two steps, both cached:

1. token by token: a token that holds a digit is a variable; so are paths, URLs, host names, e-mail addresses, quoted
   words, hexadecimal words, overlong tokens and the value of `key=value`. Enclosing punctuation and keys stay.
2. over the masked line, what only the neighbours give away: day and month names, who logs in; then runs collapse.

Of a text with several lines (a stack trace) the first line counts, and the last line that names an exception: the
innermost `Caused by` of a JVM, the closing line of a Python traceback. Frames never count.
"""

import re
from functools import lru_cache
from typing import Final

TEMPLATE_VERSION: Final = 1
MAX_TEXT_CHARS: Final = 4096  # what lies behind is never looked at
MAX_TOKENS: Final = 256
MAX_TEMPLATE_CHARS: Final = 1024

_MAX_TOKEN_CHARS: Final = 96  # a longer token is a blob, whatever it holds
_CUT_MARK: Final = "..."
_ROOT_MARK: Final = " | "  # between the first line and the exception that it ends in
_ZEROS: Final = str.maketrans("123456789", "000000000")

_PLACEHOLDER: Final = re.compile(r"(<redacted:[a-z-]+>)")
_EXCEPTION_LINE: Final = re.compile(
    r"^[ \t]*(?:Caused by: |---> |\[cause\]: )?"
    r"((?:[A-Za-z_$][\w$]*\.)*[A-Za-z_$][\w$]*(?:Error|Exception|Failure|Fault|Interrupt|Exit|Timeout)(?::.*|[ \t]*)?)$",
    re.MULTILINE,
)

_EDGES: Final = re.compile(r"([(\[{<\"'`]*+)(.*?)([)\]}>\"'`,;:.!?]*+)\Z", re.DOTALL)
_PAIR: Final = re.compile(r"([A-Za-z_][\w.-]*+=)([^\s,;&]++)")
_PROPERTY: Final = re.compile(r"([A-Za-z]+:)[a-z][\w-]*\.[\w.-]*=\S*")  # one line of a dump of properties
# Values that say what happened rather than to whom: they are words of the message.
_TELLING_KEYS: Final = frozenset(
    ("msg", "message", "err", "error", "reason", "cause", "exception", "event", "level", "lvl", "severity", "logger")
    + ("component", "caller", "op", "action", "method", "state", "phase", "type", "kind")
)
# Top-level domains of host names in logs; two-letter ones need two dots and must not be a file suffix.
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9_-]++\.)+(?:com|net|org|edu|gov|mil|int|info|biz|arpa|cloud|dev|app|local|localdomain|localhost"
    r"|internal|intranet|lan|corp|home|svc)\.?(?::0+)?|(?:[a-z0-9_-]++\.){2,}"
    r"(?!go|py|js|ts|so|rs|rb|cc|md|sh|db|gz|ps|pl|vm|id|io\.)[a-z]{2}\.?(?::0+)?"
)
_PATH: Final = re.compile(r"[/~]\S*[A-Za-z]\S*|\.{1,2}/\S+|[A-Za-z]:\\\S*|\S+/\S*/\S*|[a-z][a-z+.-]*+://\S+")
_HEX_WORD: Final = re.compile(r"(?:[0a-f]{8,}|[0A-F]{8,})")

_DATE_WORDS: Final = re.compile(
    r"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* (?=\*)"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?=\*)"
)
_NOTHING: Final = re.compile(r"(?<!\S)(?:\(\)|\[\])(?!\S)")  # an absent value in brackets of its own
_WHO: Final = re.compile(
    r"\b((?:[Uu]ser|[Uu]sername|account|principal|login|[Pp]assword for|[Pp]ublickey for)(?: invalid user)? )"
    r"(?!invalid user |not |is |was |has |unknown|name |does |<redacted:)([^\s*]+)(?= (?:from|by|on|at|in|with|\[|\()|$)"
)
_RUNS: Final = re.compile(r"\*(?:[,;:/. ]*\*)+")


def template(text: str) -> str:
    """The template of a redacted text: one line of at most MAX_TEMPLATE_CHARS characters, its own template."""
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS]
    if "\n" in text:
        text = _telling_lines(text)
    tokens = text.translate(_ZEROS).split(None, MAX_TOKENS)[:MAX_TOKENS]
    return _mask_phrases(" ".join([t if t.isalpha() else _mask_token(t) for t in tokens]))


def _telling_lines(text: str) -> str:
    """The first line with text and, of a stack trace, the exception that it ends in."""
    lines = text.strip().split("\n", 1)
    roots = _EXCEPTION_LINE.findall(lines[1]) if len(lines) > 1 else ()
    return lines[0] + _ROOT_MARK + roots[-1] if roots else lines[0]


@lru_cache(maxsize=1 << 16)
def _mask_token(token: str) -> str:
    if "<redacted:" not in token:
        return _mask_plain(token)
    parts = _PLACEHOLDER.split(token)  # every second part is a placeholder
    return "".join(part if i % 2 else _mask_plain(part) for i, part in enumerate(parts))


def _mask_plain(token: str) -> str:
    if "=" in token and (match := _PROPERTY.fullmatch(token)):
        return match[1] + "*"
    if len(token) > _MAX_TOKEN_CHARS:
        return "*"
    if "=" in token:
        masked, pairs = _PAIR.subn(_mask_pair, token)
        if pairs:
            return masked
    match = _EDGES.match(token)
    assert match  # every part of it may be empty
    head, core, tail = match.groups()
    if not core:
        return token
    return f"{head}*{tail}" if _is_variable(head, core, tail) else token


def _mask_pair(match: re.Match[str]) -> str:
    key, value = match.groups()
    if key[:-1].lower() in _TELLING_KEYS and "0" not in value:
        return match[0]
    edges = _EDGES.match(value)
    assert edges
    head, core, tail = edges.groups()
    return f"{key}{head}*{tail}" if core else match[0]


def _is_variable(head: str, core: str, tail: str) -> bool:
    if "0" in core:
        return True
    quoted = head[-1:] in ('"', "'", "`") and tail[:1] == head[-1:]
    return bool(
        quoted
        or "@" in core
        or ("." in core and _HOST.fullmatch(core))
        or (("/" in core or "\\" in core) and _PATH.fullmatch(core))
        or _HEX_WORD.fullmatch(core)
    )


@lru_cache(maxsize=1 << 13)
def _mask_phrases(line: str) -> str:
    line = _DATE_WORDS.sub("", line)
    line = _NOTHING.sub(lambda match: f"{match[0][0]}*{match[0][1]}", line)
    line = _WHO.sub(r"\1*", line)
    line = _RUNS.sub("*", line)
    if len(line) <= MAX_TEMPLATE_CHARS:
        return line
    cut = line.rfind(" ", 0, MAX_TEMPLATE_CHARS - len(_CUT_MARK))
    return line[:cut]
