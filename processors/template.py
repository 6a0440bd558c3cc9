"""Redacted log text -> template: the text with its variable tokens masked, as a pure function of the line.

The template is part of a pattern's identity, so nothing here learns or remembers (the caches are invisible): stream,
replay and Spark agree, and a change of any rule is a new TEMPLATE_VERSION. Lines of one canonical form have one
template. Two steps on that form, both cached; where the kernel is compiled it runs them and keeps what it was told:

1. token by token: a token that holds a digit is a variable; so are paths, URLs, host names, e-mail addresses, quoted
   words, hexadecimal words, overlong tokens and the value of `key=value`. Enclosing punctuation and keys stay.
2. over the masked line, what only the neighbours give away: day and month names, who logs in, a number's unit; then
   runs collapse.

Of a text with several lines (a stack trace) the first line counts, and the last line that names an exception: the
innermost `Caused by` of a JVM, the closing line of a Python traceback. Frames never count.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from processors.canonical import canonical_pure

TEMPLATE_VERSION: Final = 2
MAX_TEXT_CHARS: Final = 4096  # of the canonical form; what lies behind is never looked at
MAX_TOKENS: Final = 256
MAX_TEMPLATE_CHARS: Final = 1024

_MAX_TOKEN_CHARS: Final = 96  # a longer token is a blob, whatever it holds
_MAX_ROUNDS: Final = 8
_ROOT_MARK: Final = " | "  # between the first line and the exception that it ends in

_PLACEHOLDER: Final = re.compile(r"(<redacted:[a-z-]+>)")
_EXCEPTION_LINE: Final = re.compile(
    r"^[ \t]*+(?:Caused by: |---> |\[cause\]: )?"
    r"((?:[A-Za-z_$][\w$]*+\.)*+[\w$]*(?:Error|Exception|Failure|Fault|Interrupt|Exit|Timeout)(?::.*)?)[ \t\r]*$",
    re.MULTILINE,
)

_OPENING: Final = "([{<\"'`"
_CLOSING: Final = ")]}>\"'`,;:.!?"
_PAIR: Final = re.compile(r"([A-Za-z_][\w.-]*+)(=|:(?=[\"']))([^\s,;&]++)")
_JSON_KEY: Final = re.compile(r"[{,]\s*+\"([A-Za-z_][\w.@-]*+)\"\s*+:\s*+")
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
# Names of Kubernetes objects: namespace/name with a hyphen in it, or many parts.
_NAME: Final = re.compile(r"[a-z]+/[a-z.]+(?:-[a-z.]+)+|[a-z]+(?:-[a-z]+)+/[a-z.-]+|[a-z]+(?:-[a-z]+){4,}")
_HEX_WORD: Final = re.compile(r"[0a-f]{12,}|[0A-F]{12,}")

_DATE_WORDS: Final = re.compile(
    r"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* (?=\*)"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?=\*)"
)
_NOTHING: Final = re.compile(r"(?<!\S)(?:\(\)|\[\])(?!\S)")  # an absent value in brackets of its own
_WHO: Final = re.compile(
    r"\b((?:[Uu]ser|[Uu]sername|account|principal|login|[Pp]assword for|[Pp]ublickey for)(?: invalid user)? )"
    r"(?!invalid user |not |is |was |has |unknown|name |does |<redacted:)"
    r"([^\s*]+)(?= (?:from|by|on|at|in|with|\[|\()|$)"
)
_LONG_VALUE: Final = re.compile(r"([A-Za-z_][\w.-]*+)(=|:)\"\*[^\"]*+\"")  # quoted, of several words
# The unit, as the scale, is chosen by the number: 512 B, 1.5 KB; <1 sec, 2 min. Written together they are one token.
_QUANTITY: Final = re.compile(r"[<>~]?\*(?: (?:[kKMGTP]?i?B|[nuµm]?s|m?secs?|mins?|hrs?))+(?=[,;:.)\]]*(?: |$))")
_RUNS: Final = re.compile(r"\*(?:[,;:/. ]*\*)+")


def template_pure(text: str) -> str:
    """What `template` is where nothing is compiled, and what it must be where the kernel is."""
    text = canonical_pure(text)
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS]
    if "\n" in text:
        text = _telling_lines(text)
    if '{"' in text[:32] and text.lstrip().startswith('{"'):
        pairs, count = _JSON_KEY.subn(r" \1=", text)
        text = pairs.rstrip().removesuffix("}") if count else text
    return _known_phrases(_mask_tokens(text.split(None, MAX_TOKENS)[:MAX_TOKENS]))


def _mask_tokens(tokens: list[str]) -> str:
    # Long tokens come once: the cache would hold thousands of them for nothing.
    return " ".join(
        [
            t if len(t) < 12 and t.isalpha() else _mask_token(t) if len(t) <= _MAX_TOKEN_CHARS else _mask_longer(t)
            for t in tokens
        ]
    )


def _telling_lines(text: str) -> str:
    """The first line with text and, of a stack trace, the exception that it ends in."""
    lines = text.strip().split("\n", 1)
    roots = _EXCEPTION_LINE.findall(lines[1]) if len(lines) > 1 else ()
    return lines[0] + _ROOT_MARK + roots[-1] if roots else lines[0]


@lru_cache(maxsize=1 << 16)
def _mask_token(token: str) -> str:
    return _mask_longer(token)


def _mask_longer(token: str) -> str:
    if "<redacted:" not in token:
        return _mask_plain(token)
    parts = _PLACEHOLDER.split(token)  # every second part is a placeholder
    return "".join(part if i % 2 else _mask_plain(part) for i, part in enumerate(parts))


def _mask_plain(token: str) -> str:
    if "=" in token and (match := _PROPERTY.fullmatch(token)):
        return match[1] + "*"
    if len(token) > _MAX_TOKEN_CHARS:
        return "*"
    if "=" in token or ':"' in token or ":'" in token:
        masked, pairs = _PAIR.subn(_mask_pair, token)
        if pairs and "0" not in masked:
            return masked
    head, core, tail = _edges(token)
    return f"{head}*{tail}" if core and _is_variable(head, core, tail) else token


def _mask_pair(match: re.Match[str]) -> str:
    key, separator, value = match.groups()
    if key.lower() in _TELLING_KEYS and "0" not in value:
        return match[0]
    head, core, tail = _edges(value)
    return f"{key}{separator}{head}*{tail}" if core else match[0]


def _edges(token: str) -> tuple[str, str, str]:
    """Opening punctuation, core and closing punctuation; a core may be empty."""
    rest = token.lstrip(_OPENING)
    core = rest.rstrip(_CLOSING)
    return token[: len(token) - len(rest)], core, rest[len(core) :]


def _is_variable(head: str, core: str, tail: str) -> bool:
    if "0" in core:
        return True
    quoted = head[-1:] in ('"', "'", "`") and tail[:1] == head[-1:]
    return bool(
        quoted
        or "@" in core
        or ("." in core and _HOST.fullmatch(core))
        or (("/" in core or "\\" in core) and _PATH.fullmatch(core))
        or ("-" in core and _NAME.fullmatch(core))
        or _HEX_WORD.fullmatch(core)
    )


def _mask_phrases(line: str) -> str:
    for _ in range(_MAX_ROUNDS):  # what one round masks may end a phrase or a token for the next
        before = line
        line = _DATE_WORDS.sub("", line)
        line = _NOTHING.sub(lambda match: f"{match[0][0]}*{match[0][1]}", line)
        line = _WHO.sub(r"\1*", line)
        line = _LONG_VALUE.sub(_mask_long_value, line)
        line = _QUANTITY.sub("*", line)
        line = _without_repeats(_RUNS.sub("*", line))
        if len(line) > MAX_TEMPLATE_CHARS:
            line = line[: line.rfind(" ", 0, MAX_TEMPLATE_CHARS)]
        line = _mask_tokens(line.split())
        if line == before:
            break
    return line


def _mask_long_value(match: re.Match[str]) -> str:
    return match[0] if match[1].lower() in _TELLING_KEYS else f'{match[1]}{match[2]}"*"'


def _without_repeats(line: str) -> str:
    """A list of like items has as many as it has: `a=* b, a=* b` says no more than one of them."""
    kept: list[str] = []
    for token in line.split(" "):
        if not (kept and "*" in token and token.rstrip(",;") == kept[-1].rstrip(",;")):
            kept.append(token)
    return " ".join(kept)


_known_phrases = lru_cache(maxsize=1 << 13)(_mask_phrases)

# The template of a redacted text: one line of at most MAX_TEMPLATE_CHARS characters, its own template.
template: Callable[[str], str]
try:
    from freshet_kernel import template as _compiled
except ImportError:  # not compiled, see canonical.py
    template = template_pure
else:
    template = _compiled(_mask_longer, _mask_phrases, template_pure)
