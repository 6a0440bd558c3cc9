"""The audit log: one JSON line for each question and each piece of evidence that was opened. Never what evidence says.

A thread redacts and writes, so that no answer waits for a disk or a broker; what it cannot keep up with is dropped and
counted.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from confluent_kafka import Producer

from processors.redact import Redactor
from schemas.errors import StartupError
from schemas.settings import Settings, kafka_client_config

WAITING: Final = 10_000  # lines
MAX_QUESTION_CHARS: Final = 2_000
CLOSE_S: Final = 5.0  # for what still waits when the process ends
COMPLAIN_EVERY_S: Final = 60.0
MODE: Final = 0o640

Entry = dict[str, Any]
_log = structlog.get_logger("audit")


class AuditLog:
    """One per process. `lost` gets where a line was lost, and how many."""

    def __init__(self, settings: Settings, lost: Callable[[str, int], None], *, close_s: float = CLOSE_S) -> None:
        """Raises StartupError when the file cannot be written."""
        self._close_s = close_s
        self._redact = Redactor(settings.redaction)
        self._lost = lost
        self._topic = settings.audit.topic
        self._kafka = settings.kafka
        self._file = AuditFile(settings.audit.file) if settings.audit.file else None
        self._waiting: queue.Queue[Entry | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._complained = float("-inf")

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Never waits. `question` is redacted and cut later."""
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._lost("queue", 1)

    def close(self) -> None:
        """Blocks until all is written, a few seconds at most."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=self._close_s)
        except queue.Full:
            self._lost("queue", self._waiting.qsize())
            return
        self._thread.join(2 * self._close_s)

    def _work(self) -> None:
        producer = self._producer() if self._topic else None
        while (entry := self._waiting.get()) is not None:
            self._keep(self._safe(entry), producer)
        if producer is not None and (left := producer.flush(self._close_s)):
            self._lost("topic", left)
        if self._file:
            self._file.close()

    def _safe(self, entry: Entry) -> Entry:
        """Redacted as a whole before it is cut: half a secret looks like none."""
        asked = entry.get("question")
        if asked is None:
            return entry
        return entry | {"question": self._redact(asked.encode(errors="replace").decode())[:MAX_QUESTION_CHARS]}

    def _keep(self, entry: Entry, producer: Producer | None) -> None:
        line = orjson.dumps(entry, default=str)
        if self._file is None:
            _log.info("audit", **entry)
        else:
            try:
                self._file.append(line + b"\n")
            except OSError as error:
                self._lost("file", 1)
                self._complain("the audit file cannot be written", error.strerror or type(error).__name__)
        if producer is not None:
            try:
                producer.produce(
                    self._topic, line, key=str(entry.get("principal", "")).encode(), on_delivery=self._delivered
                )
            except BufferError:
                self._lost("topic", 1)
            producer.poll(0)

    def _producer(self) -> Producer:
        quiet = {
            "client.id": "freshet-audit",
            "queue.buffering.max.messages": WAITING,
            "message.timeout.ms": 60_000,
            "log_level": 0,
        }
        return Producer(kafka_client_config(self._kafka) | quiet)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._lost("topic", 1)
            self._complain("the audit topic does not take lines", error.str())

    def _complain(self, what: str, reason: str) -> None:
        """Once a minute: each loss is counted."""
        now = time.monotonic()
        if now - self._complained > COMPLAIN_EVERY_S:
            self._complained = now
            _log.error(what, reason=reason)


class AuditFile:
    """Appends whole lines; opens the file again once it was renamed or deleted, as `logrotate` does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = self._opened()
        except OSError as error:
            raise StartupError(
                f"cannot write the audit file {path}: {error.strerror}. Make its folder writable, or set "
                "FRESHET_AUDIT__FILE"
            ) from None

    def append(self, line: bytes) -> None:
        """Raises OSError."""
        if not self._same():
            os.close(self._descriptor)
            self._descriptor = self._opened()
        os.write(self._descriptor, line)

    def close(self) -> None:
        os.close(self._descriptor)

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _same(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False
