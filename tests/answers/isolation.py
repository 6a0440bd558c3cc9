"""Two tenants, a canary in each document: one asks adversarially, and nothing of the other may come back.

Real services, worker, API process and a model that obeys. Each request is played once more by a principal who may see
everything: where that leaks nothing, the request would prove nothing.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.table import Table

from deploy.demo import free_port
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from processors.insights.documents import write_of
from processors.sink import open_index
from schemas.context import Freshness
from schemas.settings import OpenSearch, Settings
from tests.answers import attacks, tenants
from tests.answers.attacks import Attack
from tests.answers.tenants import Tenant
from tests.answers.trial import Outcome, Trial
from tests.benchmarks.installed import installed, stack
from tests.conftest import CACHE
from tests.loopback import running
from tests.standin_model import StandIn

REQUESTS: Final = 312
MANY: Final = 5_018
CONTROLS: Final = 312  # of each tenant's requests, the first ones, all kinds among them
AT_ONCE: Final = 4
PATIENCE_S: Final = 120.0
ADMIN: Final = {"authorization": f"Bearer {tenants.ADMIN_KEY}"}


@dataclass(slots=True)
class Tally:
    """Of one kind of request."""

    requests: int = 0
    refused: int = 0  # 4xx
    broken: int = 0  # 5xx
    crossed: int = 0
    own: int = 0  # showed something of the asker's own
    cached: int = 0  # answered from what was remembered
    controls: int = 0  # played again by whoever may see everything
    control: int = 0  # and leaked there
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything is up and indexed."""

    installation: Installation
    model: StandIn
    tenants: tuple[Tenant, Tenant]
    client: httpx.Client
    audit: Path

    def send(self, attack: Attack, credentials: dict[str, str]) -> tuple[int, str]:
        """Status, and all that came back in small letters: headers, body, and the streamed text put together."""
        kept = {name: value for name, value in attack.headers.items() if name not in credentials}
        answer = self.client.request(attack.method, attack.path, json=attack.body, headers={**kept, **credentials})
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        return answer.status_code, f"{head}\n{answer.text}\n{_streamed(answer.text)}".lower()


def run(trial: Trial) -> Outcome:
    state = Path(trial.state) if trial.state else Path(tempfile.mkdtemp(prefix="isolation-"))
    with stack(state, CACHE) as endpoints:
        return play(state, endpoints, MANY if trial.full else REQUESTS, trial.note)


