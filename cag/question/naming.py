"""Which things of the index a question names, however it spells them. Pure.

In this order: a name as it stands, in any case and with blanks for its dashes; a pod behind its workload's name; part
of a name, where only a few have it; a slip of the pen. A word of everyday is a name only where it stands like one.
Reading is bounded, whatever is asked.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from cag.question.companions import KIN, kin, owner_of
from cag.question.ordinary import ASKING, ordinary
from cag.question.spelling import FEW, Catalog, Index, Named, index_of, parts_of, squash, unsaid

WORDS: Final = 4_000  # of a question
LONGEST: Final = 8  # words that one name may be written in
SLIPS: Final = 40  # words of a question that are looked at for slips

_WORD: Final = re.compile(r"(?!(?<=['’])s\b)[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
KIND_ENDING: Final = re.compile(r"[-_](?:service|svc|deployment|deploy|pods?|app)$")
_JOINT: Final = re.compile(r"(?:['’]s)?[ \t\n]{1,3}|:")
_NOUNS: Final[Mapping[str, str]] = {
    noun: kind
    for kind, nouns in (
        ("workload", "service services svc pod pods po deployment deployments deploy app apps application workload job"
         " workloads jobs cronjob cronjobs statefulset sts daemonset ds container containers replica replicas component"
         " microservice server process replicaset"),
        ("namespace", "namespace namespaces ns project projects environment env"),
        ("node", "node nodes host hosts machine machines vm instance"),
        ("alert", "alert alerts alarm page"),
        ("metric", "metric metrics series gauge counter"),
        ("cluster", "cluster clusters"),
    )
    for noun in nouns.split()
}  # fmt: skip
_ATTRIBUTES: Final = frozenset({"server", "process", "component", "instance", "microservice", "app", "page", "series"})
_GENERAL: Final = frozenset(
    {"kube", "kubernetes", "openshift", "pod", "node", "container", "high", "low", "too", "many"}
)
_WITHIN: Final = frozenset({"in", "within", "inside", "from", "across"})
_OPENING: Final = frozenset({"and", "same", "what", "how", "about", "also", "or", "but", "now", "then"})
_ALL: Final = frozenset({"everything", "anything", "something", "running", "wrong", "happening", "on", "broken", "all"})
# Words behind a name that say how it is; behind a word of everyday they show that it is meant as a name.
_BEHIND: Final = """
broken latency unavailable dead stuck timeout timeouts restart restarts crash crashes failure failures traffic memory
cpu usage load outage returns returned die dies hang hangs works sluggish flaky throws throw
"""
_SYMPTOMS: Final = frozenset(_BEHIND.split())
# Behind a word of everyday these show that it is a verb, or does not mean the thing: "search the logs".
_NO_END: Final = frozenset(
    (
        "a",
        "all",
        "an",
        "any",
        "each",
        "every",
        "for",
        "his",
        "how",
        "it",
        "its",
        "me",
        "my",
        "our",
        "say",
        "said",
        "says",
        "see",
        "show",
        "shown",
        "shows",
        "some",
        "tell",
        "that",
        "the",
        "their",
        "them",
        "these",
        "this",
        "those",
        "us",
        "what",
        "which",
        "who",
        "your",
    )
)
_VERBS: Final = frozenset(
    {"is", "are", "was", "were", "of", "with", "does", "did", "check", "from", "on", "and", "about"}
)
_OBJECTS: Final = frozenset({"for", "to", "the", "from", "at", "that", "a", "by"})

# Words to ask with that are also nouns: "the default namespace", but not "the second pod".
_NOUNS_TOO: Final = frozenset(
    ("default", "test", "main", "state", "health", "start", "list", "log", "logs", "help", "app")
)


class Word(NamedTuple):
    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        return self.text.lower()


@dataclass(slots=True)
class Found:
    """Names that a question means, in the order in which it names them, and the words that were taken for them."""

    clusters: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    kin: list[str] = field(default_factory=list)  # "database", of something that was named

    def __bool__(self) -> bool:
        return bool(self.running or self.alerts)

    @property
    def running(self) -> bool:
        """Whether anything is named that runs somewhere, or a place."""
        return bool(self.things or self.namespaces or self.clusters)

    @property
    def things(self) -> bool:
        return bool(self.workloads or self.pods or self.nodes or self.metrics)

    def add(self, kind: str, name: str) -> None:
        names: list[str] = getattr(self, f"{kind}s")
        if name not in names:
            names.append(name)


def names_in(question: str, catalog: Catalog, *, exact: bool = False) -> Found:
    """What is named; `exact`: only names as they stand, which is all that is read from a text of the model's."""
    reading = _Reading(question, index_of(catalog))
    reading.whole_names()
    if not exact:
        reading.parts(several=True)
        reading.parts(several=False)
        reading.slips()
    return reading.found()


