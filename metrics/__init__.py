"""Measures of scores, embeddings and class vectors against the labels and the class hierarchy, all
numpy arrays.

Nothing here needs torch, though scikit-bio, which infers the trees, imports it where it is
installed. A name is imported when it is first used: predict.py, whose --help shows the decision
rules, need not wait for the libraries behind the measures.
"""

from files.lazy import imported_from

HOMES = {
    "METRICS": "suite",
    "RULES": "decisions",
    "Outputs": "outputs",
    "evaluate": "suite",
    "fit_temperature": "calibration",
}

__all__ = list(HOMES)
__getattr__ = imported_from(__name__, HOMES)
