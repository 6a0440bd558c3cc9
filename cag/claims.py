"""Whether the evidence that a sentence cites says what the sentence says: quotes, times, names, numbers, words. Pure.

What is looked up, in this order: code and quoted words (they must stand in the evidence, whatever the white space and
the case; "..." leaves something out), times and dates (`cag.stated_times`), names (whatever looks like one, and every
name of a workload, namespace, node or cluster that any evidence has), numbers (`cag.amounts`). What the question says
may be repeated. A sentence all of whose hard parts are there, or that has none, must still share words with what it
cites: one that shares nothing, or far more with another piece, cites the wrong one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from cag import amounts, stated_times
from cag.amounts import Amount
from cag.stated_times import CLOCK, DATE
from cag.wording import (
    ACRONYMS,
    COMMON_NAMES,
    COMPOUND_FIRST,
    COMPOUND_LAST,
    STANDS_IN,
    UNSAID,
    normal,
    squeezed,
    stems,
)
from schemas.context import Evidence, Plan

_QUOTED: Final = re.compile(r"(?P<marks>`+)(?P<code>[^`]+)(?P=marks)|\"(?P<said>[^\"\n]{2,})\"")
_TOKEN: Final = re.compile(r"[A-Za-z0-9](?:[\w./:@%-]*[A-Za-z0-9])?")
_MEASURED: Final = re.compile(r"\d[\d.]*(?:[nuµm]?s|m|h|d|min|[KMGTkmgt]i?B?|B|x|rps|qps)(?:/s)?|(?:\d+[hms]){1,3}")
_ORDINAL: Final = re.compile(r"\d+(?:st|nd|rd|th)", re.IGNORECASE)
_COMMAND: Final = re.compile(
    r"\$ |(?:kubectl|oc|helm|curl|psql|redis-cli|etcdctl|docker|crictl|journalctl|systemctl|ssh|df|du|free|top|grep|dig"
    r"|nslookup|openssl|select|promtool|amtool|istioctl|git|aws|gcloud|az|cat|tail|watch|ps|sudo)\b",
    re.IGNORECASE,
)
_NUMBER_WORD: Final = re.compile(
    rf"\b(?:{'|'.join(amounts.WORDS)})\b(?! of (?:the|these|those|them|its)\b)", re.IGNORECASE
)
_NUMBERED: Final = re.compile(
    r"(?:step|option|level|tier|phase|section|priority|part|layer|layers|ipv|evidence)\s*$", re.I
)
_CHANGED: Final = re.compile(
    r"\b(?:ris|rose|grew|grow|climb|jump|increas|drop|fell|fall|decreas|declin|higher|lower|more than (?:it|be|usual)"
    r"|differ|up by|down by|twice|doubl|tripl|quadrupl|halv|-?fold|times (?:as|the|its|higher|more|what)|gain|surg|spik"
    r"|went)",
    re.IGNORECASE,
)
_FACTOR: Final = re.compile(
    r"\b(?:twice (?:as|the|its)|(?P<two>doubl(?:ed|ing|es?))|(?P<three>tripled)|(?P<half>halved))\b", re.I
)
_DOZENS: Final = re.compile(r"\b(dozens|hundreds|thousands|millions) of\b", re.IGNORECASE)
_ORDERS_OF: Final = {"dozens": (12, 200), "hundreds": (100, 2e3), "thousands": (1e3, 2e4), "millions": (1e6, 2e9)}
_COUNTED: Final = ("times", "occurrences", "x", "time")
_SUMMED: Final = re.compile(r"\b(?:total|altogether|combined|together|in all|sum)\b", re.IGNORECASE)
_CALLED: Final = re.compile(
    r"\b(?:namespace|workload|deployment|statefulset|daemonset|node|cluster|host) (?:called |named )?"
    r"(?P<after>[a-z][a-z0-9]{2,})\b"
    r"|(?:^|[,;] )(?:the )?(?P<first>[a-z][a-z0-9]{2,}) (?:logged|reported|emitted|wrote|crashed|restarted|printed)\b"
    r"|\bthe (?P<before>[a-z][a-z0-9]{2,}) (?:workload|deployment|namespace|pods?|service|statefulset|container)\b"
)
LEAST_QUOTE: Final = 12  # squeezed characters of a quote from which white space may differ
FEWEST_STEMS: Final = 3
CLEARLY_MORE: Final = 3  # words that another piece has and the cited one has not


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one piece of evidence says, taken apart."""

    said: str  # lower case, fields separated by lines
    squeezed: str
    numbers: tuple[Amount, ...]
    counts: tuple[int, ...]
    times: stated_times.Known
    lasting_s: float
    stems: frozenset[str]
    guide: bool


