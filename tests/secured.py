"""Services that demand TLS and a password: a Kafka broker, a Redis server, and a door in front of any HTTP server."""

import base64
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import redis
from redis.exceptions import RedisError

from deploy.local import kafka, processes, stack
from deploy.local import redis as local_redis
from deploy.local.service import Service, Site
from tests.certificates import Certificates

USER = "freshet"
SECTIONS = ("KAFKA", "OPENSEARCH", "REDIS", "REGISTRY", "MODEL")
SECRETS = ("KAFKA__PASSWORD", "OPENSEARCH__PASSWORD", "REDIS__PASSWORD", "REGISTRY__PASSWORD", "MODEL__API_KEY")
KAFKA_LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}
advertised.listeners=PLAINTEXT://127.0.0.1:{client},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
"""
KAFKA = replace(kafka.SERVICE, ports=("client", "controller", "sasl", "tls"))  # `client` is plain, for the test itself
LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """Where everything listens, and the settings with which the product gets in (passwords come from files)."""

    state: Path
    kafka_plain: str  # for the test itself
    kafka_tls: str  # asks for a client certificate instead of a password
    kafka: str
    redis: str
    doors: dict[str, "Door"]  # by section of the settings
    settings: dict[str, str]


@contextmanager
def secured_services(
    folder: Path, cache: Path, behind: dict[str, str], made: Certificates, password: str
) -> Iterator[Secured]:
    """Kafka and Redis that take `USER` with `password`, and a door to each URL in `behind`; stopped at the end."""
    state, secrets = folder / "state", folder / "secrets"
    (state / "logs").mkdir(parents=True)
    secrets.mkdir()
    for name in SECRETS:
        (secrets / f"freshet_{name.lower()}").write_text(f"{password}\n")
    basic = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
    try:
        with ExitStack() as opened:
            ports = _start_kafka(_site(state, cache, KAFKA), made, password)
            url = _start_redis(_site(state, cache, local_redis.SERVICE), made, password)
            doors = {
                name: opened.enter_context(door(target, basic if name != "MODEL" else f"Bearer {password}", made))
                for name, target in behind.items()
            }
            until(lambda: kafka.SERVICE.answers(ports["client"]), "Kafka")
            until(lambda: _redis_answers(url, made, password), "Redis")
            at = {role: f"127.0.0.1:{port}" for role, port in ports.items()}
            yield Secured(
                state=state,
                kafka_plain=at["client"],
                kafka_tls=at["tls"],
                kafka=at["sasl"],
                redis=url,
                doors=doors,
                settings={
                    "FRESHET_SECRETS_DIR": str(secrets),
                    "FRESHET_KAFKA__BOOTSTRAP_SERVERS": at["sasl"],
                    "FRESHET_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
                    "FRESHET_REDIS__URL": url,
                    **{
                        f"FRESHET_{name}__{'BASE_URL' if name == 'MODEL' else 'URL'}": opened_door.url
                        for name, opened_door in doors.items()
                    },
                    **{f"FRESHET_{section}__USERNAME": USER for section in SECTIONS if section != "MODEL"},
                    **trusting(made.authority),
                },
            )
    finally:
        processes.stop(state, grace_s=0)


def trusting(authority: Path) -> dict[str, str]:
    """The settings that make every client trust this authority."""
    return {f"FRESHET_{section}__CA_FILE": str(authority) for section in SECTIONS}


def until(done: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
    """Poll; fails with what was waited for."""
    deadline = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.1)


def _site(state: Path, cache: Path, service: Service) -> Site:
    return Site(
        state=state,
        name=service.name,
        cache=cache,
        ports=stack.choose_ports(state, service, {}),
        heap_mb=0,
        preferred_java=None,
        report=lambda service, text: None,
    )


def _start_kafka(site: Site, made: Certificates, password: str) -> dict[str, int]:
    prepare, start = kafka.SERVICE.commands(site)
    told = {"login": LOGIN, "user": USER, "password": password, "server": made.server, "authority": made.authority}
    with (site.folder / "server.properties").open("a") as properties:  # of two lines for a name, the later one counts
        properties.write(KAFKA_LISTENERS.format(**site.ports, **told))
    users = [
        word
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for word in ("--add-scram", f'{mechanism}=[name="{USER}",password="{password}"]')
    ]
    assert processes.run_to_end(site.state, replace(prepare, argv=[*prepare.argv, *users])), site.log.read_text()
    processes.spawn(site.state, start)
    return dict(site.ports)


def _start_redis(site: Site, made: Certificates, password: str) -> str:
    (start,) = local_redis.SERVICE.commands(site)
    port = site.ports["client"]
    with (site.folder / "redis.conf").open("a") as settings:
        settings.write(
            f"port 0\ntls-port {port}\ntls-cert-file {made.server}\ntls-key-file {made.server}\n"
            f"tls-ca-cert-file {made.authority}\ntls-auth-clients no\n"
            f'user default off\nuser {USER} on "~*" "+@all" ">{password}"\n'
        )
    processes.spawn(site.state, start)
    return f"rediss://127.0.0.1:{port}/0"


def _redis_answers(url: str, made: Certificates, password: str) -> bool:
    try:
        with redis.Redis.from_url(url, username=USER, password=password, ssl_ca_certs=str(made.authority)) as client:
            return bool(client.ping())
    except RedisError:
        return False


class Door(ThreadingHTTPServer):
    """TLS and one accepted `Authorization` header in front of a plain HTTP server. `accepts` may change at any time."""

    daemon_threads = True

    def __init__(self, target: str, accepts: str, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)  # a failed handshake is an OSError in accept
        url = urlsplit(target)
        self.target, self.accepts = f"http://{url.netloc}", accepts
        self.url = f"https://127.0.0.1:{self.server_address[1]}{url.path.rstrip('/')}"
        self.behind = httpx.Client(timeout=60, trust_env=False)


class _Passage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != self.server.accepts:
            self._answer(401, "text/plain", b"Unauthorized")
            return
        kind = {"Content-Type": self.headers["Content-Type"]} if "Content-Type" in self.headers else {}
        answer = self.server.behind.request(self.command, self.server.target + self.path, content=body, headers=kind)
        self._answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 - the names that http.server calls

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def door(target: str, accepts: str, made: Certificates) -> Iterator[Door]:
    """Open while the block runs."""
    opened = Door(target, accepts, made.server)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield opened
    finally:
        opened.shutdown()
        thread.join()
        opened.server_close()
        opened.behind.close()
