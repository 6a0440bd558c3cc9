"""A BERT encoder for short texts, without padding. Importing this imports torch: seconds, hundreds of megabytes.

`SentenceTransformer.encode` pads each batch to its longest text, takes up to twice as long for short ones with the same
bfloat16 weights, and its imports take twice as long again as torch's. Here texts are sorted by length and laid one
after another, so that every matrix product sees tokens only; attention takes each run of equally long texts by itself,
so that nothing needs a mask. `bert.py` says for which models that computes the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, Final

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from processors.bert import Bert

# What one pass takes. More is no faster, and it bounds how long another thread's short text waits for a core.
BATCH_TOKENS: Final = 512
# Tokens of a pass are filled up to a multiple of this: oneDNN compiles each product anew for a shape that it has not
# seen, which takes longer than a short text itself.
_STEP: Final = 16

Weights = Mapping[str, Any]


class Encoder:
    """Of one model. Nothing changes after construction: calls from several threads run side by side."""

    def __init__(self, bert: Bert, threads: int) -> None:
        """Raises OSError, ValueError and KeyError for files that are not what `bert` says."""
        torch.set_num_threads(threads)
        self._dtype = fastest()
        self._tokenizer = Tokenizer.from_file(str(bert.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(bert.max_tokens)
        weights = load_file(bert.folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"].float()
        kind = weights["embeddings.token_type_embeddings.weight"][0]  # all tokens are of the first kind
        self._places = (weights["embeddings.position_embeddings.weight"] + kind).float()
        self._norm = _Norm(weights, "embeddings.LayerNorm", torch.float32, bert.epsilon)
        self._layers = [
            _Layer(weights, f"encoder.layer.{i}", self._dtype, heads=bert.heads, epsilon=bert.epsilon)
            for i in range(bert.layers)
        ]
        self.dimensions = int(self._words.shape[1])

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """The mean of each text's token vectors, not normalised, in order. Blocks."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors: list[list[float]] = [[]] * len(texts)
        with torch.inference_mode():
            for batch in _batches(tokens):
                means = self._means([tokens[i] for i in batch])
                for i, vector in zip(batch, means.tolist(), strict=True):
                    vectors[i] = vector
        return vectors

    def _means(self, texts: Sequence[Sequence[int]]) -> Any:
        """One row for each text; they come sorted by length."""
        filling = [0] * (_STEP - sum(map(len, texts)) % _STEP)  # a text like any other, whose mean nobody wants
        every = [*texts, filling]
        runs = [(length, len(list(run))) for length, run in groupby(map(len, every))]
        ids = torch.tensor(list(chain.from_iterable(every)))
        places = torch.cat([torch.arange(length).repeat(count) for length, count in runs])
        embedded = self._norm(functional.embedding(ids, self._words) + functional.embedding(places, self._places))
        state = embedded.to(self._dtype)
        for layer in self._layers:
            state = layer(state, runs)
        parts = state.float().split([length * count for length, count in runs])
        means = [part.view(count, length, -1).mean(1) for part, (length, count) in zip(parts, runs, strict=True)]
        return torch.cat(means)[: len(texts)]


class _Norm:
    def __init__(self, weights: Weights, name: str, dtype: Any, epsilon: float) -> None:
        self._weight, self._bias = weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype)
        self._epsilon = epsilon

    def __call__(self, state: Any) -> Any:
        return functional.layer_norm(state, self._weight.shape, self._weight, self._bias, self._epsilon)


class _Layer:
    def __init__(self, weights: Weights, name: str, dtype: Any, *, heads: int, epsilon: float) -> None:
        self._heads = heads

        def linear(part: str) -> tuple[Any, Any]:
            return weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]

        qkv = (linear(f"attention.self.{part}") for part in ("query", "key", "value"))
        self._qkv = tuple(torch.cat(tensors).to(dtype) for tensors in zip(*qkv, strict=True))
        self._out, self._up, self._down = (
            tuple(tensor.to(dtype) for tensor in linear(part))
            for part in ("attention.output.dense", "intermediate.dense", "output.dense")
        )
        self._norms = [
            _Norm(weights, f"{name}.{part}.LayerNorm", dtype, epsilon) for part in ("attention.output", "output")
        ]

    def __call__(self, state: Any, runs: Sequence[tuple[int, int]]) -> Any:
        seen = self._attend(functional.linear(state, *self._qkv), runs)
        state = self._norms[0](state + functional.linear(seen, *self._out))
        wide = functional.gelu(functional.linear(state, *self._up))
        return self._norms[1](state + functional.linear(wide, *self._down))

    def _attend(self, qkv: Any, runs: Sequence[tuple[int, int]]) -> Any:
        parts = qkv.split([length * count for length, count in runs])
        return torch.cat([self._attend_run(part, *run) for part, run in zip(parts, runs, strict=True)])

    def _attend_run(self, qkv: Any, length: int, count: int) -> Any:
        query, key, value = qkv.view(count, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return seen.transpose(1, 2).reshape(length * count, -1)


def fastest() -> Any:
    """Of floats: on CPUs with bfloat16 instructions products take a quarter of the time; sums stay float32 in them."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of the texts by length, as many at a time as have no more than BATCH_TOKENS together, at least one."""
    batch: list[int] = []
    held = 0
    for i in sorted(range(len(tokens)), key=lambda i: len(tokens[i])):
        if batch and held + len(tokens[i]) > BATCH_TOKENS:
            yield batch
            batch, held = [], 0
        batch.append(i)
        held += len(tokens[i])
    if batch:
        yield batch
