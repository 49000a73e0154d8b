"""The registry of heads, and how one is checked and built from options."""

from collections.abc import Mapping

from models.conditional import Conditional
from models.head import Head, Softmax
from models.hiercos import HierCOS
from models.levels import Levels
from models.options import PROXIES, HeadOptions
from models.proxy_heads import NormFace, ProxyDR
from registry import Option, Registry, refuse_unneeded, settle

HEADS = Registry(
    Option("method", help="how embeddings are scored against class vectors"),
    {
        "softmax": Softmax,
        "normface": NormFace,
        "DR": ProxyDR,
        "conditional": Conditional,
        "levels": Levels,
        "hiercos": HierCOS,
    },
)


def check_head_options(options: Mapping[str, object]) -> None:
    """Refuses values and combinations without meaning, by the names of the flags.

    Args:
        options: Name -> value of the method and any of the head's options. What was not given is
            absent, None or False.

    Raises: ValueError: Naming the flags and what is allowed.
    """
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    method = HEADS.resolve(given.pop("method"))
    head = HEADS[method]
    settle(head.options, given, f"--method {method}")
    refuse_unneeded(head.options, given)
    head.check(given)


def build_head(method: str, num_classes: int, options: HeadOptions | None = None) -> Head:
    """The head of a method, for C classes. Random class vectors come from torch's global generator.

    Args:
        method: Key of HEADS or an alias.
        num_classes: C, at least 1.
        options: See HeadOptions; its defaults if None.

    Raises: ValueError: If the method takes no such option, or a value is out of range.
    """
    options = HeadOptions() if options is None else options
    if num_classes < 1 or options.dim < 1:
        raise ValueError(
            f"a head needs at least 1 class and 1 dimension, got {num_classes} and {options.dim}"
        )
    if options.proxies not in PROXIES:
        raise ValueError(f"proxies must be one of {', '.join(PROXIES)}, got {options.proxies!r}")
    if (options.proxies in ("mds", "file")) != (options.fixed is not None):
        raise ValueError(
            "--mds_W and --class_vectors need fixed class vectors, and nothing else takes them"
        )
    head = HEADS.find(method)
    if (options.share_parents or head.needs_tree) and options.hierarchy is None:
        needed_by = f"--method {method}" if head.needs_tree else "--share_parents"
        raise ValueError(f"{needed_by} needs the class tree, as HeadOptions.hierarchy")
    names = ("distance", "alpha", "dynamic", "legacy_dynamic", "share_parents")
    flags = {name: getattr(options, name) for name in names}
    flags |= {"ema": options.proxies == "ema", "mds_W": options.proxies == "mds"}
    flags["class_vectors"] = "a file" if options.proxies == "file" else None
    check_head_options({**options.own, **flags, "method": method})
    return head(num_classes, options)
