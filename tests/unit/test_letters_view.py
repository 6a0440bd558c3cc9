"""What a terminal shows of letters that anyone may have written, and how people name them."""

import datetime as dt
import re
from collections.abc import Callable

import pytest

from processors.redact import Redactor
from schemas.errors import StartupError
from schemas.records import Message
from schemas.settings import Redaction
from streams.letters import view
from streams.letters.replay import Tally
from streams.letters.scan import Catalog, LetterPlace, SourcePlace, find, parse_place

REDACT = Redactor(Redaction())
SECRET = b"password=hunter2secret"
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "(empty)"),
        (b"plain", "plain"),
        (b"two\nlines\tand \x1b[31mred\x07 \xe2\x80\xae", "two\nlines\tand \\x1b[31mred\\x07 \\u202e"),
        (b"\xef\xbb\xbfmarked", "\\ufeffmarked"),
        ("words".encode("utf-16"), "words"),
        (b"a " + SECRET, "a password=<redacted:password>\n(redacted)"),
        (b"x" * 5_000, "x" * 4_000 + "\n(cut: the value has 5,000 bytes, --raw writes all of them)"),
        (b"\x00\x01ab", "000000  00 01 61 62                                      ..ab\n(no text, 4 bytes)"),
    ],
)
def test_values(value: bytes | None, shown: str) -> None:
    assert view.value_text(value, REDACT) == shown


def _gaps(secret: bytes) -> bytes:
    return b"\x00".join(bytes([byte]) for byte in secret)


@pytest.mark.parametrize(
    "hide",
    [
        lambda secret: b"\xff\x00" + secret,
        lambda secret: b"\xff\xfe" + secret + b"!",  # claims to be UTF-16
        lambda secret: secret.decode().encode("utf-16"),
        lambda secret: b"\x00" + _gaps(secret),
        lambda secret: b"\xf0" + b"x" * 70_000 + secret,
        lambda secret: b"y" * 3_990 + b" " + secret,  # where the text is cut
        lambda secret: "é".encode() * 32_768 + secret,  # a character at the edge of what is looked at
    ],
)
def test_no_secret_shows_whatever_it_hides_in(hide: Callable[[bytes], bytes]) -> None:
    shown = view.value_text(hide(SECRET), REDACT)
    dumped = bytes.fromhex("".join(re.findall(r"^[0-9a-f]{6}  ((?:[0-9a-f]{2} ?)+)", shown, re.MULTILINE)))
    for text in (shown, dumped.decode("latin-1"), shown.encode("utf-16-le").decode("latin-1")):
        assert "hunter2" not in text.replace("\x00", "").replace(".", "")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2/41", LetterPlace(2, 41)),
        ("logs/2/41", SourcePlace("logs", 2, 41, None)),
        ("app.logs.v1/2/41/0", SourcePlace("app.logs.v1", 2, 41, 0)),
        ("logs", None), ("2", None), ("2/x", None), ("a/b/c/d/e", None), ("", None), ("logs/-1/4", None),
    ],
)  # fmt: skip
def test_how_a_letter_is_named(text: str, place: object) -> None:
    if place is None:
        with pytest.raises(StartupError, match="PARTITION/OFFSET"):
            parse_place(text)
    else:
        assert parse_place(text) == place


def test_a_source_without_letters_is_told() -> None:
    def fetch(_: LetterPlace) -> Message:
        raise AssertionError("nothing is to be read")

    with pytest.raises(StartupError, match="no dead letter about logs/0/7"):
        find(SourcePlace("logs", 0, 7, None), fetch=fetch, scan=lambda: Catalog(known=()), known=())


def test_the_summary_of_a_replay_names_everything() -> None:
    tally = Tally(before=1)
    assert view.tally_lines(Tally(), dry_run=False) == ["no letters to replay"]
    tally.counted["log"], tally.filtered["empty-batch"] = 2, 1
    tally.rejected["not \x1b JSON"], tally.skipped["cut"] = 3, 4
    lines = view.tally_lines(tally, dry_run=True)
    assert [line.split()[0] for line in lines] == ["2", "1", "1", "3", "4"]
    assert "\\x1b" in lines[3]
