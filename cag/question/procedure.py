"""Whether a question is one of procedure: what runbooks alone answer, whatever runs now. Pure.

Either it asks how a thing is done in general, or it asks in general about an alert: what it means, why it fires, what
is done about it. Of the latter every word is known; one more ("again", "our", "firing") and it is about what runs now.
"""

import re
from collections.abc import Sequence
from typing import Final

from cag.question.ordinary import ASKING
from cag.question.spelling import squash
from cag.word_index import spaced


def any_of(alternatives: str) -> re.Pattern[str]:
    """Whole words, in any case."""
    return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)


ANYONE: Final = r"(?:i|we|you|one)"

# A question about procedure, and what shows that it is about something that runs now after all.
_PROCEDURE: Final = any_of(
    rf"how (?:do|can|should|would|could) {ANYONE}|how (?:to|does one|is it done)"
    r"|(?:what are the |the |which |list the |show me the )?steps (?:to|for|of)"
    r"|(?:what does|what do|according to|show me|is there|do we have|where is|open|find|read)(?: \w{1,6}){0,2}"
    r" runbooks?(?: (?:say|says|recommend|suggest))?(?: (?:about|for|on|to))?|runbooks? (?:for|about|on)"
    r"|(?:what is the )?(?:best|recommended) way (?:to|of)|what is the (?:procedure|process|way|meaning of)"
    r"|(?:(?:is there|do we have) )?(?:a |any |the )?(?:guide|guidance|instructions|playbook|procedure"
    r"|(?:remediation|mitigation)(?: steps)?) (?:to|for)(?: (?:handling|fixing|resolving|dealing with))?"
    rf"|how (?:should|can|must)(?! {ANYONE}\b)(?= (?:\S{{1,60}} ){{1,6}}be \w{{3,12}}ed\b)"
    rf"|(?:what|which) (?:should|do|can|must) {ANYONE} do (?:when|if|about|in case of|for)"
    r"|what does(?= \S{3,80} (?:alert )?mean)"
)
_LIVE: Final = any_of(
    r"our|ours|my|mine|us|now|currently|today|tonight|still|again|just|keeps?|happening|going on|why|wrong|broke"
    r"|happened|this|that(?! (?:is|are|has|have|was|keeps))|these|those|it|its|they|them|their|there|here|he|she|same"
    r"|other one|else|status|since|latest|proceed|continue"
)
_STATE: Final = any_of(r"is|are|was|were|has|have|had|am|(?:is|are|wo|does|ca)n['’]t|cannot|failed|fails|crashed|hangs")
_IN_GENERAL: Final = any_of(r"when|if|in case|once|after|before|while|does|do|that(?= (?:is|are|has|have|keeps))")
_DEFINITE: Final = any_of(
    r"the (?:[\w-]{1,40} ){0,3}(?:pods?|services?|deployments?|nodes?|containers?|errors?|alerts?|timeouts?|outage"
    r"|incident|problems?|issues?|failures?|cluster|crash\w{0,6}|restarts?)"
)
_THE: Final = any_of("the")
_SAYS: Final = "say says recommend suggest follow mean means find read open"
_SAID: Final = frozenset(_SAYS.split())

