"""Decode plus template on one core, format by format: batches of a hundred lines of the reference load, drawn anew."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from rich.table import Table

from processors.decode import decode
from processors.pipeline import Pipeline
from processors.template import template
from schemas.records import LogRecord, Message
from schemas.settings import Settings
from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Summary

GOAL: Final = 300_000  # lines per CPU second
LINES, ROUNDS = 20_000, 5


def otlp_json(draw: int) -> list[bytes]:
    return [message.value for message in corpus.by_the_hundred(LINES, time.time(), keyed=True, draw=draw)]


def otlp_proto(draw: int) -> list[bytes]:
    return [_protobuf(value) for value in otlp_json(draw)]


def fluent_bit(draw: int) -> list[bytes]:
    """An array of events, each of another pod."""
    return [b"[" + b",".join(part) + b"]" for part in _hundreds(_events(draw))]


def text(draw: int) -> list[bytes]:
    """Lines with the times that the applications wrote."""
    return [b"\n".join(part) for part in _hundreds([json.loads(event)["log"].encode() for event in _events(draw)])]


FORMATS: Final[dict[str, Callable[[int], list[bytes]]]] = {
    "OTLP/JSON": otlp_json,
    "OTLP in protobuf": otlp_proto,
    "Fluent Bit, arrays": fluent_bit,
    "text, a line each": text,
}


def _hundreds(values: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [values[start : start + corpus.BATCH] for start in range(0, len(values), corpus.BATCH)]


def _events(draw: int) -> list[bytes]:
    return [message.value for message in corpus.one_by_one(LINES, time.time(), keyed=True, draw=draw)]


def _protobuf(value: bytes) -> bytes:
    """By protobuf's own JSON reader, whose base64 ids need the hexadecimal ones rewritten first."""
    batch = json.loads(value)
    for group in batch["resourceLogs"]:
        for record in (each for scope in group["scopeLogs"] for each in scope["logRecords"]):
            for key in record.keys() & {"traceId", "spanId"}:
                record[key] = b64encode(bytes.fromhex(record[key])).decode()
    read: bytes = json_format.ParseDict(batch, LogsData()).SerializeToString()
    return read


def rate(pipeline: Pipeline, values: Sequence[bytes]) -> float:
    """Lines per CPU second. A line of text that goes on with the one before is a line, too."""
    now_ms, source = int(time.time() * 1000), pipeline.inputs["logs"]
    messages = [Message("logs", "id", 0, n, now_ms, None, value) for n, value in enumerate(values)]
    began = time.process_time()
    for message in messages:
        for item in decode(message, source):
            assert isinstance(item, LogRecord), item
            template(item.body)
    return LINES / (time.process_time() - began)


def run(bench: Bench) -> Summary:
    pipeline = Pipeline.from_settings(Settings())
    rates = {
        name: [rate(pipeline, drawn(nth)) for nth in range(ROUNDS + 1)][1:]  # the first is for the memories
        for name, drawn in FORMATS.items()
    }
    bench.out.print(f"formats: {ROUNDS} rounds of {LINES:,} lines drawn anew, {corpus.BATCH} a message, one core")
    table = Table("decode plus template", "lines per CPU second", "slowest round")
    for name, found in rates.items():
        table.add_row(name, f"{median(found):,.0f}", f"{min(found):,.0f}")
    bench.out.print(table)
    figures = {name: round(median(found)) for name, found in rates.items()}
    short = [name for name, figure in figures.items() if figure < GOAL]
    headline = ", ".join(f"{name} {figure:,}" for name, figure in figures.items())
    return {
        "name": "formats",
        "ok": not short,
        "headline": headline,
        "goal": GOAL,
        "short": short,
        "lines_per_s": figures,
    }
