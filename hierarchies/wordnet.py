"""Trees of ImageNet's classes, cut from WordNet 3.0's noun hypernyms."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from hierarchies.tree import Hierarchy

PHYSICAL_ENTITY = "n00001930"
# Bertinetto et al. 2020 hang three synsets of ImageNet under another parent: the signs are boards,
# a bubble is a sphere.
IMAGENET_PARENTS = {"n06794110": "n04217882", "n06874185": "n04217882", "n13899404": "n04274530"}


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns: hypernyms (wnids) and first lemma of each wnid ('n' and the eight digits of
    its offset).
    """

    hypernyms: Mapping[str, tuple[str, ...]]
    lemmas: Mapping[str, str]


def read_nouns(path: str | os.PathLike) -> Nouns:
    """Reads `data.noun` as WordNet 3.0 ships it (Debian's package wordnet-base has it in
    /usr/share/wordnet).

    Hypernyms are sorted by lemma, as the Natural Language Toolkit orders them, because 'the first
    hypernym' of the literature means its first. Instances count where a noun has no other hypernym.

    Raises: ValueError: Naming the line that is not in the format of the manual page wndb(5), or the
    missing hypernym.
    """
    pointers, lemmas = {}, {}
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            if not line.startswith("  "):  # the licence
                try:
                    wnid, lemma, links = _synset(line)
                except (ValueError, IndexError):
                    raise ValueError(
                        f"{path}, line {number}: this is not a synset of WordNet's data.noun"
                    ) from None
                pointers[wnid], lemmas[wnid] = links, lemma
    hypernyms = {}
    for wnid, links in pointers.items():
        above = [target for symbol, target in links if symbol == "@"] or [
            target for symbol, target in links if symbol == "@i"
        ]
        for target in above:
            if target not in lemmas:
                raise ValueError(
                    f"{path}: {wnid} ({lemmas[wnid]}) is below {target}, which is not there; is the"
                    " file complete?"
                )
        hypernyms[wnid] = tuple(sorted(above, key=lambda target: (lemmas[target].lower(), target)))
    return Nouns(hypernyms, lemmas)


def _synset(line: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Wnid, first lemma, and (symbol, wnid) of every pointer to another noun."""
    fields = line.split(" | ")[0].split()
    words = int(fields[3], 16)
    first = 5 + 2 * words
    if len(fields) != first + 4 * int(fields[first - 1]):
        raise ValueError("other numbers of words and pointers than the line says")
    links = [fields[at : at + 3] for at in range(first, len(fields), 4)]
    return (
        f"n{int(fields[0]):08d}",
        fields[4],
        [(symbol, f"n{target}") for symbol, target, kind in links if kind == "n"],
    )


def first_hypernym_tree(nouns: Nouns, wnids: Iterable[str]) -> Hierarchy:
    """Follows the first hypernym of every noun up to 'entity' and drops the chain at the top.
    Source: Urbani et al. 2024.

    Classes are the wnids, sorted; keys are wnids, names lemmas. Raises: ValueError: If a wnid is no
    noun of WordNet.
    """
    return _tree(nouns, wnids, lambda wnid: nouns.hypernyms[wnid][:1])


def longest_path_tree(
    nouns: Nouns, wnids: Iterable[str], parents: Mapping[str, str] = IMAGENET_PARENTS
) -> Hierarchy:
    """Follows the hypernym farthest from 'physical entity', the first of equals, and drops
    single-child nodes.

    Args:
        nouns: WordNet.
        wnids: The classes; they are sorted.
        parents: Hypernyms to use instead of WordNet's.

    Raises: ValueError: If a wnid is not a noun of WordNet or not below 'physical entity'.
    Source: Bertinetto et al. 2020, who chose among equally long paths by hand.
    """
    above = {**nouns.hypernyms, **{child: (parent,) for child, parent in parents.items()}}

    @cache
    def height(wnid: str) -> float:
        if wnid == PHYSICAL_ENTITY:
            return 0
        return 1 + max(map(height, above[wnid]), default=float("-inf"))

    def farthest(wnid: str) -> Sequence[str]:
        if height(wnid) < 0:
            raise ValueError(
                f"{wnid} ({nouns.lemmas[wnid]}) is not below physical entity in WordNet"
            )
        return [] if wnid == PHYSICAL_ENTITY else [max(above[wnid], key=height)]

    return _collapsed(_tree(nouns, wnids, farthest))


def _tree(nouns: Nouns, wnids: Iterable[str], up: Callable[[str], Sequence[str]]) -> Hierarchy:
    paths = []
    for wnid in sorted(wnids):
        if wnid not in nouns.lemmas:
            raise ValueError(
                f"{wnid} is not a noun of WordNet 3.0; is it a wnid such as n02084071?"
            )
        path = [wnid]
        while above := up(path[-1]):
            path.extend(above)
        paths.append(tuple(reversed(path)))
    shared = 0  # nodes at the top that all classes have in common: the last one is the root
    while all(
        len(path) > shared + 2 and path[: shared + 2] == paths[0][: shared + 2] for path in paths
    ):
        shared += 1
    names = {
        path[shared + 1 : end]: nouns.lemmas[path[end - 1]]
        for path in paths
        for end in range(shared + 2, len(path) + 1)
    }
    return Hierarchy.from_paths(
        [path[shared + 1 :] for path in paths], names=names, root=paths[0][shared]
    )


def _collapsed(tree: Hierarchy) -> Hierarchy:
    """Collapsed, with the wnid of each remaining node alone as its key."""
    collapsed = tree.collapse()
    nodes = [collapsed.path(v) for v in range(1, collapsed.num_nodes)]
    names = {
        tuple(key.split("/")[-1] for key in path): collapsed.names[v]
        for v, path in enumerate(nodes, 1)
    }
    paths = [tuple(key.split("/")[-1] for key in path) for path in collapsed.class_paths]
    return Hierarchy.from_paths(paths, names=names, root=collapsed.names[0])


def edge_lines(tree: Hierarchy) -> tuple[str, str]:
    """The tree as text of two files, 'CHILD PARENT' and 'ID NAME', both sorted by id (see
    readers.read_edges).
    """
    edges = sorted(f"{tree.keys[v]} {tree.keys[tree.parent[v]]}" for v in range(1, tree.num_nodes))
    names = sorted(
        f"{tree.keys[v]} {tree.names[v].replace('_', ' ')}" for v in range(1, tree.num_nodes)
    )
    return "\n".join(edges) + "\n", "\n".join(names) + "\n"