def play(state: Path, endpoints: Endpoints, requests: int, note: Callable[[str], None]) -> Outcome:
    with staged(state, endpoints, note) as stage:
        tallies = {kind: Tally() for kind in attacks.KINDS}
        signals: Counter[str] = Counter()
        prompts, leaking = 0, 0
        for own, other in (stage.tenants, stage.tenants[::-1]):
            note(f"{own.name} asks for what {other.name} has")
            seen = _attack(stage, own, other, requests // 2, tallies, signals)
            prompts, leaking = prompts + len(seen), leaking + sum(seen)
        audit = _audit(stage)
    return _judged(tallies, signals, prompts, leaking, audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    lines: int
    crossed: int  # lines of a tenant with a canary of the other
    missing_in_topic: int


def _audit(stage: Stage) -> Audited:
    """The audit log once the API has ended, which writes what still waits."""
    stage.installation.stop("api")
    lines = [orjson.loads(line) for line in stage.audit.read_bytes().splitlines()]
    crossed = 0
    for own, other in (stage.tenants, stage.tenants[::-1]):
        mine = [str(line).lower() for line in lines if own.name in str(line.get("principal"))]
        crossed += sum(any(canary in line for canary in other.canaries) for line in mine)
    reader = Consumer({"bootstrap.servers": stage.installation.endpoints.kafka, "group.id": "isolation.audit"})
    _, end = reader.get_watermark_offsets(TopicPartition(f"{stage.installation.name}.audit", 0), timeout=10)
    reader.close()
    return Audited(lines=len(lines), crossed=crossed, missing_in_topic=len(lines) - end)


def _attack(
    stage: Stage, own: Tenant, other: Tenant, requests: int, tallies: dict[str, Tally], signals: "Counter[str]"
) -> list[bool]:
    """Play all requests of one tenant; returns of each prompt to the model whether it held a canary of the other."""
    dice = random.Random(own.name)
    names = list(attacks.KINDS)
    made = [attacks.attack(names[number % len(names)], dice, own, other) for number in range(requests)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        before = [attack for attack in made if attack.first]
        list(pool.map(lambda attack: stage.send(attack, tenants.credentials(other, "key")), before))
        stage.model.requests.clear()
        answers = list(pool.map(lambda a: stage.send(a, tenants.credentials(own, a.way) if a.way else {}), made))
        prompts = [orjson.dumps(body).decode().lower() for body in stage.model.requests]
        controls = list(pool.map(lambda attack: stage.send(attack, ADMIN), made[:CONTROLS]))
    for attack, (status, text) in zip(made, answers, strict=True):
        tally = tallies[attack.kind]
        tally.requests += 1
        tally.refused += 400 <= status < 500
        tally.broken += status >= 500
        tally.cached += '"cached":"exact"' in text or '"cached":"paraphrase"' in text
        tally.own += any(canary in text for canary in own.canaries)
        found = _foreign(text, other, attack.said)
        tally.crossed += bool(found)
        if found and len(tally.examples) < 3:
            tally.examples.append(f"{attack.method} {attack.said[:300]}: {found[:3]}")
    for attack, (_, text) in zip(made, controls, strict=False):
        leaked = [document.signal for document in other.documents if document.canary in text]
        tallies[attack.kind].controls += 1
        tallies[attack.kind].control += bool(leaked)
        signals.update(set(leaked))
    return [any(canary in prompt for canary in other.canaries) for prompt in prompts]


def _foreign(text: str, other: Tenant, said: str) -> list[str]:
    """Canaries, and bait that the asker did not bring along."""
    brought = said.lower()
    words = [word for document in other.documents for word in (document.canary, document.bait)]
    return [word for word in words if word in text and word not in brought]


def _streamed(body: str) -> str:
    """The text of all chunks, which may cut a canary in two."""
    pieces: list[str] = []
    for line in body.splitlines():
        if line.startswith("data: {"):
            choices = orjson.loads(line.removeprefix("data: ")).get("choices") or [{}]
            pieces.append(str(choices[0].get("delta", {}).get("content") or ""))
    return "".join(pieces)


def _judged(tallies: dict[str, Tally], signals: "Counter[str]", prompts: int, leaking: int, audit: Audited) -> Outcome:
    table = Table(
        "kind of request", "requests", "refused", "crossed", "own shown", "from cache", "leaks without filter"
    )
    for kind, tally in tallies.items():
        row = (tally.requests, tally.refused, tally.crossed, tally.own, tally.cached)
        table.add_row(kind, *map(str, row), f"{tally.control} of {tally.controls}")
    table.add_section()
    table.add_row(
        "of these with a canary of", "", "", "", "", "", ", ".join(f"{s} {signals[s]}" for s in tenants.SIGNALS)
    )
    table.add_row("prompts to the model", str(prompts), "", str(leaking))
    table.add_row("lines of the audit log", str(audit.lines), "", str(audit.crossed))
    crossed = sum(tally.crossed for tally in tallies.values()) + leaking + audit.crossed
    blind = [kind for kind, tally in tallies.items() if not tally.control]
    blind += [signal for signal in tenants.SIGNALS if not signals[signal]]
    broken = sum(tally.broken for tally in tallies.values())
    return Outcome(
        ok=not (crossed or blind or broken or audit.missing_in_topic)
        and min(prompts, audit.lines, sum(tally.own for tally in tallies.values())) > 0,
        table=table,
        figures={
            "requests": sum(tally.requests for tally in tallies.values()),
            "prompts": prompts,
            "audit_lines": audit.lines,
            "audit_lines_missing_in_topic": audit.missing_in_topic,
            "crossed": crossed,
            "from_cache": sum(tally.cached for tally in tallies.values()),
            "controls": sum(tally.controls for tally in tallies.values()),
            "crossed_without_filter": sum(tally.control for tally in tallies.values()),
            "control_shows_nothing_for": blind,
            "server_errors": broken,
            "own_shown": sum(tally.own for tally in tallies.values()),
            "examples": [example for tally in tallies.values() for example in tally.examples][:10],
        },
    )


# -- The stage ---------------------------------------------------------------------------------------------------------


@contextmanager
def staged(state: Path, endpoints: Endpoints, note: Callable[[str], None]) -> Iterator[Stage]:
    """An installation of our own with everything indexed; nothing of it is left behind."""
    both, model = tenants.make_tenants(seed=7), StandIn()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(model.app()) as model_url,
        installed("isolation", state, endpoints, partitions=2) as installation,
    ):
        policy = Path(folder) / "policy.yaml"
        tenants.write_policy(both, policy)
        installation.extra |= {
            "FRESHET_EMBEDDER__KIND": "hashing",
            "FRESHET_MODEL__BASE_URL": f"{model_url}/v1",
            "FRESHET_WORKER__SESSION_TIMEOUT_S": "6",
            "FRESHET_AUDIT__FILE": str(Path(folder) / "audit.jsonl"),
            "FRESHET_AUDIT__TOPIC": f"{installation.name}.audit",
            **tenants.settings(policy),
        }
        topics = [NewTopic(f"{installation.name}.{name}", num_partitions=1) for name in ("audit", "insight-feedback")]
        admin = AdminClient({"bootstrap.servers": endpoints.kafka})
        for made in admin.create_topics(topics).values():
            made.result()
        installation.start_worker()
        installation.start_api(port=free_port(0), patience_s=PATIENCE_S)
        with httpx.Client(base_url=installation.api_url, timeout=60, trust_env=False) as client:
            audit = Path(folder) / "audit.jsonl"
            stage = Stage(installation=installation, model=model, tenants=both, client=client, audit=audit)
            _fill(stage, Path(folder) / "runbooks")
            note("everything is indexed")
            yield stage


def _fill(stage: Stage, runbooks: Path) -> None:
    installation, both = stage.installation, stage.tenants
    now_s = time.time()
    sent = publish(
        [message for tenant in both for message in tenants.telemetry(tenant, now_s)],
        installation.endpoints.kafka,
        topics=installation.topics,
    )
    runbooks.mkdir()
    tenants.write_runbooks(both, runbooks)
    installation.run("cag", "publish", str(runbooks), "--json")

    def indexed() -> bool:
        seen = Freshness.model_validate(stage.client.get("/v1/sources", headers=ADMIN).raise_for_status().json())
        return sum(partition.offset + 1 for partition in seen.partitions) >= sent

    def served() -> bool:
        pages = [document for tenant in both for document in tenant.of("runbook")]
        return all(document.canary in str(_context(stage, f"runbook of {document.bait}", ADMIN)) for document in pages)

    installation.wait(indexed, "the worker to catch up", "worker-1", PATIENCE_S)
    index = open_index(_settings(installation), "any")
    writes = [write_of(told) for pair in (both, both[::-1]) for told in tenants.incidents(*pair, now_s)]
    index.ensure_days([write.target for write in writes])
    index.bulk(writes)
    index.request("POST", f"/{installation.name}-insights/_refresh")
    installation.wait(served, "the runbooks to be served", "api", PATIENCE_S)
    for tenant in both:
        credentials = tenants.credentials(tenant, "key")
        questions = [*attacks.QUESTIONS, *(document.bait for document in tenant.documents)]
        found = [_context(stage, question, credentials)["evidence"] for question in questions]
        tenant.evidence = sorted({piece["id"] for pieces in found for piece in pieces})


def _settings(installation: Installation) -> Settings:
    search = {"url": installation.endpoints.opensearch, "prefix": installation.name}
    return Settings(opensearch=OpenSearch.model_validate(search))


def _context(stage: Stage, question: str, credentials: dict[str, str]) -> dict[str, Any]:
    answer = stage.client.post("/v1/context", json={"question": question, "limit": 50}, headers=credentials)
    return dict(answer.raise_for_status().json())
