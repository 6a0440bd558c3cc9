"""Secrets through a running installation, in every signal and field; then a search of every place for what is left.

The one place that may hold them is the value, key and headers of a dead letter, which are the original's. It must hold
some: that shows that the search finds what is there.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

import httpx
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from deploy.demo import free_port
from deploy.installation import Installation
from processors.scan import scan
from processors.sink import open_index
from schemas.documents import DATED_KINDS, STATIC_KINDS
from schemas.settings import OpenSearch, Settings
from streams.purge import labels
from tests.benchmarks.installed import installed, stack
from tests.loopback import running
from tests.redaction.recall import Planted, plant
from tests.standin_model import StandIn

WINDOW: Final = 12  # so many characters of a secret in a row are a leak
SHORTEST: Final = 16  # a shorter piece cannot be told from chance; the last line of a key that comes line by line
STEP: Final = 4
QUICK: Final = {"FRESHET_EMBEDDER__KIND": "hashing", "FRESHET_WORKER__SESSION_TIMEOUT_S": "6"}
PATIENCE_S: Final = 300.0
QUESTIONS: Final = ("what is wrong in shop?", "show me the token that was rejected", "which password failed in till?")
_SETTLED_S: Final = 3.0


@dataclass(slots=True)
class Figures:
    planted: int = 0
    messages: int = 0
    places: dict[str, int] = field(default_factory=dict)  # characters searched
    leaks: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    letters: int = 0
    in_letters: int = 0  # of which the originals hold a secret

    @property
    def ok(self) -> bool:
        return not self.leaks and self.in_letters > 0 and all(self.places.values())


def measure(planted: int, seed: int, state: Path, cache: Path, out: Console) -> dict[str, Any]:
    with stack(state, cache) as endpoints, installed("redaction-canaries", state, endpoints, 4) as installation:
        installation.extra |= QUICK
        figures = run(installation, planted, seed)
    for place, size in figures.places.items():
        out.print(f"{place:24} {size:>14,} characters searched, {figures.leaks[place]} leaks")
    out.print(f"dead letters             {figures.letters} with {figures.in_letters} secrets in the originals")
    for example in figures.examples:
        out.print(f"  leak: {example}", markup=False)
    return {
        "ok": figures.ok,
        "seed": seed,
        "canaries": figures.planted,
        "messages": figures.messages,
        "characters_searched": figures.places,
        "leaks": dict(figures.leaks),
        "originals_in_dead_letters": figures.in_letters,
    }


def run(installation: Installation, planted: int, seed: int) -> Figures:
    """Everything of this installation, from an empty index to the last place looked at."""
    secrets = list(itertools.islice(_mixed(seed, planted), planted))
    figures = Figures(planted=len(secrets))
    windows = frozenset(w for each in secrets for piece in each.pieces for w in _windows(piece))
    figures.messages = _produce(installation, secrets, seed)
    model = StandIn("obedient")
    with ExitStack() as opened:
        url = opened.enter_context(running(model.app()))
        opened.callback(installation.stop)
        asked = replace(installation, extra={**installation.extra, "FRESHET_MODEL__BASE_URL": f"{url}/openai/v1"})
        port = free_port(0)
        installation.extra["FRESHET_WORKER__METRICS_PORT"] = str(port)
        installation.start_worker()
        asked.start_api(port=free_port(0))
        asked.wait_indexed(lambda: _ends(installation), PATIENCE_S)
        time.sleep(_SETTLED_S)  # vectors and watermarks follow
        found = {"answers": _answers(asked), "prompts": json.dumps(model.requests)}
        found["metrics"] = (
            httpx.get(f"http://127.0.0.1:{port}/metrics").text + httpx.get(f"{asked.api_url}/metrics").text
        )
    found["logs"] = "".join(installation.log(role).read_text(errors="replace") for role in ("worker-1", "api"))
    found["redis"] = _redis(installation)
    headers, originals, figures.letters = _letters(installation)
    found["dead-letter headers"] = headers
    _search(figures, "index", _documents(installation), windows)
    for place, text in found.items():
        _search(figures, place, [text], windows)
    figures.in_letters = sum(1 for _ in _hits(originals, windows))
    return figures


def _mixed(seed: int, planted: int) -> Iterator[Planted]:
    """Of all families that need no setting, in turn, so that any number of them is a mixture."""
    per_family = planted // 90 + 24
    families: dict[str, list[Planted]] = {}
    for each in itertools.chain(plant(seed, per_family), plant(seed + 1, per_family, held_out=True)):
        if "setting" not in each.family:
            families.setdefault(each.family, []).append(each)
    for row in itertools.zip_longest(*families.values()):
        yield from (each for each in row if each is not None)


def _windows(piece: str) -> Iterator[str]:
    if len(piece) >= SHORTEST:
        yield from (piece[at : at + WINDOW] for at in range(0, len(piece) - WINDOW + 1, STEP))


def _hits(text: str, windows: frozenset[str]) -> Iterator[int]:
    return (at for at in range(len(text) - WINDOW + 1) if text[at : at + WINDOW] in windows)


def _search(figures: Figures, place: str, texts: Iterable[str], windows: frozenset[str]) -> None:
    figures.places[place] = 0
    for text in texts:
        figures.places[place] += len(text)
        at = next(_hits(text, windows), None)
        if at is not None:
            figures.leaks[place] += 1
            if len(figures.examples) < 20:
                figures.examples.append(f"{place}: {text[max(0, at - 80) : at + 60]!r}")


# -- in -------------------------------------------------------------------------------------------------------------


def _produce(installation: Installation, secrets: list[Planted], seed: int) -> int:
    """Mostly logs, as it is; every field of the other signals too. Returns the number of messages."""
    producer = Producer({"bootstrap.servers": installation.endpoints.kafka, "linger.ms": 50})
    random = Random(seed)
    now_ms = int(time.time() * 1000) - 600_000
    count = 0
    forms = [_fluent_bit] * 4 + [_plain] * 3 + [_vector, _alert, _event, _metric, _broken, _runbook, _names]
    for number, each in enumerate(secrets):
        form = random.choice(forms)
        for topic, key, value in form(each, number, now_ms + number % 600_000):
            headers: list[tuple[str, str | bytes | None]] = [("note", each.messages[0].encode()[:2_000])]
            producer.produce(
                f"{installation.name}.{topic}",
                value,
                key=key,
                headers=headers,
                partition=number % 4 if topic != "runbooks" else -1,
            )
            producer.poll(0)
            count += 1
    if producer.flush(60):
        raise RuntimeError("Kafka did not take all canaries")
    return count


_Sent = Iterator[tuple[str, bytes | None, bytes]]


def _iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03}Z"


def _fluent_bit(each: Planted, number: int, ms: int) -> _Sent:
    for text in each.messages:
        who = {"pod_name": f"till-{number % 7}", "namespace_name": "shop", "container_name": "till", "host": "node-a"}
        yield (
            "logs",
            each.pieces[0].encode()[:200],
            json.dumps({"@timestamp": ms / 1000, "log": text, "kubernetes": who}).encode(),
        )


def _plain(each: Planted, number: int, ms: int) -> _Sent:
    for text in each.messages:
        yield "logs", None, text.encode()


def _vector(each: Planted, number: int, ms: int) -> _Sent:
    for text in each.messages:
        yield (
            "logs",
            None,
            json.dumps(
                {
                    "message": text,
                    "timestamp": _iso(ms),
                    "source_type": "kubernetes_logs",
                    each.pieces[0]: each.pieces[-1],
                }
                | {"kubernetes": {"pod_name": "till-0", "pod_namespace": "shop", "container_name": "till"}}
            ).encode(),
        )


def _names(each: Planted, number: int, ms: int) -> _Sent:
    """Where a name should be; shippers do not check, so neither may we rely on it."""
    if each.kind != "provider" or len(each.messages) > 1:  # what is known by the words around it is none without them
        return
    secret = each.pieces[0]
    if any(text.count(secret) == 0 for text in each.messages) or each.family.startswith(
        ("pem", "service", "discord web", "teams", "slack web", "json web")
    ):
        return
    who = {"pod_name": secret, "namespace_name": secret, "container_name": "till", "host": secret}
    yield "logs", None, json.dumps({"@timestamp": ms / 1000, "log": "hello", "kubernetes": who}).encode()
    labels = {"__name__": "canary_total", "namespace": secret, "pod": secret, secret: "x"}
    yield (
        "metrics",
        None,
        json.dumps({"timestamp": _iso(ms), "value": "1", "name": "canary_total", "labels": labels}).encode(),
    )
    about = {"kind": "Pod", "name": secret, "namespace": secret}
    event = {"kind": "Event", "metadata": {"uid": f"{secret}", "namespace": secret}, "reason": secret, "message": "x"}
    yield (
        "k8s-events",
        None,
        json.dumps(
            event
            | {"type": "Warning", "lastTimestamp": _iso(ms), "involvedObject": about, "source": {"component": secret}}
        ).encode(),
    )


def _alert(each: Planted, number: int, ms: int) -> _Sent:
    text = each.messages[0]
    alert = {
        "status": "firing",
        "labels": {"alertname": "TillFails", "namespace": "shop", "pod": "till-0", "text": text, "number": str(number)},
        "annotations": {
            "summary": text,
            "runbook_url": f"https://till:{quote(each.pieces[0][:40], safe='')}@books.example/till",
            "password": each.pieces[0],
        },
        "startsAt": _iso(ms),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{number:016x}",
    }
    yield "alerts", None, json.dumps({"version": "4", "status": "firing", "receiver": "k", "alerts": [alert]}).encode()


def _event(each: Planted, number: int, ms: int) -> _Sent:
    event = {
        "kind": "Event",
        "metadata": {"uid": f"uid-{number}", "namespace": "shop", "creationTimestamp": _iso(ms)},
        "reason": "Failed",
        "message": each.messages[0],
        "type": "Warning",
        "lastTimestamp": _iso(ms),
        "count": 1,
        "involvedObject": {"kind": "Pod", "name": "till-0", "namespace": "shop"},
        "source": {"component": "kubelet"},
    }
    yield "k8s-events", None, json.dumps(event).encode()


def _metric(each: Planted, number: int, ms: int) -> _Sent:
    labels = {
        "__name__": "canary_total",
        "namespace": "shop",
        "pod": "till-0",
        "detail": each.messages[0],
        "token": each.pieces[0],
    }
    yield (
        "metrics",
        None,
        json.dumps({"timestamp": _iso(ms), "value": "1", "name": "canary_total", "labels": labels}).encode(),
    )


def _broken(each: Planted, number: int, ms: int) -> _Sent:
    """Not to be decoded: a dead letter, whose original is the one exception."""
    yield "alerts", None, json.dumps({"alerts": [{"labels": {"x": each.messages[0]}}]}).encode()[:-3]


def _runbook(each: Planted, number: int, ms: int) -> _Sent:
    if each.family != "e-mail":  # runbooks keep mailboxes: whom to write to is what they are for
        text = f"# Till {number}\n\nCheck:\n\n{each.messages[0]}\n"
        yield "runbooks", f"till/{number}.md".encode(), text.encode()


# -- out ------------------------------------------------------------------------------------------------------------


def _consumer(installation: Installation) -> Consumer:
    options = {"group.id": f"{installation.name}-reader", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    return Consumer({"bootstrap.servers": installation.endpoints.kafka, "enable.partition.eof": True, **options})


def _ends(installation: Installation) -> dict[tuple[str, int], int]:
    consumer = _consumer(installation)
    try:
        places = [(topic, partition) for topic in installation.topics.values() for partition in range(4)]
        return {at: consumer.get_watermark_offsets(TopicPartition(*at), timeout=10)[1] for at in places}
    finally:
        consumer.close()


def _settings(installation: Installation) -> Settings:
    search = OpenSearch.model_validate({"url": installation.endpoints.opensearch, "prefix": installation.name})
    return Settings(opensearch=search)


def _documents(installation: Installation) -> Iterator[str]:
    """Ids, names of fields and values, as they are stored."""
    settings = _settings(installation)
    for label in labels(settings):
        for target, source in scan(open_index(settings, label), (*DATED_KINDS, *STATIC_KINDS)):
            yield f"{target.id} {json.dumps(source, ensure_ascii=False)}".replace("\\\\", "\\").replace('\\"', '"')


def _redis(installation: Installation) -> str:
    client = redis.Redis.from_url(installation.endpoints.environment()["FRESHET_REDIS__URL"])
    parts = []
    for key in client.scan_iter(f"*{installation.name}*"):
        kind = client.type(key)
        if kind == b"hash":
            parts += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"zset":
            parts += client.zrange(key, 0, -1)
        elif kind == b"string":
            parts.append(client.get(key))
        parts.append(key)
    client.close()
    return b"\n".join(parts).decode(errors="replace").replace("\\\\", "\\").replace('\\"', '"')


def _letters(installation: Installation) -> tuple[str, str, int]:
    """Headers that we wrote; what the originals were; how many."""
    consumer = _consumer(installation)
    ours, originals, count = [], [], 0
    try:
        consumer.subscribe([f"{installation.name}.dead-letters"])
        idle_until = time.monotonic() + 10
        while time.monotonic() < idle_until:
            for letter in consumer.consume(1_000, timeout=0.5):
                if letter.error():
                    continue
                count += 1
                ours += [f"{name}={value!r}" for name, value in letter.headers() if name != "note"]
                originals.append((letter.value() or b"").decode(errors="replace"))
                idle_until = time.monotonic() + 2
    finally:
        consumer.close()
    return "\n".join(ours), "\n".join(originals), count


def _answers(installation: Installation) -> str:
    parts = []
    for question in QUESTIONS:
        body = {"model": "freshet", "messages": [{"role": "user", "content": question}]}
        answer = httpx.post(f"{installation.api_url}/v1/chat/completions", json=body, timeout=60)
        parts.append(answer.text)
        for cited in (answer.json().get("freshet") or {}).get("citations", [])[:4]:
            parts.append(httpx.get(f"{installation.api_url}/v1/evidence/{cited['id']}", timeout=30).text)
        parts.append(httpx.post(f"{installation.api_url}/v1/context", json={"question": question}, timeout=60).text)
    return "\n".join(parts)
