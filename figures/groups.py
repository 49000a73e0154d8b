"""Top-level groups of the class tree and their colours, for colour-blind eyes too, however many
groups there are.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from figures.common import counted
from figures.palette import INK, OTHERS, SERIES
from hierarchies import Hierarchy

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)))
MIXED = INK  # branches of several groups
NAMED = 3  # groups without a colour that a legend names


class Groups(NamedTuple):
    """The groups just below the topmost node that branches.

    Attributes:
        of_class: (C,) group of each class.
        names: Of the groups, in the order of the tree.
        colours, markers: Of the groups; OTHERS and a dot for those beyond the palette.
        sizes: (G,) number of classes of each group.
    """

    of_class: np.ndarray
    names: tuple[str, ...]
    colours: tuple[str, ...]
    markers: tuple[str, ...]
    sizes: np.ndarray

    def class_colours(self) -> list[str]:
        """Colour of each class."""
        return [self.colours[g] for g in self.of_class]

    @property
    def own(self) -> list[int]:
        """Groups with a colour of their own, in the order of the tree."""
        return [g for g, colour in enumerate(self.colours) if colour != OTHERS]

    @property
    def others(self) -> list[int]:
        return [g for g, colour in enumerate(self.colours) if colour == OTHERS]

    @property
    def printable(self) -> tuple[str, ...]:
        """The names as the fonts of figures can show them."""
        from figures.style import printable

        return tuple(map(printable, self.names))

    def others_name(self) -> str:
        """What the groups without a colour are called in a legend."""
        if len(self.others) <= NAMED:
            return ", ".join(self.names[g] for g in self.others)
        return (
            counted(len(self.others), "other group")
            if self.own
            else counted(len(self.others), "group of one class", "groups of one class")
        )

    def note(self) -> str:
        """A sentence about groups that share a colour, or nothing."""
        if not self.others:
            return ""
        if not self.own:
            return (
                f" All {len(self.others)} classes stand directly below the root, so there are no"
                " groups to colour."
            )
        return (
            f" Colours are for the {len(self.own)} largest of {len(self.names)} groups;"
            f" {self.others_name() if len(self.others) <= NAMED else 'the others'}"
            f" {'is' if len(self.others) == 1 else 'are'} grey."
        )

    def handles(self, *, lines: bool = False) -> "list[Line2D]":
        """Legend entries of the coloured groups and one for all others."""
        from matplotlib.lines import Line2D  # which pages do without

        from figures.style import printable

        shown = [(printable(self.names[g]), self.colours[g], self.markers[g]) for g in self.own]
        shown += [(printable(self.others_name()), OTHERS, ".")] if self.others else []
        if lines:
            return [
                Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour, _ in shown
            ]
        return [
            Line2D([], [], color=colour, marker=mark, linestyle="", label=name)
            for name, colour, mark in shown
        ]


def top_groups(hierarchy: Hierarchy) -> Groups:
    """Groups of the classes, the palette going to the largest; a group of one class is coloured
    only if all fit.
    """
    top = 0
    while hierarchy.n_children[top] == 1 and hierarchy.height[top] > 1:
        top += 1  # preorder: the only child of v is v + 1
    nodes = hierarchy.children(top)
    if not len(nodes):
        nodes = np.array([0])
    of_place = np.repeat(np.arange(len(nodes)), hierarchy.n_leaves[nodes])
    of_class = np.empty(hierarchy.num_classes, np.int64)
    of_class[hierarchy.leaf_order] = of_place
    sizes = hierarchy.n_leaves[nodes]
    largest = np.argsort(-sizes, kind="stable")[: len(SERIES)]
    chosen = sorted(g for g in largest.tolist() if len(nodes) <= len(SERIES) or sizes[g] > 1)
    colours, markers = [OTHERS] * len(nodes), ["."] * len(nodes)
    for place, g in enumerate(chosen):
        colours[g], markers[g] = SERIES[place], MARKERS[place]
    names = tuple(hierarchy.names[v] for v in nodes.tolist())
    return Groups(of_class, names, tuple(colours), tuple(markers), sizes)


def series_style(index: int) -> dict:
    """Colour, dashes and marker of the index-th of several methods; alike after 32."""
    return {
        "color": SERIES[index % len(SERIES)],
        "linestyle": DASHES[index // len(SERIES) % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }
