"""What is very long: lines, tokens, stack traces, names, and text that is hard on regular expressions."""

import json
from collections.abc import Iterator
from typing import Final

from schemas.records import Format
from tests.bad_input.case import ALERT, EVENT, LOG, METRIC, Case, Expect, World, dumps
from tests.bad_input.good import documents

# Each is repeated to the size of the world: what a careless pattern would read again and again.
REPEATED: Final = (
    b"e", b"e ", b"7", b"a=", b"a=1 ", b'a="', b'k="\\', b"\\", b'\\"', b"'", b'"', b"(", b"[", b"[ERROR] ",
    b"<1>1 ", b"http://", b"://a:", b"a@", b"a.b@c.", b".", b"..", b"/", b"/a", b"../", b"C:\\", b"-", b"--", b"_",
    b"*", b"* ", b":", b"::", b"1:", b"a:", b"1.1.1.1 ", b"0x", b"<", b"<a>", b"</", b"<redacted:",
    b"<redacted:jwt>", b"eyJ", b"eyJhbGciOi.", b"password=", b"password: ", b"token ", b"secret=x,", b"Bearer ",
    b"basic ", b"AKIA", b"ghp_", b"sk-", b"4111 1111 1111 1111 ", b"4111111111111111",
    b"-----BEGIN PRIVATE KEY-----", b"{", b'{"', b"{}", b'{"a":', b"}", b"Caused by: ", b"Exception",
    b"a.Exception: ", b"Error", b"user ", b"user x from ", b"Jan ", b"Mon, ", b"2026-01-01T00:00:00Z ", b"\t",
    b"\x1b[", b"\x1b]", b"\x1b[0m", "é".encode(), "\u202e".encode(), "\u0301".encode(), "😀".encode(), b"%20",
    b"\\u0000", b"\\n", b"a,b;", b"=>", b"&&", b"|", b"~", b"\xc2\xa0", b"\xe2\x80\x8b", b"\xef\xbf\xbd",
    b"level=info ", b"msg=", b"at a.b(C.java:1) ", b"trace_id=0af7651916cd43dd8448eb211c80319c ",
)  # fmt: skip


