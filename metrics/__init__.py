"""Measures of scores, embeddings and class vectors against the labels and the class hierarchy, all
numpy arrays.

Nothing here needs torch, though scikit-bio, which infers the trees, imports it where it is
installed.
"""

from metrics.calibration import fit_temperature
from metrics.decisions import RULES, decide
from metrics.geometry import diagnostics
from metrics.outputs import Outputs
from metrics.result import Result
from metrics.suite import METRICS, evaluate

__all__ = [
    "METRICS",
    "RULES",
    "Outputs",
    "Result",
    "decide",
    "diagnostics",
    "evaluate",
    "fit_temperature",
]
