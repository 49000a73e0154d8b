"""A real browser for tests, over the pipe of its DevTools protocol: opens a page, runs JavaScript,
moves the pointer, takes pictures, and keeps what the console says.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

from waiting import PATIENCE, wait_until

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--no-pings",
)


class Browser:
    """One page of one browser, with a profile of its own.

    Attributes:
        said: Messages and errors of the page's console, and what its policy refused; from when it
            was opened.
        at: The page that was opened last.
        size: Width and height of the window, in pixels.
    """

    def __init__(self, profile: Path, *flags: str, width: int = 1400, height: int = 900):
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        own = (f"--user-data-dir={profile}", "--remote-debugging-pipe")
        command = [BROWSER, *FLAGS, *own, *flags]
        move = f'exec 3<&{read} 4>&{write}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", move, "bash", *command, "about:blank"],
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # in others it finds no files of any name
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self.said: list[str] = []
        self.at: Path | str | None = None
        self._number, self._rest, self._session = 0, b"", None
        made = self._send("Target.createTarget", url="about:blank")
        attached = self._send("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")
        self.resize(width, height)

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        """Another window; that of a telephone with `touch`."""
        self.size = width, height
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        self._send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def as_printed(self, printed: bool) -> None:
        """Whether the styles of paper hold."""
        self._send("Emulation.setEmulatedMedia", media="print" if printed else "")

    def open(self, page: Path | str) -> None:
        """Opens a file, or an address."""
        self.run("window.left = true")  # the page before, which may still answer for a while
        self.said, self.at = [], page
        self._send("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.wait("window.left === undefined && document.readyState === 'complete'")

    def save_to(self, folder: Path) -> None:
        """Where downloads go."""
        self._send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def drop(self, *files: Path) -> None:
        """Drops files or folders of this machine on the page, as a file manager does."""
        data = {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._send("Input.dispatchDragEvent", type=kind, x=300, y=200, data=data)

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        wait_until(
            lambda: self.run(condition), lambda: f"{condition} did not become true; {self.said}"
        )

    def wait_for_words(self, *words: str) -> None:
        """Until all are in what the console said."""

        def are_said() -> bool:
            self.run("0")  # whose answer comes behind what the console says before
            return all(word in str(self.said) for word in words)

        wait_until(are_said, lambda: f"{words} were not said; {self.said}")

    def run(self, expression: str) -> object:
        """The value of an expression, of a promise that of its end."""
        answer = self._send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def point(self, x: float, y: float, *, click: bool = False) -> None:
        """Moves the pointer to a place in the window, and clicks there."""
        at = {"x": x, "y": y, "button": "none"}
        self._send("Input.dispatchMouseEvent", type="mouseMoved", **{**at, "x": x - 2})
        self._send("Input.dispatchMouseEvent", type="mouseMoved", **at)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                pressed = {**at, "button": "left", "clickCount": 1}
                self._send("Input.dispatchMouseEvent", type=kind, **pressed)

    def press(self, key: str) -> None:
        """Presses a key, such as Tab."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._send(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Writes what the window shows, or the whole page, as PNG."""
        answer = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._write)
        os.close(self._read)

    def _send(self, method: str, **parameters: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser ended"
            self._rest += part
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)

    def _note(self, event: dict) -> None:
        found = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(one.get("value")) for one in found["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            details = found["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded":
            self.said.append(found["entry"]["text"])
