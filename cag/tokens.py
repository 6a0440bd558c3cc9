"""Counting tokens: exactly where the model's tokenizer is at hand, else by an estimate that is high. Loads once."""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from tokenizers import Tokenizer

from schemas.errors import StartupError

# What a byte-pair vocabulary makes of a text, piece by piece: a word of up to six letters, two letters of what is no
# word, three digits, one sign, one character beyond ASCII for each of its bytes.
_PIECE: Final = re.compile(
    r"[A-Z]?[a-z]{1,6}(?![a-z]{7})|[A-Za-z]{1,2}|[0-9]{1,3}|[^\w\s]|_|\s{2,4}|\n|[^\x00-\x7f]", re.ASCII
)
# Measured with gpt-oss's vocabulary (o200k) on 15,000 lines of eight Loghub systems, 1,436 of Kubernetes and 108
# runbooks: without a margin the least is .82 of the true count for one line (.96 for all of a system) and 1.3 for
# runbooks; of random base64 .76. Bytes tell less: a token is 1.8 bytes of the densest logs and 4.4 of runbooks.
MARGIN: Final = 1.3
REMEMBERED: Final = 4_096  # texts of evidence, of one or two kilobytes each
MOST_CHARS: Final = 16  # of one token, in what people and machines write


class TokenCounter:
    """One per process."""

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self._tokenizer = tokenizer
        self.remembered = lru_cache(maxsize=REMEMBERED)(self.count)

    @classmethod
    def from_folder(cls, folder: Path | None) -> Self:
        """None: estimates. Raises StartupError when the tokenizer in `folder` cannot be read."""
        if folder is None:
            return cls()
        try:
            tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text())
        except Exception as error:  # the library raises nothing more exact
            raise StartupError(
                f"no tokenizer can be read from {folder / 'tokenizer.json'} ({error}): copy the model's there, or "
                "leave FRESHET_MODEL__TOKENIZER unset"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    def count(self, text: str) -> int:
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        beyond = len(text.encode(errors="replace")) - len(text)
        return math.ceil((len(_PIECE.findall(text)) + beyond) * MARGIN)

    def cut(self, text: str, budget: int) -> str:
        """The beginning of `text`, as much as fits."""
        kept = text[: max(budget, 0) * MOST_CHARS]
        while kept and (cost := self.count(kept)) > budget:
            kept = kept[: int(len(kept) * 0.98 * budget / cost)]
        return kept
