"""Which sentences of an answer state a fact, and so need a citation. Pure.

All do but questions, headings and lines that lead in, sentences about what is not known or not visible, advice (an
order, also behind a condition; "you should"), rows of tables without numbers and names, and what is too short to say
anything. The rules are lists of words: a sentence that none of them knows states a fact.
"""

import re
from typing import Final, Literal

from cag.verification.sentences import Form

Kind = Literal["fact", "advice", "unknown", "aside"]

MARKER: Final = re.compile(r"[ \t]*(?:(?:[-*+>•]|\d{1,3}[.)])[ \t]+)*(?:\[[ xX]\][ \t]+)?")
FEWEST_WORDS: Final = 4  # with less and no number, name or quote, nothing is said
_MARKUP: Final = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=[\w.,:;!?)])[*_](?!\w)")
_STRONG_NAME: Final = re.compile(
    r"(\*{1,2}|_{1,2})(?!(?:not|no|all|only|never|and|or|both|the)\b)([a-z][a-z0-9]*)\1(?!\w)"
)
_BOLD_LINE: Final = re.compile(r"\s*(?:[-*+]\s+|\d{1,3}[.)]\s+)?(\*\*|__)[^*_\n]{1,100}(?<![.!])\1:?\s*")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_HARD: Final = re.compile(r"\d|[a-z][A-Z]|\w[_-]\w+[_-]\w|`|\"")


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(alternatives)})")


_SOURCES: Final = (
    r"(?:the |this |that )?(?:evidence|logs?|events?|metrics?|alerts?|data|records?|runbooks?|answer|it|they)"
)
_NOT: Final = r"(?:(?:could|can|do|does|did|is|are|was|were|has|have) ?(?:not|n't)|cannot)"
_UNKNOWN: Final = _any(
    rf"\b(?:i|we|one) {_NOT} ",
    rf"\b{_SOURCES} (?:here |above |given |shown |provided )?{_NOT} (?:\w+ )?"
    r"(?:show|say|tell|contain|include|mention|determine|confirm|explain|reveal|cover|identify|indicate|establish|provide"
    r"|answer|name|state|record|hold|prove)",
    r"\b(?:is|are|was)(?: not|n't) (?:visible|clear|known|shown|recorded|covered|mentioned|enough|in the evidence)",
    r"\bthere (?:is|are|was|were) (?:no|not enough|nothing(?! but))\b",
    r"\bno (?:\w+ ){0,3}(?:evidence|sign|information|data|mention|indication|trace|cause|record)\b",
    r"\b(?:it is|remains?|is|are) (?:unclear|unknown|uncertain)\b",
    r"\bremains? (?:a guess|open|unproven|to be seen)\b|\bevidence (?:ends|stops|starts|begins)\b",
    r"\bwhat is (?:missing|not)\b|\bmissing (?:here|from the evidence|is|are|evidence|information)\b|^missing\b",
    r"\b(?:not|n't) (?:sufficient|enough|conclusive)\b|\binsufficient (?:evidence|information|data)\b",
    r"\bwould (?:help|be needed|be necessary|show|tell|confirm)\b",
    r"\bi (?:found|see|have) (?:no|nothing)\b",
    r"\bi(?:'m| am) (?:not sure|unable|not able)\b|^nothing (?:in|about|stands|else|was|is)\b",
    r"\bcannot be (?:determined|confirmed|known|seen|said|ruled out|told)\b|\bnot enough (?:to|evidence)\b",
)
# What any of the alternatives has; much faster to look for.
_MAYBE_UNKNOWN: Final = re.compile(
    r"n't|\bnot?\b|noth|cannot|remain|evidence|un(?:clear|known|certain)|missing|would|insuff"
)
# What is made of the sentence before, and what only might be; with a number, name or quote it is a fact.
_CONJECTURE: Final = _any(
    r"(?:(?:overall|together|so|thus|hence|therefore|taken together|in short|unfortunately|in all),? )?"
    r"(?:this|that|these|it|all of this|both)(?: \w+)? (?:points?|suggests?|indicates?|means|hints?|fits|is consistent"
    r"|is why|(?:would|may|might|could|does|probably|likely) \w+)\b"
)
_ORDER_WORDS: Final = """
add adjust allow analyse analyze apply ask assign attach avoid back backup block capture cap change check clean
clear close collect compare configure confirm consider contact continue cordon correct create debug decrease
delete deploy describe determine disable drain edit enable ensure escalate evict examine execute expand extend
find fix focus follow free get give go grant identify implement increase inspect install investigate keep kill let
limit list look lower make mark measure migrate mitigate monitor move note notify open page patch pause perform
pin plan please prevent provide provision query raise read rebalance rebuild reboot recreate redeploy reduce refer
refresh reissue release remove renew reopen repair replace reproduce resend reschedule reset resize resolve
restart restore resume retry return review revert roll rollback rotate rule run save scale schedule search see
send set shift shrink skip split start stop suspend switch take terminate test tighten trace trigger try tune turn
uncordon undo unmount update upgrade use validate verify view visit wait watch withdraw repeat rerun redo begin
speak talk call inform record document treat drop cut gather obtain isolate profile bump enlarge shorten fetch
print dump locate count mind remember leave hold put"""
_ORDERS: Final = frozenset(_ORDER_WORDS.split())
_BEFORE_ORDER: Final = _any(
    r"(?:then|next|first|second|third|finally|also|now|otherwise|afterwards?|additionally|lastly|immediately|meanwhile"
    r"|as a (?:first|next|last|quick) step|in the meantime|in parallel|for now|and|or|but|so|please|always|never|do not"
    r"|don't|manually|temporarily|carefully|quickly|again|the runbook (?:says|recommends|suggests|advises)(?: to)?"
    r"|(?:as|per|in|according to|following) the runbook(?: (?:says|recommends|suggests|advises))?),?\s+",
    r"(?:in order )?to [a-z]+\b[^,:]{0,80}[,:]\s+",
    r"(?:if|should|when|once|after|before|while|until|as soon as)\b[^,]{0,160},\s+",
    r"[\w ,/()-]{1,40}:\s+",
    r"[^,.:;]{1,60},\s+",
)
# Any other verb, known by what follows it: "close the incident".
_ORDERED: Final = re.compile(
    r"(?!(?:is|are|was|were|do|does|did|has|have|had|in|on|at|by|from|with|for|of|to|because|since|while|when|if|as|after"
    r"|before|and|but|so|that|which|during|despite|until|under|over|about|between|within|without|via|per|then|also|now|only"
    r"|not|both|all|like|unlike|behind|besides|through|against|around|among|given|although|though|where|here|there|this"
    r"|these|those|it|they|we|most|some|many|each|every|such|its|their|our|the|a|an|no|one|half|across|near|off|out|up"
    r"|except|including|following|considering|plus|than|whether|what|how|why|who)\b)"
    r"[a-z]{2,}(?<!s)(?<!ed)(?<!ing)(?: [a-z]+ly)? (?:the|a|an|this|these|those|your|any|each|both|every|whether)\b"
)
_ADVISED: Final = _any(
    r"\b(?:you|we|i|one|the team|the operator|someone) (?:should|could|can|may|might|must|need|want|have to|recommend"
    r"|suggest|advise)\b|\b(?:i|we)'d ",
    r"\b(?:it is|it's) (?:worth|best|recommended|advisable|wise|safe|better|useful)\b",
    r"\b(?:should|must|needs? to|has to|have to|ought to) be \w+\b|\bshould (?:help|bring|clear|free|stop|restore)\b",
    r"\bnext steps?\b|\b(?:is|are|we|i) recommend(?:ed)?\b|\blet me know\b|\bif you (?:want|need|like|can)\b",
    r"\bcan be (?:fixed|resolved|raised|restarted|mitigated|increased|reduced|scaled)\b",
    r"\bthe (?:next|first|best|quickest|safest) (?:step|action|fix|thing|move|option|remedy) (?:is|would be) to\b",
)
_MAYBE_ADVISED: Final = re.compile(
    r"\b(?:should|could|can|may|might|must|needs?|want|ha(?:s|ve) to|ought|recommend|suggest|advise|it is|it's|next"
    r"|let me|if you|the (?:next|first|best|quickest|safest))\b|'d |recommended"
)
_LEADING_IN: Final = _any(
    r"(?:here (?:is|are)|below|to sum up|summary|this is what|what follows|what (?:the evidence|we know)|the following"
    r"|this answer|note that (?:this|the) answer|the evidence (?:above|below|(?:shows|points to) the following)"
    r"|let's|in (?:summary|short|brief|conclusion)[:.]?$)(?:\b|$)",
)


