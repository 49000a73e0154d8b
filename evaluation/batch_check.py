"""Whether new images look to the model like those that it was calibrated on."""

import numpy as np
from scipy.stats import ks_2samp

from metrics.posterior import softmax

FALSE_ALARMS = 0.001  # share of batches of the same kind of images that are called unlike
ENOUGH = 200  # images to compare with
FEWEST = 5  # images in each of both; with fewer there is nothing to compare


def traits(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Largest score and largest probability of each image, (S, 2) float64."""
    largest = scores.max(axis=1, initial=-np.inf)
    probability = softmax(scores / temperature).max(axis=1, initial=0.0)
    return np.stack([largest, probability], axis=1).astype(np.float64)


def is_unlike(new: np.ndarray, reference: np.ndarray, tests: int | None = None) -> bool:
    """Whether the traits of new images are distributed otherwise than those of images that chose
    nothing.

    A Kolmogorov-Smirnov test for each trait, which share FALSE_ALARMS evenly. That images are
    unlike can be due to other objects, another camera, or another mix of the classes; that they are
    not called unlike does not show that they are of the same kind.

    Args:
        new: (S, K) of `traits`, or other numbers of each image; rows with NaN are left out.
        reference: (n, K) of images of the run that chose nothing.
        tests: Number of tests in all, where other traits have other reference images; K by default.

    Source: Hendrycks & Gimpel 2017 and Hendrycks et al. 2022 for the traits as signs of foreign
    images.
    """
    new, reference = (rows[~np.isnan(rows).any(axis=1)] for rows in (new, reference))
    if min(len(new), len(reference)) < FEWEST:
        return False
    p = [ks_2samp(new[:, i], reference[:, i]).pvalue for i in range(new.shape[1])]
    return bool(min(p) < FALSE_ALARMS / (tests or len(p)))
