"""A model goes on from another one, on other classes or another tree: backbone, projection and size
branch as they are, class vectors by class.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from hierarchies import Hierarchy
from hierarchies.tree import format_path, without_own_leaf
from models.classifier import Classifier
from models.head import Head
from models.levels import Levels
from models.sphere import unit

OF_DATA = ("log_prior", "dynamic_scale.prior")  # follow from the images of a run
BY_CLASS = ("weight", "bias", "seen")  # tensors of heads with a row for each class
# how class vectors move, of heads whose own are fixed -> where these are from, in words
PLACED = {"mds": "placed by the new tree (--mds_W)", "file": "those of --class_vectors"}
SHORTEST_MEAN = 1e-6  # directions that cancel to less have no mean


class Move(NamedTuple):
    """What becomes of a class.

    Fields:
        path: Of the class, in the new tree; a class that is gone, in the old one.
        status: "kept": the same path in both trees; "moved": another path, but the only class of
            its name in either tree; "new"; "gone".
        sources: Classes of the old tree whose vectors it starts from; none: it starts at random.
        of: What these are, in words.
    """

    path: tuple[str, ...]
    status: str
    sources: tuple[int, ...] = ()
    of: str = ""


def moves(before: Hierarchy, now: Hierarchy) -> list[Move]:
    """What becomes of each class: those of the new tree in their order, then those that are gone.

    A new class starts from its siblings that are kept; else from the classes of the old tree that
    were one with it (a class that was split, classes that were merged); else from all that is kept
    below its parent, or the next superclass above with something kept below it; else at random.
    """
    old = {without_own_leaf(path): c for c, path in enumerate(before.class_paths)}
    own = [*map(without_own_leaf, now.class_paths)]
    kept = {c: old[path] for c, path in enumerate(own) if path in old}
    moved = _moved(old, own, kept)
    carried = {**kept, **moved}
    starts = _Starts(old, carried, now)
    result = []
    for c, path in enumerate(own):
        if c in kept:
            result.append(Move(path, "kept", (kept[c],), "itself"))
        elif c in moved:
            place = format_path(without_own_leaf(before.class_paths[moved[c]]))
            result.append(Move(path, "moved", (moved[c],), f"itself, which was {place}"))
        else:
            result.append(Move(path, "new", *starts.of(c, path)))
    used = set(carried.values())
    result += [Move(path, "gone") for path, c in old.items() if c not in used]
    return result


def _moved(
    old: Mapping[tuple[str, ...], int], own: Sequence[tuple[str, ...]], kept: Mapping[int, int]
) -> dict[int, int]:
    """New class -> old class, where a name is that of one class in each tree."""
    names: tuple[dict, dict] = (defaultdict(list), defaultdict(list))
    for path, c in old.items():
        names[0][path[-1]].append(c)
    for c, path in enumerate(own):
        names[1][path[-1]].append(c)
    return {
        classes[0]: names[0][name][0]
        for name, classes in names[1].items()
        if len(classes) == 1 and len(names[0].get(name, ())) == 1 and classes[0] not in kept
    }


class _Starts:
    """What new classes start from.

    Args:
        old: Path -> class, in the old tree.
        carried: Class of the new tree -> class of the old one, for those that keep their vector.
        now: The new tree.
    """

    def __init__(
        self, old: Mapping[tuple[str, ...], int], carried: Mapping[int, int], now: Hierarchy
    ):
        self.old, self.carried, self.now = old, carried, now
        self.siblings, self.below = defaultdict(list), defaultdict(list)
        for c, source in sorted(carried.items()):
            self.siblings[int(now.parent[now.leaves[c]])].append(source)
        for path, c in old.items():
            for length in range(1, len(path)):
                self.below[path[:length]].append(c)

    def of(self, c: int, path: tuple[str, ...]) -> tuple[tuple[int, ...], str]:
        """The classes of the old tree that a new class starts from, and what they are in words."""
        parent = int(self.now.parent[self.now.leaves[c]])
        if parent in self.siblings:
            return tuple(self.siblings[parent]), "its siblings"
        for length in range(len(path) - 1, 0, -1):
            if path[:length] in self.old:
                was = f"{format_path(path[:length])}, which was a class"
                return (self.old[path[:length]],), was
        if path in self.below:
            return tuple(self.below[path]), "the classes that were below it"
        while parent > 0:
            covered = self.now.leaf_order[self.now.start[parent] : self.now.stop[parent]].tolist()
            if sources := tuple(self.carried[one] for one in covered if one in self.carried):
                return sources, f"what is below {format_path(self.now.path(parent))}"
            parent = int(self.now.parent[parent])
        return (), "chance"


def go_on(
    model: Classifier, state: Mapping[str, torch.Tensor], before: Hierarchy, now: Hierarchy
) -> tuple[list[Move], list[str]]:
    """Fills a model with what another one learned.

    Args:
        model: Of the new classes; changed in place.
        state: State dict of the other model, of the same backbone and head.
        before, now: The class trees of the other model and of this one.

    Returns: What became of each class, and what else to tell the user.
    Raises: ValueError: If backbone or size branch do not fit.
    """
    parts: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for key, value in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    _load(model.backbone, parts["backbone"])
    notes = []
    if model.size_branch is not None:
        if "size_branch" in parts:
            _load(model.size_branch, parts["size_branch"])
        else:
            notes.append("--size_inform is new: its branch starts at random")
    changes = moves(before, now)
    notes += _fill_head(model.head, parts["head"], changes, before, now)
    if parts["loss"]:
        notes.append("what the loss itself had learned starts anew")
    return changes, notes


def _load(module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            "its network does not fit this one, is one for grey images (--gray) and the other not,"
            f" or --resize another? ({str(error).strip().splitlines()[-1].strip()})"
        ) from error


@torch.no_grad()
def _fill_head(
    head: Head,
    old: Mapping[str, torch.Tensor],
    changes: Sequence[Move],
    before: Hierarchy,
    now: Hierarchy,
) -> list[str]:
    state, notes = head.state_dict(), []
    placed = PLACED.get(getattr(head, "proxies", None))
    met = old.get("seen")
    if placed:
        notes.append(f"class vectors are {placed}, none are kept")
    for name, fresh in state.items():
        if name in OF_DATA or (name == "weight" and placed):
            continue
        if name == "seen":
            state[name] = torch.tensor([_is_met(move, met) for move in changes[: len(fresh)]])
        elif name not in old:
            notes.append(f"{name} of the head was not there before and starts anew")
        elif name in BY_CLASS and _has_rows(old[name], before) and _has_rows(fresh, now):
            directions = head.has_proxies and name == "weight"
            rows = [
                _start(old[name], _met(move, met), own, directions)
                for move, own in zip(changes, fresh)
            ]
            state[name] = torch.stack(rows)
        elif old[name].shape == fresh.shape and (before == now or fresh.numel() == 1):
            state[name] = old[name]
        else:
            notes.append(f"{name} of the head belongs to the old tree and starts anew")
    was, is_ = (any(name.startswith("dynamic_scale.") for name in names) for names in (old, state))
    if was and not is_:
        notes.append("that run moved its scale (--dynamic), this one does not: it starts at 10")
    head.load_state_dict(state)
    if isinstance(head, Levels):
        head.hide()  # that run's classes may have seen more
    return notes


def _has_rows(tensor: torch.Tensor, tree: Hierarchy) -> bool:
    """Whether it has one for each class."""
    return len(tensor) == tree.num_classes


def _is_met(move: Move, met: torch.Tensor | None) -> bool:
    """Whether moving averages have met a class already."""
    carried = move.status in ("kept", "moved")
    return carried and (met is None or bool(met[move.sources[0]]))


def _met(move: Move, met: torch.Tensor | None) -> tuple[int, ...]:
    """Its sources; of several those alone that moving averages have met."""
    if met is None or move.status != "new":
        return move.sources
    return tuple(source for source in move.sources if met[source])


def _start(
    old: torch.Tensor, sources: Sequence[int], fresh: torch.Tensor, directions: bool
) -> torch.Tensor:
    """A class's row: that of the one source, the mean of several, or the fresh one."""
    if not sources:
        return fresh
    rows = old[list(sources)]
    if len(rows) == 1 or not directions:
        return rows.mean(dim=0).to(fresh.dtype)
    mean = unit(rows).mean(dim=0)
    if mean.norm() < SHORTEST_MEAN:
        return fresh
    return unit(mean) * rows.norm(dim=1).mean()
