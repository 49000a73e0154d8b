"""Datasets with their splits, the image cache, batches and augmentation. Torch, but no models and
no losses here.

A name is imported when it is first used: what reads single images need not wait for torch.
"""

from files.lazy import imported_from

HOMES = {
    "Batches": "batches",
    "DATASETS": "catalogue",
    "KINDS": "options",
    "Splits": "splits",
    "augmenter": "transforms",
    "augments": "transforms",
    "defaults": "catalogue",
    "draw_weights": "tails",
    "drawn_counts": "tails",
    "load": "catalogue",
    "mixer": "mixing",
    "mixes": "mixing",
    "split_table": "splits",
    "unused_options": "catalogue",
}

__all__ = list(HOMES)
__getattr__ = imported_from(__name__, HOMES)
