"""What comes next of an incident: nothing, another revision, or its end. Flapping is damped here."""

from collections.abc import Sequence
from typing import Final, Literal

from processors.insights.incident import Incident, Shown
from schemas.insight_settings import Correlation
from schemas.insights import Cause

Due = Literal["", "look", "tell", "end"]
LONGEST_QUIET_S: Final = 3_600.0  # one that flaps is over after an hour of silence at the latest
# A firing alert is said again after four hours (Alertmanager's repeat_interval), an event that goes on after five
# minutes (client-go's EventSourceObjectSpamFilter), missing metrics are told once and given up after an hour: their
# silence says nothing before that. Else their end is told.
LASTS_S: Final = {"alert": 15_000.0, "event": 420.0, "restart": 420.0, "metric-missing": 3_660.0}
LEAPS: Final = 4  # silence that is seen in one step counts as a quarter of the quiet time at most: see `patience`
CALMING: Final = 10  # a long incident is told anew once in a tenth of its age: who reads its topic knows it by then


def quiet_ms(incident: Incident, settings: Correlation) -> float:
    """How long nothing may be heard before it is over: doubled each time it came back."""
    damped = min(settings.quiet_s * 2.0 ** min(incident.reopened, 16), max(LONGEST_QUIET_S, settings.quiet_s))
    return 1000 * damped


def patient_ms(incident: Incident) -> float:
    """How long what has not ended may be silent by its nature."""
    kept = (each for each in incident.symptoms.values() if incident.kept_open_by(each) and not each.ended)
    return 1000 * max((LASTS_S.get(each.kind, 0.0) for each in kept), default=0.0)


def patience(step_ms: int, settings: Correlation) -> int:
    """How much of a step of event time counts as silence.

    One producer whose clock is ahead moves event time by up to an hour in one step. That is no hour of silence.
    """
    return min(step_ms, int(1000 * settings.quiet_s) // LEAPS)


def due(incident: Incident, clock: int, now_ms: int, settings: Correlation) -> Due:
    """`look`: told anew if something material has changed. `clock`: patient milliseconds."""
    if incident.rejected:
        return "end"
    silent, quiet = clock - incident.heard, quiet_ms(incident, settings)
    over = incident.over()
    if over:
        if silent >= (quiet if incident.reopened else 1000 * settings.settle_s):
            return "end"
    elif silent >= quiet and silent >= patient_ms(incident):
        return "end"
    if not incident.revision:
        return "tell"
    wait_ms = max(1000 * settings.update_s, (now_ms - incident.opened_ms) / CALMING)
    if incident.grown and not over and now_ms - incident.told_ms >= wait_ms:
        return "tell"
    return "look" if incident.fresh else ""


def shown(incident: Incident, causes: Sequence[Cause]) -> Shown:
    cause = causes[0] if causes else None
    return Shown(
        len(incident.places),
        len(incident.tells),
        incident.severity,
        (cause.kind, cause.name, cause.namespace) if cause else (),
        incident.change.id if incident.change else "",
    )


def material(incident: Incident, causes: Sequence[Cause] | None = None) -> bool:
    """Whether something is to be told that the last revision did not say, other than more of the same.

    Without `causes`: whether that can be told without ranking them.
    """
    was = incident.shown
    if was is None:
        return True
    now = shown(incident, causes or ())
    return (
        _many_more(was.places, now.places)
        or _many_more(was.tells, now.tells)
        or now.severity > was.severity
        or (causes is not None and (now.cause != was.cause or now.change != was.change))
    )


def _many_more(was: int, now: int) -> bool:
    """Each of the first ten is news, then each doubling."""
    return now > was and (now <= 10 or now >= 2 * was)
