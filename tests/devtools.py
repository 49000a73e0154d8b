"""Chromium without a window, told what to do over the pipe of its DevTools protocol."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-extensions", "--disable-default-apps"),
    *("--no-pings", "--no-proxy-server", "--remote-debugging-pipe"),
)
PATIENCE = 60  # seconds


class Browser:
    """One page of a browser with a new profile; close it.

    Attributes: said: Messages of the page's console and errors of its script, in order.
    """

    def __init__(self, folder: Path):
        to_browser, self._in = os.pipe()
        self._out, from_browser = os.pipe()
        self._numbers, self._rest, self.said = itertools.count(1), b"", []

        def place():  # where the browser looks for them
            # neither of both may be in the way of the other
            ends = [os.dup(to_browser), os.dup(from_browser)]
            for number, end in zip((3, 4), [os.dup2(end, 50 + i) for i, end in enumerate(ends)]):
                os.dup2(end, number)

        command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            close_fds=False,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = None
        (target,) = (
            each["targetId"]
            for each in self("Target.getTargets")["targetInfos"]
            if each["type"] == "page"
        )
        found = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters) -> dict:
        """What the browser says to a command. Raises: AssertionError: If that is an error."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]

    def value(self, script: str) -> object:
        """The value of an expression in the page."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression in the page is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        """Goes to a page and waits until it is there."""
        self("Page.navigate", url=address)
        self.wait(f"document.readyState == 'complete' && location.href == {json.dumps(address)}")

    def drop(self, *files: Path) -> None:
        """Drops files of this machine on the middle of the page, as a file manager does."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, x=300, y=200, data=data)

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._in)
        os.close(self._out)

    def _read(self) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._out], [], [], PATIENCE)
            part = os.read(self._out, 2**16) if ready else b""
            assert part, "the browser says nothing"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        if found.get("method") in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
        ):
            self.said.append(found["params"])
        return found
