"""Pretrained weights that are fetched: the caches of torch and of the Hugging Face hub, and whether
there is a network.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import getproxies

import torch

PATIENCE = 5.0  # seconds that a host may take to answer


class NoNetwork(OSError):
    """Where weights are asked for that no cache holds.

    Args:
        url: Of the file, or of its host.
    """

    def __init__(self, url: str):
        host = urlparse(url).hostname
        super().__init__(f"this machine does not reach {host}: is there a network?")


def is_reached(url: str) -> bool:
    """Whether the host of a URL takes a connection, or is asked through a proxy, which knows
    better. Nodes of clusters often find addresses of a network that they have no way to.
    """
    if set(getproxies()) - {"no"}:  # which names the hosts that no proxy is for
        return True
    parts = urlparse(url)
    try:
        port = parts.port or {"http": 80}.get(parts.scheme, 443)
        socket.create_connection((parts.hostname, port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def torch_file(url: str) -> Path:
    """Where torch keeps what it downloads from a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(unquote(urlparse(url).path)).name


def check_url(url: str) -> None:
    """Looks whether a file of weights can be had.

    Raises: NoNetwork: If torch's cache does not have it, and its host is not reached.
    """
    if not torch_file(url).is_file() and not is_reached(url):
        raise NoNetwork(url)


def is_in_old_cache(url: str | None) -> bool:
    """Whether timm takes a file from torch's cache, where it kept what it now has from the hub."""
    asked = os.environ.get("TIMM_USE_OLD_CACHE", "0").strip() not in ("", "0")
    return asked and bool(url) and torch_file(url).is_file()


def hub_cache() -> str:
    """Folder of what was downloaded from the hub."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return "~/.cache/huggingface/hub"
    return str(HF_HUB_CACHE)


def check_hub(repository: str, *files: str) -> None:
    """Looks whether one of the files of a repository, "owner/name" or "owner/name@revision", can be
    had.

    Raises: OSError: If none is in the cache, and the hub is not reached or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    at_hand = (try_to_load_from_cache(repository, one, revision=revision or None) for one in files)
    if any(isinstance(path, str) for path in at_hand):
        return
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set, and the hub's cache does not have them")
    if not is_reached(constants.ENDPOINT):
        raise NoNetwork(constants.ENDPOINT)


@contextmanager
def not_waiting_for_the_hub() -> Iterator[None]:
    """Asks the hub's cache alone where the hub is not reached: its library would ask again for a
    minute, for weights that are in the cache, too.

    Raises: NoNetwork: If the cache does not suffice then.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE or is_reached(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except LocalEntryNotFoundError as error:
        raise NoNetwork(constants.ENDPOINT) from error
    finally:
        constants.HF_HUB_OFFLINE = False
