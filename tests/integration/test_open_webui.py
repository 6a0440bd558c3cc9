"""The API in the real Open WebUI, in a real browser: what a person sees, and that the page asks nobody else.

Skipped unless `~/.cache/freshet/open-webui` holds the environments `venv` (open-webui 0.12.4) and `page` (playwright).
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from api.app import create_app
from deploy.demo import free_port
from schemas.settings import Settings
from tests.fake_assistant import NOW, FakeAssistant

HOME = Path("~/.cache/freshet/open-webui").expanduser()
NEEDED = WEBUI, PYTHON, CHROMIUM = HOME / "venv/bin/open-webui", HOME / "page/bin/python", Path("/usr/bin/chromium")
FLAGS = """USE_SLIM_DOCKER=true OFFLINE_MODE=true WEBUI_AUTH=False WEBUI_SECRET_KEY=test OPENAI_API_KEY=any
ENABLE_OLLAMA_API=False ENABLE_FORWARD_USER_INFO_HEADERS=True DEFAULT_MODEL_PARAMS={"function_calling":"legacy"}"""
PAGE = """
import json, sys, tempfile
from playwright.sync_api import sync_playwright
with sync_playwright() as p, tempfile.TemporaryDirectory() as profile:
    args = ["--no-sandbox", "--disable-background-networking"]
    page = p.chromium.launch_persistent_context(profile, executable_path=sys.argv[2], args=args).pages[0]
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
    page.add_locator_handler(page.get_by_role("button", name="Okay, Let's Go"), lambda button: button.click())
    page.goto(sys.argv[1])
    page.locator("#chat-input").click()
    page.keyboard.type("why?")
    page.keyboard.press("Enter")
    def answer():
        page.locator("button[aria-label='Regenerate']").last.wait_for()
        shown, names = page.locator(".chat-assistant").last, "button[aria-label^='View source']"
        shown.locator(names).nth(1).wait_for()
        return shown.inner_text(), [b.get_attribute("aria-label") for b in shown.locator(names).all()]
    first = answer()
    page.reload()
    again = answer()
    page.locator("button[aria-label^='View source']").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Kafka").wait_for()
    drawn = dialog.locator("img, iframe, a").count()
    print(json.dumps([first, again, dialog.inner_text(), drawn, [*hosts]]))
"""


@contextmanager
def open_webui(api: str, folder: Path) -> Iterator[str]:
    base = f"http://127.0.0.1:{free_port(0)}"
    flags = dict(flag.split("=", 1) for flag in FLAGS.split())
    environment = {**flags, "DATA_DIR": str(folder), "HOME": str(folder), "OPENAI_API_BASE_URL": f"{api}/v1"}
    command = [str(WEBUI), "serve", "--host", "127.0.0.1", "--port", base.rpartition(":")[2]]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:  # over a minute in all
            client.get(f"{base}/health").raise_for_status()
        yield base
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(not all(path.is_file() for path in NEEDED), reason=f"no Open WebUI in {HOME}, or no chromium")
def test_a_person_sees_answer_and_sources(tmp_path: Path) -> None:
    assistant, port = FakeAssistant(), free_port(0)
    app = create_app(Settings(), assistant, now=lambda: NOW)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with open_webui(f"http://127.0.0.1:{port}", tmp_path) as base:
            done = subprocess.run([PYTHON, "-c", PAGE, base, CHROMIUM], check=True, stdout=subprocess.PIPE, timeout=120)
    finally:
        server.should_exit = True
        thread.join(20)
    first, again, source, drawn, hosts = json.loads(done.stdout)
    assert "The pool is exhausted" in first[0]
    assert first[1] == again[1] == ["View source: Log shop/checkout", "View source: Runbook: Pool exhausted"]
    assert "![x](http://evil/x.png)" in source
    assert "topic logs partition 3 offset 1042" in source
    assert (drawn, hosts) == (0, [base.removeprefix("http://")])  # telemetry draws nothing, the page asks nobody else
    assert len(assistant.asked) == 1  # title, tags and follow-ups ask nothing
