"""The outputs of a recorded split, whose scores are computed again where they were too many to
keep. Torch and the models are imported where that is so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from metrics.outputs import Outputs
from metrics.posterior import row_blocks
from runs.folder import Run, RunError

if TYPE_CHECKING:
    import torch

    import models

# of a split, images times classes: 64 MiB of float32. Above, embeddings and the head are kept
# alone, of which scores are made again
KEPT_SCORES = 1 << 24
_HEAD = "head."  # what the names of the head's arrays begin with


def head_arrays(head: models.Head) -> dict[str, np.ndarray]:
    """All that a head scores with, by names of arrays of a run."""
    return {f"{_HEAD}{name}": tensor.cpu().numpy() for name, tensor in head.state_dict().items()}


def read_outputs(run: Run, name: str = "test") -> Outputs:
    """What the metrics need of one split of a run.

    Scores that the run does not keep are computed block by block on the CPU from its embeddings,
    and stand in a temporary file instead of in memory: always the same numbers on one machine, up
    to the last digits those that the training computed.

    Raises: RunError: If the arrays are damaged, or do not belong to the hierarchy.
    """
    arrays = run.arrays(name)
    if "scores" in arrays or f"{_HEAD}weight" not in arrays:
        return run.outputs(name)
    return run.outputs(name, recompute_scores(run, name, arrays))


def recompute_scores(
    run: Run, name: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """`scores` (S, C), and `prototype_scores` where the head has proxies, of the arrays of a split
    that have the head's in their place. Raises: RunError: If they do not fit the run.
    """
    import torch

    head, embeddings = _head(run, arrays, name), torch.from_numpy(np.array(arrays["embeddings"]))
    scores = {"scores": _in_blocks(head, embeddings)}
    if head.has_proxies:
        prototypes = torch.from_numpy(np.array(arrays["prototypes"]))
        scores["prototype_scores"] = _in_blocks(lambda e: head(e, weight=prototypes), embeddings)
    return scores


def _head(run: Run, arrays: Mapping[str, np.ndarray], name: str) -> models.Head:
    """The head of a run with its recorded weights."""
    import torch

    import models
    from training.rebuild import rebuilding

    state = {
        key.removeprefix(_HEAD): torch.from_numpy(np.array(value))
        for key, value in arrays.items()
        if key.startswith(_HEAD)
    }
    try:
        head = models.rebuild_head(rebuilding(run.options), run.hierarchy, state)
    except Exception as error:  # odd options of a config.json from elsewhere raise almost anything
        raise RunError(
            f"{run.folder / name}.pkl does not fit the head of config.json"
            f" ({type(error).__name__}: {error})"
        ) from error
    return head.eval()


def _in_blocks(
    score: Callable[[torch.Tensor], torch.Tensor], embeddings: torch.Tensor
) -> np.ndarray:
    """Scores (S, C) float32 in a temporary file, which ends with the array."""
    import torch

    file = tempfile.TemporaryFile()  # noqa: SIM115  the array holds it open
    with torch.no_grad():
        classes = score(embeddings[:1]).shape[1]
        for rows in row_blocks(len(embeddings), classes):
            score(embeddings[rows]).float().numpy().tofile(file)
    file.flush()
    return np.memmap(file, np.float32, "r", shape=(len(embeddings), classes))