class _Reading:
    """One question beside one catalog."""

    def __init__(self, text: str, index: Index) -> None:
        self._text, self._index = text, index
        self._words = [Word(m.group(), m.start(), m.end()) for m in islice(_WORD.finditer(text), WORDS)]
        self._squashed = [squash(word.text) for word in self._words]
        self._low = [word.low for word in self._words]
        self._taken = [False] * len(self._words)
        self._named: list[tuple[int, str, str]] = []  # place, kind, name
        self._room = [1] * len(self._words)  # how many words follow each other with nothing but a blank between them
        for place in range(len(self._words) - 2, -1, -1):
            if _JOINT.fullmatch(text, self._words[place].end, self._words[place + 1].start):
                self._room[place] = min(self._room[place + 1] + 1, LONGEST)

    def found(self) -> Found:
        found = Found()
        for place, kind, name in sorted(self._named, key=lambda each: each[0]):
            found.add(kind, name)
            found.words.append(self._words[place].text)
        nodes = set(found.nodes)
        found.workloads = [name for name in found.workloads if name not in nodes]
        found.kin = [w for n, w in enumerate(self._low) if w in KIN and not self._taken[n] and self._of_another(n)]
        for word in found.kin:
            found.workloads += [n for n in kin(found.workloads, word, self._index) if n not in found.workloads]
        return found

    def whole_names(self) -> None:
        place = 0
        while place < len(self._words):
            place += self._whole_name(place) or self._pod(place) or self._dotted(place) or 1

    def _whole_name(self, place: int) -> int:
        """How many words from here are a name."""
        for size in range(min(LONGEST, self._room[place]), 0, -1):
            hits = self._index.whole.get("".join(self._squashed[place : place + size]))
            meant = self._meant(place, place + size - 1, hits) if hits else []
            if meant:
                return self._take(place, size, meant)
        single, cue = self._squashed[place], self._cue(place, place)
        if len(single) > 3 and (not ordinary(self._low[place]) or cue == "workload"):
            for other in (single + "s", single.removesuffix("s"), squash(KIND_ENDING.sub("", self._low[place]))):
                hits = [each for each in self._index.whole.get(other, ()) if each[0] == "workload"]
                if hits and other != single:
                    return self._take(place, 1, self._meant(place, place, hits))
        return 0

    def _pod(self, place: int) -> int:
        word = self._low[place]
        owner = owner_of(word, self._index) if "-" in word else None
        return self._take(place, 1, [("pod", word), ("workload", owner)]) if owner else 0

    def _dotted(self, place: int) -> int:
        """checkout.shop.svc.cluster.local"""
        labels = self._low[place].split(".")[:3]
        if len(labels) < 2:
            return 0
        first, second = (self._index.whole.get(squash(label), []) for label in labels[:2])
        spaces = [each for each in second if each[0] == "namespace"]
        owner = owner_of(labels[0], self._index) if "-" in labels[0] else None
        things: list[tuple[str, str]] = [each for each in first if each[0] in ("workload", "node")]
        things += [("pod", labels[0]), ("workload", owner)] if owner and not things else []
        if not things or (ordinary(labels[0]) and not spaces):
            return 0
        return self._take(place, 1, [*things, *spaces])

    def parts(self, *, several: bool) -> None:
        """Names of which some neighbouring parts are written; one word only if it is no word of everyday."""
        only = any(kind in ("workload", "pod", "node") for _, kind, _ in self._named)
        place = 0
        while place < len(self._words):
            taken = 0
            for size in range(min(4, self._room[place]), 1, -1) if several else (1,):
                if self._taken[place] or taken:
                    break
                meant = self._part(place, size, "".join(self._squashed[place : place + size]), 1 if only else FEW)
                taken = self._take(place, size, meant) if meant else 0
            place += taken or 1

    def _part(self, place: int, size: int, letters: str, few: int) -> list[Named]:
        words = self._low[place : place + size]
        if len(letters) < 3 or (size < 3 and all(word in ASKING for word in words)):
            return []
        hits = self._index.runs.get(letters, [])
        if size > 1 and not hits:  # pods crash looping
            hits = self._index.runs.get("".join(squash(word.removesuffix("s")) for word in words), [])
        everyday = all(map(ordinary, words))
        if not hits and (size > 1 or everyday):
            return []
        cue, within = self._cue(place, place + size - 1), self._within(place)
        spaces = [each for each in hits if each[0] == "namespace"]
        if len(spaces) == 1 and (cue == "namespace" or within):
            return spaces
        alerts = [each for each in hits if each[0] == "alert" and _all_but_general(each[1], letters)]
        if len(alerts) == 1:
            return alerts
        if everyday and cue != "workload":
            half = [e for e in hits if e[0] == "metric" and 2 * len(letters) >= len(parts_of(e[1]).squashed)]
            return half if size > 1 and len(half) <= FEW else []
        workloads = self._workloads(letters, hits, few, whole=size > 1)
        if workloads or not (size > 1 or "_" in words[0]):
            return workloads
        metrics = [each for each in hits if each[0] == "metric"]
        return metrics if len(metrics) <= FEW else []

    def _workloads(self, letters: str, hits: Sequence[Named], few: int, *, whole: bool) -> list[Named]:
        having = [each for each in hits if each[0] == "workload"]
        first = [each for each in having if parts_of(each[1]).squashed.startswith(letters)]
        for some in (first, having):
            if some:
                return some if len(some) <= few else []
        begun = self._index.beginning(letters) if len(letters) >= 4 and not whole else []
        return [("workload", name) for name in begun] if len(begun) <= few else []

    def slips(self) -> None:
        left = SLIPS
        for place, letters in enumerate(self._squashed):
            if left <= 0:
                return
            if self._taken[place] or self._low[place] in ASKING:
                continue
            pair = self._room[place] > 1 and not self._taken[place + 1] and self._low[place + 1] not in ASKING
            spellings = [letters + self._squashed[place + 1]] if pair else []
            spellings += [letters] if not ordinary(self._low[place]) else []
            for spelling in spellings:
                if not len(spelling) >= 5 or sum(map(str.isalpha, spelling)) < 4 or not any(map(str.isalpha, letters)):
                    continue
                left -= 1
                meant = self._index.meant(spelling)
                hits = self._index.whole.get(meant, []) if meant else []
                names = self._meant(place, place, hits, sure=True) if hits else []
                if meant and not hits and spelling == letters:
                    names = self._workloads(meant, self._index.runs.get(meant, []), FEW, whole=True)
                if names:
                    self._take(place, 1 if spelling == letters else 2, names)
                    break

    def _meant(self, first: int, last: int, hits: Sequence[Named], *, sure: bool = False) -> list[Named]:
        """Of the things with this name those that are meant, by where it stands."""
        cue, within = self._cue(first, last), self._within(first)
        meant = [each for each in hits if sure or self._stands(first, last, each, cue, within)]
        kinds = {kind for kind, _ in meant}
        if cue in kinds:
            return [each for each in meant if each[0] == cue]
        if {"namespace", "workload"} <= kinds:
            lead = self._low[: first - 1]
            place = within and (
                not lead or set(lead) <= _OPENING or self._taken[first - 2] or lead[-1] in _NOUNS or lead[-1] in _ALL
            )
            meant = [each for each in meant if each[0] != ("workload" if place else "namespace")]
        return [each for each in meant if each[0] != "workload"] if "node" in kinds else meant

    def _stands(self, first: int, last: int, named: Named, cue: str, within: bool) -> bool:
        kind, name = named
        words, parts = self._low[first : last + 1], parts_of(name)
        pointed = cue in (kind, "quoted", "slash")
        if last > first:
            ends = [len("".join(self._squashed[first : n + 1])) for n in range(first, last + 1)]
            aligned = parts.ends.issuperset(ends)
            known = [word in ASKING and (aligned or word not in _NOUNS) for word in words]
            return not any(known) if not aligned else not all(known) or kind == "alert" or pointed
        word = words[0]
        if (len(parts.squashed) < 2 or parts.squashed.isdigit()) and not pointed:
            return False
        if word in ASKING and word not in _NOUNS_TOO and cue not in ("quoted", "slash", kind == "metric" and kind):
            return within and kind in ("namespace", "cluster")
        if kind == "namespace" and self._text[: self._words[first].start].endswith("/") and cue != "slash":
            return False  # of a path
        if pointed or not ordinary(word):
            return pointed or kind != "metric" or len(parts.ends) > 1
        if kind in ("namespace", "cluster"):
            return within
        return kind in ("workload", "node") and word not in ASKING and self._subject(last)

    def _subject(self, last: int) -> bool:
        """Whether a word of everyday stands as a name does: "why is web down", but not "the web console"."""
        after = self._low[last + 1] if self._room[last] > 1 else ""
        before = self._low[last - 1] if last and self._room[last - 1] > 1 else ""
        if before in ("a", "an", "any", "some", "every", "each", "no"):
            return False
        if before in _VERBS and after in _OBJECTS:
            return True
        if not after or (after in ASKING and after not in _NO_END):
            return True
        return after in _SYMPTOMS or after.endswith(("ing", "ed")) or any(map(str.isdigit, after))

    def _cue(self, first: int, last: int) -> str:
        """What kind of thing the words around a name say that it is; `quoted` where it stands in quotation marks."""
        text, start, end = self._text, self._words[first].start, self._words[last].end
        before, behind = text[start - 1 : start], text[end : end + 1]
        if before and before in "`'\"" and before == behind:
            return "quoted"
        if before == "/" and first and self._low[first - 1] in _NOUNS:
            return "slash"
        spaces = self._index.whole.get(self._squashed[first], ()) if behind == "/" and first == last else ()
        if before not in ("/", ":", ".") and any(kind == "namespace" for kind, _ in spaces):
            return "namespace"
        after = self._low[last + 1] if self._room[last] > 1 else ""
        if after in _NOUNS and not (after == "service" and text[self._words[last + 1].end :][:8].strip() == "account"):
            return _NOUNS[after]
        lead = self._low[first - 1] if first and self._room[first - 1] > 1 else ""
        return _NOUNS.get(lead, "") if lead not in _ATTRIBUTES else ""

    def _within(self, first: int) -> bool:
        return first > 0 and self._low[first - 1] in _WITHIN and self._room[first - 1] > 1

    def _of_another(self, place: int) -> bool:
        """Whether it is the database of something that was named: checkout's, its."""
        return place > 0 and (self._taken[place - 1] or self._low[place - 1] in ("its", "their", "s"))

    def _take(self, place: int, size: int, names: Sequence[tuple[str, str]]) -> int:
        self._taken[place : place + size] = [True] * size
        self._named += [(place, kind, name) for kind, name in names]
        return size if names else 0


def _all_but_general(alert: str, letters: str) -> bool:
    """Whether what is not written of an alert's name tells it from no other: "crash looping" is KubePodCrashLooping."""
    rest = unsaid(alert, letters)
    return rest is not None and _GENERAL.issuperset(rest)
