"""Whether the evidence that a sentence cites says what the sentence says: quotes, times, names, numbers, words. Pure.

What is looked up, in this order: code and quoted words (they must stand in the evidence, whatever the white space and
the case; "..." leaves something out), times and dates (`stated_times`), names (whatever looks like one, and every
name of a workload, namespace, node or cluster that any evidence has), numbers (`amounts`). What the question says
may be repeated. A sentence all of whose hard parts are there, or that has none, must still share words with what it
cites: one that shares nothing, or far more with another piece, cites the wrong one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from cag.question.ordinary import ordinary
from cag.verification import amounts, stated_times
from cag.verification.amounts import Amount
from cag.verification.cited import Piece, Place, holds_any, known_name, said_in, spelled
from cag.verification.wording import (
    ACRONYMS,
    COMMON_NAMES,
    COMPOUND_FIRST,
    COMPOUND_LAST,
    PLAIN_NOUNS,
    UNSAID,
    normal,
    squeezed,
    stems,
)
from schemas.context import Evidence, Plan

QUOTED: Final = re.compile(r"(?<!`)(?P<marks>`{1,3})(?!`)(?P<code>[^`]+)(?P=marks)|\"(?P<said>[^\"\n]{2,})\"")
_TOKEN: Final = re.compile(r"[A-Za-z0-9](?:[\w./:@%-]*[A-Za-z0-9])?")
_MEASURED: Final = re.compile(r"\d[\d.]*(?:[nuµm]?s|m|h|d|min|[KMGTkmgt]i?B?|B|x|rps|qps)(?:/s)?|(?:\d+[hms]){1,3}")
_ORDINAL: Final = re.compile(r"\d+(?:st|nd|rd|th)", re.IGNORECASE)
_COMMAND: Final = re.compile(
    r"\$ |(?:kubectl|oc|helm|curl|psql|redis-cli|etcdctl|docker|crictl|journalctl|systemctl|ssh|df|du|free|top|grep|dig"
    r"|nslookup|openssl|select|promtool|amtool|istioctl|git|aws|gcloud|az|cat|tail|watch|ps|sudo)\b",
    re.IGNORECASE,
)

_TIMES: Final = re.compile(r"(?<![\w.])[x\u00d7](\d[\d,]*)\b", re.IGNORECASE)  # x336, as the prompt writes counts
_NUMBERED: Final = re.compile(
    r"(?:step|option|level|tier|phase|section|priority|part|layer|layers|ipv|evidence)\s*$", re.I
)
_CHANGED: Final = re.compile(
    r"\b(?:ris|rose|grew|grow|climb|jump|increas|drop|fell|fall|decreas|declin|higher|lower|more than (?:it|be|usual)"
    r"|differ|up by|down by|twice|doubl|tripl|quadrupl|halv|-?fold|times (?:as|the|its|higher|more|what)|gain|surg|spik"
    r"|went)",
    re.IGNORECASE,
)
_LOOSE: Final = re.compile(
    r"\b(?:(?P<many>[Dd]ozens|[Hh]undreds|[Tt]housands|[Mm]illions) of|[Tt]wice (?:as|the|its)|[Dd]oubl(?:ed|ing|es?)"
    r"|(?P<three>[Tt]ripled)|[Hh]alved)\b"
)
_ORDERS_OF: Final = {"dozens": (12, 200), "hundreds": (100, 2e3), "thousands": (1e3, 2e4), "millions": (1e6, 2e9)}
_COUNTED: Final = ("times", "occurrences", "x", "time", "lines", "messages", "log")
_SUMMED: Final = re.compile(r"\b(?:total|altogether|combined|together|in all|sum)\b", re.IGNORECASE)
_CALLED: Final = re.compile(
    r"\b(?:namespace|workload|deployment|statefulset|daemonset|node|cluster|host|pod|service|container)s? "
    r"(?:called |named )?(?P<after>[a-z][a-z0-9]{2,})"
    r"(?= (?:logged|got|is|was|has|had|wrote|reported|shows?|since|at|cannot)\b|[ .,;:!)]*$)"
    r"|(?:^[| ]*|\b(?:when|where|that|while|because|and|as) |, )(?P<actor>[a-z][a-z0-9]{2,})"
    r"(?= (?:logged|emitted|printed|said|first)\b)"
    r"|^[| ]*(?P<first>[a-z][a-z0-9]{2,})"
    r"(?=:| \||(?:'s)? (?:reports?|reported|wrote|crashed|restarted|shows?|showed|has|had|is|was|got|repeated|keeps?"
    r"|cannot|received|does|did|started|failed)\b)"
    r"|^(?P<reason>Pulled|Pulling|Created|Started|Killing|Evicted|Unhealthy|Scheduled|Rebooted)(?=:| \()"
    r"|\b[Tt]he (?P<before>[a-z][a-z0-9]{2,}) (?:workload|deployment|namespace|pods?|service|statefulset|container)\b"
    r"|\b(?:[Aa]lert|[Ee]vent|[Rr]eason|type)s? (?:named |called )?(?P<title>[A-Z][A-Za-z]{3,})\b"
    r"|\b(?:[Ii]n|of|[Ff]rom|by|[Ff]or|[Oo]n|against) (?P<behind>[a-z][a-z0-9]{3,})"
    r"(?=[ .;:!)]*$|, | (?:is|was|has|since|between|until|at|in|to|and|with|because|after|before|while|when|which"
    r"|where|say|show)\b| _)"
)
# Reasons of Kubernetes events that look like ordinary words; at the beginning only where a name stands.
_REASONS: Final = frozenset(("Evicted", "Unhealthy", "Killing", "Pulled", "Rebooted", "Preempted"))
_NAMED_FIRST: Final = re.compile(
    r"[:(]| \(| (?:was|is|has|went|appears?|started|began|stands|for|on|fires|fired|concerns?)\b"
)
_ENGLISH: Final = re.compile(
    r".*(?:ion|ing|ment|ness|ity|ance|ence|ure|ed|es|ly|ism|al|ive|age|ess|ers|ors|ts|ns|ls|th)"
)
_APART: Final = re.compile(r"\b(?:later|earlier|before|after|apart)\b", re.IGNORECASE)
_NO_NAMES: Final = PLAIN_NOUNS | UNSAID
_LOOKED_AT: Final = re.compile(r"\b(?:last|past|previous|window|period|range|looked)\b", re.IGNORECASE)
_QUOTES_LINE: Final = " __ "  # stands for a quote of several words: the right piece is cited
FEWEST_STEMS: Final = 3
CLEARLY_MORE: Final = 3  # words that another piece has and the cited one has not


class Claims:
    """The evidence of one answer; pieces are taken apart when they are first needed."""

    def __init__(self, evidence: Sequence[Evidence], plan: Plan, exist: frozenset[str] = frozenset()) -> None:
        self._evidence = evidence
        zone = ZoneInfo(plan.zone)
        offset = plan.span.end.astimezone(zone).utcoffset()
        self._place = Place(zone, int(offset.total_seconds()) if offset else 0)
        self._pieces: dict[int, Piece] = {}
        self._asked = self._question(plan)
        self._names = frozenset(_names(evidence))
        self._titles = _REASONS | {e.title.partition(" ")[0] for e in evidence if e.kind in ("event", "alert")}
        self._exist = exist
        self._everything: str | None = None

    def fault(self, text: str, cited: Sequence[int], *, live: bool = True) -> str:
        """What the cited evidence (numbers from 1) does not hold of a sentence; empty: it holds everything.

        `live`: False for advice and for what is not known, where names may come from any piece, and words are free.
        """
        pieces = [self._piece(number) for number in cited]
        rest = _TIMES.sub(r"\1 times", normal(text))
        rest, wrong = self._quotes(rest, pieces, live=live)
        if not wrong:
            rest, wrong = self._times(rest, pieces)
        if not wrong:
            unnamed, names, wrong = self._tokens(rest, pieces, live=live)
        if not wrong:
            wrong = self._numbers(unnamed, pieces, names)
        if not wrong and live and _QUOTES_LINE not in rest:
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

    def _quotes(self, text: str, pieces: list[Piece], *, live: bool) -> tuple[str, str]:
        """The text without what is quoted and found; code that may be a number or a name is left for these."""
        out, at = list[str](), 0
        for found in QUOTED.finditer(text):
            quote = (found["code"] or found["said"]).strip()
            out += (text[at : found.start()], " _ ")
            at = found.end()
            if said_in(quote, pieces):
                out.append(_QUOTES_LINE if quote.count(" ") >= 2 else "")
                continue
            if said_in(quote, [self._asked]):
                continue
            if found["code"] and " " not in quote and quote.replace("/", "").replace("-", "").isalpha():
                allowed = [*pieces, self._asked] if live else self._all()
                if not all(part.lower() in COMMON_NAMES or known_name(part, allowed) for part in _parts(quote)):
                    return "", f"`{quote[:60]}` is not in the evidence"
            elif found["code"] and (_COMMAND.match(quote) or " " not in quote or (not live and " -" in quote)):
                out.append(f" {_arguments(quote)} ")
            elif not live and said_in(quote, self._all()):
                continue
            else:
                return "", f'"{quote[:60]}" is not in the evidence'
        return "".join([*out, " ", text[at:]]), ""

    def _times(self, text: str, pieces: list[Piece]) -> tuple[str, str]:
        if ":" in text:
            text = stated_times.open_stamps(text)
            for stated in stated_times.clocks(text):
                if not (
                    any(piece.moments.holds(stated) for piece in pieces)
                    or any(piece.written.holds(stated) for piece in pieces)
                    or self._asked.moments.has(stated)
                    or self._asked.written.has(stated)
                ):
                    return "", f"the time {stated.said} is not in the evidence"
        for said, day in stated_times.dates(text):
            if not any(known.holds_day(*day) for p in (*pieces, self._asked) for known in (p.moments, p.written)):
                return "", f"the date {said} is not in the evidence"
        return stated_times.without(text), ""

    def _tokens(self, text: str, pieces: list[Piece], *, live: bool) -> tuple[str, int, str]:
        """The text without names, and how many different ones it had."""
        allowed = [*pieces, self._asked] if live else self._all()
        out, at, names = [], 0, set[str]()
        for found in _TOKEN.finditer(text):
            token = found.group()
            lowered = token.lower()
            if token.isalpha() and (token.islower() or token.istitle()):
                if self._names_something(token, lowered, text, found):
                    names.add(lowered)
                if lowered in names and not holds_any(allowed, lowered):
                    return "", 0, f"{token} is not in the cited evidence"
                continue
            if _is_measure(token):
                continue
            parts = [part for part in _parts(token) if _is_name(part, self._names) or part.lower() in self._exist]
            for part in parts:
                if not known_name(part, allowed):
                    return "", 0, f"{part} is not in the cited evidence"
            if not parts:
                continue
            names.add(lowered)
            out.append(text[at : found.start()])
            at = found.end()
        for found in _CALLED.finditer(text.strip()) if live else ():
            called = next(filter(None, found.groups())).lower()
            if (called in self._exist or not _plain_word(called, found.lastgroup or "")) and not holds_any(
                allowed, called
            ):
                return "", 0, f"{called} is not in the cited evidence"
        return " ".join([*out, text[at:]]), len(names), ""

    def _names_something(self, token: str, lowered: str, text: str, found: re.Match[str]) -> bool:
        """Whether an ordinary word is the name of something that the evidence or the catalog of names has."""
        if lowered in self._names or (lowered in self._exist and lowered not in _NO_NAMES):
            return True
        return token in self._titles and bool(found.start() or _NAMED_FIRST.match(text, found.end()))

    def _numbers(self, text: str, pieces: list[Piece], names: int) -> str:
        worded = amounts.in_digits(text)
        if not any(map(str.isdigit, worded)):
            return _loose_amounts(text, pieces)
        changed = _CHANGED.search(text) is not None
        lasting = [*pieces, self._asked] if _LOOKED_AT.search(text) else pieces
        counts = [count for piece in pieces for count in piece.counts]
        counts += [sum(counts)] if len(counts) > 1 else []
        for stated in amounts.amounts(worded):
            if stated.noun in ("st", "nd", "rd", "th") or _NUMBERED.search(worded, max(0, stated.at - 10), stated.at):
                continue
            counted = stated.noun in _COUNTED and stated.value > 12 and not changed
            right = not stated.dimension and any(_is(stated, count) for count in counts)
            if not right and not counted:
                right = spelled(stated, [*pieces, self._asked])
            if not right:
                known = (one for piece in (*pieces, self._asked) for one in piece.numbers)
                right = any(amounts.stands_for(stated, n) for n in known if not counted or n.noun in _COUNTED)
            if not right and stated.dimension == "time":
                right = any(_is(stated, piece.lasting_s) for piece in lasting)
                if not right and _APART.search(text):
                    moments = [moment for piece in (*pieces, self._asked) for moment in piece.when]
                    right = any(_is(stated, (b - a).total_seconds()) for a in moments for b in moments if b > a)
            if not right and changed and _derived(worded, stated):
                right = any(amounts.follows_from(stated, piece.numbers) for piece in pieces)
            if not right and stated.value <= 12 and not stated.dimension and stated.step == 1:
                right = stated.value in (names, len(pieces)) and stated.said not in text
            if not right:
                return f"{stated.said} is not in the cited evidence"
        return _loose_amounts(text, pieces)

    def _elsewhere(self, text: str, cited: Sequence[int], pieces: list[Piece]) -> str:
        said = stems(text)
        if len(said) < FEWEST_STEMS:
            return ""
        mine = len(said & frozenset().union(*(piece.stems for piece in pieces)))
        if mine and len(said) < mine + CLEARLY_MORE:
            return ""
        others = [self._piece(n) for n in range(1, len(self._evidence) + 1) if n not in cited]
        best = max((len(said & other.stems) for other in others if not other.guide), default=0)
        if (mine == 0 and best >= 2) or (best >= mine + CLEARLY_MORE and best >= 2 * mine):
            return "it has hardly a word in common with the cited evidence"
        return ""

    def _all(self) -> list[Piece]:
        return [self._asked, *(self._piece(number) for number in range(1, len(self._evidence) + 1))]

    def _piece(self, number: int) -> Piece:
        if number not in self._pieces:
            self._pieces[number] = Piece.of(self._evidence[number - 1], self._place)
        return self._pieces[number]

    def _question(self, plan: Plan) -> Piece:
        """What may be repeated because the user said it, or because it is the range that was looked at."""
        spans = [plan.span] if plan.compared is None else [plan.span, plan.compared]
        named = (*plan.namespaces, *plan.workloads, *plan.pods, *plan.nodes, *plan.alerts, *plan.metrics)
        fields = (plan.question[:8_000], plan.zone, *named, *plan.identifiers)
        moments = [moment for span in spans for moment in (span.start, span.end)]
        return Piece("\n".join(fields), self._place, moments=moments)


def _names(evidence: Sequence[Evidence]) -> Iterator[str]:
    for piece in evidence:
        for name in (piece.workload, piece.namespace, piece.cluster, piece.entity.rpartition("/")[2]):
            if len(name) > 2:
                yield name.lower()


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
    if lowered in COMMON_NAMES or token in ACRONYMS:
        return False
    if lowered in names:
        return True
    if any(c.isdigit() for c in token):
        return any(c.isalpha() for c in token) or token.count(".") >= 2
    if token.isalpha():
        return any(c.isupper() for c in token[1:])
    if "-" in token and token.replace("-", "").isalpha():
        first, *_, last = lowered.split("-")
        return not (first in COMPOUND_FIRST or last in COMPOUND_LAST)
    return True


def _plain_word(word: str, place: str) -> bool:
    """Whether a word where a name might stand is an ordinary one."""
    if word in UNSAID or (place == "after" and word.endswith(("s", "ed"))):
        return True
    return place == "behind" and (word in PLAIN_NOUNS or ordinary(word) or _ENGLISH.fullmatch(word) is not None)


def _derived(text: str, stated: Amount) -> bool:
    """Whether it says by how much something changed: "by 40", "40 %", "3 times"."""
    return (
        stated.dimension == "%"
        or stated.noun in ("times", "x", "fold")
        or text[max(0, stated.at - 20) : stated.at].rstrip("~ ").endswith(("by", "by about", "by around", "by roughly"))
    )


def _is(stated: Amount, value: float) -> bool:
    step = 1.0 if float(value).is_integer() else 1e-3
    if stated.dimension == "time":
        close = abs(stated.value * stated.scales[0] - value)
        return close <= stated.step * stated.scales[0] * (1.0 if stated.scales[0] >= 60 else 0.5)
    return amounts.stands_for(stated, Amount("", float(value), step, step, "", (1.0,)))


def _loose_amounts(text: str, pieces: Sequence[Piece]) -> str:
    """`hundreds of`, `doubled`: words that say how much."""
    for found in _LOOSE.finditer(text):
        if found["many"]:
            least, most = _ORDERS_OF[found["many"].lower()]
            values = [*(n for piece in pieces for n in piece.counts), *(n.value for p in pieces for n in p.numbers)]
            right = any(least <= value < most for value in values)
        else:
            factor = 3.0 if found["three"] else 2.0
            stated = Amount(found.group(), factor, 0.6, 0.6, "", (1.0,), "about")
            right = any(amounts.follows_from(stated, piece.numbers) for piece in pieces)
        if not right:
            return f"{found.group()} does not follow from the cited evidence"
    return ""
