"""A page open in a browser, and everything that it did which a report must not do."""

from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Dialog, Page, Request


class Visit:
    """``page`` is open; ``complaints`` grows with every console message, dialog, error and request of the page."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._address = path.resolve().as_uri()
        page.on("console", self._console)
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("popup", lambda popup: self.complaints.append(f"window: {popup.url}"))
        page.set_default_timeout(60_000)  # other tests may have the machine
        page.goto(self._address)

    def ask(self, script: str, argument: Any = None) -> Any:
        """What ``script``, a JavaScript expression or function, gives."""
        return self.page.evaluate(script, argument)

    def see(self, width: int, scheme: Any = "light", media: Any = "screen") -> None:
        """Show the page at ``width`` pixels, light or dark, on screen or as for print."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media=media, color_scheme=scheme)

    def unfold(self) -> None:
        """Open whatever is folded away."""
        self.ask("document.querySelectorAll('details').forEach((part) => { part.open = true; })")

    def _console(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"console {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if request.url != self._address and not request.url.startswith("data:"):
            self.complaints.append(f"request: {request.url}")
