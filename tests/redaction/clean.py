"""Lines without secrets: real ones from the data beside the project, and made ones that look like trouble."""

import base64
import csv
import gzip
import hashlib
import io
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from processors.redact import Redactor
from tests.redaction.families import ALNUM, BASE36, DIGITS, HEX, LOWER, UPPER, chars

Line = Callable[[Random], str]
_PLACEHOLDER: Final = re.compile(r"<redacted:([a-z-]+)>")
# Hits in the real lines that were looked at and are what they seem: mailboxes, card numbers of a test shop, a generated
# secret of the image registry, and the default password of a storage driver.
_TRUE: Final = re.compile(
    r"<redacted:email>|card_number[\\\":]+<redacted:card>|httpSecret=\"<redacted:secret>"
    r"|driver-password=\"<redacted:password>"
)
_WORDS: Final = (
    "payment",
    "catalog",
    "worker",
    "gateway",
    "token",
    "secret",
    "config",
    "session",
    "key",
    "auth",
    "user",
)


def _name(random: Random) -> str:
    return "-".join(random.sample(_WORDS, 2)) + f"-{chars(random, BASE36, 10)}-{chars(random, BASE36, 5)}"


def _b64(random: Random, size: int) -> str:
    return base64.b64encode(random.randbytes(size)).decode()


MADE: Final[dict[str, Line]] = {
    "uuid": lambda r: f"request {uuid.UUID(int=r.getrandbits(128))} took {r.randint(1, 900)} ms",
    "trace id": lambda r: f"trace_id={chars(r, HEX, 32)} span_id={chars(r, HEX, 16)} flags=01",
    "digest": lambda r: f"pulled image@sha256:{hashlib.sha256(r.randbytes(8)).hexdigest()} in {r.random():.3f}s",
    "commit": lambda r: f"HEAD is now at {chars(r, HEX, 40)} merge branch {r.choice(_WORDS)}",
    "pod": lambda r: f'Started container in pod "shop/{_name(r)}"',
    "secret's name": lambda r: (
        f'secret "{_name(r)}" not found, MountVolume.SetUp failed for volume "{r.choice(_WORDS)}"'
    ),
    "event about a token": lambda r: r.choice(
        (
            "token expired for session {}",
            "invalid token: signature mismatch ({})",
            "refreshing access token, attempt {}",
        )
    ).format(r.randint(1, 99)),
    "event about a password": lambda r: r.choice(
        ("password incorrect for user {}", "Failed password for {} from 10.0.0.1", "password policy: {} classes")
    ).format(chars(r, LOWER, 6)),
    "lock": lambda r: f"lease lock key=/registry/leases/{_name(r)} revision={r.randint(1, 10**9)}",
    "java frame": lambda r: (
        f"\tat org.{r.choice(_WORDS)}.TokenImpl$$Lambda/{chars(r, HEX, 16)}.run(A.java:{r.randint(1, 900)})"
    ),
    "url": lambda r: (
        f"GET https://a.example.com/v1/{r.choice(_WORDS)}s/{r.randint(1, 9999)}?page={r.randint(1, 99)}&sort=key 200"
    ),
    "etag": lambda r: f'If-None-Match: W/"{chars(r, HEX, 32)}" -> 304',
    "fingerprint": lambda r: f"Accepted publickey for core ssh2: ED25519 SHA256:{_b64(r, 32).rstrip('=')}",
    "certificate": lambda r: f"-----BEGIN CERTIFICATE-----\\n{_b64(r, 300)}\\n-----END CERTIFICATE-----",
    "public key": lambda r: f"authorized ssh-ed25519 {_b64(r, 51)} ops",
    "offsets": lambda r: f"partition {r.randint(0, 24)} offset {r.randint(10**9, 10**12)} lag {r.randint(0, 10**6)}",
    "epoch": lambda r: (
        f"at {r.randint(1_700_000_000_000, 1_800_000_000_000)} ms, {r.randint(1_7 * 10**14, 18 * 10**14)} us"
    ),
    "page marker": lambda r: (
        "GET /api/v1/pods?limit=500&continue="
        + base64.urlsafe_b64encode(
            json.dumps({"v": "meta.k8s.io/v1", "rv": r.randint(1, 10**6)}, separators=(",", ":")).encode()
        ).decode()
    ),
    "version": lambda r: (
        f"left-pad@{r.randint(0, 9)}.{r.randint(0, 9)}.{r.randint(0, 99)} getty@tty{r.randint(1, 6)}.service"
    ),
    "placeholder": lambda r: r.choice(
        ("password=****", "token=${TOKEN}", "api_key=[REDACTED]", "secret={{ .Values.secret }}")
    ),
    "counters": lambda r: (
        f"max_tokens: {r.randint(1, 9999)} keys={r.randint(1, 9999)} passed: {r.randint(1, 9)} pass={r.randint(1, 9)}"
    ),
    "camel case": lambda r: (
        f"Starting {''.join(w.capitalize() for w in r.sample(_WORDS, 4))}Controller{r.randint(1, 99)}"
    ),
    "object id": lambda r: f"updated document {chars(r, HEX, 24)} of collection {r.choice(_WORDS)}",
    "constant": lambda r: (
        f"errno={''.join(r.choices(UPPER, k=5))} status={chars(r, DIGITS, 3)} host={chars(r, LOWER, 8)}-01"
    ),
    "build": lambda r: f"layer cache key: go-mod-{chars(r, HEX, 64)} restored",
    "temporary file": lambda r: (
        f"wrote /tmp/{r.choice(_WORDS)}-{chars(r, ALNUM, 8)}/part-{r.randint(0, 99):05}.parquet"
    ),
}


