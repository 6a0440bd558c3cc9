"""Incidents as Alertmanager knows alerts: labels that stay, annotations for people, its webhook's payload. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from schemas.insight_settings import Bridge
from schemas.insights import Cause, Insight
from streams.insights.records import rfc3339

NAME: Final = "FreshetIncident"
OVER: Final = ("resolved", "merged")
RANK: Final = {"info": 0, "warning": 1, "critical": 2}
NEVER: Final = "0001-01-01T00:00:00Z"  # what Alertmanager's webhook says of an end that is not known
LABEL_CHARS: Final = 200
ANNOTATION_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    incident: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started: dt.datetime
    updated: dt.datetime
    ended: dt.datetime | None  # None while it lasts
    link: str

    @property
    def fingerprint(self) -> str:
        return sha256("\0".join(f"{k}\0{v}" for k, v in sorted(self.labels.items())).encode()).hexdigest()[:16]

    def over(self, at: dt.datetime) -> "Alert":
        return replace(self, ended=max(self.started, at))

    def posted(self) -> dict[str, Any]:
        """As POST /api/v2/alerts takes it. Without an end, Alertmanager sets one itself: resolve_timeout from now."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": rfc3339(self.started),
            **({"endsAt": rfc3339(self.ended)} if self.ended else {}),
            **({"generatorURL": self.link} if self.link else {}),
        }


def alert_of(insight: Insight, settings: Bridge, now: dt.datetime, before: Alert | None = None) -> Alert:
    """`before`: of an earlier revision. To Alertmanager the labels are the alert, so that what is affected stays as it
    was first told; a change of severity makes another alert, for routes look at it.

    An end in the future would keep it firing, and one before its start is refused: neither is sent.
    """
    named = before.labels if before else {}
    labels = {
        "alertname": NAME,
        "incident": insight.id,
        "cluster": insight.cluster,
        "namespace": named.get("namespace", insight.namespaces[0] if insight.namespaces else ""),
        "severity": insight.severity,
        "entity": named.get("entity", _entity(insight)),
    }
    started, over = min(insight.started, now), None
    if insight.state in OVER:
        over = max(started, min(insight.resolved or insight.updated, now))
    return Alert(
        incident=insight.id,
        labels={name: cut for name, text in labels.items() if (cut := plain(text, LABEL_CHARS))},
        annotations={name: cut for name, text in _told(insight, settings) if (cut := plain(text, ANNOTATION_CHARS))},
        started=started,
        updated=min(insight.updated, now),
        ended=over,
        link=_below(settings.api_url, f"v1/insights/{quote(insight.id, safe='')}"),
    )


def notable(alert: Alert, before: Alert | None) -> bool:
    """Whether a receiver that notifies at once is told: it began, got worse, or is over."""
    if before is None or alert.ended:
        return bool(before) == bool(alert.ended)  # the end of what nobody was told of is no news
    return RANK.get(alert.labels["severity"], 0) > RANK.get(before.labels["severity"], 0)


def webhook_payload(alerts: Sequence[Alert], receiver: str = "freshet") -> dict[str, Any]:
    """Alertmanager's webhook, version 4, for alerts of one incident."""
    common = dict(alerts[0].labels)
    status = "resolved" if all(alert.ended for alert in alerts) else "firing"
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{NAME}", incident="{alerts[0].incident}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {name: common[name] for name in ("alertname", "incident")},
        "commonLabels": common,
        "commonAnnotations": dict(alerts[0].annotations),
        "externalURL": alerts[0].link,
        "alerts": [
            {
                "status": "resolved" if alert.ended else "firing",
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": rfc3339(alert.started),
                "endsAt": rfc3339(alert.ended) if alert.ended else NEVER,
                "generatorURL": alert.link,
                "fingerprint": alert.fingerprint,
            }
            for alert in alerts
        ],
    }


def plain(text: str, most: int) -> str:
    """Without control characters, which a terminal or a receiver could obey; line ends stay."""
    clean = "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def cause_text(cause: Cause) -> str:
    where = f" in {cause.namespace}" if cause.namespace else ""
    return f"{cause.kind}/{cause.name}{where}: {cause.why}"


def evidence_of(insight: Insight) -> list[str]:
    """Evidence ids, those of causes first, each once."""
    ids = [e for cause in insight.causes for e in cause.evidence] + [s.evidence for s in insight.symptoms]
    return list(dict.fromkeys(each for each in ids if each))


def _entity(insight: Insight) -> str:
    likely = insight.causes[0] if insight.causes else insight.entities[0] if insight.entities else None
    return f"{likely.kind}/{likely.name}" if likely else ""


def _told(insight: Insight, settings: Bridge) -> list[tuple[str, str]]:
    causes = [f"{n}. {cause_text(cause)}" for n, cause in enumerate(insight.causes[:5], 1)]
    signs = [f"- {symptom.text}" for symptom in insight.symptoms[:5]]
    change = [f"Before it: {insight.change.text}"] if insight.change else []
    merged = [f"Goes on as incident {insight.merged_into}."] if insight.merged_into else []
    runbook = insight.runbooks[0] if insight.runbooks else None
    return [
        ("summary", insight.title),
        ("description", "\n".join([*merged, *map(cause_text, insight.causes[:1]), *change, *signs])),
        ("causes", "\n".join(causes)),
        ("runbook", f"{runbook.path}: {runbook.section}".removesuffix(": ") if runbook else ""),
        ("runbook_url", _below(settings.runbooks_url, quote(runbook.path)) if runbook else ""),
        ("evidence", " ".join(evidence_of(insight)[:20])),
        ("state", f"{insight.state}, revision {insight.revision}, {insight.symptom_count} symptoms"),
    ]


def _below(url: object, path: str) -> str:
    return f"{str(url).rstrip('/')}/{path}" if url else ""
