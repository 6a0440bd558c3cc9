"""Faust is given the settings that the measurements asked for, and Kafka's credentials in aiokafka's words."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import SecretStr

from schemas.errors import StartupError
from schemas.settings import Kafka, Settings
from streams import app
from streams.app import agent, credentials, make_app
from streams.exits import Exit
from streams.reject_share import DeadLetterLimit
from streams.watchdog import Progress

USER = {"sasl_plain_username": "u", "sasl_plain_password": "pw", "sasl_mechanism": "SCRAM-SHA-512"}


@pytest.mark.parametrize(
    ("protocol", "expected", "encrypted"),
    [
        ("PLAINTEXT", {}, False),
        ("SSL", {}, True),
        ("SASL_PLAINTEXT", USER, False),
        ("SASL_SSL", USER, True),
    ],
)
def test_credentials(protocol: Any, expected: dict[str, str], encrypted: bool) -> None:
    kafka = Kafka(security_protocol=protocol, username="u", password=SecretStr("pw"))
    got = dict(credentials_to_aiokafka_auth(credentials(kafka)))
    assert got.pop("security_protocol") == protocol
    context = got.pop("ssl_context", None)
    assert isinstance(context, ssl.SSLContext) is encrypted
    if encrypted:
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert got == expected


def test_a_missing_client_certificate_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="FRESHET_KAFKA__CA_FILE, __CERT_FILE"):
        credentials(Kafka(security_protocol="SSL", cert_file=tmp_path / "none.pem"))


def made(settings: Settings) -> Any:
    return make_app(settings, steps={"logs": None}, flusher=None, progress=Progress(), listener=None, farewell=None)  # type: ignore[arg-type, dict-item]


async def test_settings_that_keep_data_safe() -> None:
    settings = Settings(kafka=Kafka(bootstrap_servers="a:1, b:2", group="g"), worker={"id": "w1"})  # type: ignore[arg-type]
    faust = made(settings)
    conf = faust.conf
    assert [str(url) for url in conf.broker] == ["kafka://a:1", "kafka://b:2"]
    assert (conf.id, conf.consumer_group_instance_id, conf.stream_wait_empty) == ("g", "w1", True)
    assert conf.broker_max_poll_interval > 30 * 86_400 / 2  # a sink that is away for long must not cost the membership
    assert (conf.topic_allow_declare, conf.web_enabled, conf.table_standby_replicas) == (False, False, 0)
    assert all(running.concurrency == 1 for running in faust.agents.values())


class Stream:
    enable_acks = True

    async def events(self) -> Any:
        yield type("Event", (), {"value": ["record"]})()

    async def ack(self, _: Any) -> None: ...


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("defect"), Exit.DEFECT),
        (DeadLetterLimit("most"), Exit.REJECTS),
        (asyncio.CancelledError(), Exit.DEFECT),
        (None, None),
    ],
)
async def test_an_agent_never_lets_faust_restart_it(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, code: Exit | None
) -> None:
    left: list[Any] = []
    monkeypatch.setattr(app, "leave", lambda code, *_, **__: left.append(code))

    async def step(topic: str, records: Any, acknowledge: Any) -> None:
        if error:
            raise error

    stream = Stream()
    await agent(type("App", (), {"should_stop": False})(), "logs", step)(stream)  # type: ignore[arg-type]
    assert stream.enable_acks is False
    assert left == ([code] if code else [])
