"""What a question quotes as it is: trace ids, error codes, hashes, image tags, request ids. Pure."""

import re
from itertools import islice
from typing import Final

from schemas.records import IDENTIFIER

IDENTIFIERS: Final = 8

# What else is quoted as it is. Where the digits alone would be too common, the words in front belong to it.
_QUOTED: Final = tuple(
    re.compile(pattern, re.ASCII | flags)
    for pattern, flags in (
        (r"\bCVE-\d{4}-\d{4,7}\b", 0),
        (r"\b(?:ERR|E)_[A-Z][A-Z_]{2,40}\b", 0),
        (r"\bE(?:CONN[A-Z]{5,7}|TIMEDOUT|NOTFOUND|PIPE|NOSPC|ADDRINUSE|MFILE|HOSTUNREACH|NETUNREACH|AI_AGAIN)\b", 0),
        (r"\b(?P<whole>SQLSTATE[ :=\[(]{1,3}(?P<own>[0-9A-Z]{5}))\b", 0),
        (r"\b(?:HTTP(?:/[12](?:\.\d)?)?|status(?: code)?)[ :=]{1,3}[1-5]\d\d\b", re.IGNORECASE),
        (r"\bexit(?:ed)?(?: with)?(?: code| status)?[ :=]{1,3}\d{1,3}\b", re.IGNORECASE),
        (r"(?<![\w./:-])(?:[a-z0-9][\w.-]{0,60}/){0,4}[a-z0-9][\w.-]{0,60}:v?\d{1,6}\.\d{1,6}[\w.-]{0,40}(?<![.-])", 0),
        (r"\bsha256:[0-9a-f]{12,64}\b", 0),
        (r"(?<![\w.:-])v\d{1,4}\.\d{1,4}(?:\.\d{1,6})?(?:-[\w.]{1,20})?(?<!\.)(?!\w)", 0),
        (r"(?<![\w./:-])(?=[0-9a-f]{0,14}[a-f])(?=[0-9a-f]{0,14}\d)[0-9a-f]{7,15}(?![\w-]|\.\w)", 0),
        (r"\b(?:req|txn?|trace|corr|i|vol|eni)[-_](?=[a-z]{0,20}\d)[0-9a-z]{5,40}\b", 0),
        (
            r"\b(?:request|req|trace|span|correlation|transaction|tx|order|session)[ _-]?id(?: is|=|:|#)?[ \"'`]{0,2}"
            r"(?P<own>(?=[a-z_-]{0,40}\d)[\w-]{4,64})",
            re.IGNORECASE,
        ),
    )
)
_NO_IDENTIFIER: Final = re.compile(r"(?:SHA|AES|RSA|UTF|UTC|GMT|ISO|RFC)-?\d+|[IWEF]\d{4}(?= {1,2}\d\d:\d\d:)")


def identifiers_in(question: str) -> tuple[str, ...]:
    """Codes, ids, hashes, image tags: as they stand, in order."""
    found: list[tuple[int, int, str]] = [
        (match.start(), -match.end(), own)
        for pattern in (IDENTIFIER, *_QUOTED)
        for match in islice(pattern.finditer(question), 4 * IDENTIFIERS)
        if not _NO_IDENTIFIER.match(question, match.start())
        for own in (_own(match),)
    ]
    kept: dict[str, None] = {}
    end = 0
    for _, minus_end, own in sorted(found):
        if -minus_end > end:
            kept.setdefault(own)
            end = -minus_end
    return tuple(kept)[:IDENTIFIERS]


def _own(match: re.Match[str]) -> str:
    own = match.groupdict().get("own")
    if own is None:
        return match.group()
    return own if any(c.isalpha() for c in own) or "whole" not in match.groupdict() else match["whole"]
