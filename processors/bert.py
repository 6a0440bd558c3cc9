"""Which sentence-transformers models are BERT with mean pooling and nothing else; read from their files, no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_CHAINS: Final = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
# What `encoder.py` computes; a model that says otherwise is another one.
_ARCHITECTURE: Final = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
_FIRST_WEIGHT: Final = "embeddings.word_embeddings.weight"
_MEAN: Final = "pooling_mode_mean_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """What its weights do not say by themselves."""

    folder: Path
    layers: int
    heads: int
    epsilon: float  # of the layer norms
    max_tokens: int  # of a text, its two marks included; the rest is not read


def bert(folder: Path) -> Bert | None:
    """The model in this folder, None when it is of another kind."""
    try:
        modules = _read(folder / "modules.json")
        by_kind = {module["type"].rpartition(".")[2]: folder / module["path"] for module in modules}
        config = _read(folder / "config.json")
        limits = _read(folder / "sentence_bert_config.json")
        prompts = _read(folder / "config_sentence_transformers.json")
        tokenizer = _read(folder / "tokenizer_config.json")
        known = (
            [*by_kind] in _CHAINS
            and len(by_kind) == len(modules)
            and by_kind["Transformer"] == folder
            and _is_mean(_read(by_kind["Pooling"] / "config.json"))
            and {name: config.get(name, "absolute") for name in _ARCHITECTURE} == _ARCHITECTURE
            and not config.get("is_decoder")
            and not limits.get("do_lower_case")  # the tokenizer's own lower case is another thing
            and not prompts.get("default_prompt_name")
            and tokenizer["tokenizer_class"] in ("BertTokenizer", "BertTokenizerFast")
            and (folder / "tokenizer.json").is_file()
            and _FIRST_WEIGHT in _weights(folder / "model.safetensors")
        )
        if not known:
            return None
        return Bert(
            folder=folder,
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
            max_tokens=min(limits["max_seq_length"], config["max_position_embeddings"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # files of another form: sentence-transformers says what is wrong with them, if anything is


def _is_mean(pooling: dict[str, Any]) -> bool:
    modes = {name for name, on in pooling.items() if name.startswith("pooling_mode") and on is True}
    return modes == {_MEAN} or pooling.get("pooling_mode") == "mean"


def _weights(file: Path) -> dict[str, Any]:
    """Their names, from the header of the file: its length in eight bytes, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return dict(json.loads(stream.read(min(length, 1 << 24))))


def _read(file: Path) -> Any:
    return json.loads(file.read_bytes())
