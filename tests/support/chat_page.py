"""The chat of a watch page, used and read as a person does: by what is on the screen.

`messages` is the exception: ids are not on the screen, and `window.headrace.chat` has them.
"""

import time
from typing import Any

from child_process import wait_until
from playwright.sync_api import Locator, Page

SHOWS_S = 5.0


class ChatPage:
    """The chat of one page.

    Args:
        page: A watch page, or one that is about to be.
        name: For the texts of failures.
    """

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    @property
    def state(self) -> str:
        """connecting, joined, waiting, banned or closed."""
        return str(self.page.evaluate("window.headrace?.chat?.state ?? 'none'"))

    @property
    def me(self) -> dict[str, Any]:
        """Who the server says that this page is."""
        return dict(self.page.evaluate("headrace.chat.me"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages on the screen, oldest first."""
        return list(self.page.evaluate("headrace.chat.messages"))

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [str(message["id"]) for message in self.messages]

    @property
    def texts(self) -> list[str]:
        """What the lines on the screen say."""
        return self.page.locator("#chat-list .said").all_inner_texts()

    @property
    def note(self) -> str:
        """The line above the form."""
        return self.page.locator("#chat-note").inner_text()

    def wait_state(self, state: str, *, timeout_s: float = 10.0) -> None:
        """Wait until the connection is in a state."""
        self._wait(lambda: self.state == state, f"{state}", timeout_s)

    def wait_text(self, text: str, *, timeout_s: float = SHOWS_S) -> None:
        """Wait until a line says `text`."""
        self._wait(lambda: text in self.texts, f"{text!r} is shown", timeout_s)

    def wait_gone(self, text: str, *, timeout_s: float = SHOWS_S) -> None:
        """Wait until no line says `text`."""
        self._wait(lambda: text not in self.texts, f"{text!r} is gone", timeout_s)

    def wait_note(self, part: str, *, timeout_s: float = SHOWS_S) -> None:
        """Wait until the line above the form holds `part`."""
        self._wait(lambda: part in self.note, f"{part!r} is noted", timeout_s)

    def say(self, text: str) -> None:
        """Type a message and press Enter."""
        self.page.fill("#chat-text", text)
        self.page.press("#chat-text", "Enter")

    def call_me(self, name: str) -> None:
        """Choose a name."""
        self.page.fill("#chat-name", name)
        self.page.press("#chat-name", "Enter")

    def line(self, text: str) -> Locator:
        """The line that says `text`."""
        return self.page.locator("#chat-list .line", has=self.page.get_by_text(text, exact=True))

    def moderate(self, text: str, action: str) -> float:
        """Open the menu of the line that says `text`, and choose; when that was, monotonic."""
        line = self.line(text)
        line.hover()
        line.get_by_role("button", name="More about").click()
        button = line.get_by_role("button", name=action, exact=True)
        button.wait_for()
        chosen_s = time.monotonic()
        button.click()
        return chosen_s

    def _wait(self, look: Any, what: str, timeout_s: float) -> None:
        def seen() -> bool:
            self.page.wait_for_timeout(10)  # lets Playwright deliver events meanwhile
            return bool(look())

        try:
            wait_until(seen, timeout_s=timeout_s, what=f"{self.name}: {what}")
        except AssertionError as error:
            error.add_note(f"{self.state}, {self.note!r}, the last lines: {self.texts[-10:]}")
            raise
