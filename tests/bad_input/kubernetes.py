"""Kubernetes events and alerts with parts missing, counts that go back, and envelopes around them."""

import copy
from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Format
from tests.bad_input.case import ALERT, EVENT, Case, Expect, World, dropped, dumps, letter
from tests.bad_input.good import documents, rfc3339

NO_OBJECT = letter("event without an involved object")
NO_UID = letter("event without a uid")
NO_REASON = letter("event without a reason")


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    made = copy.deepcopy(document)
    node = made
    for key in path[:-1]:
        node = node[key]
    node.pop(path[-1], None)
    return made


Story = tuple[str, dict[str, Any], Expect]
ODD_COUNTS: Final[tuple[Any, ...]] = (
    0, 1, -1, -(2**63), 2**31 - 1, 2**31, 2**53 + 1, 2**63, 1.5, 3.0, 1e300, True, None, "7", "x", [], {},
)  # fmt: skip
AGAIN: Final = (("9", 5), ("9", 5), ("8", 4), ("10", 1), ("x", 5), ("", 6), ("9" * 99, 2))  # version and count


def events(world: World) -> Iterator[Case]:
    good = documents(world.at_ms)[Format.KUBERNETES_EVENT]
    for name, document, expect in (*parts(good), *envelopes(good), *again(good, world)):
        for topic in ("k8s-events", Format.KUBERNETES_EVENT):
            yield Case(name=f"event {name}, {topic}", value=dumps(document), topic=topic, expect=expect)
        if expect == EVENT and "object" not in document:
            for kind in ("ADDED", "MODIFIED"):
                watched = dumps({"type": kind, "object": {"kind": "Event", **document}})
                yield Case(name=f"{kind} event {name}", value=watched, topic="k8s-events", expect=EVENT)
    yield from listed(good)


def parts(good: dict[str, Any]) -> list[Story]:
    """What is missing or odd inside of an event."""
    objectless = without(good, "involvedObject")
    regarding = objectless | {"regarding": good["involvedObject"]}
    return [
        ("without its object", objectless, NO_OBJECT),
        ("with a null object", good | {"involvedObject": None}, NO_OBJECT),
        ("with an empty object", good | {"involvedObject": {}}, NO_OBJECT),
        ("about nothing but a namespace", good | {"involvedObject": {"namespace": "shop"}}, NO_OBJECT),
        ("without the object's kind", without(good, "involvedObject", "kind"), EVENT),
        ("without the object's name", without(good, "involvedObject", "name"), EVENT),
        ("without the object's namespace", without(good, "involvedObject", "namespace"), EVENT),
        ("without metadata", without(good, "metadata"), NO_UID),
        ("without a uid", without(good, "metadata", "uid"), NO_UID),
        ("without a reason", without(good, "reason"), NO_REASON),
        ("without a message", without(good, "message"), EVENT),
        ("without a type", without(good, "type"), EVENT),
        ("without a time", without(good, "lastTimestamp"), EVENT),
        ("without a count", without(good, "count"), EVENT),
        ("without a kind", without(good, "kind"), EVENT),
        ("of events.k8s.io", regarding, EVENT),
        ("with a note", without(regarding, "message") | {"note": "n" * 65_536}, EVENT),
        ("with both objects", good | {"regarding": {}}, EVENT),
        ("with a null series", good | {"series": None, "related": None, "source": None}, EVENT),
        ("with an odd series", good | {"series": {"count": "x", "lastObservedTime": 7}}, EVENT),
        ("of an odd kind", good | {"involvedObject": {"kind": "Unicorn", "name": "u", "namespace": "shop"}}, EVENT),
        ("of a node", good | {"involvedObject": {"kind": "Node", "name": "node-a"}}, EVENT),
        ("with a long name", good | {"involvedObject": {"kind": "Pod", "name": "p" * 5_000}}, EVENT),
        ("with an odd path", good | {"involvedObject": {**good["involvedObject"], "fieldPath": "spec{" * 900}}, EVENT),
    ]


def envelopes(good: dict[str, Any]) -> list[Story]:
    """Other objects of the API, and events in what carries them."""
    unknown = letter("unknown format", "not kubernetes-event")
    return [
        ("that is a pod", {"kind": "Pod", "metadata": {"uid": "u", "name": "till-0"}, "spec": {}}, unknown),
        ("that is a status", {"kind": "Status", "status": "Failure", "code": 410}, unknown),
        ("that was deleted", {"type": "DELETED", "object": good}, dropped("event-deleted")),
        ("that is a bookmark", {"type": "BOOKMARK", "object": {"kind": "Event"}}, dropped("watch-bookmark")),
        ("that is an error", {"type": "ERROR", "object": {"kind": "Status", "code": 410}}, unknown),
        ("of an unknown watch", {"type": "WHATEVER", "object": good}, EVENT),
        ("watched without an object", {"type": "ADDED"}, unknown),
        ("watched with a text", {"type": "ADDED", "object": "x"}, unknown),
        ("of an empty list", {"kind": "EventList", "items": []}, dropped("empty-batch")),
        ("of a null list", {"kind": "EventList", "items": None}, unknown),
    ]


