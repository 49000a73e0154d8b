"""What a trained network makes of the images of whole splits: embeddings, scores, prototypes."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch

from data import Batches, Splits
from data.progress import progress
from models import PrototypeSums
from training.scores import KEPT_SCORES, head_arrays
from training.setup import TrainingState


def embed(
    training: TrainingState, splits: Splits, indices: np.ndarray, what: str | None = None
) -> Iterator[tuple]:
    """Yields (embeddings (B, D) float32, targets (B,)) of this process's part of clean images, in
    order.
    """
    training.model.eval()
    team, device = training.team, training.devices.main
    batches = Batches(
        splits,
        team.my_share(indices),
        training.options["batch_size"],
        device=device,
        features=training.features,
    )
    for images, sizes, targets in progress(
        batches, desc=what, disable=what is None or not team.first, leave=False
    ):
        with training.autocast():
            embeddings = training.network(images, sizes)
        yield embeddings.float(), targets


@torch.no_grad()
def compute_outputs(
    training: TrainingState, splits: Splits, names: Iterable[str] = ("test",)
) -> dict[str, dict[str, np.ndarray]]:
    """Embeddings and scores of whole splits, after a clean pass over the training images with a
    class for the prototypes.

    Returns: For each split named (those of split.csv) a dict of arrays: labels (S,), as in
    `Splits`, files (S,), sizes (S, 2), groups (S,), names, where there are some, embeddings (S, D),
    scores (S, C), class_vectors (C, D), prototypes (C, D) with NaN rows for classes without
    training images, prototype_counts (C,); for heads with proxies prototype_scores (S, C); living
    (C,) where known. Where a split has more scores than `KEPT_SCORES`, the arrays of the head stand
    in their place. Of several processes only the first has the arrays of single images.
    """
    sums = PrototypeSums(splits.num_classes, training.model.dim, training.devices.main)
    for embeddings, targets in embed(
        training, splits, splits.with_class(splits.train), "prototypes"
    ):
        sums.add(embeddings, targets)
    training.team.sum(sums.sums, sums.squares, sums.counts)
    prototypes, counts, _ = sums.result()
    shared = {"prototypes": prototypes.cpu().numpy(), "prototype_counts": counts.cpu().numpy()}
    shared["class_vectors"] = training.model.head.class_vectors()
    if splits.living is not None:
        shared["living"] = splits.living
    return {name: {**_outputs(training, splits, name, prototypes), **shared} for name in names}


def _groups(splits: Splits, indices: np.ndarray) -> dict[str, np.ndarray]:
    if splits.groups is None:
        return {}
    return {"groups": np.array([splits.group_names[group] for group in splits.groups[indices]])}


def _outputs(
    training: TrainingState, splits: Splits, name: str, prototypes: torch.Tensor
) -> dict[str, np.ndarray]:
    """What belongs to the images of one split, gathered batch by batch on the CPU."""
    head, indices = training.model.head, getattr(splits, name)
    kept = len(indices) * splits.num_classes <= KEPT_SCORES
    scorers = {"scores": head} if kept else {}
    if kept and head.has_proxies:
        scorers["prototype_scores"] = partial(head, weight=prototypes)
    parts = {key: [] for key in ("embeddings", *scorers)}
    for embeddings, _ in embed(training, splits, indices, name):
        parts["embeddings"].append(embeddings.cpu())
        for key, scorer in scorers.items():
            parts[key].append(scorer(embeddings).cpu())
    gathered = training.team.gather(parts)
    if not gathered:
        return {}
    return {
        "labels": splits.labels[indices],
        "files": np.array([splits.files[i] for i in indices]),
        "sizes": np.asarray(splits.sizes[indices]),
        **_groups(splits, indices),
        **({} if kept else head_arrays(head)),
        **{
            key: torch.cat([batch for one in gathered for batch in one[key]]).numpy()
            for key in parts
        },
    }
