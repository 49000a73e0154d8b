"""What runs that follow each other in one process have in common."""

from collections.abc import Callable, Hashable


class Shared:
    """Keeps the last thing of each kind, which is made anew only where another one is asked for."""

    def __init__(self):
        self._kept: dict[str, tuple[Hashable, object]] = {}

    def has(self, kind: str, key: Hashable) -> bool:
        """Whether the thing of this kind that is kept has this key."""
        return kind in self._kept and self._kept[kind][0] == key

    def get(self, kind: str, key: Hashable, make: Callable[[], object]) -> object:
        """The thing of this kind and key; the one before it is let go first."""
        if not self.has(kind, key):
            self._kept.pop(kind, None)
            self._kept[kind] = key, make()
        return self._kept[kind][1]
