"""The images of a recorded run, shared out and named as the version that recorded it did."""

from collections.abc import Callable, Mapping

from data.folds import DrawnFold
from data.splits import Splits
from hierarchies import Hierarchy


def load_recorded(
    load: Callable[[Mapping], Splits], options: Mapping, tree: Hierarchy, digest: object
) -> Splits:
    """The splits of a run; those of today where no version's way gives the digest.

    Args:
        load: `data.load`, or what keeps what that returns.
        options: Of the run, as for `data.load`.
        tree, digest: Those that the run recorded.
    """
    found = load(options).named_as(tree, digest)
    if found.digest == digest or options.get("fold") is None:
        return found
    drawn = load({**options, "fold": DrawnFold(options["fold"])}).named_as(tree, digest)
    return drawn if drawn.digest == digest else found
