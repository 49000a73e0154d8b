"""Options with which the model of a recorded run is built again."""

from collections.abc import Mapping

from options.flags import declared
from registry import KEEP, possible


def rebuilding(recorded: Mapping[str, object]) -> dict[str, object]:
    """Options with which the model of a recorded run is built again, all of whose weights come from
    its checkpoint: nothing is needed of what training started from or was held to.

    Args:
        recorded: Options of config.json. What an older run did not know is off.
    """
    options = dict(recorded)
    for name, option in possible(declared()).items():
        options.setdefault(name, None if option.parts is None else option.default)
        if option.rebuilt is not KEEP:
            options[name] = option.rebuilt
    return options