class Claims:
    """The evidence of one answer; pieces are taken apart when they are first needed."""

    def __init__(self, evidence: Sequence[Evidence], plan: Plan) -> None:
        self._evidence = evidence
        self._zone = ZoneInfo(plan.zone)
        offset = plan.span.end.astimezone(self._zone).utcoffset()
        self._offset_s = int(offset.total_seconds()) if offset else 0
        self._pieces: dict[int, _Piece] = {}
        self._asked = self._question(plan)
        self._names = frozenset(_names(evidence))
        self._everything: str | None = None

    def fault(self, text: str, cited: Sequence[int], *, live: bool = True) -> str:
        """What the cited evidence (numbers from 1) does not hold of a sentence; empty: it holds everything.

        `live`: False for advice and for what is not known, where names may come from any piece, and words are free.
        """
        pieces = [self._piece(number) for number in cited]
        rest = normal(text)
        rest, wrong = self._quotes(rest, pieces, live=live)
        if not wrong:
            rest, wrong = self._times(rest, pieces)
        if not wrong:
            rest, names, wrong = self._tokens(rest, pieces, live=live)
        if not wrong:
            wrong = self._numbers(rest, pieces, names)
        if not wrong and live:
            wrong = self._elsewhere(text, cited, pieces)
        return wrong

    def free(self, line: str) -> bool:
        """Whether a fenced line is a command, or stands in any piece or in the question, white space aside."""
        if _COMMAND.match(line):
            return True
        if self._everything is None:
            self._everything = "\n".join(self._piece(n).squeezed for n in range(1, len(self._evidence) + 1))
        wanted = squeezed(normal(line).lower())
        return wanted in self._everything or wanted in self._asked.squeezed

    def _quotes(self, text: str, pieces: list[_Piece], *, live: bool) -> tuple[str, str]:
        """The text without what is quoted and found; code that may be a number or a name is left for these."""
        out, at = [], 0
        for found in _QUOTED.finditer(text):
            quote = (found["code"] or found["said"]).strip()
            out.append(text[at : found.start()])
            at = found.end()
            if _said_in(quote, [*pieces, self._asked]):
                continue
            if found["code"] and (_COMMAND.match(quote) or " " not in quote or not live):
                out.append(f" {_arguments(quote)} ")
            elif not live and all(_said_in(word, [*pieces, self._asked]) for word in quote.split()):
                continue
            else:
                return "", f'"{quote[:60]}" is not in the evidence'
        return "".join([*out, " ", text[at:]]), ""

    def _times(self, text: str, pieces: list[_Piece]) -> tuple[str, str]:
        if ":" in text:
            text = stated_times.open_stamps(text)
            for stated in stated_times.clocks(text):
                if not any(piece.times.holds(stated) for piece in (*pieces, self._asked)):
                    return "", f"the time {stated.said} is not in the evidence"
            text = CLOCK.sub(" ", text)
        for said, day in stated_times.dates(text):
            if not any(piece.times.holds_day(*day) for piece in (*pieces, self._asked)):
                return "", f"the date {said} is not in the evidence"
        return DATE.sub(" ", text), ""

    def _tokens(self, text: str, pieces: list[_Piece], *, live: bool) -> tuple[str, int, str]:
        """The text without names, and how many different ones it had."""
        allowed = [*pieces, self._asked]
        if not live:
            allowed += [self._piece(number) for number in range(1, len(self._evidence) + 1)]
        out, at, names = [], 0, set[str]()
        for found in _TOKEN.finditer(text):
            token = found.group()
            lowered = token.lower()
            if token.isalpha() and (token.islower() or token.istitle()):
                if lowered in self._names:
                    names.add(lowered)
                    if not _holds_any(allowed, lowered):
                        return "", 0, f"{token} is not in the cited evidence"
                continue
            if _is_measure(token):
                continue
            for part in _parts(token):
                if _is_name(part, self._names) and not _known(part, allowed):
                    return "", 0, f"{part} is not in the cited evidence"
            names.add(lowered)
            out.append(text[at : found.start()])
            at = found.end()
        for found in _CALLED.finditer(text) if live else ():
            called = found["after"] or found["first"] or found["before"]
            if called not in UNSAID and not _holds_any(allowed, called):
                return "", 0, f"{called} is not in the cited evidence"
        return " ".join([*out, text[at:]]), len(names), ""

    def _numbers(self, text: str, pieces: list[_Piece], names: int) -> str:
        worded = _NUMBER_WORD.sub(lambda found: str(amounts.WORDS[found.group().lower()]), text)
        known = [one for piece in (*pieces, self._asked) for one in piece.numbers]
        counts = [count for piece in pieces for count in piece.counts]
        sums = [sum(counts)] if len(counts) > 1 else []
        changed = _CHANGED.search(text) is not None
        for stated in amounts.amounts(worded):
            if stated.noun in ("st", "nd", "rd", "th") or _NUMBERED.search(worded, max(0, stated.at - 10), stated.at):
                continue
            if stated.noun in _COUNTED and stated.value > 12 and not changed:
                right = any(_is(stated, count) for count in (*counts, *sums)) or any(
                    amounts.stands_for(stated, one) for one in known if one.noun in _COUNTED
                )
            else:
                right = any(amounts.stands_for(stated, one) for one in known)
                right = right or (any(_is(stated, count) for count in (*counts, *sums)) and not stated.dimension)
            if not right and stated.dimension == "time":
                right = any(_is(stated, piece.lasting_s) for piece in (*pieces, self._asked))
            if not right and changed:
                right = any(amounts.follows_from(stated, piece.numbers) for piece in pieces)
            if not right and stated.value <= 12 and not stated.dimension and stated.step == 1:
                right = stated.value in (names, len(pieces)) and stated.said not in text
            if not right:
                return f"{stated.said} is not in the cited evidence"
        return _loose_amounts(text, known, counts, pieces)

    def _elsewhere(self, text: str, cited: Sequence[int], pieces: list[_Piece]) -> str:
        said = stems(text)
        if len(said) < FEWEST_STEMS:
            return ""
        mine = len(said & frozenset().union(*(piece.stems for piece in pieces)))
        others = [self._piece(n) for n in range(1, len(self._evidence) + 1) if n not in cited]
        best = max((len(said & other.stems) for other in others if not other.guide), default=0)
        if mine == 0 or (best >= mine + CLEARLY_MORE and best >= 2 * mine):
            return "it has hardly a word in common with the cited evidence"
        return ""

    def _piece(self, number: int) -> _Piece:
        if number not in self._pieces:
            self._pieces[number] = self._taken_apart(self._evidence[number - 1])
        return self._pieces[number]

    def _taken_apart(self, evidence: Evidence) -> _Piece:
        times = stated_times.Known(self._zone, self._offset_s)
        lasting = 0.0
        if evidence.first and evidence.last:
            times.add(evidence.first)
            times.add(evidence.last)
            lasting = (evidence.last - evidence.first).total_seconds()
        where = (evidence.title, evidence.entity, evidence.workload, evidence.namespace, evidence.cluster)
        more = (evidence.kind, evidence.severity, evidence.url)
        return _piece_of((evidence.text, *where, *more), times, lasting, (evidence.count,), evidence.kind == "runbook")

    def _question(self, plan: Plan) -> _Piece:
        """What may be repeated because the user said it, or because it is the range that was looked at."""
        times = stated_times.Known(self._zone, self._offset_s)
        spans = [plan.span] if plan.compared is None else [plan.span, plan.compared]
        for span in spans:
            times.add(span.start)
            times.add(span.end)
        named = (*plan.namespaces, *plan.workloads, *plan.pods, *plan.nodes, *plan.alerts, *plan.metrics)
        lasting = (plan.span.end - plan.span.start).total_seconds()
        return _piece_of((plan.question[:8_000], plan.zone, *named, *plan.identifiers), times, lasting, (), False)


