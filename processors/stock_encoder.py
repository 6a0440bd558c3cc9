"""Any other sentence-transformers model, in that library. Importing this imports it, and torch and transformers."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import torch
from sentence_transformers import SentenceTransformer

from processors.encoder import fastest

BATCH: Final = 32


class StockEncoder:
    """Of one model. Raises OSError and ValueError for a folder that it cannot read."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._lock = Lock()  # tokenizers keep their padding as state: one caller at a time
        self._model = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": fastest()}
        )
        self.dimensions = int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """Blocks; a text waits for at most the batch that another thread is at."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[list[float]] = [[]] * len(texts)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            with self._lock:
                found = self._model.encode([texts[i] for i in batch], batch_size=BATCH, show_progress_bar=False)
            for i, vector in zip(batch, found.tolist(), strict=True):
                vectors[i] = vector
        return vectors
