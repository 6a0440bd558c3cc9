"""Two tenants on one installation, their documents with a canary in each, the policy that parts them, their tokens."""

import hashlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jwt
import yaml

from deploy.shop import formats
from deploy.shop.telemetry import Log, Message, Notice, Observation, Sample, Subject
from deploy.shop.topology import CLUSTER, Pod, Service
from schemas.documents import digest
from schemas.insights import AffectedEntity, Cause, Insight, SymptomSummary

SIGNALS: Final = ("log", "event", "alert", "metric", "runbook", "name", "incident")
PER_SIGNAL: Final = 3
CONSONANTS: Final = "bcdfghjklmnpqrstvwxz"
SHARED_WORKLOAD: Final = "checkout"  # both tenants have one
JWT_SECRET: Final = "a-secret-of-the-identity-provider-for-tests"
WEBUI_SECRET: Final = "a-secret-of-open-webui-that-is-for-tests"
ISSUER: Final = "https://login.example"
AUDIENCE: Final = "freshet"
GATEWAY_KEY: Final = "key-of-open-webui-0123456789"
ADMIN_KEY: Final = "key-of-the-admin-0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`bait` is known to the other tenant and may be quoted; `canary` stands beside it and must never cross."""

    signal: str
    bait: str
    canary: str


@dataclass(slots=True)
class Tenant:
    name: str  # also its namespace, which the other one knows
    documents: list[Document] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)  # ids, as it was told itself

    @property
    def key(self) -> str:
        return f"key-of-{self.name}-0123456789"

    @property
    def canaries(self) -> list[str]:
        return [document.canary for document in self.documents]

    def of(self, signal: str) -> list[Document]:
        return [document for document in self.documents if document.signal == signal]

    @property
    def hidden_workload(self) -> str:
        """Its name is a canary itself: for sources, coverage and the names that questions are matched with."""
        return self.of("name")[0].canary

    @property
    def hidden_node(self) -> str:
        return self.of("name")[1].canary


def make_tenants(seed: int) -> tuple[Tenant, Tenant]:
    """Letters only, without vowels: no word of a language, no number to be folded away, nothing to be redacted."""
    dice = random.Random(seed)
    tenants = Tenant("amber"), Tenant("cobalt")
    for tenant in tenants:
        for signal in SIGNALS:
            for _ in range(PER_SIGNAL):
                bait, canary = (
                    f"{start}{''.join(dice.choices('bcdfghjklmnpqrstvwxz', k=9))}" for start in ("by", "qy")
                )
                tenant.documents.append(Document(signal=signal, bait=bait, canary=canary))
    return tenants


# -- What each tenant's systems say ------------------------------------------------------------------------------------


def telemetry(tenant: Tenant, now_s: float) -> Iterator[Message]:
    """Some minutes of logs, events, alerts and metrics before `now_s`."""
    pods = [_pod(tenant, name) for name in (SHARED_WORKLOAD, tenant.hidden_workload)]
    at_ms = int(now_s * 1000)

    def message(topic: str, value: bytes) -> Message:
        # One key for all: both tenants share a partition, as they would where shippers set none.
        return Message(topic=topic, key=b"shared", value=value, timestamp_ms=at_ms)

    for pod in pods:
        for document in tenant.of("log"):
            for ago_s in range(30, 300, 45):
                text = f"payment refused by ledger {document.bait}: upstream {document.canary} does not answer"
                log = Log(at_s=now_s - ago_s, pod=pod, level="error", text=text)
                yield message("logs", formats.otlp_logs_json([log]))
    for number, document in enumerate(tenant.of("event")):
        yield message("k8s-events", formats.event_exporter(_observation(tenant, pods[0], document, number, now_s)))
    yield message("k8s-events", formats.event_exporter(_of_node(tenant, now_s)))
    for number, document in enumerate(tenant.of("alert")):
        notice = Notice(
            at_s=now_s - 60,
            starts_s=now_s - 120 - number,
            ends_s=None,
            labels={
                "alertname": f"Ledger{document.bait.capitalize()}",
                "severity": "critical",
                "namespace": tenant.name,
                "deployment": SHARED_WORKLOAD,
                "pod": pods[0].name,
                "lane": document.canary,
            },
            annotations={"summary": f"the ledger of {document.canary} is behind"},
        )
        yield message("alerts", formats.alertmanager(notice))
    for document in tenant.of("metric"):
        for ago_s in range(0, 300, 30):
            labels = {
                "namespace": tenant.name,
                "pod": pods[0].name,
                "deployment": SHARED_WORKLOAD,
                "lane": document.canary,
            }
            value = 900.0 if ago_s < 120 else 3.0
            sample = Sample(at_s=now_s - ago_s, name=f"ledger_{document.bait}_seconds", labels=labels, value=value)
            yield message("metrics", formats.prometheus(sample))


def incidents(tenant: Tenant, other: Tenant, now_s: float) -> list[Insight]:
    """One of its own, and two that neither tenant may see: of both, and of a node."""
    began = datetime.fromtimestamp(now_s - 120, UTC)
    made = []
    for document, namespaces in zip(
        tenant.of("incident"), ((tenant.name,), (tenant.name, other.name), (tenant.name, "")), strict=True
    ):
        text = f"ledger {document.bait} does not answer {document.canary}"
        place = {"kind": "workload", "name": SHARED_WORKLOAD, "namespace": tenant.name}
        made.append(
            Insight(
                id=incident_id(document), revision=1, state="opened", cluster=CLUSTER, namespaces=namespaces,
                title=f"{SHARED_WORKLOAD}: {text}", severity="critical", fingerprint=document.canary, started=began,
                detected=began, updated=began, symptom_count=1,
                entities=(AffectedEntity(**place, symptoms=1),),
                causes=(Cause(**place, score=1.0, why=text),),
                symptoms=(
                    SymptomSummary(
                        id="s", kind="alert", entity=f"workload/{SHARED_WORKLOAD}", namespace=tenant.name,
                        name="Ledger", text=text, first=began, last=began, strength=1.0, evidence="",
                    ),
                ),
            )
        )  # fmt: skip
    return made