def bare(text: str) -> str:
    """The words of a sentence, without the marks of a list and of emphasis; one word in bold becomes code."""
    marker = MARKER.match(text)
    words = text[marker.end() if marker else 0 :].strip()
    return _MARKUP.sub("", _STRONG_NAME.sub(r"`\2`", words)) if "*" in words or "_" in words else words


def is_heading(text: str) -> bool:
    """Whether a line is a heading by being in bold as a whole."""
    return _BOLD_LINE.fullmatch(text) is not None


def kind_of(words: str, form: Form) -> Kind:
    """What a sentence is, from its bare words without citations and with its quotes blanked."""
    said = words.rstrip(")*_ ")
    if form in ("heading", "fence", "code") or said.endswith("?") or not _WORD.search(said):
        return "aside"
    hard = _HARD.search(said) is not None
    if form == "row":
        return "fact" if hard else "aside"
    lowered = said.lower()
    if not hard and (said.endswith(":") or len(_WORD.findall(said)) < FEWEST_WORDS or _LEADING_IN.match(lowered)):
        return "aside"
    if not hard and _CONJECTURE.match(lowered):
        return "aside"
    if _MAYBE_UNKNOWN.search(lowered) and _UNKNOWN.search(lowered):
        return "unknown"
    return "advice" if _is_advice(lowered) else "fact"


def _is_advice(lowered: str) -> bool:
    """Whether the sentence tells what to do: an order comes first, or somebody should do something."""
    at = 0
    for _ in range(4):
        first = _WORD.match(lowered, at)
        if first and first.group() in _ORDERS and lowered[first.end() : first.end() + 1] in ("", " ", ",", "/"):
            return True
        if _ORDERED.match(lowered, at):
            return True
        skipped = _BEFORE_ORDER.match(lowered, at)
        if skipped is None:
            break
        at = skipped.end()
    return lowered.startswith("$ ") or (
        _MAYBE_ADVISED.search(lowered) is not None and _ADVISED.search(lowered) is not None
    )
