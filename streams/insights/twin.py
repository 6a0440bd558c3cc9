"""The JSON-Schema twin of the Avro schema, for people without Avro; made from the model, with the words of the Avro."""

import json
from pathlib import Path
from typing import Any, Final

from schemas.insights import Insight
from streams.insights.records import DATASCHEMA, SCHEMA_FILE

TWIN_FILE: Final = Path(__file__).parents[2] / "schemas" / "json" / "incident_insight.schema.json"


def json_schema() -> dict[str, Any]:
    """Readers of it go on when a field or a word is added, as those of the Avro do."""
    schema = Insight.model_json_schema()
    parts = schema.pop("$defs")
    words = _words(json.loads(SCHEMA_FILE.read_text()))
    for name, part in {"IncidentInsight": schema, **parts}.items():
        part.pop("additionalProperties", None)
        part["description"] = words[name]["doc"]
        for field, said in part["properties"].items():
            said.pop("title", None)
            if words_of_today := said.pop("enum", None):
                said["examples"] = words_of_today
            said["description"] = words[name][field]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": DATASCHEMA, "title": "IncidentInsight"}
    return head | {k: v for k, v in schema.items() if k != "title"} | {"$defs": parts}


def text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _words(schema: dict[str, Any]) -> dict[str, dict[str, str]]:
    """For each record, what it and its fields are."""
    found = {schema["name"]: {"doc": schema["doc"]} | {field["name"]: field["doc"] for field in schema["fields"]}}
    for field in schema["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        for kind in kinds:
            inner = kind.get("items", kind) if isinstance(kind, dict) else kind
            if isinstance(inner, dict) and inner["type"] == "record":
                found |= _words(inner)
    return found
