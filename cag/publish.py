"""A folder of Markdown onto the runbooks topic: only what changed, and tombstones for what is gone."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, Producer

from cag.registry import Decode, Published
from cag.runbooks import MAX_DOCUMENT_BYTES, compile_runbook, normalise_path
from cag.topic import End
from schemas.errors import InvalidRecord, SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config

SUFFIXES: Final = (".md", ".markdown")
SKIPPED_FOLDERS: Final = ("node_modules",)  # and hidden ones
GIT_TIMEOUT_S: Final = 10
DELIVERY_TIMEOUT_S: Final = 60
# Deleting this many, and more than half of what is there, is more often a wrong PATH than a decision.
MANY_DELETIONS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    path: str
    text: str
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    documents: tuple[Document, ...]
    skipped: tuple[tuple[str, str], ...]  # path, reason
    revision: str  # git commit of a clean checkout; "" otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The newest record of a key in one partition of the topic."""

    key: bytes
    partition: int
    timestamp_ms: int
    digest: str  # "" when the value cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    key: bytes
    partition: int  # -1: by hash of the key
    document: Document | None  # None: a tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    changes: tuple[Change, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    unchanged: int


def read_folder(root: Path, prefix: str = "") -> Folder:
    """Every Markdown file below `root`, under the key `prefix/relative/path`. Links are not followed.

    Raises StartupError when there is no such folder, or no Markdown in it.
    """
    if not root.is_dir():
        raise StartupError(f"{root} is not a folder: give a folder or git checkout of Markdown")
    documents, skipped = [], []
    for file in _files(root):
        path = "/".join(part for part in (prefix, file.relative_to(root).as_posix()) if part)
        try:
            documents.append(_document(path, file))
        except InvalidRecord as error:
            skipped.append((path, error.reason))
        except OSError as error:
            skipped.append((path, error.strerror or type(error).__name__))
    if not documents:
        raise StartupError(f"{root} holds no usable Markdown file (*.md, *.markdown): is it the right folder?")
    return Folder(documents=tuple(documents), skipped=tuple(skipped), revision=_revision(root))


def _files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in SKIPPED_FOLDERS)
        for name in sorted(files):
            file = Path(folder, name)
            if file.suffix.lower() in SUFFIXES and not name.startswith(".") and not file.is_symlink():
                yield file


def _document(path: str, file: Path) -> Document:
    if file.stat().st_size > MAX_DOCUMENT_BYTES:
        raise InvalidRecord(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("not UTF-8") from error
    path = normalise_path(path)
    return Document(path=path, text=text, warnings=compile_runbook(path, text).warnings)


def _revision(root: Path) -> str:
    """The commit of a git checkout without changes under `root`; "" for anything else, a missing git included."""

    def git(*words: str) -> str:
        # The checkout's own settings could name a program to run.
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S).stdout.strip()

    try:
        return "" if git("status", "--porcelain", "--", ".") else git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def held_by(records: Iterable[Message | End], decode: Decode) -> dict[str, list[Held]]:
    """What a reading of the topic holds: for each path, the newest record of every partition that has one."""
    newest: dict[tuple[str, int], Held] = {}
    for record in records:
        if isinstance(record, End) or record.key is None:
            continue
        with suppress(InvalidRecord):  # a key that names no path is not ours to touch
            place = (normalise_path(record.key), record.partition)
            if record.value is None:
                newest.pop(place, None)
            else:
                newest[place] = Held(
                    key=record.key,
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                    digest=_digest(record, decode),
                )
    held: dict[str, list[Held]] = {}
    for (path, _), entry in newest.items():
        held.setdefault(path, []).append(entry)
    return held


def _digest(record: Message, decode: Decode) -> str:
    try:
        return sha256(decode(record).text.encode(errors="replace")).hexdigest()
    except InvalidRecord:
        return ""


