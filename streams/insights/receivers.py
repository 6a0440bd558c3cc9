"""Who is told of incidents: an Alertmanager, which is told all again and again, or a webhook, which is told news.

Errors name the host alone: the path of a webhook's URL is often its secret.
"""

import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx
import structlog

from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insight_settings import Bridge
from streams.insights.alerts import Alert, notable, webhook_payload

log = structlog.get_logger()

POSTED: Final = 200  # alerts in one request
REFUSED: Final = (400, 413, 422)  # this content, by a receiver that is otherwise well


class Change(NamedTuple):
    """A revision, as the alert that it makes; `before`: the one that it replaces."""

    alert: Alert
    before: Alert | None


class Receiver(Protocol):
    """Both calls block, and raise SinkUnavailable or SinkMisconfigured: then all of it is to be told again."""

    def tell(self, changes: Sequence[Change]) -> None: ...

    def remind(self, alerts: Sequence[Alert]) -> None:
        """What is open, once a minute."""


class Alertmanager:
    """Its state is level-triggered: telling twice changes nothing, and what is not told again for a while ends."""

    def __init__(self, settings: Bridge) -> None:
        if settings.alertmanager_url is None:
            raise StartupError("where to? set FRESHET_BRIDGE__ALERTMANAGER_URL, or FRESHET_BRIDGE__WEBHOOK_URL")
        self._url = f"{str(settings.alertmanager_url).rstrip('/')}/api/v2/alerts"
        self._http = _Http(settings, self._url)

    def tell(self, changes: Sequence[Change]) -> None:
        self._post([posted for change in changes for posted in _posted(change)])

    def remind(self, alerts: Sequence[Alert]) -> None:
        self._post([alert.posted() for alert in alerts])

    def _post(self, alerts: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(alerts), POSTED):
            batch = alerts[start : start + POSTED]
            if self._http.post(self._url, batch):
                continue
            for alert in batch:  # one of them is at fault: the others go on
                if not self._http.post(self._url, [alert]):
                    log.error("alert is refused", receiver=self._http.host, incident=alert["labels"].get("incident"))


class Webhook:
    """Told when an incident begins, gets worse and is over, in Alertmanager's own format."""

    def __init__(self, settings: Bridge, url: str = "") -> None:
        self._url = url or settings.webhook_url.get_secret_value()
        if urlsplit(self._url).scheme not in ("http", "https") or not urlsplit(self._url).hostname:
            raise StartupError("the webhook's URL is no http:// or https:// address: see FRESHET_BRIDGE__WEBHOOK_URL")
        self._http = _Http(settings, self._url)

    def tell(self, changes: Sequence[Change]) -> None:
        for alert, before in changes:
            if notable(alert, before) and not self._http.post(self._url, webhook_payload([alert])):
                log.error("notification is refused", receiver=self._http.host, incident=alert.incident)

    def remind(self, alerts: Sequence[Alert]) -> None:
        """Nothing: whoever is told once knows."""


def _posted(change: Change) -> Iterable[dict[str, Any]]:
    """The alert, and the end of the one that stood for the same incident under other labels."""
    alert, before = change
    if before is not None and before.labels != alert.labels:
        yield before.over(alert.updated).posted()
    yield alert.posted()


class _Http:
    """One host; what its answers mean."""

    def __init__(self, settings: Bridge, url: str) -> None:
        parts = urlsplit(url)
        self.host = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        auth = (settings.username, settings.password.get_secret_value()) if settings.username else None
        verify = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        self._client = httpx.Client(timeout=settings.timeout_s, verify=verify, auth=auth)

    def post(self, url: str, body: object) -> bool:
        """False when this content is refused. Raises SinkUnavailable or SinkMisconfigured for anything else."""
        try:
            status = self._client.post(url, json=body).status_code
        except httpx.TransportError as error:
            # Not the error's own text: it may quote the URL.
            raise SinkUnavailable(f"{self.host} does not answer: {type(error).__name__}") from None
        if status < 300:
            return True
        if status in REFUSED:
            return False
        if status == 429 or status >= 500:
            raise SinkUnavailable(f"{self.host} answers HTTP {status}")
        if status in (401, 403):
            raise SinkMisconfigured(f"{self.host} refuses us (HTTP {status}): check FRESHET_BRIDGE__USERNAME, PASSWORD")
        raise SinkMisconfigured(f"{self.host} answers HTTP {status}: check its address")
