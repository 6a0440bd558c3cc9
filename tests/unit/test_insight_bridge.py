"""The bridge tells each incident, loses none over restarts and outages, and no replay pages."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any

import httpx
import pytest

from cag.topic import End
from processors.writer import Stopped
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insight_settings import Bridge as BridgeSettings
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.alerts import Alert, alert_of, webhook_payload
from streams.insights.bridge import Bridge, live_topic
from streams.insights.reading import Revisions, present
from streams.insights.receivers import Alertmanager, Change, Webhook, _posted
from streams.insights.records import Live, RecordDecoder, RecordEncoder, Replay
from tests.sample_insight import MOMENT, insight

SETTINGS = Settings()
NOW = MOMENT + dt.timedelta(hours=1)
LIVE = RecordEncoder(Live.of(SETTINGS), None)
REPLAY = RecordEncoder(Replay.of(SETTINGS, f"{SETTINGS.insights.topic}.replay.x"), None)


def messages(*insights: Insight, encode: RecordEncoder = LIVE) -> list[Message]:
    return [
        Message("t", "id", 0, n, 0, r.key, r.value, tuple(r.headers))
        for n, r in enumerate(encode(each) for each in insights)
    ]


OPENED = insight(state="opened", revision=1, severity="warning")
WORSE = insight(revision=2, severity="critical")
MORE = insight(revision=3, severity="critical")
OVER = insight(state="resolved", revision=4, resolved=MOMENT + dt.timedelta(minutes=5))


class Told:
    """A receiver that fails as often as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.changes, self.reminded = list(errors), [], []  # type: ignore[var-annotated]

    def tell(self, changes: Sequence[Change]) -> None:
        if self.errors and changes:
            raise self.errors.pop(0)
        self.changes += [(c.alert.incident, c.alert.labels["severity"], bool(c.alert.ended)) for c in changes]

    def remind(self, alerts: Sequence[Alert]) -> None:
        self.reminded.append([alert.incident for alert in alerts])


class Log:
    """The topic and the group's position, as Kafka keeps them; one turn hands out what is left."""

    def __init__(self, held: Sequence[Message], committed: int | None = None) -> None:
        self.held: list[Message] = []
        self.position, self.at = committed, 0
        self.add(*held)

    def add(self, *more: Message) -> None:
        for message in more:
            self.held.append(message._replace(offset=len(self.held)))

    def committed(self) -> dict[int, int]:
        return {} if self.position is None else {0: self.position}

    def start(self, offsets: Mapping[int, int]) -> None:
        self.at = offsets[0]

    def read(self) -> list[Message]:
        found, self.at = self.held[self.at :], len(self.held)
        return found

    def commit(self, offsets: Mapping[int, int]) -> None:
        self.position = offsets[0]

    def records(self) -> Iterator[Message | End]:
        yield from self.held
        yield End(partition=0, offset=len(self.held))


def bridge(log: Log, receiver: Any, stop: Event | None = None, clock: Any = lambda: 0.0) -> Bridge:
    return Bridge(
        SETTINGS, receiver, log, RecordDecoder(None), records=log.records, stop=stop or Event(),
        now=lambda: NOW, monotonic=clock,
    )  # fmt: skip


def test_a_newcomer_is_told_what_is_open_and_then_what_comes() -> None:
    log, told = (
        Log(messages(OPENED, insight(id="old", revision=1), insight(id="old", revision=2, state="resolved"))),
        Told(),
    )
    running = bridge(log, told)
    running.begin()
    assert told.changes == [("inc-1", "warning", False)]
    assert told.reminded == [["inc-1"]]
    log.add(*messages(WORSE, WORSE, OPENED, OVER))
    running.turn()
    assert told.changes[1:] == [("inc-1", "critical", False), ("inc-1", "critical", True)]
    assert log.position == len(log.held)


def test_what_came_while_it_was_away_is_told_and_the_rest_reminded() -> None:
    other = insight(id="inc-2", revision=1)
    log, told = Log(messages(OPENED, other, WORSE, OVER), committed=2), Told()
    running = bridge(log, told)
    running.begin()
    assert (told.changes, told.reminded) == ([], [["inc-2"]])  # the other has ended: it pages nobody first
    running.turn()
    assert told.changes == [("inc-1", "critical", False), ("inc-1", "critical", True)]


