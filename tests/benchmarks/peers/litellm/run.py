"""The LiteLLM proxy as it is documented: one worker, a key, one model behind an OpenAI-compatible address.

run.py PORT UPSTREAM KEY
"""

import json
import os
import sys
import tempfile
from pathlib import Path

PORT, UPSTREAM, KEY = sys.argv[1:4]
MODEL = {
    "model_name": "freshet",
    "litellm_params": {"model": "openai/gpt-oss-20b", "api_base": UPSTREAM, "api_key": "x"},
}
CONFIG = {
    "model_list": [MODEL],
    "litellm_settings": {"telemetry": False, "num_retries": 0, "callbacks": []},
    "general_settings": {"master_key": KEY},
}
folder = Path(tempfile.mkdtemp(prefix="litellm-"))
(folder / "config.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
os.environ |= {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
command = [
    "litellm",
    "--config",
    str(folder / "config.yaml"),
    "--host",
    "127.0.0.1",
    "--port",
    PORT,
    "--num_workers",
    "1",
]
os.execvp(command[0], command)
