"""A burst of lines that are all different, while the embedding model is away: found by words, said, embedded later."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException

from deploy.demo import free_port
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from processors.embed import HashingEmbedder
from schemas import telemetry
from tests.benchmarks import burst
from tests.benchmarks.installed import installed
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads
from tests.loopback import running

pytestmark = pytest.mark.integration
LINES, BUDGET, PATIENCE_S = 200, 10, 120.0


class Model:
    """An embeddings API that may be away."""

    def __init__(self) -> None:
        self.away, self.app, self._hashing = True, FastAPI(), HashingEmbedder(384)
        self.app.post("/v1/embeddings")(self.embed)

    def embed(self, body: dict[str, Any]) -> Mapping[str, Any]:
        if self.away:
            raise HTTPException(503)
        vectors = self._hashing.embed(body["input"])
        return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def installation(state: Path, endpoints: Endpoints, model: Model) -> Iterator[Installation]:
    with running(model.app) as url, installed("it-burst", state, endpoints, partitions=2) as made:
        made.extra |= {
            "FRESHET_EMBEDDER__KIND": "http",
            "FRESHET_EMBEDDER__BASE_URL": f"{url}/v1",
            "FRESHET_WORKER__NEW_PATTERNS_PER_MINUTE": str(BUDGET),
            "FRESHET_WORKER__METRICS_PORT": str(free_port(0)),
        }
        yield made


def test_a_burst_is_found_by_its_words_and_embedded_later(installation: Installation, model: Model) -> None:
    messages = list(burst.unique(random.Random(1), LINES, time.time()))
    publish(messages, installation.endpoints.kafka, topics=installation.topics)
    installation.start_worker(1, "--only", "logs")
    with closing(Reads(installation)) as reads:
        installation.wait(lambda: reads.counted() == LINES, "the lines", "worker-1", PATIENCE_S)
        installation.start_api(port=free_port(0))
        told = installation.sources()
        assert told.text_only == LINES
        assert f"{LINES} new log patterns are searchable by text only until they are embedded" in told.statement
        word = burst.words(random.Random(1))[0]
        assert any(word in piece.text for piece in installation.context(f"what is {word} in search?").evidence)
        worker = WorkerProcess.of(installation, int(installation.extra["FRESHET_WORKER__METRICS_PORT"]))
        assert LINES - 2 * BUDGET <= worker.total(telemetry.PATTERNS_DEFERRED.name) <= LINES - BUDGET
        model.away = False
        installation.wait(reads.embedded, "the vectors", "worker-1", PATIENCE_S)
        assert installation.sources().text_only == 0
        assert worker.total(telemetry.PATTERNS_EMBEDDED.name) >= LINES