@dataclass(slots=True)
class Hits:
    lines: int = 0
    true: int = 0
    false: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def per_10_000(self) -> float:
        return 10_000 * self.false / self.lines


def made(seed: int, each: int) -> Iterator[tuple[str, str]]:
    for name, line in MADE.items():
        random = Random(f"{seed} {name}")
        for _ in range(each):
            yield name, line(random)


def real(shared: Path) -> Iterator[tuple[str, str]]:
    """Logs of eight systems, of two clusters with their hosts, and of two shops."""
    for file in sorted(shared.glob("logs/loghub/*/*_2k.log")):
        for line in file.read_text(errors="replace").splitlines():
            yield file.parent.name, line
    for cluster in sorted(shared.glob("k8s/must-gather-*")):
        for line in _lines(cluster / "pod_logs.jsonl.gz"):
            yield f"{cluster.name} pods", json.loads(line)["message"]
        for file in sorted(cluster.glob("host/*.log.gz")):
            for line in _lines(file):
                yield f"{cluster.name} hosts", line
    csv.field_size_limit(1 << 24)
    for file in sorted(shared.glob("rca/nezha/**/*_log.csv.gz")):
        for row in csv.reader(io.StringIO("\n".join(_lines(file)))):
            yield "nezha", row[-1]


def _lines(file: Path) -> list[str]:
    return gzip.decompress(file.read_bytes()).decode(errors="replace").splitlines()


def measure(lines: Iterable[tuple[str, str]], redact: Redactor) -> dict[str, Hits]:
    """Lines with a placeholder, by source; every one that was not reviewed counts as false."""
    found: dict[str, Hits] = {}
    for source, line in lines:
        hits = found.setdefault(source, Hits())
        hits.lines += 1
        redacted = redact(line)
        if redacted == line:
            continue
        hits.kinds.update(_PLACEHOLDER.findall(redacted))
        if _PLACEHOLDER.search(_TRUE.sub("", redacted)):
            hits.false += 1
            hits.examples = [*hits.examples, redacted][:3]
        else:
            hits.true += 1
    return found
