"""Starts the real Open WebUI in front of an installation's API, wired so that it asks nobody else."""

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.installation import Installation
from deploy.local import processes
from deploy.local.processes import Command

ROLE: Final = "open-webui"
PATIENCE_S: Final = 180.0  # 8 s on an idle machine; the first start compiles, and tests share their cores
MODEL: Final = "freshet"
SWITCHES: Final = {
    "USE_SLIM_DOCKER": "true",  # without the vector stores that the slim set leaves out
    "ENABLE_PERSISTENT_CONFIG": "False",  # these settings win over what its database remembers
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "ENABLE_COMMUNITY_SHARING": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "ENABLE_OLLAMA_API": "False",
    "RAG_EMBEDDING_ENGINE": "openai",  # never asked: nothing is embedded with the next line
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
    "BYPASS_MODEL_ACCESS_CONTROL": "True",  # else only administrators see the model
    "DEFAULT_MODELS": MODEL,
    "DEFAULT_MODEL_PARAMS": json.dumps({"function_calling": "legacy"}),
    "DEFAULT_MODEL_METADATA": json.dumps({"capabilities": {"builtin_tools": False, "usage": True, "citations": True}}),
    "AIOHTTP_CLIENT_STREAM_IDLE_TIMEOUT": "60",  # our API says something every 10 s
    "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
}
# Tasks are known by this header; without it, by the wording of their prompts.
CONNECTIONS: Final = {"0": {"enable": True, "headers": {"X-OpenWebUI-Task": "{{TASK}}"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    email: str
    password: str
    name: str


def start(
    installation: Installation,
    home: Path,
    *,
    port: int,
    admin: Account | None = None,
    api_key: str = "any",
    jwt_secret: str = "",
) -> str:
    """Start it with an empty database and wait until it answers; returns its address.

    Without `admin` whoever opens the page is signed in. With `jwt_secret` it tells our API who asks, signed. It is a
    process of the installation: `stop` ends it too.
    """
    url = f"http://127.0.0.1:{port}"
    folder = installation.folder / ROLE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    processes.spawn(
        installation.state,
        Command(
            name=f"{installation.name}.{ROLE}",
            argv=[str(home / "bin" / "open-webui"), "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            log=installation.log(ROLE),
            env={
                **SWITCHES,
                **_accounts(admin),
                "LANG": "C.UTF-8",
                "DATA_DIR": str(folder),
                "WEBUI_SECRET_KEY": secrets.token_hex(32),
                "OPENAI_API_BASE_URL": f"{installation.api_url}/v1",
                "OPENAI_API_KEY": api_key,
                "OPENAI_API_CONFIGS": json.dumps(CONNECTIONS),
                **({"FORWARD_USER_INFO_HEADER_JWT_SECRET": jwt_secret} if jwt_secret else {}),
            },
        ),
    )
    installation.wait(lambda: _answers(url), f"Open WebUI at {url}", ROLE, PATIENCE_S)
    return url


def sign_in(url: str, account: Account | None = None) -> str:
    """A token for its API; without an account, that of whoever opens the page."""
    said = {"email": account.email, "password": account.password} if account else {"email": "", "password": ""}
    answer = httpx.post(f"{url}/api/v1/auths/signin", json=said, timeout=30, trust_env=False)
    return str(answer.raise_for_status().json()["token"])


def add_user(url: str, token: str, account: Account) -> None:
    """Make an ordinary user; `token` is an administrator's."""
    body = {"name": account.name, "email": account.email, "password": account.password, "role": "user"}
    headers = {"Authorization": f"Bearer {token}"}
    httpx.post(f"{url}/api/v1/auths/add", json=body, headers=headers, timeout=30, trust_env=False).raise_for_status()


def ask(url: str, token: str, question: str, **more: Any) -> dict[str, Any]:
    """The completion, as Open WebUI passes it on."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": False, **more}
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{url}/api/chat/completions", json=body, headers=headers, timeout=120, trust_env=False)
    return dict(answer.raise_for_status().json())


def _accounts(admin: Account | None) -> dict[str, str]:
    if admin is None:
        return {"WEBUI_AUTH": "False"}
    names = {"WEBUI_ADMIN_EMAIL": admin.email, "WEBUI_ADMIN_PASSWORD": admin.password, "WEBUI_ADMIN_NAME": admin.name}
    return {"WEBUI_AUTH": "True", **names}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
