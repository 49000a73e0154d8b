"""Recorded runs at work: measured again, with the model rebuilt, and asked about new images.

from evaluation import load

table = load("record/demo/DR-euc-val/seed1").predict(["photo.jpg", "more_images"])
"""

from files.lazy import imported_from

__all__ = ["load"]
# what reads images and models takes seconds to import, which most of this package does without
__getattr__ = imported_from(__name__, {"load": "api"})
