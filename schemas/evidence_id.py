"""How evidence is named: ids that lead back to documents, in answers and in insights alike."""

import re
from typing import Final, NamedTuple

from schemas.documents import MINUTE_MS, day_of

# Minutes since 1970 in at most eight digits end in the year 2160, days in 2999: no calendar is left.
_WRITTEN: Final = re.compile(
    r"(?:log|metric)-[0-9a-f]{1,40}-[0-9]{1,8}-[0-9]{1,8}|(?:event|alert|incident)-[12][0-9]{7}-[0-9a-f]{1,40}"
)


class EvidenceId(NamedTuple):
    """`log-<pattern>-<first minute>-<last minute>`, `metric-` too, `event-<day>-<id>`, `alert-` and `incident-` too."""

    kind: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "EvidenceId":
        """Raises ValueError on anything that this product does not write."""
        if text.startswith("runbook-"):
            return cls("runbook", (text,))
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError("not an evidence id")
        kind, *parts = text.split("-")
        return cls(kind, tuple(parts))


def minutes_id(kind: str, identity: str, first_ms: float, last_ms: float) -> str:
    return f"{kind}-{identity}-{int(first_ms // MINUTE_MS)}-{int(last_ms // MINUTE_MS)}"


def dated_id(kind: str, document_id: str, first_ms: int) -> str:
    return f"{kind}-{day_of(first_ms).replace('.', '')}-{document_id}"
