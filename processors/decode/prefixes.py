"""What stands before the message in a line of text: times, levels, klog and syslog headers.

They are read and taken off, so that two lines which say the same have the same text. All patterns are anchored and
bounded: the cost of a line does not depend on what is in it.
"""

import re
from typing import Final, NamedTuple

from processors.decode.severity import letter_severity, level_in_text, syslog_severity
from processors.decode.timestamps import DAY_MS, epoch_ms, from_calendar, without_year
from schemas.records import UNKNOWN, WARN

_MOST_PREFIXES: Final = 4  # such as a CRI header, a time, a level and a klog header
_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_MONTH: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_MONTH_NAMES: Final = {f"{number:02}": name for number, name in enumerate(_MONTH.split("|"), start=1)}
_AFTER: Final = r"[\]:]?(?:\s{0,8}[-|]{1,2}\s{1,8}|\||\s{1,8}|$)"

_ISO: Final = re.compile(
    rf"\[?(?P<iso>\d{{4}}([-/.])\d\d\2\d\d[T ]{_CLOCK})(?P<zone>Z|(?: ?[+-]\d\d:?\d\d)| UTC| GMT)?"
    rf"(?P<cri> (?:stdout|stderr) [FP](?= ))?{_AFTER}",
    re.ASCII,
)
_COMPACT: Final = re.compile(r"(\d\d)(\d\d)(\d\d) (\d\d)(\d\d)(\d\d) (?:\d{1,7} )?(?=[A-Z]{4,8} )", re.ASCII)
_CTIME: Final = re.compile(
    rf"\[?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ({_MONTH}) {{1,2}}(\d\d?) ({_CLOCK}) (\d{{4}}){_AFTER}", re.ASCII
)
_REDIS: Final = re.compile(rf"\d{{1,7}}:[A-Z] (\d\d) ({_MONTH}) (\d{{4}}) ({_CLOCK}) (?P<mark>[*#.-]) ", re.ASCII)
_KLOG: Final = re.compile(
    rf"(?P<letter>[IWEFD])(\d\d)(\d\d) ({_CLOCK}) {{1,8}}\d{{1,10}} [^\s\]]{{1,200}}:\d{{1,6}}\] ?",
    re.ASCII,
)
_NO_YEAR: Final = re.compile(rf"({_MONTH}) {{1,2}}(\d\d?) ({_CLOCK}) ", re.ASCII)
_LEVEL: Final = re.compile(
    r"(?:[\[(<|]\s{0,8}(?P<marked>[A-Za-z]{3,13})\s{0,8}[\])>|]"
    r"|(?P<capital>[A-Z]{3,13})\s{0,8}(?:[:|]|(?=\s|$))"
    r"|(?P<named>[A-Za-z]{3,13}):(?=\s))"
    r":?(?:\s{0,8}[-|]{1,2}\s{1,8}|\s{0,8})",
    re.ASCII,
)

_SYSLOG_5424: Final = re.compile(
    r"<(?P<priority>\d{1,3})>1 (?P<time>\S{1,40}) (?P<host>\S{1,255}) (?P<program>\S{1,48}) \S{1,128} \S{1,32} "
    r"(?:-|(?:\[[^\]\\]{0,1024}(?:\\.[^\]\\]{0,1024}){0,32}\]){1,8})(?: |$)\ufeff?",
    re.ASCII,
)
_SYSLOG_3164: Final = re.compile(
    r"(?:<(?P<priority>\d{1,3})>)?"
    rf"(?:(?P<month>{_MONTH}) {{1,2}}(?P<day>\d\d?) (?P<clock>{_CLOCK})|(?P<time>\d{{4}}-\S{{10,36}}))"
    r" (?P<host>[\w.:-]{1,255}) (?P<program>[^\s\[:(]{1,64})(?:\([^)\s]{1,64}\))?(?P<pid>\[[^\]\s]{1,32}\])?: ?",
    re.ASCII,
)
_ELSEWHERE: Final = re.compile(
    rf"(?P<iso>\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?)"
    rf"|\[(?P<day>\d\d)/(?P<month>{_MONTH})/(?P<year>\d{{4}})[: ](?P<clock>{_CLOCK})(?: (?P<zone>[+-]\d{{4}}))?\]",
    re.ASCII,
)


class Prefix(NamedTuple):
    """What the beginning of a line told, and the rest."""

    rest: str
    severity: int
    time_ms: int | None


