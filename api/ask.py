"""A client of the running API for a terminal: asks over HTTP, as every other client does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from schemas.answer_settings import Api
from schemas.chat import ErrorBody, Grounding
from schemas.context import EvidenceDetail
from schemas.errors import FreshetError

CONNECT_TIMEOUT_S: Final = 3.0
SILENCE_TIMEOUT_S: Final = 60.0  # a comment comes every 10 s while an answer is made
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server listens on is no address to call

_M = TypeVar("_M", bound=BaseModel)


class AskFailed(FreshetError):
    """The API is away or refuses; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    text: str
    grounding: Grounding


def url_of(settings: Api) -> str:
    """Where the API of these settings is."""
    host = _ANYWHERE.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


class ApiClient:
    """Every method raises AskFailed, in words for the person at the terminal."""

    def __init__(self, url: str, settings: Api, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._model = settings.model_name
        keys = [key.get_secret_value() for key in settings.api_keys[:1]]
        self._client = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {keys[0]}"} if keys else {},
            timeout=httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def ask(self, question: str, extension: dict[str, Any], show: Callable[[str], None]) -> Answer:
        """The answer; `show` gets the text so far each time that it grows."""
        text: list[str] = []
        rests_on = None
        body = self._body(question, extension) | {"stream": True}
        try:
            with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.is_error:
                    response.read()
                    raise self._refused(response)
                for line in response.iter_lines():
                    if not line.startswith("data: {"):
                        continue
                    chunk = orjson.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise AskFailed(str(chunk["error"]["message"]))
                    rests_on = chunk.get("freshet", rests_on)
                    if piece := _piece(chunk):
                        text.append(piece)
                        show("".join(text))
        except httpx.HTTPError as error:
            raise self._away(error) from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise AskFailed(f"What answers at {self._url} is not this API.") from error
        if rests_on is None:
            raise AskFailed("The answer broke off. Ask again; the log of the API says more.")
        return Answer(text="".join(text), grounding=_checked(Grounding, rests_on, self._url))

    def completion(self, question: str, extension: dict[str, Any]) -> dict[str, Any]:
        """The same as one JSON body, as the API sends it."""
        return self._json("POST", "/v1/chat/completions", self._body(question, extension))

    def evidence(self, identity: str, around: int = 0) -> EvidenceDetail:
        """What a citation resolves to, with so many lines before the cited one and after it."""
        path = httpx.URL("/").copy_with(path=f"/v1/evidence/{identity}", params={"context": around} if around else {})
        return _checked(EvidenceDetail, self._json("GET", str(path)), self._url)

    def _body(self, question: str, extension: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "messages": [{"role": "user", "content": question}]}
        return body | ({"freshet": extension} if extension else {})

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if response.is_error:
            raise self._refused(response)
        return dict(response.json())

    def _refused(self, response: httpx.Response) -> AskFailed:
        try:
            error = ErrorBody.model_validate_json(response.content).error
        except ValidationError:
            return AskFailed(f"{self._url} answered with HTTP {response.status_code}; is it this API?")
        return AskFailed(f"{error.message} (request {response.headers.get('x-request-id', 'without an id')})")

    def _away(self, error: httpx.HTTPError) -> AskFailed:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return AskFailed(f"No API answers at {self._url}. Start one with: python -m api serve")
        if isinstance(error, httpx.TimeoutException):
            return AskFailed(f"The API at {self._url} has said nothing for {SILENCE_TIMEOUT_S:g} s.")
        return AskFailed(f"The connection to {self._url} broke ({type(error).__name__}).")


def _piece(chunk: dict[str, Any]) -> str:
    choices = chunk.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def _checked(model: type[_M], values: Any, url: str) -> _M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise AskFailed(f"What answers at {url} is not this version of the API.") from error
