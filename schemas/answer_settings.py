"""Settings of questions and answers: the API, who may ask, the model, ranking, checking, remembered answers."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, model_validator

from schemas.section import CaFile, Positive, Seconds, Section

LEAST_PROMPT_TOKENS: Final = 2_048

File = Annotated[Path | None, BeforeValidator(lambda given: given or None)]
JwtAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Model(Section):
    base_url: HttpUrl | None = Field(
        None,
        description="whole OpenAI prefix: http://HOST/openai/v1 (KServe huggingface runtime), http://HOST/v1 (vLLM); "
        "unset: extractive answers",
    )
    name: str = "gpt-oss-20b"
    api_key: SecretStr = SecretStr("")
    ca_file: CaFile = None
    reasoning_effort: Literal["low", "medium", "high"] = "low"
    max_tokens: Positive = Field(1500, description="of the answer, reasoning included")
    connect_timeout_s: Seconds = 3.0
    first_token_timeout_s: Seconds = 20.0
    idle_timeout_s: Seconds = Field(15.0, description="longest silence between two tokens")
    deadline_s: Seconds = Field(60.0, description="whole answer")
    context_tokens: Positive = Field(
        32_768, description="prompt and answer together: the server's --max-model-len; no prompt is ever longer"
    )
    tokenizer: Path | None = Field(
        None, description="folder with the model's tokenizer.json, to count exactly; unset: tokens are estimated, high"
    )
    failures_to_rest: Positive = Field(5, description="in a row, after which the model is not asked for a while")
    rest_s: Seconds = Field(15.0, description="how long; then one question tries it")

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.context_tokens < self.max_tokens + LEAST_PROMPT_TOKENS:
            raise ValueError(
                f"context_tokens leaves less than {LEAST_PROMPT_TOKENS} for the prompt beside max_tokens: lower that"
            )
        return self


class Api(Section):
    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[SecretStr, ...] = Field(
        (), description="bearer tokens that see everything; keys with less belong into the policy file"
    )
    model_name: str = Field("freshet", description="the name under which /v1/models offers the assistant")
    evidence_tokens: Positive = Field(6_000, description="budget for evidence and runbook sections in the prompt")
    max_evidence: Positive = 12
    default_window_s: Positive = Field(1800, description="looked at when a question names no time")
    max_body_bytes: Positive = 1_048_576
    time_zone: str = Field("UTC", description="IANA zone in which answers state times; UTC is shown beside it")
    runbook_pack_tokens: Positive = Field(2_000, description="of headings and pinned sections in the stable prefix")
    link_hosts: tuple[str, ...] = Field(
        (), description="hosts that links in answers may lead to (JSON list); none: links are shown as words"
    )
    deadline_s: Seconds = Field(75.0, description="whole answer, retrieval included; what is left goes to the model")


class Access(Section):
    """Who may see what. Without a policy file whoever is let in sees everything."""

    policy_file: File = Field(
        None, description="YAML: principals and groups -> clusters and namespaces; deploy/policy.example.yaml shows it"
    )
    anonymous: bool | None = Field(
        None, description="whether requests without credentials are answered; unset: only where none are configured"
    )
    jwt_jwks_url: HttpUrl | None = Field(None, description="keys of the identity provider (OIDC)")
    jwt_secret: SecretStr = Field(
        SecretStr(""), description="shared secret of HS256 tokens, 32 bytes or more, instead of a JWKS"
    )
    jwt_algorithms: tuple[JwtAlgorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="of keys from the JWKS; a shared secret is HS256 only"
    )
    jwt_issuer: str = Field("", description="`iss` that a token must have; needed with a JWKS")
    jwt_audience: str = Field("", description="`aud` that a token must have; needed with a JWKS")
    jwt_groups_claim: str = Field("groups", description="dots lead into objects: realm_access.roles")
    webui_jwt_secret: SecretStr = Field(
        SecretStr(""),
        description="Open WebUI's FORWARD_USER_INFO_HEADER_JWT_SECRET, 32 bytes or more: its users become principals",
    )
    ca_file: CaFile = Field(None, description="authorities of the JWKS server")


class Quotas(Section):
    """Per principal, counted in Redis, in a moving minute; 0: unlimited. A policy may give a group its own."""

    requests_per_minute: Annotated[int, Field(ge=0)] = 0
    tokens_per_minute: Annotated[int, Field(ge=0)] = 0
    warn_at: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="share of a limit from which answers warn")


class Audit(Section):
    """One JSON line for each question: who, what, which evidence. Never what the evidence says."""

    file: File = Field(None, description="appended to, and opened again when it is renamed; unset: the log")
    topic: str = Field("", description="Kafka topic that gets the same lines; empty: none")


Weight = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(ge=0, le=1)]


class Ranking(Section):
    """Weights of the parts of a score, and what makes it less; `make tune` measures them over labelled sets.

    The six weights are of parts between 0 and 1. Set by hand on the generated shop, until they are measured.
    """

    severity: Weight = 0.26
    novelty: Weight = 0.26
    entity: Weight = 0.26
    volume: Weight = 0.08
    relevance: Weight = 0.10
    recency: Weight = 0.04
    upstream: Factor = Field(0.82, description="entity part of what it leans on and which complains itself")
    related: Factor = Field(0.7, description="entity part of what it leans on, beside 0.95 for the thing itself")
    symptom: Factor = Field(0.85, description="for a complaint about another that complains itself: the cause is there")
    numbers_only: Factor = Field(0.88, description="for a metric: it shows that something happened, seldom why")
    chatter: Factor = Field(0.6, description="how much news counts that is less than a warning")
    news: Factor = Field(0.6, description="news of an error said so seldom that numbers cannot call it surprising")
    change: Factor = Field(0.9, description="severity and news of a change, when that is what was asked for")
    named: Weight = Field(1.0, description="added to an alert or metric that the question names")
    incident: Weight = Field(0.4, description="added to an open incident of what was asked about, or near to it")
    kind_damping: Factor = Field(0.96, description="per piece already chosen of the same kind")
    place_damping: Factor = Field(0.97, description="per piece already chosen of the same kind and workload")
    object_damping: Factor = Field(0.8, description="per event, or named thing, already chosen that tells the same")
    recent_s: Seconds = Field(600.0, description="evidence so much older than the end counts 1/e as recent")
    rank_constant: Positive = Field(15, description="of reciprocal rank fusion; more: less is made of the first places")
    words: Weight = Field(1.0, description="of the search by words, in fusion")
    meaning: Weight = Field(1.0, description="of the search by meaning, in fusion")


class Verify(Section):
    """Checking a model's sentences against the evidence that they cite."""

    unsupported: Literal["mark", "remove", "off"] = Field("mark", description="what happens to a sentence that fails")
    hold_chars: Annotated[int, Field(ge=400)] = Field(
        800, description="most text held back at any time; a sentence longer than this less 290 is checked in pieces"
    )


class AnswerCache(Section):
    """Answers that were made before, in Redis: of questions that runbooks alone answer, and briefly of others."""

    runbook_ttl_s: Annotated[int, Field(ge=0)] = Field(86_400, description="0: none are kept")
    live_ttl_s: Annotated[int, Field(ge=0)] = Field(0, description="of answers about what runs now; 0: never kept")
    paraphrase: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8, description="cosine from which two questions may mean the same; all their words of weight must agree too"
    )
