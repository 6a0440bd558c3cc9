"""Settings of incident insights: topics, and every threshold with where it comes from."""

from typing import Annotated, Final

from pydantic import Field, HttpUrl, SecretStr

from schemas.section import CaFile, Positive, Seconds, Section

SUMMARIES: Final = "freshet.summaries.v1"
INSIGHTS: Final = "freshet.incident-insights.v1"
FEEDBACK: Final = "freshet.insight-feedback.v1"
STATE: Final = "freshet.insight-state.v1"


class Insights(Section):
    """How incidents are told from telemetry, and where they are published."""

    enabled: bool = Field(True, description="workers send summaries; off: nothing is judged, nothing is published")
    summaries_topic: str = SUMMARIES
    topic: str = Field(INSIGHTS, description="subscribers read this")
    feedback_topic: str = FEEDBACK
    state_topic: str = Field(STATE, description="snapshots of what is known, so that a restart goes on in seconds")
    snapshot_s: Seconds = Field(60.0, description="between snapshots of the state")
    tick_s: Seconds = Field(5.0, description="between a worker's words about how far event time has come")


class Correlation(Section):
    """When symptoms are one incident, and when it is over."""

    quiet_s: Seconds = Field(300.0, description="without a symptom, before an incident is resolved")
    settle_s: Seconds = Field(
        60.0, description="after its last symptom ended, before it is resolved: summaries are of minutes"
    )
    flap_s: Seconds = Field(
        1800.0, description="one that comes back within this time after its end is the same incident, reopened"
    )
    window_s: Seconds = Field(600.0, description="symptoms that begin within this time of others can be one incident")
    update_s: Seconds = Field(30.0, description="between revisions that bring nothing but more of the same")
    open_strength: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9,
        description="of weak symptoms of two or more kinds or entities that are related, combined as independent "
        "evidence (1 - product of 1 - strength), before they open an incident together: a chance of one in ten",
    )
    alike: Positive = Field(
        8, description="entities that show the same symptom within `alike_s`: one common cause, whatever it is"
    )
    alike_on_node: Annotated[int, Field(gt=1)] = Field(
        3, description="entities of one node that get any symptoms within `alike_s`: one cause, though nobody names it"
    )
    alike_s: Seconds = Field(60.0, description="between the onsets of such symptoms: summaries are of minutes")
    most_waiting: Positive = Field(5_000, description="weak symptoms that wait for others; beyond: the oldest go")
    most_open: Positive = Field(1_000, description="open incidents of a cluster; more are folded into the largest")
    most_symptoms: Positive = Field(2_000, description="of one incident that are held; more are counted")
    shown_symptoms: Positive = Field(20, description="of one incident that are published")
    mute_s: Seconds = Field(86_400.0 * 7, description="how long a rejection mutes its fingerprint, unless it says")


class Detection(Section):
    """One configuration for every system: these are not to be tuned for one."""

    grace_s: Annotated[float, Field(ge=0)] = Field(
        5.0, description="how long after its end a minute is judged: what comes later changes counts, not judgements"
    )
    learning_s: Seconds = Field(
        180.0,
        description="of a workload that has just been heard of: to whoever begins to listen, everything is new",
    )
    alert_lasts_s: Seconds = Field(
        300.0,
        description="before an alert below critical opens an incident by itself: Alertmanager's group_interval, by "
        "which what passes by itself has been resolved",
    )
    most_series: Positive = Field(200_000, description="series of a cluster with a baseline; beyond: the idlest go")
    most_patterns: Positive = Field(50_000, description="patterns of a cluster with a baseline; beyond: the idlest go")


class Bridge(Section):
    """Where `insights bridge` sends incidents, and where links in its alerts lead."""

    alertmanager_url: HttpUrl | None = Field(None, description="of an Alertmanager; its /api/v2/alerts is called")
    webhook_url: SecretStr = Field(
        SecretStr(""), description="for `bridge --webhook`: takes Alertmanager's webhook; such URLs are often secrets"
    )
    username: str = Field("", description="basic authentication, at whichever of them is called")
    password: SecretStr = SecretStr("")
    ca_file: CaFile = None
    resend_s: Seconds = Field(
        60.0, description="between reminders of what is open; Alertmanager forgets it after resolve_timeout (5 minutes)"
    )
    timeout_s: Seconds = 10.0
    api_url: HttpUrl | None = Field(None, description="of our API as people reach it: alerts link to /v1/insights/{id}")
    runbooks_url: HttpUrl | None = Field(None, description="where runbooks are read: their path is put behind it")