def again(good: dict[str, Any], world: World) -> Iterator[Story]:
    """Counts of every kind; the same event with a smaller one, from before, or of another version: it is seen again."""
    for count in ODD_COUNTS:
        yield f"with count {count!r}", good | {"count": count}, EVENT
        yield f"with series {count!r}", good | {"series": {"count": count}}, EVENT
    for step, (version, count) in enumerate(AGAIN):
        meta = good["metadata"] | {"resourceVersion": version}
        seen = {"metadata": meta, "count": count, "lastTimestamp": rfc3339(world.at_ms - 60_000 + step % 3 * 20_000)}
        yield f"again, version {version:.9}, count {count}", good | seen, EVENT


def listed(good: dict[str, Any]) -> Iterator[Case]:
    """One bad event of a list is one letter at its place."""
    bad: list[tuple[Any, str]] = [
        (without(good, "metadata", "uid"), NO_UID.letters[0][0]),
        (without(good, "reason"), NO_REASON.letters[0][0]),
        (without(good, "involvedObject"), NO_OBJECT.letters[0][0]),
        ({}, "not kubernetes-event"),
        (None, "not kubernetes-event"),
        ("x", "not kubernetes-event"),
        ([good], "not kubernetes-event"),
        ({"kind": "Pod"}, "not kubernetes-event"),
    ]
    for item, reason in bad:
        for place in range(4):
            items = [good] * 3
            items.insert(place, item)
            value = dumps({"kind": "EventList", "apiVersion": "v1", "items": items})
            expect = Expect(event=3, letters={place: (reason,)})
            yield Case(name=f"list with {str(item)[:20]!r} at {place}", value=value, topic="k8s-events", expect=expect)


def alerts(world: World) -> Iterator[Case]:
    notice = documents(world.at_ms)[Format.ALERTMANAGER]
    good = notice["alerts"][0]
    nameless = letter("alert without a name")
    stories: list[tuple[str, Any, Expect]] = [
        ("without labels", without(good, "labels"), nameless),
        ("without a name", good | {"labels": {"severity": "page"}}, nameless),
        ("without annotations", without(good, "annotations"), ALERT),
        ("without a start", without(good, "startsAt"), ALERT),
        ("without a status", without(good, "status"), ALERT),
        ("with an odd status", good | {"status": "whatever"}, ALERT),
        ("resolved without an end", good | {"status": "resolved"}, ALERT),
        (
            "that ends before it begins",
            good | {"status": "resolved", "endsAt": rfc3339(world.at_ms - 9_000_000)},
            ALERT,
        ),
        ("firing with Go's zero", good | {"endsAt": "0001-01-01T00:00:00Z"}, ALERT),
        ("with an odd fingerprint", good | {"fingerprint": "\x00\u202e" * 99}, ALERT),
        ("with a null fingerprint", good | {"fingerprint": None}, ALERT),
        ("with a script for a link", good | {"annotations": {"runbook_url": "javascript:alert(1)"}}, ALERT),
        ("with a long note", good | {"annotations": {"description": "d" * 100_000}}, ALERT),
        ("that is a text", "x", nameless),
        ("that is null", None, nameless),
        ("that is a list", [good], nameless),
    ]
    for name, alert, expect in stories:
        for topic in ("alerts", Format.ALERTMANAGER):
            value = dumps(notice | {"alerts": [alert]})
            yield Case(name=f"alert {name}, {topic}", value=value, topic=topic, expect=expect)
            value = dumps(notice | {"alerts": [good, alert, good]})
            letters = {1: expect.letters[0]} if expect.letters else {}
            both = Expect(alert=2 + expect.alert, letters=letters)
            yield Case(name=f"alert {name} between two, {topic}", value=value, topic=topic, expect=both)
    for key in ("version", "receiver", "groupKey"):
        yield Case(name=f"notice with odd {key}", value=dumps(notice | {key: [7]}), topic="alerts", expect=ALERT)
    yield Case(name="alert alone", value=dumps(good), topic="alerts", expect=ALERT)
    yield Case(name="bare list", value=dumps([good, good]), topic="alerts", expect=Expect(alert=2))
