"""Who is let in, as whom, and what the refused are told; what a principal's scope does to a request."""

import hmac
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode
from pydantic import SecretStr
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from api.access import Doorkeeper
from api.app import create_app
from api.errors import ApiError
from api.jwt_keys import REFETCH_S, REFRESH_S, KeySet
from schemas.access import Principal
from schemas.answer_settings import Access, Api, Quotas
from schemas.context import Grant, Scope
from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Settings
from tests.fake_assistant import LOG, NOW, FakeAssistant

SECRET, WEBUI = "s" * 32, "w" * 32
RSA_KEY, OTHER_RSA = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://login.example", "freshet"
OIDC: Mapping[str, Any] = {
    "jwt_jwks_url": "https://login.example/keys", "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE,
}  # fmt: skip
POLICY = """
groups: {pay: {grants: [{namespaces: [pay]}]}, webui-admin: {grants: [{namespaces: [ops]}]}}
keys:
  - {name: bot, secret_file: bot.key, groups: [pay]}
  - {name: gate, secret_file: gate.key, grants: [{namespaces: [pay, ops]}], only_for_users: true}
users: {ann@example.org: {grants: [{namespaces: [pay, secret]}]}}
"""


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600, "groups": ["pay"]}
    return {name: value for name, value in (made | changes).items() if value is not None}