def _piece_of(
    fields: Sequence[str], times: stated_times.Known, lasting_s: float, counts: tuple[int, ...], guide: bool
) -> _Piece:
    text = normal("\n".join(fields))
    times.add_text(text)
    said = text.lower()
    timeless = DATE.sub(" ", CLOCK.sub(" ", stated_times.open_stamps(text)))
    worded = _NUMBER_WORD.sub(lambda found: str(amounts.WORDS[found.group().lower()]), timeless)
    return _Piece(
        said=said,
        squeezed=squeezed(said),
        numbers=tuple(amounts.amounts(worded)),
        counts=counts,
        times=times,
        lasting_s=lasting_s,
        stems=stems(text),
        guide=guide,
    )


def _names(evidence: Sequence[Evidence]) -> Iterator[str]:
    for piece in evidence:
        for name in (piece.workload, piece.namespace, piece.cluster, piece.entity.rpartition("/")[2]):
            if len(name) > 2:
                yield name.lower()


def _holds(said: str, name: str) -> bool:
    """Whether a name stands in a text by itself or as a part between punctuation."""
    at = said.find(name)
    while at >= 0:
        end = at + len(name)
        if not (at and said[at - 1].isalnum()) and not said[end : end + 1].isalnum():
            return True
        at = said.find(name, at + 1)
    return False


