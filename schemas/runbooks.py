"""A compiled runbook, its sections, and the corpus that answers are built from."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self

import orjson

from schemas.errors import InvalidRecord

# Identity of the compiler's output. Raise it when the same Markdown compiles to something else: stores then rebuild.
COMPILER: Final = 2
HEADING_SEPARATOR: Final = " > "


def section_id(path: str, anchor: str) -> str:
    """The evidence id of a section; stable while path and anchor are."""
    return f"runbook-{sha256(path.encode()).hexdigest()[:12]}-{anchor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What stands under one heading, up to the next heading of any level."""

    anchor: str  # unique in its runbook
    heading: str  # "Diagnosis > Database"; the title for text that has no heading of its own
    text: str  # Markdown, without the heading line
    plain: str  # title, heading and text without markup: what is embedded and matched by words
    alerts: tuple[str, ...] = ()  # of the runbook, then those that the text mentions


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    path: str
    title: str
    alerts: tuple[str, ...] = ()  # alerts that the whole runbook is about
    services: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()  # only readers of these may see it; none: everyone may
    pinned: bool = False  # always in the prompt's stable prefix
    sections: tuple[Section, ...]
    digest: str  # SHA-256 of the Markdown
    version: str  # git commit or digest, as the publisher said
    published_ms: int = 0  # Kafka timestamp of the record
    source_url: str = ""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Raises InvalidRecord when `raw` is not what `to_json` wrote."""
        try:
            fields: dict[str, Any] = orjson.loads(raw)
            sections = tuple(Section(**_tuples(s)) for s in fields.pop("sections"))
            return cls(sections=sections, **_tuples(fields))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidRecord("not a compiled runbook of this version", stage="index") from error


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """All runbooks at one version: one consistent reading of the store."""

    version: str  # changes with every change; comparable for equality only
    runbooks: tuple[Runbook, ...]  # by path

    def sections(self) -> Iterator[tuple[str, Runbook, Section]]:
        """Every section with its evidence id, in the order of paths and of the text."""
        for runbook in self.runbooks:
            for section in runbook.sections:
                yield section_id(runbook.path, section.anchor), runbook, section

    def by_alert(self) -> dict[str, tuple[str, ...]]:
        """Alert name -> evidence ids: sections of runbooks about it first, then those that mention it."""
        about: dict[str, list[str]] = defaultdict(list)
        mentions: dict[str, list[str]] = defaultdict(list)
        for evidence_id, runbook, section in self.sections():
            for name in section.alerts:
                (about if name in runbook.alerts else mentions)[name].append(evidence_id)
        return {name: (*about.get(name, ()), *mentions.get(name, ())) for name in sorted({*about, *mentions})}

    def at_url(self, url: str) -> Runbook | None:
        """The runbook that an alert's `runbook_url` means: the same source, else the one whose path ends alike.

        Sites publish `kubernetes/KubePodCrashLooping.md` as `.../kubernetes/kubepodcrashlooping/`: the case and the
        file's ending do not count; the longest common tail wins, and a tie names nobody.
        """
        tail = _segments(url.split("?")[0].split("#")[0])
        best: list[Runbook] = []
        longest = 0
        for runbook in self.runbooks:
            if url and url == runbook.source_url:
                return runbook
            common = _common_tail(_segments(runbook.path), tail)
            if common > longest:
                best, longest = [], common
            if common == longest > 0:
                best.append(runbook)
        return best[0] if len(best) == 1 else None


def _segments(path: str) -> list[str]:
    segments = [s for s in path.lower().split("/") if s]
    if segments:
        segments[-1] = segments[-1].removesuffix(".md").removesuffix(".markdown").removesuffix(".html")
    return segments


def _common_tail(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
