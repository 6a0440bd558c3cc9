"""Which models our own encoder takes: those it computes exactly, all others go to sentence-transformers."""

import json
from pathlib import Path

import pytest

from processors.bert import bert

FILES = {
    "modules.json": [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "config.json": {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
    },
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "config_sentence_transformers.json": {},
    "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"},
    "tokenizer.json": {},
}
HEADER = json.dumps({"embeddings.word_embeddings.weight": {}}).encode()


def model(folder: Path, **changed: object) -> Path:
    (folder / "1_Pooling").mkdir()
    for name, content in (FILES | changed).items():
        (folder / name).write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER)
    return folder


def test_a_bert_with_mean_pooling_is_known_by_its_files(tmp_path: Path) -> None:
    found = bert(model(tmp_path))
    assert found is not None
    assert (found.layers, found.heads, found.max_tokens) == (6, 12, 256)


@pytest.mark.parametrize(
    "changed",
    [
        {"modules.json": FILES["modules.json"] + [{"path": "3_Dense", "type": "sentence_transformers.models.Dense"}]},
        {"modules.json": {"of": "another form"}},
        {"config.json": FILES["config.json"] | {"model_type": "mpnet"}},
        {"config.json": FILES["config.json"] | {"hidden_act": "gelu_new"}},
        {"config.json": FILES["config.json"] | {"position_embedding_type": "relative_key"}},
        {"1_Pooling/config.json": {"pooling_mode_cls_token": True}},
        {"1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}},
        {"sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": True}},
        {"config_sentence_transformers.json": {"default_prompt_name": "query"}},
        {"tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer"}},
    ],
)
def test_another_model_is_left_to_sentence_transformers(tmp_path: Path, changed: dict[str, object]) -> None:
    assert bert(model(tmp_path, **changed)) is None


def test_other_weights_are_left_to_sentence_transformers(tmp_path: Path) -> None:
    folder = model(tmp_path)
    (folder / "model.safetensors").unlink()
    assert bert(folder) is None
