"""The tree drawn for hand-worked values: unbalanced, with a single-child node, classes not in
depth-first order.

root
├── C                 class 0
├── A
│   ├── A2
│   │   ├── A2a       class 1
│   │   └── A2b       class 4
│   └── A1            class 3
└── B
    ├── B1
    │   └── x         class 2
    └── B2
        ├── y         class 5
        └── z         class 6
"""

from hierarchies import Hierarchy

PATHS = [
    ("C",),
    ("A", "A2", "A2a"),
    ("B", "B1", "x"),
    ("A", "A1"),
    ("A", "A2", "A2b"),
    ("B", "B2", "y"),
    ("B", "B2", "z"),
]
TREE = Hierarchy.from_paths(PATHS)
FLAT = Hierarchy.from_paths([("a",), ("b",), ("c",), ("d",)])
# A tree on which all weightings of nodes differ; on TREE several are the same numbers.
TELLING = Hierarchy.from_paths(
    [
        *PATHS,
        ("A", "A3", "A3a"),
        ("A", "A3", "A3b"),
        ("A", "A3", "A3c", "d"),
        ("A", "A3", "A3c", "e"),
    ]
)
