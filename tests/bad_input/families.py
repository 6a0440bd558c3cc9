"""The table of families: RELIABILITY.md section 6, each with the functions that make its cases."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.bad_input import (
    batches,
    encodings,
    headers,
    json_text,
    keys,
    kubernetes,
    numbers,
    otlp,
    sizes,
    times,
    wrong_types,
)
from tests.bad_input.case import Case, World

FAMILIES: Final[dict[str, tuple[Callable[[World], Iterator[Case]], ...]]] = {
    "JSON cut at every byte": (json_text.cut, json_text.cut_batches),
    "not quite JSON": (json_text.syntax, json_text.scalars),
    "deep and large JSON": (json_text.depth, json_text.much),
    "odd characters": (encodings.unseen,),
    "not UTF-8": (encodings.not_utf8, encodings.other_encodings),
    "empty": (encodings.empty,),
    "compressed and binary": (encodings.packed,),
    "wrong types": (wrong_types.wrong_types,),
    "times": (times.event_times, times.lines, times.kafka_times),
    "numbers": (numbers.metric_values, numbers.proto_values, numbers.resets),
    "keys": (keys.odd_keys, keys.collisions, keys.many_keys),
    "events and alerts": (kubernetes.events, kubernetes.alerts),
    "forged headers": (headers.forged, headers.cloud_events),
    "registry frames": (headers.framed,),
    "OTLP protobuf": (otlp.cut, otlp.lengths, otlp.any_values, otlp.fields),
    "mixed batches": (batches.arrays, batches.lines, batches.nested, batches.proto),
    "long": (sizes.long_lines, sizes.traces, sizes.long_fields, sizes.crowds),
}


def cases(family: str, world: World) -> Iterator[Case]:
    for make in FAMILIES[family]:
        yield from make(world)
