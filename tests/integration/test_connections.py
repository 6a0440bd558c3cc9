"""Every client with security switched on: TLS with an own authority, users, passwords from mounted files."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.demo import free_port
from deploy.installation import CHECKOUT, Installation
from deploy.local import stack
from deploy.local.services import Endpoints
from schemas.settings import Kafka, Settings
from streams import doctor
from streams.topics import Broker
from tests.benchmarks.reads import Reads
from tests.certificates import Certificates, make_certificates
from tests.loopback import running
from tests.secured import SECRETS, USER, Secured, secured_services, trusting
from tests.standin_model import StandIn

pytestmark = pytest.mark.integration
NAME = "it-secured"
NAME = "it-secured"
PASSWORD = "p:ss/w@rd %41"  # what URLs, headers and property files would misread
WRONG = "not-the-s3cret"
WAYS = ("SCRAM-SHA-512", "PLAIN", "client certificate")
PARTS = ("opensearch", "redis", "kafka", "embedder", "model")
LINES = 20
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, state: Path, endpoints: Endpoints, made: Certificates
) -> Iterator[Secured]:
    known = stack.load(state.resolve())
    assert known is not None
    with running(StandIn().app()) as model:
        behind = {"OPENSEARCH": endpoints.opensearch, "REGISTRY": endpoints.registry, "MODEL": f"{model}/v1"}
        folder = tmp_path_factory.mktemp("secured")
        with secured_services(folder, Path(known.cache), behind, made, PASSWORD) as services:
            yield services


@pytest.fixture(scope="module")
def installation(endpoints: Endpoints, secured: Secured) -> Iterator[Installation]:
    installation = Installation(name=NAME, state=secured.state, endpoints=Endpoints())
    installation.extra |= secured.settings
    installation.extra |= {"FRESHET_KAFKA__PARTITIONS": "2", "FRESHET_EMBEDDER__KIND": "hashing"}
    installation.run("streams", "topics", "create")
    yield installation
    installation.stop()
    httpx.delete(f"{endpoints.opensearch}/{NAME}-*").raise_for_status()
    httpx.delete(f"{endpoints.registry}/subjects/{NAME}.runbooks-value")


@pytest.fixture(scope="module")
def reads(endpoints: Endpoints) -> Iterator[Reads]:
    """What is in the index, read past the door."""
    plain = Endpoints(opensearch=endpoints.opensearch)
    with closing(Reads(Installation(name=NAME, state=Path(), endpoints=plain))) as opened:
        yield opened


@pytest.fixture(scope="module")
def runbooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runbooks")
    (folder / "payments.md").write_text("# Payments cannot be reached\n\n## Fix\n\nRestart the gateway.\n")
    return folder


def way_in(way: str, secured: Secured, made: Certificates) -> dict[str, str]:
    """The settings of Kafka that make the difference."""
    if way != "client certificate":
        return {"FRESHET_KAFKA__SASL_MECHANISM": way}
    return {
        "FRESHET_KAFKA__BOOTSTRAP_SERVERS": secured.kafka_tls,
        "FRESHET_KAFKA__SECURITY_PROTOCOL": "SSL",
        "FRESHET_KAFKA__CERT_FILE": str(made.client),
        "FRESHET_KAFKA__KEY_FILE": str(made.client),
    }


def examined(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> dict[str, doctor.Check]:
    for name, value in (installation.environment | changes).items():
        monkeypatch.setenv(name, value)
    return {check.name: check for check in doctor.examine(Settings.load())}


def letters(secured: Secured) -> int:
    ends = Broker(Kafka(bootstrap_servers=secured.kafka_plain)).lag("nobody", [(f"{NAME}.dead-letters", 0)])
    return sum(ends.values())


def send(installation: Installation, folder: Path) -> None:
    file = folder / "lines.log"
    file.write_text("checkout could not reach payments\n" * LINES)
    installation.run("streams", "send", str(file), "--topic", f"{NAME}.logs", "--namespace", "shop", "--pod", "web-1")


@contextmanager
def one_worker(installation: Installation, **changes: str) -> Iterator[None]:
    """Nothing of this installation runs afterwards, and its settings are as they were."""
    before, installation.extra = installation.extra, installation.extra | changes
    try:
        installation.start_worker()
        yield
    finally:
        installation.stop()
        installation.extra = before


def ready(installation: Installation) -> dict[str, str]:
    return dict(httpx.get(f"{installation.api_url}/readyz", timeout=30).json()["parts"])


def answer(installation: Installation) -> tuple[str, set[str]]:
    """Who wrote the answer, and what kinds of evidence it cites."""
    question = {"model": "freshet", "messages": [{"role": "user", "content": "why was payments not reached?"}]}
    reply = httpx.post(f"{installation.api_url}/v1/chat/completions", json=question, timeout=30)
    assert reply.status_code == 200, reply.text
    said = reply.json()["freshet"]
    return said["mode"], {citation["kind"] for citation in said["citations"]}


@pytest.mark.parametrize("way", WAYS)
def test_the_doctor_gets_in_everywhere(
    installation: Installation, secured: Secured, made: Certificates, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    found = examined(installation, monkeypatch, way_in(way, secured, made))
    assert [check for check in found.values() if not check.ok] == []
    assert found["kafka"].text.endswith(", SSL" if way == "client certificate" else f", SASL_SSL as {USER}")


def test_an_unknown_authority_is_said_for_every_service(
    installation: Installation, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examined(installation, monkeypatch, trusting(made.stranger))
    for name in ("opensearch", "redis", "registry", "model"):
        assert re.search(r"certificate.* is not trusted.*heck FRESHET_" + name.upper(), found[name].text), name
    assert re.search(r"certificate verify failed.* Check FRESHET_KAFKA__SECURITY_PROTOCOL, __CA_", found["kafka"].text)


# Command, what has a wrong password, what the one line says.
REFUSALS = (
    ("streams worker", "KAFKA", "Kafka at {kafka} .*invalid credentials.*Check FRESHET_KAFKA__USERNAME, __PASSWORD"),
    ("streams worker", "OPENSEARCH", "OpenSearch at {opensearch} refuses our user: 401"),
    ("streams worker", "REDIS", "Redis at {redis} refuses us: check user name, password"),
    ("streams send lines.log --topic it-secured.logs", "KAFKA", "Kafka at {kafka} .*invalid credentials"),
    (
        "cag publish {runbooks}",
        "REGISTRY",
        "schema registry at {registry} refuses us .*check user name and password",
    ),
    ("cag publish {runbooks}", "KAFKA", "Kafka at {kafka} refuses us .*check user name, password"),
    ("streams doctor", "MODEL", "warn  model .*refused the API key"),
)


def test_a_wrong_password_is_one_line_without_a_secret(
    installation: Installation, secured: Secured, runbooks: Path
) -> None:
    where = {name.lower(): opened.url for name, opened in secured.doors.items()}
    where |= {"kafka": secured.kafka, "redis": urlsplit(secured.redis).netloc, "runbooks": str(runbooks)}

    def attempt(refusal: tuple[str, str, str]) -> subprocess.CompletedProcess[str]:
        command, section, _ = refusal
        wrong = {f"FRESHET_{name}": WRONG for name in SECRETS if name.startswith(section)}
        arguments = [sys.executable, "-m", *(word.format(**where) for word in command.split())]
        environment = installation.environment | wrong
        return subprocess.run(arguments, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor(len(REFUSALS)) as pool:  # librdkafka waits for a better answer until its time is over
        attempts = list(pool.map(attempt, REFUSALS))
    for (command, _, says), done in zip(REFUSALS, attempts, strict=True):
        doctor_runs = command.endswith("doctor")
        output = done.stdout + done.stderr
        lines = [line for line in output.splitlines() if not doctor_runs or line.startswith("warn")]
        assert len(lines) == 1, output
        assert re.search(says.format(**where), lines[0]), (command, lines)
        assert done.returncode == (0 if doctor_runs else 1)  # nothing needs the model
        assert PASSWORD not in output
        assert WRONG not in output


def test_the_worker_gets_in_with_a_certificate(
    installation: Installation, reads: Reads, secured: Secured, made: Certificates, tmp_path: Path
) -> None:
    before = reads.counted()
    send(installation, tmp_path)
    with one_worker(installation, **way_in("client certificate", secured, made)):
        installation.wait(lambda: reads.counted() >= before + LINES, f"{LINES} lines", "worker-1", PATIENCE_S)
        assert reads.counted() == before + LINES


def test_a_password_that_is_withdrawn_pauses_and_loses_nothing(
    installation: Installation, reads: Reads, secured: Secured, runbooks: Path, tmp_path: Path
) -> None:
    before = reads.counted() + LINES
    send(installation, tmp_path)
    installation.run("cag", "publish", str(runbooks))
    with one_worker(installation):
        installation.wait(lambda: reads.counted() >= before, "the first lines", "worker-1", PATIENCE_S)
        installation.start_api(port=free_port(0))
        installation.wait(lambda: ready(installation) == dict.fromkeys(PARTS, "ok"), "readiness", "api", PATIENCE_S)
        installation.wait(lambda: answer(installation) == ("model", {"log", "runbook"}), "both", "api", PATIENCE_S)
        index = secured.doors["OPENSEARCH"]
        accepted = index.accepts
        index.accepts = "nothing"
        send(installation, tmp_path)
        said = installation.log("worker-1")
        installation.wait(lambda: "refuses our user: 401" in said.read_text(), "the pause", "worker-1", PATIENCE_S)
        assert "401" in ready(installation)["opensearch"]
        index.accepts = accepted
        installation.wait(lambda: reads.counted() >= before + LINES, "the lines", "worker-1", PATIENCE_S)
    assert letters(secured) == 0
    assert PASSWORD not in said.read_text() + installation.log("api").read_text()
