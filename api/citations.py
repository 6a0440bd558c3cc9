"""Evidence as the client sees it: names, links that may be clicked, and the block of citations beside an answer."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from schemas.answer import Done, Source
from schemas.chat import Citation, Grounding
from schemas.context import Evidence

MAX_NAME_CHARS: Final = 120
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


def name_of(evidence: Evidence) -> str:
    """One line that tells pieces apart: the title, else what it is and where from."""
    where = "/".join(part for part in (evidence.namespace, evidence.workload) if part)
    name = evidence.title or " ".join(part for part in (evidence.kind, where or evidence.entity) if part)
    return _CONTROLS.sub(" ", name).strip()[:MAX_NAME_CHARS]


def link_of(evidence: Evidence) -> str | None:
    """Only runbooks link: they were published by their owners. What telemetry calls a link may lead anywhere."""
    if evidence.kind != "runbook" or _CONTROLS.search(evidence.url):
        return None
    try:
        parts = urlsplit(evidence.url)
    except ValueError:
        return None
    return evidence.url if parts.scheme in ("http", "https") and parts.hostname and not parts.username else None


def grounding(done: Done, sources: Iterable[Source]) -> Grounding:
    return Grounding(
        mode=done.mode,
        reason=done.reason,
        citations=tuple(_citation(source) for source in sources),
        freshness=done.context.freshness,
        verification=done.verification,
        cached=done.cached,
        prefix_hash=done.prefix_hash,
    )


def _citation(source: Source) -> Citation:
    evidence = source.evidence
    return Citation(
        number=source.number,
        id=evidence.id,
        kind=evidence.kind,
        title=name_of(evidence),
        text=evidence.text,
        entity=evidence.entity,
        first=evidence.first,
        last=evidence.last,
        count=evidence.count,
        url=link_of(evidence),
        coordinates=evidence.coordinates,
    )
