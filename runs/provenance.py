"""What a run was made with: command, versions, revision, machine."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "scikit-bio",
    "pillow",
)


def provenance() -> dict:
    """Command line, package versions, git revision and machine, for config.json."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "git": _git_revision(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def differences(before: Mapping, now: Mapping) -> list[str]:
    """What a run was begun with (its config.json) and is now done with (`provenance`, and the
    device), where that differs and may change its numbers: code, packages, processor and device.
    """
    was = {**_mapping(before.get("versions")), "revision": before.get("git")}
    was |= {"processor": _mapping(before.get("machine")).get("processor")}
    was |= {"device": before.get("device")}
    new = {**now["versions"], "revision": now["git"], "processor": now["machine"]["processor"]}
    new |= {"device": now["device"]}
    return [
        f"{name} {_short(was[name])} -> {_short(value)}"
        for name, value in new.items()
        if was.get(name) not in (None, "unknown", value) and value != "unknown"
    ]


def _short(value: str) -> str:
    """The hexadecimal digits of a revision that tell it from others; all else as it is."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", str(value))


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_revision() -> str:
    """Commit of the code, with '+changes' where files differ from it; 'unknown' outside a git
    checkout.
    """

    def git(*command: str) -> str:
        return subprocess.run(
            ("git", "-C", REPOSITORY, *command),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