class SyslogHeader(NamedTuple):
    rest: str
    severity: int
    time_ms: int | None
    host: str
    program: str


def take_prefix(text: str, received_ms: int | None) -> Prefix:
    """Take headers off; without `received_ms` (of the Kafka message) times are taken off, too, but not read."""
    severity, time_ms = UNKNOWN, None
    for _ in range(_MOST_PREFIXES):
        opening = text[:1]
        if opening.isdigit() or (opening == "[" and text[1:2].isdigit()):
            found, seen_ms, level = _numeric(text, received_ms)
        elif klog := _KLOG.match(text) if opening in "IWEFD" else None:
            found, seen_ms, level = klog, None, letter_severity(klog["letter"])
            if received_ms is not None:
                seen_ms = without_year(_MONTH_NAMES.get(klog[2], ""), klog[3], klog[4], received_ms)
        else:
            found, seen_ms, level = _worded(text, received_ms, levelled=severity != UNKNOWN)
        severity = severity or level
        time_ms = time_ms if time_ms is not None else seen_ms
        if found is None:
            break
        text = text[found.end() :]
    return Prefix(text, severity, time_ms)


_Found = tuple[re.Match[str] | None, int | None, int]  # a prefix to take off, its time, its severity
_NONE: Final[_Found] = (None, None, UNKNOWN)


def _numeric(text: str, received_ms: int | None) -> _Found:
    timed = received_ms is not None
    if found := _ISO.match(text):
        zone = (found["zone"] or "").strip()
        return found, epoch_ms(found["iso"] + zone) if timed else None, UNKNOWN
    if found := _COMPACT.match(text):
        return found, epoch_ms("20{}-{}-{}T{}:{}:{}".format(*found.groups())) if timed else None, UNKNOWN
    if found := _REDIS.match(text):
        time_ms = from_calendar(int(found[3]), found[2], found[1], found[4]) if timed else None
        return found, time_ms, WARN if found["mark"] == "#" else UNKNOWN
    return _NONE


def _worded(text: str, received_ms: int | None, *, levelled: bool) -> _Found:
    timed = received_ms is not None
    if found := _CTIME.match(text):
        return found, from_calendar(int(found[4]), found[1], found[2], found[3]) if timed else None, UNKNOWN
    if found := _NO_YEAR.match(text):
        time_ms = None if received_ms is None else without_year(found[1], found[2], found[3], received_ms)
        return found, time_ms, UNKNOWN
    found = None if levelled else _LEVEL.match(text)
    if found is None:
        return _NONE
    word = found[found.lastgroup or 0]
    level = level_in_text(word)
    # Go's `panic:` and git's `fatal:` are the message itself.
    return (found, None, level) if level and word not in {"panic", "fatal"} else _NONE


def take_syslog(text: str, received_ms: int, *, any_program: bool = False) -> SyslogHeader | None:
    """The header of RFC 5424, RFC 3164 or syslog-ng; with an ISO time the program needs a process id to be believed."""
    if found := _SYSLOG_5424.match(text):
        time_ms = epoch_ms(found["time"])
    elif found := _SYSLOG_3164.match(text):
        if found["time"]:
            if not (found["pid"] or found["priority"] or any_program):
                return None
            time_ms = epoch_ms(found["time"])
        else:
            time_ms = without_year(found["month"], found["day"], found["clock"], received_ms)
    else:
        return None
    said = {key: "" if found[key] == "-" else found[key] for key in ("host", "program")}
    return SyslogHeader(text[found.end() :], syslog_severity(found["priority"]), time_ms, said["host"], said["program"])


def may_tell_time(text: str) -> bool:
    """Whether `time_within` would find something to read, whatever its digits are."""
    return _ELSEWHERE.search(text, 0, 200) is not None


def time_within(text: str, received_ms: int) -> int | None:
    """A full date and time in the first characters of a line: that of an access log, or any of the last day.

    Elsewhere a date is what the line is about ("expired on ..."), and would place it where nobody looks for it.
    """
    found = _ELSEWHERE.search(text, 0, 200)
    if found is None:
        return None
    if found["iso"]:
        time_ms = epoch_ms(found["iso"])
        return time_ms if time_ms is not None and received_ms - time_ms <= DAY_MS else None
    return from_calendar(int(found["year"]), found["month"], found["day"], found["clock"], found["zone"] or "")