def incident_id(document: Document) -> str:
    """Whoever knows the bait can guess it."""
    return digest("incident", document.bait)


def _pod(tenant: Tenant, workload: str) -> Pod:
    return Pod(
        name=f"{workload}-7d9f8c6b5d-{workload[-5:]}",
        namespace=tenant.name,
        service=Service(name=workload, style="json", version="1.0.0"),
        node=tenant.hidden_node,
        ip="10.1.2.3",
        replica_set=f"{workload}-7d9f8c6b5d",
        version="1.0.0",
    )


def _observation(tenant: Tenant, pod: Pod, document: Document, number: int, now_s: float) -> Observation:
    return Observation(
        at_s=now_s - 60,
        first_s=now_s - 200,
        uid=f"{tenant.name}-{document.bait}",
        count=7,
        subject=Subject(kind="Pod", name=pod.name, namespace=tenant.name, node=pod.node),
        reason=("BackOff", "Unhealthy", "FailedMount")[number % 3],
        message=f"volume {document.bait} of {document.canary} is not there",
        warning=True,
        component="kubelet",
        host=pod.node,
        shape="exporter",
    )


def _of_node(tenant: Tenant, now_s: float) -> Observation:
    """A thing without a namespace, which neither tenant may see."""
    return Observation(
        at_s=now_s - 50,
        first_s=now_s - 50,
        uid=f"{tenant.name}-node",
        count=1,
        subject=Subject(kind="Node", name=tenant.hidden_node),
        reason="NodeHasDiskPressure",
        message=f"the disk of {tenant.of('name')[2].canary} is full",
        warning=True,
        component="kubelet",
        host=tenant.hidden_node,
        shape="exporter",
    )


def write_runbooks(tenants: Sequence[Tenant], folder: Path) -> int:
    """One page for each runbook canary, restricted to its tenant, and one that is for all."""
    (folder / "ledger.md").write_text("# The ledger\n\n## Repair\n\nRestart the ledger when payments are refused.\n")
    pages = 1
    for tenant in tenants:
        for number, document in enumerate(tenant.of("runbook")):
            alert = tenant.of("alert")[number].bait.capitalize()
            text = (
                f"---\nnamespaces: [{tenant.name}]\nalerts: [Ledger{alert}]\n---\n# Ledger of {document.canary}\n\n"
                f"## Repair\n\nWhen {document.bait} refuses payments, call {document.canary} and drain the ledger.\n"
            )
            (folder / f"{tenant.name}-{number}.md").write_text(text)
            pages += 1
    return pages


# -- Who may see it ----------------------------------------------------------------------------------------------------


def write_policy(tenants: Sequence[Tenant], path: Path) -> None:
    def hashed(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    exact, starred = tenants
    grants = {exact.name: [exact.name], starred.name: [f"{starred.name}*"]}
    policy = {
        "groups": {
            name: {"grants": [{"clusters": [CLUSTER], "namespaces": namespaces}]} for name, namespaces in grants.items()
        },
        "keys": [
            *({"name": t.name, "sha256": hashed(t.key), "groups": [t.name]} for t in tenants),
            {"name": "admin", "sha256": hashed(ADMIN_KEY), "grants": [{}]},
            {"name": "open-webui", "sha256": hashed(GATEWAY_KEY), "grants": [{}], "only_for_users": True},
        ],
        "users": {f"ann@{t.name}.example": {"groups": [t.name]} for t in tenants},
    }
    path.write_text(yaml.safe_dump(policy))


def settings(policy: Path) -> dict[str, str]:
    """Of the API, with every way in."""
    return {
        "FRESHET_ACCESS__POLICY_FILE": str(policy),
        "FRESHET_ACCESS__JWT_SECRET": JWT_SECRET,
        "FRESHET_ACCESS__JWT_ISSUER": ISSUER,
        "FRESHET_ACCESS__JWT_AUDIENCE": AUDIENCE,
        "FRESHET_ACCESS__WEBUI_JWT_SECRET": WEBUI_SECRET,
    }


def bearer_claims(tenant: Tenant) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": f"{tenant.name}-1", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600}
    return claims | {"groups": [tenant.name]}


def webui_claims(tenant: Tenant) -> dict[str, Any]:
    now = int(time.time())
    user = {"sub": f"id-{tenant.name}", "email": f"ann@{tenant.name}.example", "name": "Ann", "role": "user"}
    return user | {"iss": "open-webui", "iat": now, "exp": now + 3600}


def signed(claims: Mapping[str, Any], secret: str, algorithm: str = "HS256") -> str:
    return jwt.encode(dict(claims), secret, algorithm=algorithm)


def credentials(tenant: Tenant, way: str) -> dict[str, str]:
    """Headers of this tenant: by key, by token, or as a user of Open WebUI."""
    if way == "key":
        return {"authorization": f"Bearer {tenant.key}"}
    if way == "token":
        return {"authorization": f"Bearer {signed(bearer_claims(tenant), JWT_SECRET)}"}
    token = signed(webui_claims(tenant), WEBUI_SECRET)
    return {"authorization": f"Bearer {GATEWAY_KEY}", "x-openwebui-user-jwt": token}