def long_lines(world: World) -> Iterator[Case]:
    """A line of any length is one record, cut where it is stored."""
    for number, part in enumerate(REPEATED):
        # Some at full size: the whole list would take minutes.
        text = (part * (world.large_bytes // 20 // len(part))).decode() * (20 if number % 19 == 0 else 1)
        quoted = json.dumps(text, ensure_ascii=False).encode()
        value = b'{"log":"x ' + quoted[1:-1] + b'","kubernetes":{"pod_name":"till-0"}}'
        expect = Expect(log=1, hides="\x1b\u202e\u200b")
        yield Case(name=f"line of {part!r}", value=value, expect=expect)
        yield Case(name=f"text of {part!r}", value=b"x " + text.encode(), topic="text", expect=expect)
    for size in (65_536, 1_000_000, world.large_bytes):
        for name, token in {"letters": b"e" * size, "digits": b"7" * size, "mixed": (b"aB3" * size)[:size]}.items():
            yield Case(name=f"token of {size} {name}", value=b"code " + token, topic="text", expect=LOG)
            value = b'{"message":"code %b","level":"error"}' % token
            yield Case(name=f"JSON token of {size} {name}", value=value, expect=LOG)


def traces(world: World) -> Iterator[Case]:
    """A stack trace is one record, however many frames it has; what follows it is the next."""
    frames = world.large_bytes // 10
    java, python = b"\tat shop.Till.open(Till.java:7)\n", b'  File "till.py", line 7, in open\n    raise\n'
    go = b"main.open(0x1)\n\t/till.go:7 +0x1d\n"
    endings = {
        "java": (b"ERROR cannot open\n" + java * (frames // 3) + b"Caused by: shop.Stuck: drawer\n" + java * 9, 1),
        "causes": (b"ERROR cannot open\n" + b"Caused by: shop.Stuck: drawer\n" * (frames // 3), 1),
        "python": (b"Traceback (most recent call last):\n" + python * (frames // 4) + b"KeyError: 'drawer'\nnext\n", 2),
        "go": (b"panic: drawer\n\ngoroutine 1 [running]:\n" + go * (frames // 3) + b"exit status 2\nnext\n", 2),
        "dots": (b"cannot open\n" + b"... 3 more\n" * frames, 1),
        "blanks": (b"cannot open\n" + b"    \n" * frames, 1),
        "brackets": (b"{\n" + b"}\n" * frames, 1),
        "alternating": (b"a\n\tb\n" * 2_000, 2_000),
    }
    for name, (value, records) in endings.items():
        expect = Expect(log=records)
        yield Case(name=f"{name} trace", value=value, topic="text", expect=expect)
    inside = dumps({"log": (b"ERROR cannot open\n" + java * frames).decode(), "kubernetes": {"pod_name": "till-0"}})
    yield Case(name="trace in JSON", value=inside, topic=Format.FLUENT_BIT, expect=LOG)


def long_fields(world: World) -> Iterator[Case]:
    """Names, labels and notes of any length."""
    for size in (254, 5_000, world.large_bytes // 4):
        long = "n" * size
        for form, path, expect in (
            (Format.FLUENT_BIT, ("kubernetes", "pod_name"), LOG),
            (Format.FLUENT_BIT, ("kubernetes", "labels", "app"), LOG),
            (Format.FLUENT_BIT, ("stream",), LOG),
            (Format.VECTOR, ("kubernetes", "pod_namespace"), LOG),
            (Format.PROMETHEUS, ("name",), METRIC),
            (Format.PROMETHEUS, ("labels", "path"), METRIC),
            (Format.TELEGRAF, ("tags", "host"), METRIC),
            (Format.KUBERNETES_EVENT, ("message",), EVENT),
            (Format.KUBERNETES_EVENT, ("reason",), EVENT),
            (Format.KUBERNETES_EVENT, ("metadata", "uid"), EVENT),
            (Format.ALERTMANAGER, ("alerts", 0, "labels", "alertname"), ALERT),
            (Format.ALERTMANAGER, ("alerts", 0, "annotations", "summary"), ALERT),
            (Format.ALERTMANAGER, ("alerts", 0, "annotations", "runbook_url"), ALERT),
        ):
            document: object = documents(world.at_ms)[form]
            node = document
            for key in path[:-1]:
                node = node[key]  # type: ignore[index]
            node[path[-1]] = long  # type: ignore[index]
            name = f"{form} {path[-1]} of {size}"
            yield Case(name=name, value=dumps(document), topic=form, expect=expect)


def crowds(world: World) -> Iterator[Case]:
    """Many records in one message, each of them different: as many documents, within the time of one message."""
    count = min(20_000, world.large_bytes // 200)
    words = ["".join(chr(97 + int(digit)) for digit in str(n)) for n in range(count)]
    lines = "\n".join(f"{word} is out of stock" for word in words).encode()
    yield Case(name="different lines", value=lines, topic="text", expect=Expect(log=count))
    good = documents(world.at_ms)[Format.FLUENT_BIT]
    pods = b"\n".join(dumps(good | {"kubernetes": {"pod_name": f"till-{n}"}}) for n in range(count // 4))
    yield Case(name="different pods", value=pods, expect=Expect(log=count // 4))
    metric = documents(world.at_ms)[Format.TELEGRAF]
    series = dumps({"metrics": [metric | {"tags": {"till": word}} for word in words[: count // 2]]})
    yield Case(name="different series", value=series, topic="metrics", expect=Expect(metric=count // 2))
    event = documents(world.at_ms)[Format.KUBERNETES_EVENT]
    items = [event | {"metadata": {"uid": word}} for word in words[: count // 4]]
    value = dumps({"kind": "EventList", "items": items})
    yield Case(name="different events", value=value, topic="k8s-events", expect=Expect(event=count // 4))
    shared = [{"key": f"k{n}", "value": {"stringValue": "v"}} for n in range(count // 2)]
    record = {"body": {"stringValue": "open"}, "attributes": [{"key": "k8s.pod.name", "value": {"stringValue": "p"}}]}
    batch = {
        "resourceLogs": [{"resource": {"attributes": shared}, "scopeLogs": [{"logRecords": [record] * (count // 2)}]}]
    }
    yield Case(name="one wide resource, many records", value=dumps(batch), expect=Expect(log=count // 2))
