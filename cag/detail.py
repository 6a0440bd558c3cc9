"""What a citation resolves to: the documents as stored, and the source records read back from Kafka."""

import asyncio
from typing import Final

from cag.lookup import Lookup
from cag.reads import IndexReader
from cag.source_records import SourceRecords
from schemas.context import EvidenceDetail, Scope, SourceRecord
from schemas.documents import Names
from schemas.records import Coordinates

RECORDS: Final = 3


class EvidenceReader:
    def __init__(self, reader: IndexReader, names: Names, records: SourceRecords) -> None:
        self._lookup, self._records = Lookup(reader, names), records

    async def read(self, identity: str, scope: Scope, *, around: int = 0) -> EvidenceDetail | None:
        """None when there is no such evidence in this scope. Raises SinkUnavailable.

        `around`: so many lines of the same entity before the cited one, and as many after it.
        """
        found = await self._lookup.find(identity, scope)
        if found is None:
            return None
        evidence, documents = found
        cited = [Coordinates.parse(text) for text in evidence.coordinates[:RECORDS]]
        records = await asyncio.gather(*(asyncio.to_thread(self._records.read, at, scope=scope) for at in cited))
        lines: tuple[SourceRecord, ...] = ()
        if around and evidence.kind == "log" and cited:
            # The newest exemplar: the one whose line the evidence shows.
            lines = await asyncio.to_thread(self._records.around, cited[0], around, scope=scope)
        return EvidenceDetail(evidence=evidence, documents=tuple(documents), records=tuple(records), around=lines)

    def close(self) -> None:
        self._records.close()
