"""The arrays that a run keeps of each split: of what kind each of them is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from files.text import shortened

# arrays with a row for each image
OF_IMAGES = (
    "labels",
    "files",
    "sizes",
    "groups",
    "embeddings",
    "scores",
    "prototype_scores",
)
# dimensions and kinds of type that arrays have where they are, by their names
_NUMBERS, _TEXT = "iuf", "US"
_ARRAYS_ARE = {
    "labels": (1, "iu"),
    "files": (1, _TEXT + _NUMBERS),
    "groups": (1, _TEXT + _NUMBERS),
    "living": (1, "b" + _NUMBERS),
    "prototype_counts": (1, _NUMBERS),
    **dict.fromkeys(("sizes", "embeddings", "scores", "prototype_scores"), (2, _NUMBERS)),
    **dict.fromkeys(("class_vectors", "prototypes"), (2, _NUMBERS)),
}
_NEEDED = ("labels", "embeddings", "scores", "class_vectors")  # others may be None


def check_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises: ValueError: If an array is none, has other dimensions or another type than that of a
    run, or not a row for each image.
    """
    images = len(arrays["labels"]) if np.ndim(arrays.get("labels")) else None
    for name, (dimensions, kinds) in _ARRAYS_ARE.items():
        array = arrays.get(name)
        if array is None and (name not in _NEEDED or (name not in arrays and name != "labels")):
            continue
        plain = isinstance(array, np.ndarray) and array.ndim == dimensions
        if not plain or array.dtype.kind not in kinds:
            is_ = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
            raise ValueError(
                f"{path} is damaged: {name!r} is {shortened(is_)}, where a run has {dimensions}"
                f" dimensions of {'text' if 'U' in kinds else 'numbers'}"
            )
        if name in OF_IMAGES and len(array) != images:
            raise ValueError(f"{path} is damaged: {len(array)} {name} of {images} images")
