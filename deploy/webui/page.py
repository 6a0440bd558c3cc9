"""A person at Open WebUI: one JSON command a line on standard input, one JSON answer a line on standard output.

Runs in the environment of `browser/`, so it imports nothing of ours. A command is `{"do": NAME, ...}`, where NAME is a
method of `Person`; the answer is `{"said": ...}`, or `{"failed": ...}` with what the page shows instead.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, Request, sync_playwright  # type: ignore[import-not-found]
from playwright.sync_api import Error as PageError

ARGUMENTS: Final = [
    "--no-sandbox",  # root in a container has none; the page is ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS: Final = 60_000
STOP: Final = "button[aria-label='Stop']"
DONE: Final = "button[aria-label='Regenerate']"
SOURCE: Final = "button[aria-label^='View source']"
PILL: Final = "button[aria-label$='source'], button[aria-label$='sources']"
STATUS: Final = "button[aria-label='Toggle status history']"
FOLLOW_UP: Final = "button[aria-label^='Follow up: ']"


class Person:
    """What somebody does at the page, and what they then see."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._page: Page | None = None
        self._hosts: set[str] = set()

    def enter(self, url: str, email: str = "", password: str = "", height: int = 860) -> str:
        """Open the page in a fresh profile, and sign in when an address is given; returns the model that is picked."""
        if self._page:
            self._page.context.close()
        context = self._browser.new_context(viewport={"width": 1280, "height": height}, locale="en-US")
        self._page = page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._note)
        news = page.get_by_role("button", name="Okay, Let's Go")  # covers the page, once for a new administrator
        page.add_locator_handler(news, lambda button: button.click())
        page.goto(url)
        if email:
            page.locator("#email").fill(email)
            page.locator("input[type=password]").fill(password)
            page.locator("button[type=submit]").click()
        page.locator("#chat-input").wait_for()
        return self._model()

    def pick(self, name: str) -> str:
        """Choose the model by hand; returns what the page then says is chosen."""
        self.page.locator("#model-selector-model-button").click()
        self.page.locator("[data-value]").get_by_text(name, exact=True).first.click()
        return self._model()

    def begin(self, url: str) -> None:
        """A new chat."""
        self.page.goto(url)
        self.page.locator("#chat-input").wait_for()

    def ask(self, text: str) -> None:
        self.page.locator("#chat-input").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")

    def suggestion(self) -> str:
        """Click the first question that the page suggests; returns its words."""
        button = self.page.locator(FOLLOW_UP).first
        label = str(button.get_attribute("aria-label"))
        button.click()
        return label.removeprefix("Follow up: ")

    def growing(self, words: str) -> dict[str, Any]:
        """Wait until the answer is being written and holds `words`."""
        self.page.locator(STOP).wait_for()
        self._last.locator("p", has_text=words).first.wait_for()
        return self._seen()

    def status(self) -> str:
        """The line that says what is being done, as soon as there is one."""
        line = self._last.locator(STATUS)
        line.wait_for()
        return str(line.inner_text())

    def stop(self) -> None:
        self.page.locator(STOP).click()
        self.page.locator(STOP).wait_for(state="detached")

    def answer(self, number: int = 1) -> dict[str, Any]:
        """Wait for the end of the `number`th answer of the chat."""
        self.page.locator(".chat-assistant").nth(number - 1).wait_for()
        self.page.locator(DONE).nth(number - 1).wait_for()
        self.page.locator(STOP).wait_for(state="detached")
        return self._seen()

    def suggestions(self) -> list[str]:
        self.page.locator(FOLLOW_UP).first.wait_for()
        labels = [str(button.get_attribute("aria-label")) for button in self.page.locator(FOLLOW_UP).all()]
        return [label.removeprefix("Follow up: ") for label in labels]

    def sources(self) -> list[str]:
        """Unfold the numbered list under the last answer."""
        self._last.locator(PILL).last.click()
        rows = self._last.locator("button[id^='source-']")
        rows.first.wait_for()
        return [str(row.inner_text()) for row in rows.all()]

    def source(self, nth: int = 1, *, leave_open: bool = False) -> dict[str, Any]:
        """Open the source behind the `nth` marker of the last answer."""
        self._last.locator(SOURCE).nth(nth - 1).click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Evidence").first.wait_for()
        shown = {
            "text": dialog.inner_text(),
            "links": [a.get_attribute("href") for a in dialog.locator("a").all()],
            "drawn": dialog.locator("img, iframe").count(),
        }
        if not leave_open:
            self.leave()
        return shown

    def leave(self) -> None:
        """Close the dialog."""
        self.page.keyboard.press("Escape")
        self.page.get_by_role("dialog").wait_for(state="detached")

    def reload(self) -> None:
        self.page.reload()
        self.page.locator(".chat-assistant").last.wait_for()

    def title(self) -> str:
        return str(self.page.title())

    def shoot(self, path: str, *, top: bool = False) -> None:
        """A picture of the page; with `top`, from the last question on."""
        self.page.mouse.move(640, 5)  # nothing hovers
        self.page.locator("[data-sonner-toast]").first.wait_for(state="detached")
        if top:
            self.page.locator(".user-message").last.evaluate("element => element.scrollIntoView({block: 'start'})")
        self.page.wait_for_timeout(600)  # folding and fading
        self.page.screenshot(path=path)

    def hosts(self) -> list[str]:
        """Everybody whom the page has asked for anything."""
        return sorted(self._hosts)

    @property
    def page(self) -> Page:
        if self._page is None:
            raise ValueError("enter first")
        return self._page

    @property
    def _last(self) -> Any:
        return self.page.locator(".chat-assistant").last

    def _model(self) -> str:
        button = self.page.locator("#model-selector-model-button[aria-label^='Selected model']")
        button.wait_for()
        return str(button.get_attribute("aria-label")).removeprefix("Selected model: ")

    def _seen(self) -> dict[str, Any]:
        names = [str(button.get_attribute("aria-label")) for button in self._last.locator(SOURCE).all()]
        return {"text": self._last.inner_text(), "markers": [name.removeprefix("View source: ") for name in names]}

    def _note(self, request: Request) -> None:
        if "://" in request.url and not request.url.startswith(("data:", "blob:")):
            self._hosts.add(request.url.split("/")[2])


def main() -> None:
    """Serve commands until standard input ends, which is also how a starter that died is noticed."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=sys.argv[1], args=ARGUMENTS, env={"HOME": folder})
        person = Person(browser)
        for line in sys.stdin:
            command = json.loads(line)
            try:
                said = {"said": getattr(person, command.pop("do"))(**command)}
            except PageError as error:
                said = {"failed": str(error)[:2000], "shown": _shown(person)}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
        browser.close()


def _shown(person: Person) -> str:
    picture = Path(tempfile.gettempdir()) / "freshet-page.png"
    try:
        person.page.screenshot(path=picture)
        return f"{person.page.locator('body').inner_text()[:3000]}\n(picture: {picture})"
    except (PageError, ValueError) as error:
        return str(error)


if __name__ == "__main__":
    main()
