"""Signed tokens (JWT): of an identity provider, with a shared secret, or of Open WebUI for the user it asks for."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import jwt

from api.jwt_keys import KeySet
from schemas.access import MIN_SECRET_BYTES
from schemas.answer_settings import Access
from schemas.errors import FreshetError, StartupError

LEEWAY_S: Final = 10  # between two clocks
RECHECK_S: Final = 300.0  # what was valid is believed for so long, so that a withdrawn key ends
REMEMBERED: Final = 10_000  # tokens
MAX_NAME_CHARS: Final = 253
WEBUI_ISSUER: Final = "open-webui"


class TokenRefused(FreshetError):
    """The token proves nothing; the text says why, for the one who sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whom a valid token speaks for."""

    name: str
    aliases: tuple[str, ...]  # e-mail addresses that were verified
    groups: tuple[str, ...]


_WHY: Final[Sequence[tuple[type[jwt.PyJWTError], str]]] = (  # the first that fits
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidAudienceError, "it is for another audience"),
    (jwt.InvalidIssuerError, "it is of another issuer"),
    (jwt.MissingRequiredClaimError, "it lacks a claim (sub and exp are needed, iss and aud where they are set)"),
    (jwt.InvalidAlgorithmError, "its algorithm is not accepted"),
    (jwt.InvalidSignatureError, "its signature does not match"),
)


class Tokens:
    """One per process. What was verified is remembered by hash; `clock`: seconds since 1970."""

    def __init__(self, settings: Access, keys: KeySet | None, clock: Callable[[], float] = time.time) -> None:
        """Raises StartupError when the settings would accept more than meant."""
        self._settings, self._keys, self._clock = settings, keys, clock
        self._secret = _strong(settings.jwt_secret.get_secret_value(), "FRESHET_ACCESS__JWT_SECRET")
        self._webui = _strong(settings.webui_jwt_secret.get_secret_value(), "FRESHET_ACCESS__WEBUI_JWT_SECRET")
        self._known: OrderedDict[bytes, tuple[User, float]] = OrderedDict()
        if keys and self._secret:
            raise StartupError(
                "both FRESHET_ACCESS__JWT_JWKS_URL and FRESHET_ACCESS__JWT_SECRET are set: unset one of them"
            )
        if self._secret and self._secret == self._webui:
            raise StartupError("FRESHET_ACCESS__JWT_SECRET and ..WEBUI_JWT_SECRET are the same: give each its own")
        if keys and not (settings.jwt_issuer and settings.jwt_audience):
            raise StartupError(
                "tokens for other services would be accepted: set FRESHET_ACCESS__JWT_ISSUER and "
                "FRESHET_ACCESS__JWT_AUDIENCE beside FRESHET_ACCESS__JWT_JWKS_URL"
            )

    @property
    def accepts_bearer(self) -> bool:
        return bool(self._keys or self._secret)

    @property
    def accepts_forwarded(self) -> bool:
        return bool(self._webui)

    async def bearer(self, token: str) -> User:
        """Raises TokenRefused, and SinkUnavailable while the keys were never had."""
        if (known := self._remembered("bearer", token)) is not None:
            return known
        if self._keys:
            key = await self._keys.key(_key_id(token))
            if key is None:
                raise TokenRefused("no key of the identity provider fits it")
            claims = self._claims(token, key.key, key.algorithms)
        else:
            claims = self._claims(token, self._secret, ("HS256",))
        groups = tuple(_strings(_at(claims, self._settings.jwt_groups_claim)))
        emails = tuple(_emails(claims)) if claims.get("email_verified") is True else ()
        return self._remember("bearer", token, claims, User(name=claims["sub"], aliases=emails, groups=groups))

    def forwarded(self, token: str) -> User:
        """Open WebUI's word for its user. Raises TokenRefused."""
        if (known := self._remembered("forwarded", token)) is not None:
            return known
        claims = _checked(token, self._webui, ("HS256",), issuer=WEBUI_ISSUER, audience=None)
        emails = tuple(_emails(claims))
        role = claims.get("role")
        groups = (f"webui-{role}",) if isinstance(role, str) else ()
        name = emails[-1] if emails else claims["sub"]
        return self._remember("forwarded", token, claims, User(name=name, aliases=emails, groups=groups))

    def _claims(self, token: str, key: Any, algorithms: Sequence[str]) -> dict[str, Any]:
        settings = self._settings
        return _checked(
            token, key, algorithms, issuer=settings.jwt_issuer or None, audience=settings.jwt_audience or None
        )

    def _remembered(self, kind: str, token: str) -> User | None:
        found = self._known.get(_digest(kind, token))
        return found[0] if found and self._clock() < found[1] else None

    def _remember(self, kind: str, token: str, claims: Mapping[str, Any], user: User) -> User:
        until = min(float(claims["exp"]) + LEEWAY_S, self._clock() + RECHECK_S)
        self._known[_digest(kind, token)] = user, until
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return user


def _checked(
    token: str, key: Any, algorithms: Sequence[str], *, issuer: str | None, audience: str | None
) -> dict[str, Any]:
    """The claims of a valid token. A token with an audience is refused where none is expected."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise TokenRefused(next((why for kind, why in _WHY if isinstance(error, kind)), "it is malformed")) from None
    name = claims["sub"]
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise TokenRefused("its subject is no name")
    return claims


def _key_id(token: str) -> str:
    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except jwt.PyJWTError:
        raise TokenRefused("it is malformed") from None


def _digest(kind: str, token: str) -> bytes:
    return sha256(f"{kind}:{token}".encode(errors="surrogateescape")).digest()


def _strong(secret: str, setting: str) -> bytes:
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        raise StartupError(f"{setting} has fewer than {MIN_SECRET_BYTES} bytes: make one with `openssl rand -hex 32`")
    return secret.encode()


def _emails(claims: Mapping[str, Any]) -> Iterator[str]:
    """As written, and in small letters: some write addresses in both ways."""
    email = claims.get("email")
    if isinstance(email, str) and 0 < len(email) <= MAX_NAME_CHARS and email.isprintable():
        yield email
        yield email.lower()


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, else the one that its dots lead to."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _strings(value: Any) -> Iterator[str]:
    values = value if isinstance(value, list) else [value]
    yield from (each for each in values if isinstance(each, str))
