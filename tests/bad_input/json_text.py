"""JSON torture: cut at every byte, not quite JSON, too deep, too much, twice the same key."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from schemas.records import Format
from tests.bad_input.case import KIND_OF, LOG, NOT_JSON, NOT_UTF8, SIGNALS, Case, Expect, World, array, dumps, letter
from tests.bad_input.good import documents

HOLDER: Final = b'{"log":"till is open","kubernetes":{"pod_name":"till-0"},"v":%b}'
AUTO_TOPIC: Final = {"log": "logs", "metric": "metrics", "event": "k8s-events", "alert": "alerts"}

GOOD_VALUES: Final = (
    b"0", b"-0", b"1e5", b"1E-5", b"-0.1e+2", b"123456789012345678", b"9007199254740993", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775809", b"1e-400", b"0.00000000000000000000000000000000000001",
    b'""', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\u2028"', b'"\xf0\x9f\x98\x80"',
    b'"\xe2\x80\xae"', b'"\xef\xbb\xbf"', b'"\xef\xbf\xbf"', b'"\\uDBFF\\uDFFF"', b'"\x7f"', b"true", b"false",
    b"null", b"[]", b"{}", b"[ ]", b"{ }", b"[[[[]]]]", b'{"":0}', b'{"a":1,"a":2}', b'{"a":{"a":{"a":1}}}',
    b'{"\\u0061":1,"a":2}', b"\t\r\n 1 \t", b'"' + b"[" * 100_000 + b'"', b'"' + b"{" * 100_000 + b'"',
    b'"' + b'\\"' * 5_000 + b'"', b"[" * 50 + b"]" * 50, b'{"a":' * 50 + b"1" + b"}" * 50,
)  # fmt: skip

BAD_VALUES: Final = (
    b"", b"01", b"+1", b".5", b"1.", b"-", b"--1", b"1e", b"1e+", b"0x10", b"0b1", b"1_000", b"1 2", b"- 1",
    b"1,2", b"NaN", b"nan", b"-NaN", b"Infinity", b"-Infinity", b"inf", b"1e400", b"-1e400", b"1e99999", b"True",
    b"TRUE", b"tru", b"None", b"nil", b"undefined", b"nulll", b"yes", b"'a'", b'"a', b'a"', b'"a""b"', b'"\\x41"',
    b'"\\u12"', b'"\\u12g4"', b'"\\"', b'"\\a"', b'"a\nb"', b'"a\tb"', b'"\x00"', b'"\x1f"', b'"\\ud800"',
    b'"\\udfff"', b'"\\ud800\\ud800"', b'"\\ud800x"', b'"\\uD83D\\u0020"', b"`a`", b"\xe2\x80\x9ca\xe2\x80\x9d",
    b"a", b"a b", b"$", b"&", b"[1,]", b"[,1]", b"[1,,2]", b"[1 2]", b"[1:2]", b"[1", b"1]", b"[1}", b"[\"a\"",
    b"[1]]", b"{1:1}", b"{a:1}", b"{'a':1}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,"a":1}', b'{"a" 1}',
    b'{"a"::1}', b'{"a":1 "b":2}', b'{"a":1,,"b":2}', b'{"a":1]', b'{"a":1', b"{null:1}", b'{"a":1}}', b'{[]:1}',
    b"//x\n1", b"/*x*/1", b"1//x", b"#x\n1", b"<a/>", b"\\n", b"\\u0031", b"1\x00", b"\x001", b"\x0b1", b"\x0c1",
    b"\xc2\xa01", b"\xe2\x80\x8b1", b"\xef\xbb\xbf1", b"\xe3\x80\x801", b"\xef\xbc\x91", b"(1)", b"1;", b"=1",
    b"@1", b"...", b"*", b"{{1}}",
)  # fmt: skip


def cut(world: World) -> Iterator[Case]:
    """Every message, cut at every byte: what is left of an object is a letter, never half of a record."""
    for form, document in documents(world.at_ms).items():
        whole, kind = dumps(document), KIND_OF[SIGNALS[form]]
        auto = AUTO_TOPIC[next(iter(kind.counted))]
        yield Case(name=f"{form} whole", value=whole, topic=auto, expect=kind)
        for topic in dict.fromkeys((auto, form)):
            if topic == "metrics" and form != "metrics" and len(whole) > 400:
                continue
            for end in range(1, len(whole)):
                expect = NOT_JSON if is_utf8(whole[:end]) else NOT_UTF8
                yield Case(name=f"{form} cut at {end}", value=whole[:end], topic=topic, expect=expect)


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def cut_batches(world: World) -> Iterator[Case]:
    """Two records, cut at every byte: of two lines the whole one counts, of an array neither can be told."""
    one = dumps(documents(world.at_ms)[Format.FLUENT_BIT])
    lines, both = b"\n".join((one, one)), array((one, one))
    for end in range(1, len(lines)):
        bad = ("not JSON",) if is_utf8(lines[:end]) else ("not UTF-8",)
        if end < len(one):
            expect = Expect(letters={0: bad})
        elif end <= len(one) + 1:
            expect = LOG
        else:
            expect = Expect(log=1, letters={1: bad})
        for topic in ("logs", Format.FLUENT_BIT):
            yield Case(name=f"two lines cut at {end}", value=lines[:end], topic=topic, expect=expect)
    for end in range(1, len(both)):
        expect = NOT_JSON if is_utf8(both[:end]) else NOT_UTF8
        yield Case(name=f"array cut at {end}", value=both[:end], topic=Format.FLUENT_BIT, expect=expect)
        # `[` alone may begin a line of text.
        yield Case(name=f"array cut at {end}", value=both[:end], expect=expect if end > 1 else LOG)


def syntax(_: World) -> Iterator[Case]:
    """Values that are JSON and values that are not quite, inside a good record: counted, or a letter."""
    for topic in ("logs", Format.FLUENT_BIT):
        for value in GOOD_VALUES:
            yield Case(name=f"good value {short(value)}", value=HOLDER % value, topic=topic, expect=LOG)
        for value in BAD_VALUES:
            yield Case(name=f"bad value {short(value)}", value=HOLDER % value, topic=topic, expect=NOT_JSON)
        whole = HOLDER % b"1"
        for tail in (b"x", b"}", b"]", b",", b" {}", b"null", b"\x00", b"{}", b"//", b"\n]", b'"'):
            yield Case(name=f"tail {short(tail)}", value=whole + tail, topic=topic, expect=NOT_JSON)
        for space in (b" ", b"\n", b"\r\n", b"\t" * 100, b"\xef\xbb\xbf"):
            yield Case(name=f"before {short(space)}", value=space + whole, topic=topic, expect=LOG)
        for space in (b" ", b"\n", b"\r\n", b"\n\n\n"):
            yield Case(name=f"behind {short(space)}", value=whole + space, topic=topic, expect=LOG)


def short(value: bytes) -> str:
    return repr(value[:24])[1:]


def scalars(_: World) -> Iterator[Case]:
    """JSON that is no object: a line of text on a sniffed topic of logs, nothing that we know elsewhere."""
    for value in (b"null", b"true", b"0", b"-1.5", b'"a"', b"[1]", b'["a","b"]', b"[null]", b"[[1]]"):
        yield Case(name=short(value), value=value, expect=LOG)
        for topic in ("metrics", "k8s-events", "alerts"):
            yield Case(name=f"{topic} {short(value)}", value=value, topic=topic, expect=letter("unknown format"))
    strangers = (b'{"hello":"world"}', b"[7]", b"7", b'"a"', b"null", b'[{"a":1}]', b'{"resourceLogs":7}')
    for form in SIGNALS:
        if form in (*AUTO_TOPIC.values(), Format.TEXT, Format.OTLP_PROTO, Format.RSYSLOG):
            continue
        # Both kinds of events are read by one decoder, which has one name for what it does not know.
        known = ("not kubernetes-event", f"not {form}")
        for value in strangers:
            yield Case(name=f"{form} {short(value)}", value=value, topic=form, expect=letter(*known))


def depth(world: World) -> Iterator[Case]:
    """Nesting is told before anything is decoded, whatever stands in strings."""
    many = world.large_bytes // 10
    deep: list[tuple[str, bytes]] = []
    for levels in (65, 100, 255, 1_000, 10_000, 100_000):
        deep.append((f"{levels} arrays", b"[" * levels + b"]" * levels))
        deep.append((f"{levels} objects", b'{"a":' * levels + b"1" + b"}" * levels))
        deep.append((f"{levels} of both", b'[{"a":' * (levels // 2 + 1) + b"1" + b"}]" * (levels // 2 + 1)))
        deep.append((f"{levels} with company", b"[1,[]," * levels + b"1" + b"]" * levels))
    for topic in ("logs", Format.FLUENT_BIT, "metrics"):
        for name, value in deep:
            expect = letter("nested too deeply")
            yield Case(name=f"{topic} {name}", value=HOLDER % value, topic=topic, expect=expect)
        yield Case(name=f"{topic} never closed", value=b"[" * many, topic=topic, expect=letter("nested too deeply"))
    text = dumps({"log": (b'{"a":' * 1_000 + b"1" + b"}" * 1_000).decode(), "kubernetes": {"pod_name": "p"}})
    yield Case(name="deep inside of a line", value=text, expect=LOG)


def much(world: World) -> Iterator[Case]:
    """More values, objects or records than a message may hold are one letter; what only is long is counted."""
    size = max(world.large_bytes, 4_200_000)  # what is too much does not depend on how large the large cases are
    for part in (b"{},", b"[],", b"1,", b'"",'):
        value = HOLDER % (b"[%b1]" % (part * (size // len(part))))
        yield Case(name=f"values {short(part)}", value=value, expect=letter("too many values in one message"))
    commas = HOLDER % (b'"%b"' % (b"," * (world.large_bytes - 100)))
    yield Case(name="commas inside of a string", value=commas, expect=LOG)
    crowd = letter("too many records in one message")
    yield Case(name="lines", value=b"a b\n" * 20_001, expect=crowd)
    yield Case(name="lines of JSON", value=b'{"message":"a b"}\n' * 20_001, expect=crowd)
    yield Case(name="an array", value=array([b'{"message":"a b"}'] * 20_001), expect=crowd)
    most = replace(LOG, log=2_000)
    yield Case(name="2,000 lines", value=b'{"message":"a b"}\n' * 2_000, expect=most)
