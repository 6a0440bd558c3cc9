"""Load a labelled set through Kafka and an ordinary worker, ask its questions through an API process, clear it away."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from cag.extract import called_wrong
from cag.lag import LagReader
from deploy.demo import free_port
from deploy.installation import TOPICS, Installation
from deploy.judge import meets, ranks
from deploy.local.services import Endpoints
from processors.index import connect
from schemas.context import Context, Evidence, Plan, Scope
from schemas.settings import Api, InputSettings, Kafka, OpenSearch
from tests.evaluation.baselines import Baselines
from tests.evaluation.sets import LabelledSet, Recording, Task

Say = Callable[[str], None]
FIRST: Final = 5  # pieces whose precision is counted
ASK_S: Final = 60.0
READY_S: Final = 180.0
INDEX_S: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A ranked list. `ranks`: where each expectation is met, in the order of the task's, from 1."""

    evidence: tuple[Evidence, ...]
    ranks: tuple[int | None, ...]
    precision: float | None  # of the first five of each list that something is expected of; None: nothing expected
    milliseconds: float

    @classmethod
    def of(cls, task: Task, evidence: Sequence[Evidence], milliseconds: float) -> "Found":
        right = [
            any(meets(x, piece) for x in task.expect)
            for runbook in (True, False)
            if any((x["kind"] == "runbook") is runbook for x in task.expect)
            for piece in [e for e in evidence if (e.kind == "runbook") is runbook][:FIRST]
        ]
        return cls(
            evidence=tuple(evidence),
            ranks=tuple(ranks(task.expect, evidence)),
            precision=(sum(right) / len(right) if right else 0.0) if task.expect else None,
            milliseconds=milliseconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One task and what came back."""

    task: Task
    context: Context
    found: Found
    forbidden: tuple[str, ...]
    abstained: bool
    repeated: bool  # the same evidence in the same order when asked again
    baselines: Mapping[str, Found] = field(default_factory=dict)


@contextmanager
def loaded(chosen: LabelledSet, state: Path, endpoints: Endpoints, say: Say) -> Iterator[Installation]:
    """The set in an installation of its own, searchable to the last record; everything of it is removed at the end."""
    with started(chosen, state, endpoints) as installation:
        installation.start_worker()
        say(f"{publish(installation, chosen)} runbooks published")
        for recording in chosen.inputs:
            say(f"{recording.file}: {send(installation, chosen, recording)}")
        settle(installation, chosen, say)
        yield installation


@contextmanager
def started(chosen: LabelledSet, state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """Topics and an API, which loads its embedding model while more is done; removed at the end."""
    installation = _installation(chosen, state, endpoints)
    try:
        clear(installation)
        installation.run("streams", "topics", "create")
        installation.start_api(port=free_port(0))
        yield installation
    finally:
        clear(installation)


def publish(installation: Installation, chosen: LabelledSet) -> int:
    """The set's runbooks to their topic; how many there are."""
    if not chosen.runbooks:
        return 0
    said = json.loads(installation.run("cag", "publish", str(chosen.path(chosen.runbooks)), "--json"))
    return len(said["added"]) + len(said["changed"])


def send(installation: Installation, chosen: LabelledSet, recording: Recording) -> str:
    """One file to its topic, at its event times; what the command says about it."""
    topic = f"{installation.name}.{recording.topic}"
    path = str(chosen.path(recording.file))
    return installation.run("streams", "send", path, "--topic", topic, timeout_s=INDEX_S).splitlines()[0]


def settle(installation: Installation, chosen: LabelledSet, say: Say) -> None:
    """Wait until every record is searchable, every pattern by meaning too, and the API ready."""
    start = time.monotonic()
    installation.wait_indexed(_ends_of(installation), INDEX_S)
    say(f"every record is searchable {time.monotonic() - start:.1f} s later")
    parts = ("opensearch", "embedder", *(("redis",) if chosen.runbooks else ()))
    installation.wait(lambda: _ready(installation, parts), "the API to become ready", "api", READY_S)
    installation.wait(lambda: not _without_vector(installation), "the patterns' vectors", "worker-1", INDEX_S)
    say(f"every pattern has its vector {time.monotonic() - start:.1f} s later")


def ask(
    installation: Installation, chosen: LabelledSet, task: Task, limit: int, baselines: Baselines | None = None
) -> Asked:
    """Ask twice: the second answer, of a warm process, is timed. Where the text matters it is asked for as well."""
    body = {"limit": limit, "scope": task.scope.model_dump(mode="json"), **_asked(task)}
    body["now"] = (task.now or chosen.now).isoformat()
    first, start = _context(installation, body), time.perf_counter()
    context = _context(installation, body)
    spent = (time.perf_counter() - start) * 1000
    texts = [_everything(piece) for piece in context.evidence]
    if task.forbid:
        texts += sentences(_answer(installation, body))
    scope = Scope(clusters=task.scope.clusters, namespaces=task.scope.namespaces)
    others = baselines.ask(task.asked, context.plan, scope) if baselines else {}
    return Asked(
        task=task,
        context=context,
        found=Found.of(task, context.evidence, spent),
        forbidden=tuple(f"{regex}: {text}" for regex in task.forbid for text in texts if re.search(regex, text)),
        abstained=abstains(context.plan, context.evidence),
        repeated=[e.id for e in first.evidence] == [e.id for e in context.evidence],
        baselines={name: Found.of(task, evidence, ms) for name, (evidence, ms) in others.items()},
    )


def abstains(plan: Plan, evidence: Sequence[Evidence]) -> bool:
    """Whether the product's own answer without a model says that nothing stands out; it gets so many pieces."""
    facts = [piece for piece in evidence if piece.kind != "runbook"]
    return not called_wrong(plan, facts[: Api().max_evidence])


def sentences(answer: str) -> list[str]:
    """Every line, and every sentence of it."""
    lines = [line for line in answer.splitlines() if line.strip()]
    return [*lines, *(part for line in lines for part in re.split(r"(?<=[.!?])\s+", line) if part != line)]


def _everything(piece: Evidence) -> str:
    """All that a reader sees of a piece of evidence, times included."""
    times = [moment.isoformat() for moment in (piece.first, piece.last) if moment]
    place = (piece.cluster, piece.namespace, piece.workload, piece.entity, piece.url)
    return "\n".join((piece.title, piece.text, *place, *times))


def _asked(task: Task) -> dict[str, Any]:
    if task.question:
        return {"question": task.question}
    return {"messages": [turn.model_dump() for turn in task.turns]}


def _context(installation: Installation, body: Mapping[str, Any]) -> Context:
    answer = httpx.post(f"{installation.api_url}/v1/context", json=body, timeout=ASK_S)
    return Context.model_validate(answer.raise_for_status().json())


def _answer(installation: Installation, body: Mapping[str, Any]) -> str:
    messages = body.get("messages") or [{"role": "user", "content": body["question"]}]
    asked = {"model": "freshet", "messages": messages, "freshet": {"now": body["now"], "scope": body["scope"]}}
    answer = httpx.post(f"{installation.api_url}/v1/chat/completions", json=asked, timeout=ASK_S)
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


def _installation(chosen: LabelledSet, state: Path, endpoints: Endpoints) -> Installation:
    """Every topic that the set names becomes an input, in the format that it says."""
    inputs = {
        recording.topic: {
            "topic": f"{chosen.handle}.{recording.topic}",
            "signal": signal_of(recording.topic),
            "format": recording.format,
        }
        for recording in (*(Recording(file="", topic=topic) for topic in TOPICS), *chosen.inputs)
    }
    extra = {"FRESHET_KAFKA__INPUTS": json.dumps(list(inputs.values()))}
    return Installation(name=chosen.handle, state=state.resolve(), endpoints=endpoints, extra=extra)


def signal_of(topic: str) -> str:
    """By the usual names of topics, else by the word in the name."""
    named = (signal for signal in ("event", "metric", "alert") if signal in topic.lower())
    return TOPICS.get(topic) or next(named, "log")


def _ends_of(installation: Installation) -> Callable[[], dict[tuple[str, int], int]]:
    inputs = json.loads(installation.extra["FRESHET_KAFKA__INPUTS"])
    kafka = Kafka(
        bootstrap_servers=installation.endpoints.kafka, inputs=tuple(InputSettings.model_validate(i) for i in inputs)
    )
    reader = LagReader(kafka)
    return lambda: reader.ends() or {("kafka does not answer", 0): 1}


def _ready(installation: Installation, parts: tuple[str, ...]) -> bool:
    said = httpx.get(f"{installation.api_url}/readyz", timeout=10).json().get("parts", {})
    return all(said.get(part) == "ok" for part in parts)


def _without_vector(installation: Installation) -> int:
    client = connect(OpenSearch.model_validate({"url": installation.endpoints.opensearch}))
    missing = {"query": {"bool": {"must_not": {"exists": {"field": "vector"}}}}}
    try:
        return int(client.count(index=f"{installation.name}-patterns*", body=missing)["count"])
    finally:
        client.close()


def clear(installation: Installation) -> None:
    """Stop and remove everything of it."""
    installation.stop()
    installation.remove()
