"""One suite over every embedder: hashing, the real MiniLM weights twice, and HTTP against a server in this test.

The weights are read by our own encoder, and by sentence-transformers as a model that ours does not know: both must give
the same vectors.
"""

import itertools
import json
import math
import shutil
from collections.abc import Sequence

import httpx
import pytest

from processors.embed import (
    PACKAGED_MODEL,
    CachedEmbedder,
    Embedder,
    HashingEmbedder,
    HttpEmbedder,
    SentenceTransformerEmbedder,
    _model_folder,
)
from processors.embed import make_embedder as make
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.settings import Embedder as Settings

URL = "http://user:hunter2@models.test/v1"


def served(request: httpx.Request) -> httpx.Response:
    """What a server does: the vectors of another model, unnormalised and in any order."""
    vectors = HashingEmbedder(384).embed(json.loads(request.content)["input"])
    items = [{"index": i, "embedding": [7 * x for x in vector]} for i, vector in enumerate(vectors)]
    return httpx.Response(200, json={"object": "list", "data": items[::-1]})


def http(handler=served, **settings) -> HttpEmbedder:
    config = Settings(kind="http", base_url=URL, api_key="sk-secret", **settings)
    return HttpEmbedder(config, transport=httpx.MockTransport(handler))


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    embedder = SentenceTransformerEmbedder(Settings())
    assert not embedder.ready()  # nothing is loaded before it is asked for
    embedder.load()
    return embedder


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(_model_folder(PACKAGED_MODEL), folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256, "do_lower_case": true}')
    embedder = SentenceTransformerEmbedder(Settings(model=str(folder)))
    embedder.load()
    return embedder


@pytest.fixture(params=["hashing", "http", "minilm", "stock", "cached"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param in ("minilm", "stock"):
        return request.getfixturevalue(request.param)
    return {"hashing": HashingEmbedder(384), "http": http(), "cached": CachedEmbedder(HashingEmbedder(384))}[
        request.param
    ]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return math.sumprod(a, b) if hasattr(math, "sumprod") else sum(x * y for x, y in zip(a, b, strict=True))


TEXTS = ["connection to database timed out", "", "x" * 10_000, "user logged in", "naïve 日志 \ud800 \x00"]


def test_vectors_are_unit_length_and_in_order(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert embedder.ready()
    assert [len(vector) for vector in vectors] == [embedder.dimensions] * len(TEXTS)
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-5) for vector in vectors)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert cosine(embedder.embed([text])[0], vector) > 0.999, text[:20]


def test_more_texts_than_a_batch_keep_their_order(embedder: Embedder) -> None:
    texts = [" ".join(words) for words in itertools.permutations(["disk", "full", "node", "evicted", "pod"], 3)]
    vectors = embedder.embed(texts)
    for i in (0, 31, 32, 59):
        assert cosine(embedder.embed([texts[i]])[0], vectors[i]) > 0.999


def test_the_same_call_gives_the_same_vectors(embedder: Embedder) -> None:
    assert embedder.embed(TEXTS) == embedder.embed(TEXTS)


def test_our_encoder_gives_the_vectors_of_sentence_transformers(minilm: Embedder, stock: Embedder) -> None:
    texts = [*TEXTS, "a", "word " * 400, "Ünïcode <num> /path/to:{x}", *("<*> " * n for n in range(1, 40))]
    assert min(map(cosine, minilm.embed(texts), stock.embed(texts))) > 0.999


def test_nothing_in_nothing_out(embedder: Embedder) -> None:
    assert embedder.embed([]) == []


def test_like_texts_are_nearer(embedder: Embedder) -> None:
    a, b, c = embedder.embed(
        ["connection to database timed out", "database connection timed out", "certificate of the ingress has expired"]
    )
    assert cosine(a, b) > cosine(a, c) + 0.2


def test_the_cache_asks_the_model_once_per_text_and_stays_bounded() -> None:
    cached = CachedEmbedder(HashingEmbedder(8), capacity=2)
    assert cached.embed(["a", "b", "a"]) == [cached.embed([text])[0] for text in "aba"]
    assert (cached.model_calls, cached.model_texts, cached.hits) == (1, 2, 4)
    cached.embed(["c"])  # "b" was used longest ago
    cached.embed(["a"])
    assert cached.model_texts == 3
    cached.embed(["b"])
    assert cached.model_texts == 4


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (lambda _: httpx.Response(503), SinkUnavailable),
        (lambda _: httpx.Response(429), SinkUnavailable),
        (lambda _: httpx.Response(401, text="bad key sk-secret"), SinkMisconfigured),
        (lambda _: httpx.Response(404), SinkMisconfigured),
        (lambda _: httpx.Response(200, text="<html>"), SinkMisconfigured),
        (lambda _: httpx.Response(200, json={"data": []}), SinkMisconfigured),
        (lambda _: httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]}), SinkMisconfigured),
    ],
)
def test_http_errors_say_what_to_do_and_no_secrets(handler, error) -> None:
    embedder = http(handler)
    with pytest.raises(error) as caught:
        embedder.embed(["a"])
    assert "models.test" in str(caught.value)
    assert not {"hunter2", "sk-secret", "user"} & set(str(caught.value).replace("@", " ").split())
    assert not embedder.ready()


def test_http_away_is_unavailable_until_it_answers() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    answers = iter([refuse, served])
    embedder = http(lambda request: next(answers)(request))
    with pytest.raises(SinkUnavailable):
        embedder.load()
    embedder.load()
    assert embedder.ready()


@pytest.mark.parametrize(
    "settings",
    [Settings(model="/nowhere"), Settings(kind="http"), Settings(model="tests")],
)
def test_settings_that_cannot_work_stop_the_start(settings: Settings) -> None:
    with pytest.raises(StartupError):
        make(settings)


def test_wrong_dimensions_stop_the_start() -> None:
    with pytest.raises(StartupError, match="384"):
        make(Settings(dimensions=768)).load()


def test_identity_is_known_before_loading_and_tells_models_apart() -> None:
    configs = [
        Settings(),
        Settings(kind="hashing"),
        Settings(kind="http", base_url=URL),
        Settings(kind="hashing", dimensions=8),
    ]
    assert len({make(config).identity for config in configs}) == 4
    assert make(Settings()).identity == make(Settings(threads=2)).identity
