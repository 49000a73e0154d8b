"""What the user should be told about images that were read, in a sentence for each kind."""

from collections.abc import Iterable

from data.conversion import Decoded

DARK = 65536 // 4  # 16-bit images that stay below come out dark: they hold 12 or 14 bits
HALF = 65536 // 2  # of a set, all of which stay below: perhaps with a sign

_SENTENCES = {
    "deep": "with 16 bits a pixel were {scaled} (the largest value found is {brightest} of"
    " 65535{half})",
    "cut": "in colour with 16 bits a channel were cut to the upper 8 bits of each (--grey_range"
    " reads all)",
    "dark": "with 16 bits use less than a quarter of the range, as 12-bit data do, and come out"
    " dark{way_out}",
    "clipped": "have values above {range}, the --grey_range, and are white there",
    "transparent": "with transparency were laid on white",
    "frames": "with several frames, pages or channels: the first one was read",
    "truncated": "end early: what is missing is grey",
}


# of the fields of `Decoded` behind pixels and size: nothing to say
_USUAL = tuple(Decoded(None, None, None, transparent=False))[2:]


class ImageNotes:
    """Counts images of which something should be said, and says it.

    Args:
        grey_range: With which the images were read, see `Reading`.
    """

    def __init__(self, grey_range: int | None = None):
        self._range, self._seen = grey_range, {}
        self._brightest = {"deep": 0, "any": 0}

    def add(self, image: Decoded, file: str) -> None:
        """Looks at one more image."""
        if image[2:] == _USUAL:
            return
        deep = image.brightest is not None
        kinds = {
            "deep": deep and not image.cut,
            "cut": image.cut,
            "dark": deep and self._range is None and image.brightest < DARK,
            "clipped": deep and self._range is not None and image.brightest > self._range,
            "transparent": image.transparent,
            "frames": image.frames > 1,
            "truncated": image.truncated,
        }
        for kind in (kind for kind, found in kinds.items() if found):
            count, first = self._seen.get(kind, (0, file))
            self._seen[kind] = count + 1, first
        for kind in (["deep"] if kinds["deep"] else []) + (["any"] if deep else []):
            self._brightest[kind] = max(self._brightest[kind], image.brightest)

    def state(self) -> dict:
        """What was seen so far, as JSON takes it."""
        return {"seen": dict(self._seen), "brightest": dict(self._brightest)}

    def restore(self, state: dict) -> None:
        """Goes on with what another one has seen."""
        self._seen = {kind: tuple(seen) for kind, seen in state["seen"].items()}
        self._brightest = dict(state["brightest"])

    def sentences(self, kinds: Iterable[str] = tuple(_SENTENCES)) -> list[str]:
        """A sentence for each kind that was seen, with an example."""
        scaled = (
            "divided by 257"
            if self._range is None
            else f"scaled so that {self._range} is white (--grey_range)"
        )
        parts = {
            "scaled": scaled,
            "brightest": self._brightest["deep"],
            "half": self._half(),
            "way_out": self._way_out(),
            "range": self._range,
        }
        return [
            f"{self._seen[kind][0]} images {_SENTENCES[kind].format(**parts)}, for instance"
            f" {self._seen[kind][1]}"
            for kind in kinds
            if kind in self._seen
        ]

    def _half(self) -> str:
        """What to do if all images use half of the range or less, but more than dark ones."""
        if self._range is not None or not DARK <= self._brightest["any"] < HALF:
            return ""
        top = HALF - 1
        return f"; where {top} is white, as in files with a sign, give --grey_range {top}"

    def _way_out(self) -> str:
        """The range that would hold all images."""
        brightest = self._brightest["any"]
        if brightest >= DARK:
            return ", while others are brighter (values stretched to 0-65535 beforehand would not)"
        top = max(255, 2 ** int(brightest).bit_length() - 1)
        return (
            f" (the largest value found is {brightest}: --grey_range {top} would make {top} white)"
        )