def test_only_what_was_delivered_is_committed() -> None:
    class Once(Event):
        def wait(self, timeout: float | None = None) -> bool:
            return True

    log, told = Log([], committed=0), Told(SinkUnavailable("away"))
    running = bridge(log, told, Once())
    running.begin()
    log.add(*messages(OPENED))
    with pytest.raises(Stopped):
        running.turn()
    assert (log.position, running.paused) == (0, "away")
    again = Told(SinkMisconfigured("mend it"))
    running = bridge(log, again)
    running.begin()
    running.turn()
    assert again.changes == [("inc-1", "warning", False)]
    assert (log.position, running.paused) == (1, "")


def test_open_incidents_are_repeated_every_minute() -> None:
    now = [0.0]
    log, told = Log(messages(OPENED), committed=0), Told()
    running = bridge(log, told, clock=lambda: now[0])
    running.begin()
    for now[0] in (1.0, 59.0, 60.0, 61.0, 125.0):
        running.turn()
    assert told.reminded == [[], ["inc-1"], ["inc-1"]]


def test_no_replay_pages() -> None:
    log, told = Log([], committed=0), Told()
    running = bridge(log, told)
    running.begin()
    forged = messages(OPENED)[0]
    nameless = forged._replace(headers=tuple(h for h in forged.headers if h[0] != "ce_source"))
    log.add(*messages(OPENED, encode=REPLAY), nameless, forged._replace(value=b"junk"))
    running.turn()
    assert (told.changes, told.reminded, running.refused, log.position) == ([], [[]], 3, 3)
    there = Settings(insights={"topic": f"{SETTINGS.insights.topic}.replay.x"})
    with pytest.raises(StartupError, match="pages nobody"):
        live_topic(there)


def test_a_replay_in_the_live_topic_is_not_open() -> None:
    log, told = Log(messages(OPENED, encode=REPLAY)), Told()
    bridge(log, told).begin()
    assert (told.changes, told.reminded) == ([], [[]])


def test_revisions_that_are_remembered_are_bounded() -> None:
    seen = Revisions(most=2)
    assert [seen.news(*each) for each in (("a", 1), ("b", 1), ("a", 2), ("a", 2), ("c", 1), ("b", 1))] == [
        True, True, True, False, True, True,
    ]  # fmt: skip
    assert len(seen.newest) == 2


def test_the_present_is_read_up_to_where_following_goes_on() -> None:
    first, second = messages(OPENED, OVER)
    found = present([first, End(partition=0, offset=1), second])
    assert list(found.open) == ["inc-1"]
    assert found.revisions.news("inc-1", 4)


# -- alerts ------------------------------------------------------------------------------------------------------------

LINKED = BridgeSettings(api_url="https://chat.example.test/freshet", runbooks_url="https://git.example.test/runbooks")


def test_labels_stay_while_the_incident_lasts_and_annotations_follow() -> None:
    first = alert_of(OPENED, LINKED, NOW)
    assert first.labels == {
        "alertname": "FreshetIncident", "incident": "inc-1", "cluster": "prod ö", "namespace": "shop",
        "severity": "warning", "entity": "node/n/1",
    }  # fmt: skip
    later = alert_of(insight(causes=(), namespaces=("a", "shop"), title="worse"), LINKED, NOW, first)
    assert later.labels == {**first.labels, "severity": "critical"}
    assert later.annotations["summary"] == "worse"
    assert first.link == "https://chat.example.test/freshet/v1/insights/inc-1"
    assert first.annotations["runbook_url"] == "https://git.example.test/runbooks/web.md"
    assert first.annotations["evidence"] == "e1 e2 event-20261122-abc"
    gone, here = _posted(Change(later, first))
    assert (gone["labels"], gone["endsAt"]) == (dict(first.labels), "2026-11-22T01:02:03.004Z")
    assert "endsAt" not in here
    assert [list(_posted(Change(later, later)))] == [[later.posted()]]