def plan_changes(folder: Folder, held: Mapping[str, list[Held]], prefix: str = "") -> Plan:
    """What to send so that the topic holds the folder, below the prefix and nowhere else. Pure.

    A known path stays in the partition where it lives: only there its records have an order. Copies in other
    partitions, left by a producer with another partitioner, get tombstones. Skipped files keep their last version.
    """
    changes: list[Change] = []
    added, changed, deleted = [], [], []
    kept = {document.path for document in folder.documents} | {path for path, _ in folder.skipped}
    for document in folder.documents:
        copies = sorted(held.get(document.path, []), key=lambda h: (h.timestamp_ms, -h.partition))
        home = copies.pop() if copies else None
        changes += [Change(key=h.key, partition=h.partition, document=None) for h in copies]
        if home is None:
            added.append(document.path)
            changes.append(Change(key=document.path.encode(), partition=-1, document=document))
        elif home.digest != document.digest or copies:
            changed.append(document.path)
            changes.append(Change(key=home.key, partition=home.partition, document=document))
    for path in sorted(held):
        if path not in kept and (not prefix or path.startswith(f"{prefix}/")):
            deleted.append(path)
            changes += [Change(key=h.key, partition=h.partition, document=None) for h in held[path]]
    return Plan(
        changes=tuple(changes),
        added=tuple(added),
        changed=tuple(changed),
        deleted=tuple(deleted),
        unchanged=len(folder.documents) - len(added) - len(changed),
    )


def suspicious(plan: Plan, held: Mapping[str, list[Held]], prefix: str = "") -> bool:
    """Whether the plan deletes so much that a person should say so."""
    there = sum(1 for path in held if not prefix or path.startswith(f"{prefix}/"))
    return len(plan.deleted) >= MANY_DELETIONS and len(plan.deleted) * 2 > there


def send(
    kafka: Kafka,
    topic: str,
    changes: Iterable[Change],
    encode: Callable[[Published], bytes],
    *,
    revision: str,
    published_ms: int,
    source_url: str = "",
    on_delivered: Callable[[], None] = lambda: None,
) -> None:
    """Produce every change and wait until all replicas have it.

    Raises SinkUnavailable with the first reason when anything was not confirmed: what was confirmed stays, and running
    the same again sends the rest.
    """
    producer = Producer(_producer_config(kafka))
    failures: Counter[str] = Counter()

    def delivered(error: KafkaError | None, _: Any) -> None:
        if error is not None:
            failures[error.str()] += 1
        on_delivered()

    for change in changes:
        value = _value(change, encode, revision, published_ms, source_url)
        while True:
            try:
                producer.produce(topic, value, change.key, partition=change.partition, on_delivery=delivered)
                break
            except BufferError:  # the local queue is full: let some out
                producer.poll(0.5)
        producer.poll(0)
    unconfirmed = producer.flush(DELIVERY_TIMEOUT_S + 5)
    if failures or unconfirmed:
        reason = failures.most_common(1)[0][0] if failures else "no answer"
        raise SinkUnavailable(
            f"Kafka at {kafka.bootstrap_servers} did not confirm {failures.total() + unconfirmed} records of {topic} "
            f"({reason}): run the same command again, it sends what is missing"
        )


def _value(
    change: Change, encode: Callable[[Published], bytes], revision: str, published_ms: int, source_url: str
) -> bytes | None:
    document = change.document
    if document is None:
        return None
    return encode(
        Published(
            path=document.path,
            text=document.text,
            revision=revision or document.digest,
            published_ms=published_ms,
            source_url=f"{source_url.rstrip('/')}/{document.path}" if source_url else None,
        )
    )


def _producer_config(kafka: Kafka) -> dict[str, Any]:
    return kafka_client_config(kafka) | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",  # what Java producers do, so that both agree on a key's partition
        "compression.type": "gzip",  # text shrinks to a third, and every consumer has it built in
        "message.max.bytes": 2 * MAX_DOCUMENT_BYTES,
        "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
        "log_level": 0,
        "error_cb": lambda _: None,
    }
