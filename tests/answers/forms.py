"""Sentences as a model would write them about a piece of evidence, with the places that can be made wrong marked.

Two halves with other words for the same: rules are tuned on the first, the second is only counted. A form is text with
slots in braces; one that a piece cannot fill does not apply to it.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal
from zoneinfo import ZoneInfo

from schemas.context import Evidence

Wrong = Literal["number", "name", "time", "quote", "citation"]
Half = Literal["development", "held out"]
HALVES: Final[tuple[Half, Half]] = ("development", "held out")


@dataclass(frozen=True, slots=True)
class Slot:
    kind: Wrong
    text: str


Part = str | Slot
Filler = Callable[[Evidence, Random, ZoneInfo], Slot | None]


def _name(text: str) -> Slot | None:
    return Slot("name", text) if text else None


def _clock(form: str, *, which: str, local: bool = False) -> Filler:
    def fill(piece: Evidence, _: Random, zone: ZoneInfo) -> Slot | None:
        moment: datetime | None = getattr(piece, which)
        if moment is None:
            return None
        utc = f"{moment.astimezone(UTC):{form}}"
        here = f"{moment.astimezone(zone):{form}}"
        if local and here != utc:
            return Slot("time", f"{here} ({utc} UTC)")
        return Slot("time", f"{utc} UTC" if local else utc)

    return fill


def _around(piece: Evidence, _: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None:
        return None
    five = round(piece.first.timestamp() / 300) * 300
    return Slot("time", f"around {datetime.fromtimestamp(five, UTC):%H:%M}")


def _period(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None or piece.last is None or piece.first == piece.last:
        return None
    return Slot("time", f"{piece.first:%H:%M:%S}{rng.choice('-–')}{piece.last:%H:%M:%S}")


def _count(form: Callable[[int], str], least: int = 3) -> Filler:
    return lambda piece, rng, zone: Slot("number", form(piece.count)) if piece.count >= least else None


def _two_digits(value: float) -> int:
    step = 10 ** max(len(str(int(value))) - 2, 0)
    return int(round(value / step) * step)


def _first_digit(value: float) -> int:
    step = 10 ** (len(str(int(value))) - 1)
    return int(value // step * step)


_AMOUNT: Final = re.compile(r"(?<![\w.:/\[#@*=-])(\d{1,7}) (ms|percent|worker|bytes|times|seconds)\b")


def _amount(form: Callable[[int, str], str | None]) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        found = _AMOUNT.search(piece.text) if piece.kind in ("log", "alert") else None
        text = form(int(found[1]), found[2]) if found else None
        return Slot("number", text) if text else None

    return fill


_METRIC: Final = re.compile(r": now ([\d,.]+)(Mi|)(?:/s)?, at first ([\d,.]+)(Mi|)")


def _value(which: int, form: Callable[[float, str], str]) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        found = _METRIC.search(piece.text)
        if found is None or found[1] == found[3]:
            return None
        return Slot("number", form(float(found[2 * which + 1].replace(",", "")), found[2]))

    return fill


def _shown(value: float, unit: str) -> str:
    return f"{value:,.4g} MiB" if unit else f"{value:,.4g}"


def _coarse(value: float, unit: str) -> str:
    if unit:
        return f"{value / 1024:.2f} GiB"
    return f"about {_two_digits(value)}" if value >= 100 else f"{value:g}"


def said(piece: Evidence) -> str:
    """The words of a line, without what its writer puts in front."""
    line = piece.text.split("\n", 1)[0]
    if found := re.search(r'"msg":"(.*?)"|msg="(.*?)"', line):
        return found[1] or found[2]
    line = re.sub(r"^(?:Alert \w+ is firing: |\w+ \w+/\S+: )", "", line)
    return re.sub(r"^[\[\]\w:,.+\-/ ]*?\d\d:\d\d:\d\d[.,\d]*\]? *(?:[-\w ]*\] )?", "", line)


def _words(piece: Evidence, rng: Random, least: int = 4, most: int = 9) -> list[str]:
    words = [word for word in said(piece).split() if not set(word) & set('`"“”[]<>{}|*\\')]
    if len(words) < least:
        return []
    length = rng.randint(least, min(most, len(words)))
    start = rng.randint(0, len(words) - length)
    run = words[start : start + length]
    return run if " ".join(run) in piece.text else []


def _excerpt(marks: str, least: int = 4) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        words = _words(piece, rng, least)
        return Slot("quote", f"{marks[0]}{' '.join(words).strip('.,;:')}{marks[-1]}") if words else None

    return fill


def _elided(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    words = _words(piece, rng, 7, 14)
    return Slot("quote", f'"{" ".join(words[:3])} ... {" ".join(words[-3:])}"') if words else None


def _lasting(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None or piece.last is None or (piece.last - piece.first).total_seconds() < 180:
        return None
    return Slot("number", f"{round((piece.last - piece.first).total_seconds() / 60)} minutes")


FILLERS: Final[dict[str, Filler]] = {
    "workload": lambda piece, rng, zone: _name(piece.workload),
    "workload_code": lambda piece, rng, zone: _name(f"`{piece.workload}`" if piece.workload else ""),
    "namespace": lambda piece, rng, zone: _name(piece.namespace),
    "entity": lambda piece, rng, zone: _name(piece.entity.partition("/")[2] if piece.kind in ("log", "event") else ""),
    "pod": lambda piece, rng, zone: _name(piece.entity.removeprefix("pod/") if piece.entity.startswith("pod/") else ""),
    "pod_code": lambda piece, rng, zone: _name(
        f"`{piece.entity.removeprefix('pod/')}`" if piece.entity.startswith("pod/") else ""
    ),
    "alert": lambda piece, rng, zone: _name(piece.title if piece.kind == "alert" else ""),
    "alert_code": lambda piece, rng, zone: _name(f"`{piece.title}`" if piece.kind == "alert" else ""),
    "reason": lambda piece, rng, zone: _name(piece.title.split()[0] if piece.kind == "event" else ""),
    "metric": lambda piece, rng, zone: _name(f"`{piece.title}`" if piece.kind == "metric" else ""),
    "times": _count(lambda n: f"{n} times"),
    "times_comma": _count(lambda n: f"{n:,} times", 1000),
    "occurrences": _count(lambda n: f"{n} occurrences"),
    "lines": _count(lambda n: f"{n} log lines"),
    "about": _count(lambda n: f"about {_two_digits(n)} times", 30),
    "roughly": _count(lambda n: f"roughly {_two_digits(n)}", 30),
    "over": _count(lambda n: f"more than {_first_digit(n - 1)} times", 30),
    "x": _count(lambda n: f"{n}×"),
    "amount": _amount(lambda n, unit: f"{n} {unit}"),
    "amount_comma": _amount(lambda n, unit: f"{n:,} {unit}"),
    "seconds": _amount(lambda n, unit: f"about {round(n / 1000)} s" if unit == "ms" and n > 3000 else None),
    "seconds_exact": _amount(lambda n, unit: f"{n / 1000:.1f} seconds" if unit == "ms" and n > 3000 else None),
    "now": _value(0, _shown),
    "now_coarse": _value(0, _coarse),
    "usual": _value(1, _shown),
    "usual_coarse": _value(1, _coarse),
    "lasting": _lasting,
    "first": _clock("%H:%M:%S", which="first"),
    "last": _clock("%H:%M:%S", which="last"),
    "first_hm": _clock("%H:%M", which="first"),
    "last_hm": _clock("%H:%M", which="last"),
    "first_local": _clock("%H:%M:%S", which="first", local=True),
    "last_local": _clock("%H:%M:%S", which="last", local=True),
    "first_hm_local": _clock("%H:%M", which="first", local=True),
    "around": _around,
    "period": _period,
    "code": _excerpt("`"),
    "said": _excerpt('"'),
    "curly": _excerpt("“”"),
    "elided": _elided,
    "message": _excerpt("`", 6),
}

_ALL: Final = ("log", "event", "metric", "alert")
Form = tuple[str, str]  # a regular expression that the evidence's text must match, and the sentence
_DEVELOPMENT: Final[dict[str, tuple[str, ...]]] = {
    "log": (
        "{workload} logged {code} {times} between {first} and {last} {cite}.",
        "The {workload} pods report {said}, {about} since {first_hm_local} {cite}.",
        "`{namespace}/{workload}` has been failing since {first_local} {cite}, with {said} as its main message.",
        "**{workload}** shows {occurrences} of {code} {cite}.",
        "Starting at {first} UTC, {workload_code} wrote {message} {over} {cite}.",
        "The last such line of {workload} is from {last_local} {cite}.",
        "Calls take {seconds} before they fail {cite}.",
        "A call failed after {amount} in {workload} {cite}.",
        "The problem lasted for about {lasting} in {workload} {cite}.",
        "The logs contain {elided} {cite}.",
        "{workload}: {x} {code} ({period} UTC) {cite}",
        "It began {around} and went on until {last_hm} {cite}.",
        "The messages come from {entity} in the namespace {namespace} {cite}.",
        "Most of these lines come from {workload} {cite}.",
        "The root cause is most likely in {workload}, where {code} was logged {times} {cite}.",
        "Also, {workload} saw {occurrences} of {said} until {last} {cite}.",
        "The pods of {workload} are the ones that log {code} {cite}.",
        "Because {workload} repeats {message}, its callers have to wait {cite}.",
        "On {workload}, {said} appears {times_comma} {cite}.",
        "Errors of this kind were written by {workload} and nobody else in {namespace} {cite}.",
        "| {workload} | {code} | {times} | {first_hm} | {cite} |",
        "| {last} | {workload_code} | {said} | {cite} |",
        "Every failing request ends up at {workload}, with {elided} in its log {cite}.",
        "The earliest trace of trouble is from {first_local}, when {workload} logged {code} {cite}.",
        "In {namespace}, {roughly} lines of {workload} say the same {cite}.",
        "Between {first_hm} and {last_hm} UTC there were {lines} such as {code} {cite}.",
        "This matches the log of {entity}, which reads {message} {cite}.",
    ),
    "event": (
        "Kubernetes reports {reason} for {pod_code}: {code} {cite}.",
        "The event {reason} was seen {times} for {entity}, last at {last} {cite}.",
        "Between {first_hm} and {last_hm} the pod {pod} got {said} {cite}.",
        "At {last_local} the kubelet reported {said} {cite}.",
        "{reason}: {said} ({pod}, {times}) {cite}",
        "The pod {pod} is affected by {reason} since {first_local} {cite}.",
        "For {entity} Kubernetes repeated {said} until {last_hm} {cite}.",
    ),
    "metric": (
        "{metric} rose or fell from {usual} to {now} {cite}.",
        "The value of {metric} is now {now_coarse}, where it was {usual_coarse} at first {cite}.",
        "During the incident {metric} reached {now_coarse} {cite}.",
        "| {metric} | {usual} | {now} | {cite} |",
        "{metric} went from {usual} to {now_coarse} in the observed {lasting} {cite}.",
    ),
    "alert": (
        "The alert {alert} has been firing since {first} {cite}.",
        "{alert_code} fires: {said} {cite}.",
        "Since {first_hm_local} the alert {alert} says {said} {cite}.",
        "{alert} (firing since {first_hm}) points at this: {said} {cite}.",
        "Alertmanager sent {alert} as well {cite}.",
    ),
    "runbook": (
        "The runbook says {said} {cite}.",
        "Follow the runbook: {said} {cite}.",
        "For this the runbook has a step: {curly} {cite}.",
    ),
}
_HELD_OUT: Final[dict[str, tuple[str, ...]]] = {
    "log": (
        "From {first} to {last} UTC, {workload} repeated {said} {times} {cite}.",
        "There are {occurrences} of the line {code} from {workload_code} {cite}.",
        "The {workload} service started to complain at {first_hm_local}: {said} {cite}.",
        "{roughly} lines like {code} were written by {workload}, the latest at {last} {cite}.",
        "One of them needed {seconds_exact} until it gave up {cite}.",
        "In the namespace `{namespace}`, {workload_code} emitted {message} ({lines}) {cite}.",
        "The requests ran for {amount_comma} {cite}.",
        "This went on for roughly {lasting}, from {first_hm} on {cite}.",
        "According to {entity}, {elided} {cite}.",
        "*{workload}* - {code}, {over}, {period} {cite}",
        "The first error appeared at {first_local}, the most recent one at {last_local} {cite}.",
        "We see {curly} in {workload}, and it started {around} {cite}.",
    ),
    "event": (
        "{entity} received a {reason} event: {said} {cite}.",
        "{reason} was recorded {times} between {first} and {last} {cite}.",
        "The cluster says {code} about {pod}, most recently at {last_local} {cite}.",
        "`{namespace}`: {pod_code} has the event {reason} since {first_hm} {cite}.",
    ),
    "metric": (
        "Meanwhile {metric} changed from {usual_coarse} to {now_coarse} {cite}.",
        "{metric} currently stands at {now} (initially {usual}) {cite}.",
    ),
    "alert": (
        "An alert named {alert} started at {first_local} {cite}.",
        "{alert} is active and reads {curly} {cite}.",
    ),
    "runbook": (
        "According to the runbook, {said} {cite}.",
        "As the runbook puts it, {curly} {cite}.",
    ),
}
FORMS: Final = {"development": _DEVELOPMENT, "held out": _HELD_OUT}

# Evidence in other words, without its numbers; groups of the expression are names.
_IN_OTHER_WORDS: Final[dict[str, tuple[Form, ...]]] = {
    "development": (
        (r"retrying (?P<callee>[\w-]+)", "{workload} keeps retrying its calls to {callee} {cite}."),
        (r"call to (?P<callee>[\w-]+) failed", "Calls from {workload} to {callee} do not succeed {cite}."),
        (r"answered with 503", "Users get errors from {workload} because a dependency did not help in time {cite}."),
        (r"no healthy upstream", "The proxy has no healthy upstream to send requests to {cite}."),
        (r"probe failed", "The pod does not pass its probe, so it gets no traffic {cite}."),
        (r"Back-off restarting", "The container is restarted with a growing back-off {cite}."),
        (r"OOM|out of memory", "The process was killed for want of memory {cite}."),
        (r"handshake", "Connections break during the TLS handshake {cite}."),
        (r"deadline exceeded", "Requests exceed their deadline {cite}."),
        (r"connection is not available|Connection is not available", "No connection of the pool is available {cite}."),
        (r"FailedScheduling", "The scheduler finds no node for the pod {cite}."),
        (r"secret .* not found", "The volume cannot be mounted, as its secret does not exist {cite}."),
        (r"[Ff]ailed password|Failed password", "Somebody tries passwords for root over SSH {cite}."),
        (r"authentication failure", "Authentication of users fails {cite}."),
        (r"Cannot open channel", "The server cannot open a channel to another member for the election {cite}."),
        (r"connection refused", "The connection is refused by the other side {cite}."),
        (r"took too long", "Applying requests takes longer than expected {cite}."),
        (r"throttling", "Requests have to wait because of throttling on the client side {cite}."),
        (r"invalidSet", "The name system adds deleted blocks to the set of invalid ones {cite}."),
        (r"workerEnv in error state", "The worker environment of mod_jk is in an error state {cite}."),
        (r"TLB error", "The kernel met data TLB errors {cite}."),
        (r"renew lease", "The client cannot renew its lease {cite}."),
        (r"(?i)rollout undo", "Roll back with `kubectl -n shop rollout undo deployment/frontend` {cite}."),
        (r"cordon", "Cordon the node first, so that no new pods land there {cite}."),
        (r"(?i)restart", "Restart the pods one at a time, as the runbook says {cite}."),
    ),
    "held out": (
        (r"retrying (?P<callee>[\w-]+)", "Retries from {workload} towards {callee} pile up {cite}."),
        (
            r"call to (?P<callee>[\w-]+) failed",
            "{callee} is not answering what {workload} asks of it: calls fail {cite}.",
        ),
        (r"answered with 503", "Requests to {workload} are answered with errors {cite}."),
        (r"no healthy upstream", "There is no healthy upstream left {cite}."),
        (r"probe failed", "Its probe keeps failing {cite}."),
        (r"Back-off restarting", "Kubernetes backs off before it restarts the failed container {cite}."),
        (r"OOM|out of memory", "It ran out of memory and was killed {cite}."),
        (r"handshake", "The peer closes the connection in the middle of the handshake {cite}."),
        (r"deadline exceeded", "The deadline of these calls is exceeded {cite}."),
        (r"[Cc]onnection is not available", "Threads wait for a connection that never becomes available {cite}."),
        (r"FailedScheduling", "The pod cannot be scheduled anywhere {cite}."),
        (r"secret .* not found", "A secret that the volume needs is not there {cite}."),
        (r"Failed password", "There are failed password attempts against this host {cite}."),
        (r"authentication failure", "Logins end in an authentication failure {cite}."),
        (r"Cannot open channel", "Peers at the election address cannot be reached, no channel opens {cite}."),
        (r"connection refused", "Dialing the endpoint ends with a refused connection {cite}."),
        (r"took too long", "The apply step of requests took too long {cite}."),
        (r"throttling", "Client-side throttling delays the requests {cite}."),
        (r"addStoredBlock", "The block map is updated as blocks are stored {cite}."),
        (r"jk2_init", "The child processes are looked up in the scoreboard {cite}."),
        (r"illegal instruction", "A program was interrupted by an illegal instruction {cite}."),
        (r"CONTACTING RM", "The resource manager cannot be contacted {cite}."),
        (r"(?i)rollout undo", "The safest first step is to undo the rollout {cite}."),
        (r"cordon", "You should cordon the node {cite}."),
        (r"(?i)scale", "Scale the deployment if real load is the reason {cite}."),
    ),
}

# What needs no citation and must be left alone.
ASIDES: Final[dict[str, tuple[str, ...]]] = {
    "development": (
        "Here is what the evidence shows.",
        "I could not find anything about the database in the evidence.",
        "The evidence does not show why this began.",
        "Check the pool size before anything else.",
        "If the errors continue, restart the pods one at a time.",
        "You should look at the last deploy.",
        "Is there a batch job that runs at this time?",
        "**Next steps**",
        "### What happened",
        "Next, verify that the readiness probe passes.",
        "To confirm this, compare the used connections with the limit.",
        "Let me know if you need the details.",
        "No evidence of a network problem was found.",
        "It is not clear whether customers notice.",
        "The following was seen:",
        "Unfortunately, the evidence ends before the recovery.",
        "As a first step, look at the events of the node.",
        "Without the metrics of the database this remains a guess.",
        "**Confidence:** medium",
        "Do not restart everything at once.",
        "Overall, this points to one cause.",
        "That would explain the errors of its callers.",
    ),
    "held out": (
        "In summary:",
        "There is no information about the nodes.",
        "What caused the first failure cannot be determined from these lines.",
        "Consider raising the limit, but only after you have looked at the growth.",
        "Then run `kubectl get events --sort-by=.lastTimestamp` to see what happened last.",
        "Has anything been rolled out lately?",
        "**Likely cause**",
        "## Summary",
        "Once the pods are back, watch the error rate for a while.",
        "It would help to see the metrics of the caller as well.",
        "I see nothing about memory in what was given.",
        "We recommend to wait until the rollout has finished.",
        "Finally, make sure that the alert resolves.",
        "The logs do not say who started the job.",
        "Below are the details:",
    ),
}


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence about one piece, taken apart."""

    parts: tuple[Part, ...]
    number: int  # of the piece that it cites
    form: str

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)


def forms_for(piece: Evidence, half: Half) -> list[tuple[str, dict[str, str]]]:
    """All forms that may fit a piece, with the names that their expressions found."""
    fitting = [(form, dict[str, str]()) for form in FORMS[half].get(piece.kind, ())]
    for pattern, form in _IN_OTHER_WORDS[half]:
        advice = form.startswith(("Roll", "Cordon", "Restart", "The safest", "You should", "Scale"))
        found = re.search(pattern, piece.text)
        if found and advice == (piece.kind == "runbook"):
            fitting.append((form, found.groupdict()))
    return fitting


def say(form: str, names: dict[str, str], piece: Evidence, number: int, rng: Random, zone: ZoneInfo) -> Said | None:
    """The sentence; None when the piece has nothing to put into a slot."""
    parts: list[Part] = []
    for literal, field, _, _ in string.Formatter().parse(form):
        parts.append(literal)
        if field == "cite":
            parts.append(Slot("citation", f"[{number}]"))
        elif field in names:
            parts.append(Slot("name", names[field]))
        elif field is not None:
            slot = FILLERS[field](piece, rng, zone)
            if slot is None:
                return None
            parts.append(slot)
    return Said(tuple(part for part in parts if part), number, form)
