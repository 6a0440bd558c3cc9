"""Reading on past a record whose header names are not UTF-8: anyone can send one, and aiokafka raises on it.

Its fetch would fail for ever at that offset, and with it the worker. Here what has been fetched is read once more, from
where it failed, by aiokafka's own reader in Python with names that may be anything; such a record then comes without
headers, as `cag.topic.message_of` has it. Everything else is read as fast as before.

This replaces private names of aiokafka (pinned); `tests/contract/test_faust_hooks.py` fails when they move.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_MemoryRecords = fetcher.MemoryRecords


class _Text(bytearray):
    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "surrogateescape")


class _Buffer(bytearray):
    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Text(found) if isinstance(at, slice) else found


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc] # final for type checkers only
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Fetched:
    """What one fetch brought, with its bytes kept for a second reading."""

    def __init__(self, data: bytes) -> None:
        self._data, self._records = data, _MemoryRecords(data)
        self.size_in_bytes, self.has_next = self._records.size_in_bytes, self._records.has_next
        self.next_batch = self._records.next_batch

    def again(self) -> None:
        records = _MemoryRecordsPy(self._data)
        self.has_next = records.has_next
        self.next_batch = lambda: _tolerant(records)


def _tolerant(records: Any) -> Any:
    data, batch = records._next_slice, records.next_batch()
    return _Batch(data) if data[_MemoryRecordsPy.MAGIC_OFFSET] >= 2 else batch  # headers came with version 2


class _Records(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka has no types
    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            at = self.next_fetch_offset
            self._records.again()
            yield from (_readable(record) for record in super()._unpack_records() if record.offset >= at)


def _readable(record: Any) -> Any:
    """Without headers where one has a name that is no text."""
    odd = any("\ud800" <= char <= "\udfff" for name, _ in record.headers for char in name)
    return replace(record, headers=()) if odd else record


def tolerate() -> None:
    """From now on, for all consumers of this process."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _Fetched, _Records
