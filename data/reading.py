"""How image files become pixels: the options that decide it, and a value that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry import Need, Number, Option, either, one_of, pixels, with_flag

# how an image comes to be a square -> in words
FITS = {
    "stretch": "to the square, whatever its proportions",
    "pad": "as a whole into the square, with the median colour of its own edge around it",
    "crop": "so that its middle fills the square, and the ends of its longer side are lost",
}
# torchvision reads whole JPEG files of grey or RGB, the others are Pillow's all the same
DECODERS = ("pillow", "torchvision")

OPTIONS = (
    Option(
        "resize",
        pixels,
        0,
        "PIXELS",
        "side of the squares that images become, in pixels, see --fit; 0 keeps images that are"
        " all of one size",
    ),
    Option(
        "fit",
        one_of(FITS),
        "stretch",
        help="how an image of other proportions becomes a square: "
        + "; ".join(f"{name}: {words}" for name, words in FITS.items()),
        off="stretch",
        needs=with_flag("resize", " PIXELS above 0: else images keep their size"),
    ),
    Option("gray", either, False, help="read images as one grey channel"),
    Option(
        "grey_range",
        Number(int, lambda n: 1 <= n <= 65535, "a whole number from 1 to 65535"),
        None,
        "VALUE",
        "value that becomes white in images of 16 bits a channel, such as 4095 of 12-bit"
        " cameras (default: 65535)",
    ),
    Option(
        "truncated_images",
        one_of(("refuse", "use")),
        "refuse",
        help="JPEG files that end early: refuse them, or use them as far as they go, with the"
        " rest grey",
    ),
    Option(
        "decoder",
        one_of(DECODERS),
        "pillow",
        help="what reads JPEG files: torchvision takes about half the time, and one value in a"
        " thousand differs by 1 of 255; all else is read by Pillow",
        off="pillow",
        needs=Need(lambda options: options.get("fit") in (None, "stretch"), "--fit stretch"),
    ),
)
DEFAULTS = {option.name: option.default for option in OPTIONS}


@dataclass(frozen=True)
class Reading:
    """How image files become pixels; files that are read alike, and are equal, have equal pixels.

    Attributes:
        resize: Side in pixels of the square that an image becomes (bilinear, antialiased), or
            width and height; 0 keeps its size, whatever `fit` says.
        fit: How an image of other proportions gets there, one of FITS.
        gray: One channel instead of three.
        grey_range: Value that becomes white in images of 16 bits a channel, grey and colour, 1 to
            65535, such as 4095 for 12-bit cameras; what is brighter is white, too. None: 16-bit
            grey is divided by 257, and of 16-bit colour the upper 8 bits count.
        truncated_images: 'use' reads a JPEG file that ends early as far as it goes; the rest is
            grey. 'refuse' does not.
        decoder: One of DECODERS.

    Raises: ValueError: If a value breaks the rule of its option.
    """

    resize: int | tuple[int, int] = DEFAULTS["resize"]
    fit: str = DEFAULTS["fit"]
    gray: bool = DEFAULTS["gray"]
    grey_range: int | None = DEFAULTS["grey_range"]
    truncated_images: str = DEFAULTS["truncated_images"]
    decoder: str = DEFAULTS["decoder"]

    def __post_init__(self):
        for option in OPTIONS:
            value = getattr(self, option.name)
            if value is None and option.default is None:
                continue
            if option.name == "resize" and isinstance(value, tuple):
                checked = tuple(map(option.check, value))
                if len(checked) != 2 or not all(checked):
                    raise ValueError(f"resize must be a side, or width and height, got {value}")
            else:
                checked = option.check(value)
            object.__setattr__(self, option.name, checked)

    @classmethod
    def of(cls, options: Mapping) -> "Reading":
        """What the options of a dataset or of a recorded run say; those that are missing or None
        are at their defaults. Raises: ValueError: If a value breaks the rule of its option.
        """
        given = {name: options[name] for name in DEFAULTS if options.get(name) is not None}
        return cls(**given)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height that images are brought to; None where they keep their own."""
        if isinstance(self.resize, tuple):
            return self.resize
        return (self.resize, self.resize) if self.resize else None

    @property
    def channels(self) -> int:
        """Values of a pixel: 1 of grey, 3 of colour."""
        return 1 if self.gray else 3

    @property
    def key(self) -> str:
        """What tells these pixels from those of another reading, in the name of a cache. What came
        later leaves no mark while it is at its default: the caches of earlier versions are found.
        """
        later = {
            "grey_range": self.grey_range,
            "truncated": self.truncated_images == "use",
            "fit": self.fit if self.resize and self.fit != DEFAULTS["fit"] else None,
            "decoder": self.decoder if self.decoder != DEFAULTS["decoder"] else None,
        }
        marks = "".join(f" {name} {value}" for name, value in later.items() if value)
        return f"{self.resize} {self.gray}{marks}"