def test_an_end_is_neither_in_the_future_nor_before_the_start() -> None:
    for given, expected in ((NOW + dt.timedelta(days=1), NOW), (MOMENT - dt.timedelta(days=1), MOMENT)):
        assert alert_of(insight(state="resolved", resolved=given), LINKED, NOW).ended == expected
    assert alert_of(insight(started=NOW + dt.timedelta(days=1)), LINKED, NOW).started == NOW


def test_what_telemetry_worded_cannot_steer_a_terminal_or_grow_without_end() -> None:
    hostile = alert_of(insight(title="\x1b[2J\x07" + "x" * 10_000, cluster="c\u202e\n" * 500), LINKED, NOW)
    assert hostile.annotations["summary"].isprintable()
    assert len(hostile.annotations["summary"]) == 2_000
    assert len(hostile.labels["cluster"]) == 200
    assert "\u202e" not in hostile.labels["cluster"]


# -- receivers ---------------------------------------------------------------------------------------------------------

SECRET = "https://hooks.example.test/services/T0/SECRET"


def answering(receiver: Any, *statuses: int | Exception) -> list[Any]:
    """Requests that it makes; they are answered in this order, then with 200."""
    waiting, asked = list(statuses), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        given = waiting.pop(0) if waiting else 200
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given)

    receiver._http._client = httpx.Client(transport=httpx.MockTransport(answer))
    return asked


def changes(*insights: Insight) -> list[Change]:
    found: list[Change] = []
    for each in insights:
        before = found[-1].alert if found else None
        found.append(Change(alert_of(each, LINKED, NOW, before), before))
    return found


@pytest.mark.parametrize(("status", "error"), [
    (503, SinkUnavailable), (429, SinkUnavailable), (httpx.ConnectError(SECRET), SinkUnavailable),
    (401, SinkMisconfigured), (404, SinkMisconfigured), (302, SinkMisconfigured),
])  # fmt: skip
def test_what_a_receiver_answers_decides_what_to_do(status: int | Exception, error: type[Exception]) -> None:
    hook = Webhook(BridgeSettings(webhook_url=SECRET))
    manager = Alertmanager(BridgeSettings(alertmanager_url="http://am:9093/prefix/"))
    for receiver in (hook, manager):
        answering(receiver, status)
        with pytest.raises(error) as caught:
            receiver.tell(changes(OPENED))
        assert "SECRET" not in str(caught.value)


def test_one_refused_alert_does_not_hold_up_the_others() -> None:
    manager = Alertmanager(BridgeSettings(alertmanager_url="http://am:9093/prefix/"))
    asked = answering(manager, 400, 400)
    manager.remind([alert_of(OPENED, LINKED, NOW), alert_of(insight(id="inc-2"), LINKED, NOW)])
    assert [str(r.url) for r in asked] == ["http://am:9093/prefix/api/v2/alerts"] * 3


def test_a_webhook_is_told_news_only() -> None:
    hook = Webhook(BridgeSettings(webhook_url=SECRET))
    asked = answering(hook)
    everything = changes(OPENED, WORSE, MORE, OVER)
    hook.tell(everything)
    hook.remind([change.alert for change in everything])
    assert len(asked) == 3  # it began, got worse, is over
    hook.tell(changes(OVER))  # the end of what nobody was told of
    assert len(asked) == 3


def test_the_webhooks_payload_is_alertmanagers() -> None:
    payload = webhook_payload([alert_of(OVER, LINKED, NOW)])
    assert (payload["version"], payload["status"], payload["truncatedAlerts"]) == ("4", "resolved", 0)
    assert payload["groupLabels"] == {"alertname": "FreshetIncident", "incident": "inc-1"}
    assert payload["alerts"][0]["endsAt"] == "2026-11-22T01:07:03.004Z"
    assert webhook_payload([alert_of(OPENED, LINKED, NOW)])["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "hooks.example.test", "http://"])
def test_a_receiver_without_an_address_is_no_receiver(url: str) -> None:
    with pytest.raises(StartupError, match="BRIDGE"):
        Webhook(BridgeSettings(), url)
    with pytest.raises(StartupError, match="BRIDGE"):
        Alertmanager(BridgeSettings())