# What asks in general about an alert.
_ASKS: Final = any_of(
    r"(?:explain|describe)(?: what)?(?: the)?|define|what is meant by|what (?:does|would)(?: the)?(?=.{3,200} mean\b)"
    r"|(?:what (?:is|are) |what['’]s )?(?:the )?mean(?:s|ing)?|what(?: is|['’]s)(?= \S{3,80}\W{0,3}$)"
    r"|(?:why|when|how) (?:does|do|would|could|can|might|may)"
    r"|what (?:(?:can|could|may|might|would) )?(?:usually |typically |normally )?(?:causes?|triggers?|leads? to)"
    r"|what (?:can|could|may|might) be (?:the|a) (?:causes?|reasons?)"
    r"|(?:what are (?:the )?)?(?:(?:possible|common|usual|typical|likely|general) )?(?:causes|reasons)"
    r"|for what reasons? (?:does|would|could|can|might|may)"
    rf"|how (?:can|should|could|would|must|do|to)(?: {ANYONE})?|how (?:is|are)(?=.{{3,200}} \w{{3,12}}ed\b)"
    rf"|what (?:do|should|can|could|must|would) {ANYONE} (?:do|check)|what (?:to do|(?:should|must|can) be done)"
    rf"|(?:which|what) (?:checks|steps)(?: help(?: {ANYONE})?)?|walk me through|(?:a |the )?guide|guidance|instructions"
    r"|(?:(?:what(?: is| are|['’]s)|is there|are there|do we have|have we got|where is|open|show|find|read) )?(?:me )?"
    r"(?:(?:a|an|the|any) )?(?:(?:best|right|recommended|usual|standard) )?"
    r"(?:runbooks?|playbooks?|procedures?|process|way|steps|remediation(?: steps)?|mitigation(?: steps)?)"
)
_CAUSE: Final = any_of(r"why|causes?|reasons?|triggers?|leads?")
_POLITE: Final = re.compile(
    r"\W{0,3}(?:(?:hi|hello|hey|ok|please|can you|could you|would you)\W{1,3}){0,3}(?:(?:tell|show|give) me\s)?",
    re.IGNORECASE,
)
_AND_SO: Final = re.compile(r"(?:\b(?:it|this|please|thanks|thank you|to me)\W{0,3}){0,2}$", re.IGNORECASE)
_AROUND_IT: Final = """
a an alert alerts prometheus kubernetes to for of on about with against behind from in case when if and or be i we you
one fire fires happen happens occur occurs trigger triggers triggered raised mean means handle handled handling deal
dealing dealt fix fixed fixing resolve resolved resolving repair repaired repairing mitigate mitigated mitigating
remediate remediated remediating remedy solve solved solving address addressed diagnose diagnosed diagnosing debug
debugged debugging troubleshoot troubleshooting investigate investigated investigating analyse analyze analysing
analyzing treat treated respond responding react reacting usually normally typically generally
"""
_BESIDE: Final = frozenset(_AROUND_IT.split())
# An alert that has not fired yet is in no index; runbooks know it. Exceptions are for the logs to explain.
_LIKE_AN_ALERT: Final = re.compile(
    r"\b(?=\w{6,80}\b)(?!\w{0,80}(?:Exception|Error)s?\b)\w{1,79}?(?<=[a-z0-9])[A-Z]\w{0,78}"
)


def is_procedure(text: str, alerts: Sequence[str], *, follows: bool) -> bool:
    """Whether runbooks alone answer this; `alerts` are what it names, `follows` says that there were turns before."""
    return _of_an_alert(text, alerts, follows=follows) or _in_general(text, follows=follows)


def _of_an_alert(text: str, alerts: Sequence[str], *, follows: bool) -> bool:
    """In a conversation about what runs, the cause that is asked for is that of what runs."""
    names = [*alerts, *_LIKE_AN_ALERT.findall(text)]
    if not names or not _ASKS.search(text) or (follows and _CAUSE.search(text)):
        return False
    polite = _POLITE.match(text)
    asked = _AND_SO.sub("", text[polite.end() if polite else 0 :])
    letters, parts = "".join(map(squash, names)), set(" ".join(map(spaced, names)).lower().split())
    left = re.findall(r"[^\W_]+", _ASKS.sub(" ", asked).lower())
    return all(word in _BESIDE or word in parts or (len(word) > 3 and word in letters) for word in left)


def _in_general(text: str, *, follows: bool) -> bool:
    """How a thing is done in general. In doubt it is about what runs now."""
    found = _PROCEDURE.search(text)
    if found is None or _DEFINITE.search(text) or (follows and _THE.search(text[found.end() :])):
        return False
    rest = f"{text[: found.start()]} {text[found.end() :]}"
    general = found.group().lower().endswith((" when", " if"))
    if _LIVE.search(rest) or (not general and _STATE.search(_IN_GENERAL.split(rest)[0])):
        return False
    words = re.findall(r"[a-z]+", rest.lower())
    told = sum(len(word) > 2 and word not in ASKING and word not in _SAID for word in words)
    return general or told > (follows and found.group().lower().startswith("how"))  # "how do I repair?" goes on
