"""Checking a model's text while it streams: links, citations, and what each sentence says. Pure.

Two steps. First nothing stays a link, an image or a tag, but links to allowed hosts that a runbook among the evidence
has; each citation exists. What comes out does not depend on how the stream was cut, and what is removed always leaves
something behind, so that the text around it cannot close up to a new link. Then each sentence is held until it is
complete and checked: one that states a fact without a citation, or says what the evidence that it cites does not, is
marked or removed. Never more than `hold_chars` are held back; a longer sentence is checked in pieces.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

from cag.inert import UNSEEN
from cag.verification.claims import QUOTED, Claims
from cag.verification.sentences import CITATION, Sentences, Unit
from cag.verification.statements import MARKER, bare, is_heading, kind_of
from schemas.context import Evidence, Plan, Verification

Action = Literal["mark", "remove", "off"]

REMOVED: Final = "(link removed)"
MARK: Final = "(⚠ unverified)"
TAKEN_OUT: Final = "(removed: the evidence does not support this)"
NOTES: Final = 5
NOTE_CHARS: Final = 160
LEAST_PIECE: Final = 80  # of a sentence, however little may be held back
# What renderers turn into links by themselves, and the beginnings of these at the end of a text.
_SPECIAL: Final = re.compile(r"[\[\]<]|https?://|ftp://|www\.", re.IGNORECASE)
_BEGUN: Final = re.compile(r"(?:h(?:t(?:t(?:ps?(?::/?)?)?)?)?|f(?:t(?:p(?::/?)?)?)?|w{1,3})\Z", re.IGNORECASE)
# Text that is nothing of all this, and at whose end nothing of it begins; most of what a model says.
_HARMLESS: Final = re.compile(
    r"[A-Za-z0-9 ,;:.()!?'\"`*_-]*"
    r"(?:[A-EGI-OQRUVXYZa-egi-oqruvxyz0-9 ,;.()!?'\"`*_-]|(?<![hftHFT])[tT]|(?<![tT])[pP]|(?<![pP])[sS]|(?<![pPsS]):)"
)
_ADDRESS_END: Final = re.compile(r"[\s<>()\[\]\"'`]")
# Bounded, so that little is held back: a bracket that stays open for longer is a bracket.
_BRACKET: Final = re.compile(r"\[([^\[\]\n]{0,80})(\]?)")
_TARGET: Final = re.compile(r"\(([^()\n]{0,200})(\)?)")
_TAG: Final = re.compile(r"<([^<>]{0,200})(>?)")
_ADDRESS: Final = re.compile(r"[^\s<]{0,200}")  # what renderers take for one address
LOOKAHEAD_CHARS: Final = 290  # the longest that these hold
_NUMBERS: Final = re.compile(r"\d{1,3}(?:\s*,\s*\d{1,3})*", re.ASCII)
_RANGE: Final = re.compile(r"(\d{1,3})\s?[-\u2010-\u2013]\s?(\d{1,3})", re.ASCII)
_SOURCED: Final = re.compile(r"(\d{1,3})\s?†[\w ,-]{0,40}", re.ASCII)  # gpt-oss's own form, as in [1†L3-L5]
_LENTICULAR: Final = str.maketrans("【】", "[]")
_WORDS: Final = re.compile(r"[\w ,'-]+")
_PLACEHOLDER: Final = re.compile(
    r"/?(?!(?:script|style|svg|math|template|noscript|iframe)\b)[a-z][a-z0-9_-]*", re.IGNORECASE
)
_URL: Final = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/[\w./%#?=&+~@:,;-]*)?", re.ASCII)
_URL_TAIL: Final = ".,;:!?"
_AFTER_COLON: Final = re.compile(r": (.*(?:\"it\"|\d).*)")  # "Look at checkout: ..." says something after all
_LOGGED: Final = ("", "text", "txt", "log", "logs", "console", "output", "none", "plaintext")


class _Links:
    """Feed it deltas; it gives back text in which every [n] exists and no link leads out."""

    def __init__(self, evidence: int, allowed: frozenset[str]) -> None:
        self._evidence = evidence
        self._allowed = allowed
        self._held = ""
        self._before = " "  # the last character of the model's text in front of what is held
        self._in_address = False
        self.removed = 0

    @property
    def held(self) -> int:
        return len(self._held)

    def feed(self, delta: str) -> str:
        if not self._held and not self._in_address and _HARMLESS.fullmatch(delta) and "w." not in delta.lower():
            self._before = delta[-1]
            return delta
        self._held += UNSEEN.sub("", delta).translate(_LENTICULAR)
        return self._scan(last=False)

    def finish(self) -> str:
        return self._scan(last=True)

    def _scan(self, *, last: bool) -> str:
        text, at, out = self._held, 0, []
        while at < len(text):
            if self._in_address:
                end = _ADDRESS_END.search(text, at)
                at = end.start() if end else len(text)
                self._in_address = end is None
                continue
            found = _SPECIAL.search(text, at)
            plain = found.start() if found else len(text) if last else _before_address(text)
            out.append(text[at:plain])
            at = plain
            if found is None:
                break
            decided = self._decide(text, at, found.group(), last=last)
            if decided is None:
                break
            out.append(decided[0])
            at = decided[1]
        self._before = text[at - 1] if at else self._before
        self._held = text[at:]
        return "".join(out)

    def _decide(self, text: str, at: int, special: str, *, last: bool) -> tuple[str, int] | None:
        """What stands in place of the text from `at` to where; None: that depends on what follows."""
        if special == "[":
            return self._bracket(text, at, last=last)
        if special == "<":
            return self._tag(text, at, last=last)
        if special == "]":  # without `](` there is no link, without `]:` no definition of one
            following = text[at + 1 : at + 2]
            if not following and not last:
                return None
            return ("] " if following in ("(", ":") and following else "]"), at + 1
        if self._allowed:
            address = _ADDRESS.match(text, at)
            end = address.end() if address else at
            if end == len(text) and end - at < 200 and not last:
                return None
            url = text[at:end].rstrip(_URL_TAIL)
            if url in self._allowed and end - at < 200:
                return url, at + len(url)
        self.removed += 1
        self._in_address = True
        return REMOVED, at + len(special)

    def _bracket(self, text: str, at: int, *, last: bool) -> tuple[str, int] | None:
        inner = _BRACKET.match(text, at)
        end = inner.end() if inner else at
        if end == len(text) and not last:
            return None
        if inner is None or not inner[2]:
            return "[", at + 1
        if target := _TARGET.match(text, end):
            if target.end() == len(text) and not target[2] and not last:
                return None
            if target[2]:
                before = text[at - 1] if at else self._before
                words = _WORDS.fullmatch(inner[1]) and not inner[1].isdigit()
                if words and before != "!" and target[1] in self._allowed:
                    return f"[{inner[1]}]({target[1]})", target.end()
                self.removed += 1
                return (f"{inner[1]} {REMOVED}" if _WORDS.fullmatch(inner[1]) else REMOVED), target.end()
        numbers = _cited(inner[1])
        if not numbers:
            return "[", at + 1
        kept = [n for n in numbers if 1 <= n <= self._evidence]
        self.removed += len(numbers) - len(kept)
        before = text[at - 1] if at else self._before
        if not kept:
            return "" if before.isspace() else " ", end
        return f"[{', '.join(map(str, kept))}]{' ' * text.startswith(('(', ':'), end)}", end

    def _tag(self, text: str, at: int, *, last: bool) -> tuple[str, int] | None:
        inner = _TAG.match(text, at)
        if inner and inner.end() == len(text) and not inner[2] and not last:
            return None
        if inner is None or not (inner[1][:1].isalpha() or inner[1][:1] in tuple("/!?")):
            return "<", at + 1
        if not inner[2]:
            return "&lt;", at + 1
        if _PLACEHOLDER.fullmatch(inner[1]):  # <pod-name>, as commands are written down
            return inner.group(), inner.end()
        self.removed += 1
        return REMOVED, inner.end()


def _before_address(text: str) -> int:
    """Where the end of the text may be the beginning of an address."""
    begun = _BEGUN.search(text, max(0, len(text) - 7))
    return begun.start() if begun else len(text)


def _cited(inner: str) -> list[int]:
    """The numbers of a citation: [1, 3], [2-4], [1†L7]; none: it is something else."""
    if _NUMBERS.fullmatch(inner):
        return [int(number) for number in inner.split(",")]
    if several := _RANGE.fullmatch(inner):
        first, last = int(several[1]), int(several[2])
        return list(range(first, last + 1)) if first < last <= first + 12 else []
    return [int(sourced[1])] if (sourced := _SOURCED.fullmatch(inner)) else []


def _linkable(evidence: Sequence[Evidence], hosts: Sequence[str]) -> frozenset[str]:
    """Addresses that runbooks among the evidence have, on allowed hosts (`.example.org`: any host in there)."""
    found = set[str]()
    for piece in evidence if hosts else ():
        if piece.kind == "runbook":
            found.update(url.rstrip(_URL_TAIL) for url in _URL.findall(f"{piece.url} {piece.text}"))
    return frozenset(url for url in found if _allowed(urlsplit(url).hostname or "", hosts))


def _allowed(host: str, hosts: Sequence[str]) -> bool:
    wanted = [each.lower() for each in hosts]
    return any(host == each or (each.startswith(".") and host.endswith(each)) for each in wanted)


class Verifier:
    """Feed it deltas; it gives back text that may be shown. `finish` gives the rest, `report` what was found."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        *,
        plan: Plan,
        action: Action = "mark",
        hold_chars: int = 800,
        link_hosts: Sequence[str] = (),
        names: frozenset[str] = frozenset(),
    ) -> None:
        """`names`: of workloads and namespaces that exist; one that is said must be in the evidence."""
        self._links = _Links(len(evidence), _linkable(evidence, link_hosts))
        self._sentences = Sentences(max(hold_chars - LOOKAHEAD_CHARS, LEAST_PIECE))
        self._claims = Claims(evidence, plan, names)
        self._all = range(1, len(evidence) + 1)
        self._action = action
        self._wrong_before = False  # in an earlier piece of this sentence, or in this fenced block
        self._torn = False  # what was shown last ended in the middle of a sentence
        self._taken_out = False  # the last sentence was; a run of them leaves one note
        self._in_fence = False
        self._logged = False  # what is fenced is not a command
        self._facts = 0
        self._unsupported = 0
        self._notes: list[str] = []

    @property
    def held(self) -> int:
        """Characters held back right now."""
        return self._links.held + self._sentences.held

    def feed(self, delta: str) -> str:
        text = self._links.feed(delta)
        if self._action == "off":
            return text
        units = self._sentences.feed(text)
        return "".join(map(self._shown, units)) if units else ""

    def finish(self) -> str:
        text = self._links.finish()
        if self._action == "off":
            return text
        fed = "".join(map(self._shown, self._sentences.feed(text)))
        return fed + "".join(map(self._shown, self._sentences.finish()))

    @property
    def report(self) -> Verification:
        return Verification(
            sentences=self._facts,
            unsupported=self._unsupported,
            links_removed=self._links.removed,
            notes=tuple(self._notes),
        )

    def _shown(self, unit: Unit) -> str:
        if unit.form == "fence":
            return self._fence(unit)
        if unit.text.isspace():
            return unit.text
        wrong = self._wrong(unit)
        if wrong and not self._wrong_before:
            self._unsupported += 1
            if len(self._notes) < NOTES:
                self._notes.append(wrong[:NOTE_CHARS])
        if unit.form == "code":
            self._wrong_before = self._wrong_before or bool(wrong)
            return "" if wrong and self._action == "remove" else unit.text
        wrong_at_all = bool(wrong) or self._wrong_before
        self._wrong_before = wrong_at_all and not unit.whole
        if self._action == "remove":
            shown = self._kept(unit, wrong=bool(wrong))
            shown, self._torn = " " * (self._torn and bool(wrong)) + shown, not unit.whole
            return shown
        return _marked(unit) if wrong_at_all and unit.whole else unit.text

    def _fence(self, unit: Unit) -> str:
        self._in_fence = not self._in_fence
        self._logged = self._in_fence and unit.text.strip(" \t\n`~").lower() in _LOGGED
        marked = self._wrong_before and not self._in_fence and self._action == "mark"
        self._wrong_before = False
        return f"{unit.text.rstrip()}\n{MARK}\n" if marked else unit.text

    def _wrong(self, unit: Unit) -> str:
        """What is wrong with a sentence; empty: nothing, or it states no fact."""
        if unit.form == "code":
            line = unit.text.strip()
            return "" if not self._logged or self._claims.free(line) else f"{line[:60]!r} is not in the evidence"
        cited = [int(number) for found in CITATION.finditer(unit.text) for number in found[1].split(", ")]
        words = bare(CITATION.sub("", unit.text))
        plain = QUOTED.sub('"it"', words)  # what is quoted is no advice of this answer's
        kind = kind_of(plain, "heading" if is_heading(unit.text) else unit.form)
        self._facts += (kind == "fact" or bool(cited)) and unit.whole
        if not unit.whole:
            return self._claims.fault(words, cited or self._all, live=False)
        if not cited:
            return f"no citation: {words}" if kind == "fact" else ""
        said = _AFTER_COLON.search(plain)
        stated = said is not None and kind_of(said[1], unit.form) == "fact"
        return self._claims.fault(words, cited, live=kind in ("fact", "aside") or stated)

    def _kept(self, unit: Unit, *, wrong: bool) -> str:
        if not wrong:
            self._taken_out = self._taken_out and not unit.text.strip()
            return unit.text
        again, self._taken_out = self._taken_out, True
        if unit.form == "row" or again:
            return "" if unit.whole else " "
        marker = MARKER.match(unit.text)
        return f"{marker.group() if marker else ''}{TAKEN_OUT}{_behind(unit.text) or ' '}"


def _behind(text: str) -> str:
    return text[len(text.rstrip()) :]


def _marked(unit: Unit) -> str:
    said, behind = unit.text.rstrip(), _behind(unit.text)
    if unit.form == "row" and said.endswith("|"):
        return f"{said[:-1].rstrip()} {MARK} |{behind}"
    return f"{said} {MARK}{behind}"
