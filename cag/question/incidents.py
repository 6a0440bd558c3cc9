"""Whether a question asks for incidents themselves, and for which of them. Pure.

A question why one happened, or what to do about it, is none: it is answered from evidence, an incident among it.
"""

import re
from typing import Final, Literal

from cag.question.procedure import any_of
from schemas.context import Intent

Wanted = Literal["", "open", "resolved", "any"]

_INCIDENT: Final = any_of(r"incidents?|outages?")
_OPEN: Final = re.compile(
    r"\b(?:what(?:['’]s| is| was|s)? (?:still |currently |now |else )?(?:open|ongoing)(?: \w{1,12}){0,3}\W{0,3}$"
    r"|(?:anything|something)(?: else| still){0,2} (?:open|ongoing)\b)",
    re.IGNORECASE,
)
_NOW: Final = any_of(r"open|ongoing|active|now|currently|at the moment|still")
_NOT_NOW: Final = any_of(
    r"were|was|had|did|been|last|yesterday|since|between|today|tonight|week|month|days?|hours?|night|morning|ago"
    r"|how many|list|show|recent|past|history|over"
)
_RESOLVED: Final = any_of(r"resolved|closed|solved|fixed|ended|finished|recovered|over")
_WHETHER: Final = re.compile(r"\W{0,3}(?:(?:and|but|so)\s)?(?:is|are|was|were|has|have)\b", re.IGNORECASE)
_BARE: Final = 5  # words: "what incidents?", as against "what is wrong in this incident of checkout?"


def incidents_wanted(text: str, intent: Intent | None, *, timed: bool) -> Wanted:
    """`intent`: None where nothing says what is wanted; `timed`: the question names a time."""
    if intent not in (None, "diagnose", "health", "show"):
        return ""
    if _OPEN.search(text):
        return "open"
    if not _INCIDENT.search(text) or (intent == "diagnose" and len(text.split()) > _BARE):
        return ""
    if _RESOLVED.search(text):
        return "any" if _WHETHER.match(text) else "resolved"
    return "open" if _NOW.search(text) or not (timed or _NOT_NOW.search(text)) else "any"