def signed(values: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    return jwt.encode(values, key, algorithm=algorithm, headers=header or None)


def forwarded(**changes: Any) -> str:
    user = {"iss": "open-webui", "aud": None, "email": "Ann@example.org", "role": "user", "groups": None}
    return signed(claims(**(user | changes)), WEBUI)


def document(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm: Any = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    return {**orjson.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


class Provider(httpx.AsyncBaseTransport):
    """An identity provider that counts how often it is asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys, self.status, self.asked = list(keys), 200, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, json={"keys": self.keys})


def door(
    tmp_path: Path, *, keys: tuple[str, ...] = (), policy: str = "", provider: Provider | None = None, **access: Any
) -> Doorkeeper:
    if policy:
        for name in ("bot", "gate"):
            (tmp_path / f"{name}.key").write_text(f"{name}-key-0123456789")
        access["policy_file"] = tmp_path / "policy.yaml"
        access["policy_file"].write_text(policy)
    settings = Access.model_validate(access)
    return Doorkeeper(settings, [SecretStr(key) for key in keys], Quotas(), transport=provider)


async def seen(
    at: Doorkeeper, bearer: str | None = None, user: str | None = None, **headers: str
) -> Principal | tuple[int, str]:
    """The principal, or status and code of the refusal."""
    sent = dict(headers)
    if bearer is not None:
        sent["authorization"] = f"Bearer {bearer}"
    if user is not None:
        sent["x-openwebui-user-jwt"] = user
    try:
        return await at.admit(Headers(sent))
    except ApiError as error:
        return error.status, error.detail.code or ""


@pytest.mark.parametrize(
    ("access", "keys", "bearer", "outcome"),
    [
        ({}, (), None, "anonymous"),
        ({}, (), "whatever", "anonymous"),  # nothing is configured: whatever clients send is ignored
        ({}, ("k" * 16,), None, (401, "invalid_api_key")),
        ({}, ("k" * 16,), "k" * 15, (401, "invalid_api_key")),
        ({}, ("other", "k" * 16), "k" * 16, "key:api-key-"),
        ({"anonymous": True}, ("k" * 16,), None, "anonymous"),
        ({"anonymous": True}, ("k" * 16,), "wrong", (401, "invalid_api_key")),
        ({"jwt_secret": SECRET}, (), None, (401, "invalid_api_key")),
        ({"webui_jwt_secret": WEBUI}, (), None, (401, "invalid_api_key")),
        ({"jwt_secret": SECRET}, (), "not-a-token", (401, "invalid_api_key")),
    ],
)
async def test_keys_and_the_anonymous(
    tmp_path: Path, access: dict[str, Any], keys: tuple[str, ...], bearer: str | None, outcome: Any
) -> None:
    said = await seen(door(tmp_path, keys=keys, **access), bearer)
    assert (
        said == outcome if isinstance(outcome, tuple) else isinstance(said, Principal) and said.id.startswith(outcome)
    )


BAD_TOKENS: Mapping[str, Callable[[], str]] = {
    "another secret": lambda: signed(claims(), "x" * 32),
    "expired": lambda: signed(claims(exp=int(time.time()) - 60)),
    "not valid yet": lambda: signed(claims(nbf=int(time.time()) + 60)),
    "from the future": lambda: signed(claims(iat=int(time.time()) + 600)),
    "another issuer": lambda: signed(claims(iss="https://else.example")),
    "no issuer": lambda: signed(claims(iss=None)),
    "another audience": lambda: signed(claims(aud="grafana")),
    "no audience": lambda: signed(claims(aud=None)),
    "without an end": lambda: signed(claims(exp=None)),
    "nobody": lambda: signed(claims(sub=None)),
    "an empty name": lambda: signed(claims(sub="")),
    "a name of control signs": lambda: signed(claims(sub="ann\nroot")),
    "unsigned": lambda: signed(claims(), "", "none"),
    "another algorithm": lambda: signed(claims(), "s" * 64, "HS512"),
    "Open WebUI's": forwarded,
    "cut": lambda: signed(claims())[:-6],
    "three words": lambda: "a.b.c",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_tokens_that_prove_nothing_are_refused(tmp_path: Path, name: str) -> None:
    at = door(
        tmp_path, jwt_secret=SECRET, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, webui_jwt_secret=WEBUI, anonymous=True
    )
    assert isinstance(await seen(at, signed(claims())), Principal)
    assert await seen(at, BAD_TOKENS[name]()) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("path", "values", "groups"),
    [
        ("groups", {"groups": ["pay", "x", 3]}, ("pay",)),
        ("groups", {"groups": "pay"}, ("pay",)),
        ("groups", {"groups": {"pay": 1}}, ()),
        ("realm.roles", {"realm": {"roles": ["pay"]}, "groups": None}, ("pay",)),
        ("https://x.example/groups", {"https://x.example/groups": ["pay"], "groups": None}, ("pay",)),
        ("realm.roles", {"realm": "pay"}, ()),
    ],
)
async def test_groups_are_found_where_the_settings_say(
    tmp_path: Path, path: str, values: dict[str, Any], groups: tuple[str, ...]
) -> None:
    at = door(
        tmp_path, policy=POLICY, jwt_secret=SECRET, jwt_audience=AUDIENCE, jwt_groups_claim=path, webui_jwt_secret=WEBUI
    )
    user = await seen(at, signed(claims(**values)))
    assert isinstance(user, Principal)
    assert user.groups == groups


def namespaces(principal: Any) -> set[str]:
    assert isinstance(principal, Principal), principal
    return {name for grant in principal.scope.grants for name in grant.namespaces}


async def test_addresses_count_only_where_they_were_verified(tmp_path: Path) -> None:
    at = door(tmp_path, policy=POLICY, jwt_secret=SECRET, jwt_audience=AUDIENCE, webui_jwt_secret=WEBUI)
    mail = {"email": "ann@example.org", "groups": None}
    assert namespaces(await seen(at, signed(claims(**mail)))) == set()
    assert namespaces(await seen(at, signed(claims(**mail, email_verified="true")))) == set()
    assert namespaces(await seen(at, signed(claims(**mail, email_verified=True)))) == {"pay", "secret"}


async def test_a_forwarded_user_sees_what_both_he_and_the_key_may(tmp_path: Path) -> None:
    at = door(tmp_path, policy=POLICY, webui_jwt_secret=WEBUI, keys=("sees-everything",))
    gate, bot = "gate-key-0123456789", "bot-key-0123456789"
    assert namespaces(await seen(at, gate, forwarded())) == {"pay"}  # `secret` is not the key's
    assert namespaces(await seen(at, gate, forwarded(role="admin", email="bob@example.org"))) == {"ops"}
    assert namespaces(await seen(at, bot, forwarded(role="admin"))) == {"pay"}
    assert namespaces(await seen(at, "sees-everything", forwarded())) == {"pay", "secret"}
    assert await seen(at, gate) == (401, "user_token_missing")
    assert await seen(at, None, forwarded()) == (401, "invalid_api_key")
    assert await seen(at, "wrong", forwarded()) == (401, "invalid_api_key")
    for bad in (forwarded(iss="freshet"), forwarded(exp=1), signed(claims(iss="open-webui", aud=None)), "x"):
        assert await seen(at, bot, bad) == (401, "invalid_token")
    plain = {"x-openwebui-user-email": "ann@example.org", "x-openwebui-user-role": "admin"}
    assert namespaces(await seen(at, bot, **plain)) == {"pay"}


async def test_without_any_key_a_forwarded_user_is_enough(tmp_path: Path) -> None:
    user = await seen(door(tmp_path, webui_jwt_secret=WEBUI), None, forwarded())
    assert isinstance(user, Principal)
    assert user.id == "forwarded user:ann@example.org"


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"anonymous": False}, "nobody could ask"),
        ({"jwt_secret": "short"}, "fewer than 32 bytes"),
        ({"webui_jwt_secret": "short"}, "fewer than 32 bytes"),
        ({"jwt_secret": SECRET, "webui_jwt_secret": SECRET}, "are the same"),
        ({"jwt_jwks_url": "https://login.example/keys"}, "JWT_AUDIENCE"),
        ({**OIDC, "jwt_secret": SECRET}, "unset one of them"),
        ({"policy": "group: {}"}, "group: Extra inputs"),
        ({"policy": POLICY}, "FRESHET_ACCESS__WEBUI_JWT_SECRET"),
        ({"policy_file": "/nowhere/policy.yaml"}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_meant_end_the_start_in_one_line(
    tmp_path: Path, access: dict[str, Any], said: str
) -> None:
    with pytest.raises(StartupError) as caught:
        door(tmp_path, **access)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# -- Keys of an identity provider --------------------------------------------------------------------------------------


async def test_keys_of_the_provider_are_fetched_once_and_confusion_is_refused(tmp_path: Path) -> None:
    provider = Provider(
        document(RSA_KEY, "one"), document(EC_KEY, "two"), {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}, {"kty": "?"}
    )
    at = door(tmp_path, provider=provider, **OIDC)
    for key, algorithm, kid in ((RSA_KEY, "RS256", "one"), (EC_KEY, "ES256", "two")):
        for _ in range(3):
            assert isinstance(await seen(at, signed(claims(), key, algorithm, kid=kid)), Principal)
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, _, _ = signed(claims(), kid="one").partition(".")  # HS256
    signing = f"{head}.{base64url_encode(orjson.dumps(claims())).decode()}".encode()
    confused = b".".join((signing, base64url_encode(hmac.digest(public, signing, "sha256")))).decode()
    for bad in (
        confused,
        signed(claims(), "secret" * 6, kid="oct"),
        signed(claims(), "", "none", kid="one"),
        signed(claims(), OTHER_RSA, "RS256", kid="one"),
        signed(claims(), RSA_KEY, "RS512", kid="one"),
        signed(claims(), RSA_KEY, "RS256", kid="two"),
        signed(claims(), RSA_KEY, "RS256"),  # without an id, while there are several keys
        signed(claims(), RSA_KEY, "RS256", kid="never-heard-of"),
    ):
        assert await seen(at, bad) == (401, "invalid_token")
    assert provider.asked == 1
    await at.close()


async def test_keys_rotate_and_unknown_ids_do_not_storm_the_provider() -> None:
    now = 0.0
    provider = Provider(document(RSA_KEY, "old"))
    keys = KeySet(Access.model_validate(OIDC), transport=provider, clock=lambda: now)
    assert await keys.key("old")
    provider.keys = [document(OTHER_RSA, "new")]
    assert [await keys.key("new") for _ in range(50)] == [None] * 50  # asked a moment ago
    now += REFETCH_S + 1
    assert await keys.key("new")
    assert await keys.key("old") is None
    assert provider.asked == 2
    now += REFRESH_S + 1
    provider.status = 503
    assert await keys.key("new"), "keys that were had stay while the provider is away"
    await keys.refresh()
    assert "HTTP 503" in keys.trouble
    assert await keys.key("new")
    assert provider.asked == 3
    await keys.close()


async def test_a_provider_that_was_never_reached_is_no_refusal(tmp_path: Path) -> None:
    provider = Provider()
    provider.status = 500
    at = door(tmp_path, provider=provider, **OIDC)
    token = signed(claims(), RSA_KEY, "RS256", kid="one")
    assert [await seen(at, token) for _ in range(3)] == [(503, "identity_provider_unavailable")] * 3
    assert provider.asked == 1
    assert "HTTP 500" in at.readiness()["identity provider"]
    await at.close()


async def test_a_body_that_is_no_key_set_or_too_long_is_refused() -> None:
    for body in (b"[]", b"{}", b'{"keys": 3}', b"x" * 2_000_000):
        transport = httpx.MockTransport(lambda request, body=body: httpx.Response(200, content=body))  # type: ignore[misc]
        keys = KeySet(Access.model_validate(OIDC), transport=transport)
        with pytest.raises(SinkUnavailable):
            await keys.key("one")
        await keys.close()


# -- The policy file and the routes ------------------------------------------------------------------------------------


async def test_a_changed_policy_is_put_in_force_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    at = door(tmp_path, policy=POLICY, webui_jwt_secret=WEBUI)
    file, bot = tmp_path / "policy.yaml", "bot-key-0123456789"
    file.write_text(POLICY.replace("{pay: {grants: [{namespaces: [pay]}]}", "{pay: {grants: [{namespaces: [shop]}]}"))
    await at.reload()
    assert namespaces(await seen(at, bot)) == {"shop"}
    with capture_logs() as lines:
        file.write_text("groups: [wrong]")
        await at.reload()
        await at.reload()
    assert [line["log_level"] for line in lines] == ["error"]
    assert namespaces(await seen(at, bot)) == {"shop"}
    assert "groups: Input should be" in at.readiness()["policy"]
    file.write_text(POLICY)
    await at.reload()
    assert namespaces(await seen(at, bot)) == {"pay"}
    assert at.readiness() == {"policy": "ok"}


def client(tmp_path: Path, assistant: FakeAssistant, policy: str) -> httpx.AsyncClient:
    (tmp_path / "bot.key").write_text("bot-key-0123456789")
    (tmp_path / "policy.yaml").write_text(policy)
    settings = Settings(access=Access(policy_file=tmp_path / "policy.yaml"), api=Api(api_keys=(SecretStr("all"),)))
    transport = httpx.ASGITransport(app=create_app(settings, assistant, now=lambda: NOW))
    return httpx.AsyncClient(
        transport=transport, base_url="http://api", headers={"authorization": "Bearer bot-key-0123456789"}
    )


async def test_every_read_is_within_the_grants_whatever_the_request_says(tmp_path: Path) -> None:
    assistant = FakeAssistant()
    asking = client(tmp_path, assistant, "keys: [{name: bot, secret_file: bot.key, grants: [{namespaces: [pay]}]}]")
    narrow = {"scope": {"namespaces": ["shop", "*"], "clusters": ["prod"]}}
    messages = [{"role": "user", "content": "why?"}]
    for path, body in (
        ("/v1/context", {"question": "why?", **narrow}),
        ("/v1/chat/completions", {"model": "freshet", "messages": messages, "freshet": narrow}),
    ):
        assert (await asking.post(path, json=body)).status_code == 200
    granted = (Grant(namespaces=("pay",), cluster_objects=False),)
    narrowed = Scope(clusters=("prod",), namespaces=("shop", "*"), grants=granted)
    assert [scope for _, scope, _ in assistant.asked] == [narrowed, narrowed]
    assert (await asking.get("/v1/models", headers={"authorization": "Bearer nobody"})).status_code == 401
    assert (await asking.get("/readyz", headers={"authorization": ""})).json()["parts"]["policy"] == "ok"


@pytest.mark.parametrize("path", ["/v1/context", f"/v1/evidence/{LOG.id}", "/v1/sources"])
async def test_whoever_is_granted_nothing_is_told_so(tmp_path: Path, path: str) -> None:
    asking = client(tmp_path, FakeAssistant(), "keys: [{name: bot, secret_file: bot.key}]")
    answer = await (asking.post(path, json={"question": "why?"}) if path == "/v1/context" else asking.get(path))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "nothing_granted")
    assert (await asking.get("/v1/models")).status_code == 200
