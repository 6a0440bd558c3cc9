"""`python -m streams doctor`: every connection tried once, one line each: fine, or what is wrong and what to do."""

import asyncio
import re
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from cag.model import OpenAIModel
from cag.store import RunbookStore, redis_address
from processors.embed import make_embedder
from processors.index import OpenSearchIndex, connect
from processors.logs import without_credentials
from processors.registry import address, registry_client, translated
from schemas.documents import Names
from schemas.errors import FreshetError, SinkMisconfigured
from schemas.settings import Settings
from streams import topics

OLDEST_OPENSEARCH: Final = (2, 13)  # the first whose Lucene vectors are compared by inner product
PLUGINS: Final = ("opensearch-knn",)
ADVICE: Final = {
    "kafka": "Start it (`make up`) or set FRESHET_KAFKA__*.",
    "topics": "Run `python -m streams topics create`.",
    "opensearch": "Start it (`make up`) or set FRESHET_OPENSEARCH__*.",
    "redis": "Start it (`make up`) or set FRESHET_REDIS__*.",
    "registry": "Start it (`make up`) or set FRESHET_REGISTRY__*; unset, runbooks go as plain Markdown.",
    "model": "Set FRESHET_MODEL__*; unset, answers are extractive.",
    "embedder": "Run `uv sync`, or set FRESHET_EMBEDDER__*.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`ok` with what was found, or what is wrong. Not `needed`: the product works without, and says so."""

    name: str
    address: str
    ok: bool
    text: str
    needed: bool = True


class Wrong(FreshetError):
    """A service answers, but not as needed."""


def examine(settings: Settings) -> list[Check]:
    """Try everything, at the same time: the slowest time-out is the longest wait. No secret is in any text."""
    search, registry, model = settings.opensearch, settings.registry, settings.model
    tries: list[tuple[str, str, bool, Callable[[Settings], str]]] = [
        ("kafka", settings.kafka.bootstrap_servers, True, _kafka),
        ("topics", settings.kafka.bootstrap_servers, True, _topics),
        ("opensearch", f"{search.url.host}:{search.url.port}", True, _opensearch),
        ("redis", redis_address(settings.redis), True, _redis),
        ("registry", address(registry), registry.url is not None, _registry),
        ("model", f"{model.base_url.host}:{model.base_url.port}" if model.base_url else "", False, _model),
        ("embedder", settings.embedder.kind, True, _embedder),
    ]
    with ThreadPoolExecutor(len(tries)) as pool:
        return list(pool.map(lambda entry: _try(settings, *entry), tries))


def _try(settings: Settings, name: str, where: str, needed: bool, call: Callable[[Settings], str]) -> Check:
    try:
        return Check(name=name, address=where, ok=True, text=call(settings), needed=needed)
    except FreshetError as error:
        text, distrust = without_credentials(str(error)), _distrust(error)
        if distrust:
            text = f"{text.rstrip('.')}: {distrust}"
        if not re.search(r"FRESHET_|`", text):  # it does not say by itself what to do
            # One that refuses us, or that we do not trust, runs: starting it would not help.
            runs = distrust or isinstance(error, SinkMisconfigured)
            text = f"{text.rstrip('.')}. {f'Check FRESHET_{name.upper()}__*.' if runs else ADVICE[name]}"
        return Check(name=name, address=where, ok=False, text=text, needed=needed)


def _distrust(error: BaseException | None) -> str:
    """What TLS has against the other side, '' when it is something else; every client wraps it in its own errors."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
        if isinstance(error, ssl.SSLError):
            return f"TLS fails ({error.reason or error.strerror})"
        error = error.__cause__ or error.__context__
    return ""


def _kafka(settings: Settings) -> str:
    brokers = topics.Broker(settings.kafka, timeout_s=5).reach()
    user = f" as {settings.kafka.username}" if settings.kafka.security_protocol.startswith("SASL") else ""
    return f"{brokers} broker{'s' if brokers > 1 else ''}, {settings.kafka.security_protocol}{user}"


def _topics(settings: Settings) -> str:
    broker, table = topics.Broker(settings.kafka, timeout_s=5), settings.topics_table()
    broker.reach()
    lines = topics.differences(table, broker.describe(t.name for t in table), settings.kafka.replication_factor)
    missing = [line for line in lines if line.endswith(": missing")]
    if missing:
        raise Wrong(f"missing: {', '.join(line.removesuffix(': missing') for line in missing)}")
    hint = f", {len(lines)} settings differ (`python -m streams topics verify`)" if lines else ""
    return f"all {len(table)} exist{hint}"


def _opensearch(settings: Settings) -> str:
    search = settings.opensearch
    with closing(connect(search)) as client:
        index = OpenSearchIndex(client, Names(search.prefix, ""), search, settings.embedder.dimensions)
        version = str(index.request("GET", "/")["version"]["number"])
        present = {str(row["component"]) for row in index.request("GET", "/_cat/plugins?format=json")}
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_OPENSEARCH:
        raise Wrong(f"version {version} is too old: {'.'.join(map(str, OLDEST_OPENSEARCH))} or newer is needed")
    if missing := [name for name in PLUGINS if name not in present]:
        raise Wrong(f"version {version} lacks {', '.join(missing)}: install with `opensearch-plugin install`")
    return f"version {version}, {', '.join(name.removeprefix('opensearch-') for name in PLUGINS)}"


def _redis(settings: Settings) -> str:
    with closing(RunbookStore(settings.redis)) as store:
        version = store.corpus_version()
    return f"runbooks at version {version}" if version else "no runbooks yet"


def _registry(settings: Settings) -> str:
    client = registry_client(settings.registry)
    if client is None:
        return "not set: runbooks go as plain Markdown"
    with client, translated(address(settings.registry)):
        return f"{len(client.get_subjects())} subjects"


def _model(settings: Settings) -> str:
    async def ask() -> str:
        model = OpenAIModel.from_settings(settings.model)
        if model is None:
            return "not set: answers are extractive"
        try:
            return await model.readiness()
        finally:
            await model.close()

    said = asyncio.run(ask())
    if said == "ok":
        return f"offers {settings.model.name}"
    if settings.model.base_url is not None:
        raise Wrong(f"{said}; answers are extractive until it does")
    return said


def _embedder(settings: Settings) -> str:
    embedder = make_embedder(settings.embedder)
    if settings.embedder.kind == "http":
        got = len(embedder.embed(["ready?"])[0])
        if got != embedder.dimensions:
            raise Wrong(f"gives {got} dimensions, FRESHET_EMBEDDER__DIMENSIONS says {embedder.dimensions}")
    return embedder.identity