def _holds_any(pieces: Sequence[_Piece], name: str) -> bool:
    return any(_holds(piece.said, name) for piece in pieces)


def _known(token: str, pieces: Sequence[_Piece]) -> bool:
    """Whether a name stands in the evidence, or what it is another word for."""
    lowered = token.lower()
    if _holds_any(pieces, lowered):
        return True
    if lowered.endswith("s") and _holds_any(pieces, lowered[:-1]):
        return True
    if stand_in := STANDS_IN.get(lowered):
        return any(stand_in.search(piece.said) for piece in pieces)
    close = squeezed(lowered)
    return len(close) >= 8 and not any(c.isdigit() for c in close) and any(close in piece.squeezed for piece in pieces)


def _said_in(quote: str, pieces: Sequence[_Piece]) -> bool:
    """Whether one piece has all parts of a quote, in order."""
    parts = [part.strip(" .,;:!?") for part in re.split(r"\.{3}|\[\.\.\.\]", quote.lower())]
    parts = [" ".join(part.split()) for part in parts if part]
    for piece in pieces:
        if all(_holds(piece.said, part) for part in parts):
            return True
        close = [squeezed(part) for part in parts]
        if all(len(part) >= LEAST_QUOTE and part in piece.squeezed for part in close):
            return True
    return not parts


def _arguments(command: str) -> str:
    """What of a command must be known: its words without flags, variables and the tool itself."""
    words = command.split() if _COMMAND.match(command) else ["", command]
    return " ".join(word for word in words[1:] if not word.startswith(("-", "$", "{", "<", "'", "|")))


def _parts(token: str) -> list[str]:
    return [part for part in token.split("/") if part] if "/" in token else [token]


def _is_measure(token: str) -> bool:
    """Whether a token is a number rather than a name: 0/5, 20-30, 30004ms, 4m35s, 2nd."""
    if not any(c.isalpha() for c in token):
        return token.count(".") < 2
    return bool(
        token[0].isdigit() and (_MEASURED.fullmatch(token) or _ORDINAL.fullmatch(token) or _MEASURE_OF.fullmatch(token))
    )


_MEASURE_OF: Final = re.compile(r"\d+-[a-z]+|\d[\d.]*(?:[nuµm]?s|[KMGT]i?B?)?-\d[\d.]*(?:[nuµm]?s|[KMGT]i?B?)")


def _is_name(token: str, names: frozenset[str]) -> bool:
    """Whether it looks like the name of something; then it has to be known."""
    lowered = token.lower()
    if lowered in COMMON_NAMES:
        return False
    if lowered in names:
        return True
    if any(c.isdigit() for c in token):
        return any(c.isalpha() for c in token) or token.count(".") >= 2
    if token.isalpha():
        return token not in ACRONYMS if token.isupper() else any(c.isupper() for c in token[1:])
    if "-" in token and token.replace("-", "").isalpha():
        first, *_, last = lowered.split("-")
        return not (first in COMPOUND_FIRST or last in COMPOUND_LAST)
    return True


def _is(stated: Amount, value: float) -> bool:
    step = 1.0 if float(value).is_integer() else 1e-3
    if stated.dimension == "time":
        close = abs(stated.value * stated.scales[0] - value)
        return close <= stated.step * stated.scales[0] * (1.0 if stated.scales[0] >= 60 else 0.5)
    return amounts.stands_for(stated, Amount("", float(value), step, step, "", (1.0,)))


def _loose_amounts(text: str, known: list[Amount], counts: list[int], pieces: list[_Piece]) -> str:
    """`hundreds of`, `doubled`: words that say how much."""
    for found in _DOZENS.finditer(text):
        least, most = _ORDERS_OF[found[1].lower()]
        if not any(least <= value < most for value in (*counts, *(one.value for one in known))):
            return f"{found.group()} is not in the cited evidence"
    for found in _FACTOR.finditer(text):
        factor = 3.0 if found["three"] else 2.0
        stated = Amount(found.group(), factor, 0.6, 0.6, "", (1.0,), "about")
        if not any(amounts.follows_from(stated, piece.numbers) for piece in pieces):
            return f"{found.group()} does not follow from the cited evidence"
    return ""
