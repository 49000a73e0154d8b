"""Datasets with their splits, the image cache, batches and augmentation. Torch, but no models and
no losses here.

A name is imported when it is first used: what reads single images need not wait for torch.
"""

from importlib import import_module

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


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
