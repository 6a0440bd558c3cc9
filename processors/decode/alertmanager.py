"""Alerts of an Alertmanager webhook notification, version 4; also the bare list that its API takes."""

from collections.abc import Mapping
from hashlib import blake2b

import orjson

from processors.decode.resource import Origin, labelled
from processors.decode.severity import alert_severity
from processors.decode.timestamps import epoch_ms
from processors.decode.values import NOTE_LENGTH, mapping, name, names
from schemas.errors import InvalidRecord
from schemas.records import Alert, Rejected


def notification(event: Mapping[str, object], origin: Origin) -> list[Alert | Rejected]:
    """Every alert of a notification; a lone alert object is a notification of one."""
    alerts = event.get("alerts")
    if isinstance(alerts, list):
        return [_alert(each, origin) for each in alerts]
    if isinstance(event.get("labels"), dict) and "startsAt" in event:
        return [_alert(event, origin)]
    raise InvalidRecord("not alertmanager")


def _alert(alert: object, origin: Origin) -> Alert | Rejected:
    said = mapping(alert)
    labels = names(mapping(said.get("labels")))
    if not labels.get("alertname"):
        return Rejected(reason="alert without a name")
    resource, _ = labelled(labels, origin)
    started_ms = epoch_ms(said.get("startsAt"))
    ended_ms = epoch_ms(said.get("endsAt"))
    if said.get("status") != "resolved" and not (
        # Without a status an alert is over when its end has passed; a firing one may carry an end yet to come.
        "status" not in said and ended_ms is not None and ended_ms <= origin.received_ms
    ):
        ended_ms = None
    elif ended_ms is None:
        ended_ms = origin.received_ms
    return Alert(
        fingerprint=name(said.get("fingerprint")) or _fingerprint(labels),
        time_ms=ended_ms if ended_ms is not None else started_ms,
        starts_ms=started_ms if started_ms is not None else origin.received_ms,
        ends_ms=ended_ms,
        resource=resource,
        name=labels["alertname"],
        severity=alert_severity(labels.get("severity", "")),
        labels=labels,
        annotations=names(mapping(said.get("annotations")), NOTE_LENGTH),
    )


def _fingerprint(labels: Mapping[str, str]) -> str:
    """The same for the same labels, in whatever order they came."""
    return blake2b(orjson.dumps(labels, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
