"""What is asked about a past moment is answered as it would have been then, though everything went on afterwards."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from deploy.demo import free_port
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop import formats
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Log, Message, Notice, Observation, Sample, pod_subject, workload_subject
from deploy.shop.topology import HOME, build_estate
from schemas.context import Evidence
from tests.benchmarks.installed import installed

pytestmark = pytest.mark.integration
LATER: Final = re.compile("(?i:latermark)|77777")
POD: Final = build_estate((HOME,), seed=1).pods_of(HOME, "cart")[0]
GONE: Final = replace(build_estate((HOME,), seed=1).pods_of(HOME, "gateway")[0], node="node-gone")
WHO: Final = {"namespace": POD.namespace, "pod": POD.name, "node": POD.node}
MOMENT_S: Final = time.time() // 60 * 60 - 7_200 + 30  # in the middle of a minute, two hours ago
MOMENT: Final = datetime.fromtimestamp(MOMENT_S, UTC)
ALERT: Final = {"alertname": "CartRefuses", "severity": "critical", "namespace": POD.namespace, "deployment": "cart"}
QUESTION: Final = "why is cart failing?"


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """One partition a topic, so that what is said later has the higher offsets."""
    with installed("it-travel", state, endpoints, partitions=1) as made:
        made.extra |= {"FRESHET_EMBEDDER__KIND": "hashing"}
        made.start_worker()
        made.start_api(port=free_port(0))
        yield made


def log(at_s: float, text: str, pod: object = POD, level: str = "error") -> Message:
    said = Log(at_s=at_s, pod=pod, level=level, text=text)  # type: ignore[arg-type]
    return Message(topic="logs", key=None, value=formats.fluent_bit(said), timestamp_ms=int(at_s * 1000))


def event(at_s: float, count: int, message: str, reason: str = "BackOff") -> Message:
    subject = workload_subject(POD) if reason == "ScalingReplicaSet" else pod_subject(POD)
    seen = Observation(
        at_s=at_s, first_s=min(at_s, MOMENT_S - 600) if reason == "BackOff" else at_s, uid=f"uid-{reason}",
        count=count, subject=subject, reason=reason, message=message, warning=reason == "BackOff",
        component="kubelet", shape="core",
    )  # fmt: skip
    value = formats.event_exporter(seen)
    return Message(topic="k8s-events", key=None, value=value, timestamp_ms=int(at_s * 1000))


def alert(
    at_s: float, summary: str, *, name: str = "", starts_s: float = MOMENT_S - 300, over: bool = False
) -> Message:
    notes = {"summary": summary, "runbook_url": f"https://runbooks.example/{summary.split()[0]}"}
    notice = Notice(
        at_s=at_s, starts_s=starts_s, ends_s=at_s if over else None, annotations=notes,
        labels=ALERT | ({"alertname": name} if name else {}),
    )  # fmt: skip
    return Message(topic="alerts", key=None, value=formats.alertmanager(notice), timestamp_ms=int(at_s * 1000))


def metric(at_s: float, value: float) -> Message:
    sample = Sample(at_s=at_s, name="cart_queue_length", labels={**WHO, "deployment": "cart"}, value=value)
    return Message(topic="metrics", key=None, value=formats.prometheus(sample), timestamp_ms=int(at_s * 1000))


DAYS_S: Final = 4 * 86_400
BEFORE: Final = [
    *(log(MOMENT_S - 600 + 60 * n, f"payment refused after {n} ms") for n in range(5)),
    log(MOMENT_S - 10, "voucher service unreachable after 11 ms"),
    log(MOMENT_S - 900, "edge certificate expired", GONE),
    event(MOMENT_S - 600, 1, "restarting once", "BackOff"),
    event(MOMENT_S - 120, 3, "restarting thrice", "BackOff"),
    event(MOMENT_S - 400, 1, "Scaled up replica set cart-abc from 1 to 2", "ScalingReplicaSet"),
    alert(MOMENT_S - 300, "earlier words"),
    alert(MOMENT_S - DAYS_S, "since days", name="CartDegraded", starts_s=MOMENT_S - DAYS_S),
    alert(MOMENT_S - DAYS_S, "over since days", name="CartOver", starts_s=MOMENT_S - DAYS_S),
    alert(MOMENT_S - DAYS_S + 60, "over since days", name="CartOver", starts_s=MOMENT_S - DAYS_S, over=True),
    *(metric(MOMENT_S - 1200 + 60 * n, 5.0) for n in range(20)),
    metric(MOMENT_S - 10, 6.0),
]
AFTER: Final = [
    *(log(MOMENT_S + 5 + 20 * n, "payment refused after 77777 ms") for n in range(9)),
    log(MOMENT_S + 10, "voucher service unreachable after 77777 ms"),
    log(MOMENT_S + 15, "disk latermark broke"),
    event(MOMENT_S + 12, 77777, "latermark restarting"),
    event(MOMENT_S + 60, 1, "Scaled up latermark from 2 to 77777", "ScalingReplicaSet"),
    alert(MOMENT_S + 200, "latermark words"),
    alert(MOMENT_S + 400, "latermark over", over=True),
    alert(MOMENT_S + 30, "latermark", name="CartLatermark", starts_s=MOMENT_S + 10),
    alert(MOMENT_S + 20, "told late", name="CartLatermarkTold", starts_s=MOMENT_S - 20),
    *(metric(MOMENT_S + 15 + 60 * n, 77777.0) for n in range(5)),
]


def play(installation: Installation, messages: Sequence[Message]) -> None:
    before = sum(p.offset + 1 for p in installation.sources().partitions)
    publish(messages, installation.endpoints.kafka, topics=installation.topics)
    installation.wait(
        lambda: sum(p.offset + 1 for p in installation.sources().partitions) == before + len(messages),
        "what was played", "worker-1", 120.0,
    )  # fmt: skip


def asked(installation: Installation, question: str = QUESTION, now: datetime = MOMENT) -> dict[str, Evidence]:
    found = installation.context(question, now=now, limit=50).evidence
    assert all(e.last is None or e.last <= now for e in found)
    return {e.id: e for e in found}


def unscored(found: dict[str, Evidence]) -> dict[str, Evidence]:
    """Places in the searches depend on how rare a word is in all that is indexed, texts and counts do not."""
    return {key: e.model_copy(update={"score": 0.0, "parts": {}}) for key, e in found.items()}


def test_a_past_moment_is_answered_as_it_was_then(installation: Installation) -> None:
    play(installation, BEFORE)
    then = asked(installation)
    texts = "\n".join(e.text for e in then.values())
    for said in (
        "voucher service unreachable", "Alert CartDegraded is firing: since days", "CartRefuses is firing: earlier",
        "restarting thrice", "Scaled up replica set cart-abc", "now 6, at first 5",
    ):  # fmt: skip
        assert said in texts
    assert "CartOver" not in texts
    play(installation, AFTER)
    lengths = {topic: sum(m.topic == name for m in BEFORE) for name, topic in installation.topics.items()}
    since = asked(installation)
    shown = "\n".join(e.model_dump_json() for e in since.values())
    assert not LATER.search(shown)
    for evidence in since.values():
        for at in evidence.coordinates:
            topic, _, _, offset, _ = at.split("/")
            assert int(offset) < lengths[topic], evidence
    # The asked minute went on, so what was said and measured in it is not told; everything else stands as it stood.
    gone, come = (
        {k: e.text[:40] for k, e in one.items() if k not in other} for one, other in ((then, since), (since, then))
    )
    assert sorted(text.split()[0] for text in gone.values()) == ["cart_queue_length", "voucher"]
    assert [text.split()[0] for text in come.values()] == ["cart_queue_length"]
    assert "now 5, at first 5" in shown
    assert {k: e for k, e in unscored(since).items() if k not in come}.items() <= unscored(then).items()
    assert [e.count for e in since.values() if "payment refused" in e.text] == [5]
    assert [e.count for e in since.values() if "restarting" in e.text] == [3]
    later = "\n".join(e.text for e in asked(installation, now=datetime.fromtimestamp(MOMENT_S + 600, UTC)).values())
    for said in (
        "disk latermark broke",
        "latermark restarting",
        "CartRefuses is resolved: latermark over",
        "now 77,777",
    ):
        assert said in later


def test_what_is_gone_is_still_known_by_its_name(installation: Installation) -> None:
    """It has said nothing for two hours."""
    then = datetime.fromtimestamp(MOMENT_S - 870, UTC)  # the next full minute
    found = installation.context(f"what was wrong with gateway at {then:%Y-%m-%d %H:%M} UTC?", limit=50)
    assert found.plan.workloads == ("gateway",)
    assert found.plan.span.start <= then <= found.plan.span.end
    assert "edge certificate expired" in [e.text for e in found.evidence]


def test_the_deploy_that_is_meant_is_the_latest_before_the_question(installation: Installation) -> None:
    found = installation.context("what went wrong after the deploy of cart?", now=MOMENT, limit=50)
    assert found.plan.anchor == "change"
    assert "around the change of cart" in found.plan.span.said
    assert found.plan.span.start == datetime.fromtimestamp(MOMENT_S - 400 - 600, UTC)
    assert any("Scaled up replica set" in e.text for e in found.evidence)
    assert not LATER.search(found.model_dump_json(include={"plan", "evidence"}))
