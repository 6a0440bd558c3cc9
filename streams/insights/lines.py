"""An insight for people on a terminal: one line for each revision, or all of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from schemas.insights import Insight
from streams.insights.alerts import cause_text, evidence_of, plain

STATE_STYLE: Final = {"opened": "bold red", "updated": "yellow", "merged": "cyan", "resolved": "green"}
SEVERITY_STYLE: Final = {"critical": "red", "warning": "yellow", "info": "blue"}
SHOWN_EVIDENCE: Final = 3
WIDTH: Final = 300  # characters of a part that telemetry has worded


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Empty: any. `entity`: a name, or kind/name, of something that is affected or a cause."""

    cluster: str = ""
    namespace: str = ""
    states: Sequence[str] = ()
    severities: Sequence[str] = ()
    entity: str = ""

    def take(self, insight: Insight) -> bool:
        return (
            (not self.cluster or insight.cluster == self.cluster)
            and (not self.namespace or self.namespace in insight.namespaces)
            and (not self.states or insight.state in self.states)
            and (not self.severities or insight.severity in self.severities)
            and (not self.entity or self.entity in _names(insight))
        )


def line(insight: Insight) -> Text:
    """When, what, where, the most probable cause and why, evidence."""
    told = Text(overflow="ignore", no_wrap=True)
    told.append(f"{_moment(insight.updated)}  ")
    told.append(f"{insight.state.upper():9}", style=STATE_STYLE.get(insight.state, ""))
    told.append(f"{insight.severity:9}", style=SEVERITY_STYLE.get(insight.severity, ""))
    told.append(f"{plain(insight.id, WIDTH)} r{insight.revision}  ", style="dim")
    told.append(_flat(insight.title), style="bold")
    if where := "/".join(part for part in (insight.cluster, ",".join(insight.namespaces)) if part):
        told.append(f"  ({_flat(where)})")
    if insight.merged_into:
        told.append(f"  goes on as {plain(insight.merged_into, WIDTH)}")
    elif insight.causes:
        told.append(f"  cause: {_flat(cause_text(insight.causes[0]))}")
    ids = evidence_of(insight)
    if ids:
        more = f" and {len(ids) - SHOWN_EVIDENCE} more" if len(ids) > SHOWN_EVIDENCE else ""
        told.append(f"  [{_flat(' '.join(ids[:SHOWN_EVIDENCE]))}{more}]", style="dim")
    return told


def whole(insight: Insight) -> Text:
    """Everything that a revision says."""
    rows: list[tuple[str, str]] = [
        ("began", f"{_moment(insight.started)}, told at {_moment(insight.detected)}"),
        ("resolved", _moment(insight.resolved) if insight.resolved else ""),
        ("merged into", insight.merged_into),
        ("reopened", f"{insight.reopened} times" if insight.reopened else ""),
        ("where", " ".join([insight.cluster, *insight.namespaces])),
        ("fingerprint", insight.fingerprint),
        *(
            (f"cause {n}", f"{cause_text(c)}  ({c.score:.2f})  {' '.join(c.evidence)}")
            for n, c in enumerate(insight.causes, 1)
        ),
        ("change", f"{_moment(insight.change.time)}  {insight.change.text}" if insight.change else ""),
        *(("affected", f"{e.kind}/{e.name} {e.namespace}: {e.symptoms} symptoms") for e in insight.entities),
        *(
            (
                "symptom",
                f"{_moment(s.first)}  {s.kind}  {s.entity}: {s.text}{' (over)' if s.ended else ''}  {s.evidence}",
            )
            for s in insight.symptoms
        ),
        ("symptoms", f"{insight.symptom_count} in all"),
        *(("runbook", f"{r.path} {r.section}  ({r.why})  {r.evidence}") for r in insight.runbooks),
    ]
    told = line(insight.model_copy(update={"causes": (), "symptoms": ()}))
    for name, said in rows:
        if said.strip():
            told.append(f"\n  {name:12}", style="dim")
            told.append(_flat(said))
    return told


def _names(insight: Insight) -> set[str]:
    pairs = [(e.kind, e.name) for e in insight.entities] + [(c.kind, c.name) for c in insight.causes]
    return {name for _, name in pairs} | {f"{kind}/{name}" for kind, name in pairs}


def _flat(text: str) -> str:
    return plain(text, WIDTH).replace("\n", " ")


def _moment(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
