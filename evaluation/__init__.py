"""Recorded runs at work: measured again, with the model rebuilt, and asked about new images.

from evaluation import load

table = load("record/demo/DR-euc-val/seed1").predict(["photo.jpg", "more_images"])
"""

__all__ = ["load"]


def __getattr__(name: str) -> object:
    # what reads images and models takes seconds to import, which most of this package does without
    if name == "load":
        from evaluation.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
