"""Cuts the trees of TinyImageNet and ImageNet from WordNet 3.0 and writes hierarchies/<dataset>.edges and .names.

    python scripts/build_wordnet_trees.py --wordnet /usr/share/wordnet/data.noun --tinyimagenet wnids.txt --imagenet wnids.txt

The files are part of the repository; this script is for whoever wants to see where they come from or has other classes.
"""  # noqa: E501

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from hierarchies.export import describe
from hierarchies.wordnet import edge_lines, first_hypernym_tree, longest_path_tree, read_nouns
from options.parser import Parser


def main(argv: list[str] | None = None) -> int:
    """Writes the trees asked for and prints their statistics."""
    parser = Parser(description=__doc__)
    parser.add_argument("--wordnet", required=True, metavar="FILE", help="data.noun of WordNet 3.0")
    parser.add_argument(
        "--tinyimagenet", metavar="FILE", help="wnids of TinyImageNet, one a line: first hypernyms"
    )
    parser.add_argument(
        "--imagenet", metavar="FILE", help="wnids of ImageNet, one a line: longest paths, collapsed"
    )
    parser.add_argument(
        "--out",
        default=REPOSITORY / "hierarchies",
        type=Path,
        metavar="DIR",
        help="folder that is written to",
    )
    arguments = parser.parse_args(argv)
    nouns = read_nouns(arguments.wordnet)
    for name, build in (("tinyimagenet", first_hypernym_tree), ("imagenet", longest_path_tree)):
        if file := getattr(arguments, name):
            tree = build(nouns, Path(file).read_text("utf-8").split())
            for suffix, text in zip((".edges", ".names"), edge_lines(tree)):
                (arguments.out / f"{name}{suffix}").write_text(text, encoding="utf-8")
            print(f"{arguments.out / name}.edges: {describe(tree)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
