"""The door: from the headers of a request to its principal, or a refusal in plain words."""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Final

import httpx
import structlog
from pydantic import SecretStr
from starlette.datastructures import Headers

from api.errors import ApiError
from api.jwt_keys import REFETCH_S, KeySet
from api.policy import Policy, PolicyWrong, Stamp, changed, overlap, read_policy
from api.tokens import TokenRefused, Tokens, User
from schemas.access import KeyEntry, Kind, Principal, Quota
from schemas.answer_settings import Access, Quotas
from schemas.context import Scope
from schemas.errors import SinkUnavailable, StartupError

FORWARDED_USER: Final = "x-openwebui-user-jwt"
POLICY_EVERY_S: Final = 2.0

_log = structlog.get_logger("api")


class Doorkeeper:
    """One per app. Headers that anybody can write (`X-OpenWebUI-User-Name` and the like) are never looked at."""

    def __init__(
        self,
        settings: Access,
        api_keys: Sequence[SecretStr],
        quotas: Quotas,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`transport` reaches the identity provider. Raises StartupError for settings that cannot be meant."""
        self._settings = settings
        self._quota = Quota(requests=quotas.requests_per_minute, tokens=quotas.tokens_per_minute)
        self._keys = tuple(sha256(key.get_secret_value().encode()).digest() for key in api_keys)
        self._key_set = KeySet(settings, transport=transport) if settings.jwt_jwks_url else None
        self._tokens = Tokens(settings, self._key_set)
        self._policy = self._read() if settings.policy_file else None
        self._trouble = ""  # why the policy file as it is now is not in force
        self._attempted: Stamp | None = None
        configured = self._keys or settings.policy_file or self._tokens.accepts_bearer or self._tokens.accepts_forwarded
        self._open = not configured  # then whatever is sent is ignored
        self._anonymous = self._open if settings.anonymous is None else settings.anonymous
        if self._open and not self._anonymous:
            raise StartupError(
                "nobody could ask: set FRESHET_API__API_KEYS, FRESHET_ACCESS__POLICY_FILE or a token setting, "
                "or FRESHET_ACCESS__ANONYMOUS=true"
            )
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fetch keys and watch the policy file, both in the background."""
        if self._key_set:
            self._key_set.refresh()
        if self._policy:
            self._watching = asyncio.create_task(self._watch())
            self._watching.add_done_callback(_tell)

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._key_set:
            await self._key_set.close()

    def readiness(self) -> dict[str, str]:
        """Each part that is in use with `ok` or one sentence."""
        parts = {"policy": self._trouble or "ok"} if self._policy else {}
        return parts | ({"identity provider": self._key_set.trouble or "ok"} if self._key_set else {})

    async def admit(self, headers: Headers) -> Principal:
        """Raises ApiError: 401 for whoever is not let in, 503 while the identity provider was never reached."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        forwarded = headers.get(FORWARDED_USER, "") if self._tokens.accepts_forwarded else ""
        if self._open:
            return self._sees_all("anonymous", "")
        if not given and not kind:
            return self._without_credentials(forwarded)
        if kind.lower() != "bearer":
            raise _refused(self._needed())
        entry = self._policy.key_of(given.encode("latin-1")) if self._policy else None
        number = self._plain_key(given)
        if entry is not None or number:
            return self._with_key(entry, f"api-key-{number}", forwarded)
        if not self._tokens.accepts_bearer or given.count(".") != 2:
            raise _refused(self._needed())
        try:
            return self._user("user", await self._tokens.bearer(given))
        except TokenRefused as error:
            raise _refused(f"The token is not accepted: {error}.", "invalid_token") from None
        except SinkUnavailable:
            raise _cannot_check() from None

    def _with_key(self, entry: KeyEntry | None, name: str, forwarded: str) -> Principal:
        """The key's principal; with a forwarded user that user, who never sees more than the key does."""
        holder = self._policy.key(entry) if entry and self._policy else self._sees_all("key", name)
        if forwarded:
            user = self._forwarded(forwarded)
            return replace(user, scope=overlap(user.scope, holder.scope))
        if entry and entry.only_for_users:
            raise _refused(
                "This key speaks only for users: let Open WebUI forward them, with "
                "ENABLE_FORWARD_USER_INFO_HEADERS and FORWARD_USER_INFO_HEADER_JWT_SECRET.",
                "user_token_missing",
            )
        return holder

    def _without_credentials(self, forwarded: str) -> Principal:
        # Where keys are set, a forwarded user counts only together with one.
        if forwarded and not self._keys and not (self._policy and self._policy.keys):
            return self._forwarded(forwarded)
        if not self._anonymous:
            raise _refused(self._needed())
        return self._policy.anonymous() if self._policy else self._sees_all("anonymous", "")

    def _forwarded(self, token: str) -> Principal:
        try:
            return self._user("forwarded user", self._tokens.forwarded(token))
        except TokenRefused as error:
            raise _refused(f"The forwarded user's token is not accepted: {error}.", "invalid_token") from None

    def _user(self, kind: Kind, user: User) -> Principal:
        if self._policy:
            return self._policy.user(kind, user.name, user.aliases, user.groups)
        return self._sees_all(kind, user.name)

    def _sees_all(self, kind: Kind, name: str) -> Principal:
        return Principal(kind=kind, name=name, scope=Scope(), quota=self._quota)

    def _plain_key(self, given: str) -> int:
        """The number of a key of the settings, from 1; 0: none. All are compared, as in `Policy.key_of`."""
        digest = sha256(given.encode("latin-1")).digest()
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        return matches.index(True) + 1 if True in matches else 0

    def _needed(self) -> str:
        what = "API key or token" if self._tokens.accepts_bearer else "API key"
        return f"A valid {what} is needed: Authorization: Bearer {'KEY' if what == 'API key' else 'KEY_OR_TOKEN'}."

    def _read(self) -> Policy:
        assert self._settings.policy_file
        try:
            policy = read_policy(self._settings.policy_file, self._quota)
        except PolicyWrong as error:
            raise StartupError(str(error)) from None
        if any(key.entry.only_for_users for key in policy.keys) and not self._tokens.accepts_forwarded:
            raise StartupError(
                f"policy file {self._settings.policy_file}: a key is only_for_users, and nobody could use it: set "
                "FRESHET_ACCESS__WEBUI_JWT_SECRET"
            )
        return policy

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLICY_EVERY_S)
            await self.reload()

    async def reload(self) -> None:
        """Put the policy file in force if it has changed; one that is wrong leaves the last good one in force."""
        assert self._policy
        stamp = await asyncio.to_thread(changed, self._policy)
        if stamp is None:  # as it was read, perhaps after a mistake that was taken back
            self._attempted, self._trouble = None, ""
            return
        if stamp == self._attempted:
            return
        self._attempted = stamp
        try:
            self._policy = await asyncio.to_thread(self._read)
        except StartupError as error:
            self._trouble = f"{error}. Until then the policy that was read before is in force"
            _log.error("the policy file is wrong; the one before it stays in force", reason=str(error))
            return
        self._trouble = ""
        _log.info("the policy file was read again", keys=len(self._policy.keys), groups=len(self._policy.file.groups))


def _tell(task: "asyncio.Task[None]") -> None:
    """Watching does not end by itself: when it does, that is a defect, and never a silent one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the policy file is no longer watched", exc_info=error)


def _refused(message: str, code: str = "invalid_api_key") -> ApiError:
    return ApiError(
        HTTPStatus.UNAUTHORIZED,
        message,
        code=code,
        kind="authentication_error",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _cannot_check() -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"Tokens cannot be checked: the identity provider does not give its keys. Try again in {REFETCH_S:.0f} s.",
        code="identity_provider_unavailable",
        kind="server_error",
        headers={"Retry-After": f"{REFETCH_S:.0f}"},
    )
