"""Class priors: what is added to the scores for the shares of the classes in training.

With pi the share of each class in the training data, tau log pi is added

    fit        in training and prediction: the posterior of data with these shares
    balanced   in training alone: the posterior of data with equal shares of all classes
    posthoc    not in training, and taken off in prediction: the same from a network trained plainly

Source: Menon et al. 2021 (logit adjustment: balanced, as a loss, and posthoc); Ren et al. 2020
(balanced softmax: balanced with tau 1); Kim et al. 2023 (fit with tau 1).
"""

from typing import NamedTuple

import numpy as np
import torch

from registry import Option, Registry, positive

TAU = Option(
    "tau",
    positive,
    1.0,
    "FACTOR",
    "of --prior: how many times the log share of a class is added; 1 is Bayes' rule",
)


class Prior(NamedTuple):
    """How often log pi is added, times tau.

    Fields:
        summary: For --help.
        training: In training.
        prediction: In prediction.
        options: What it takes.
        tag: In the names of runs.
        short_flag: A switch that is short for it.
    """

    summary: str
    training: int = 0
    prediction: int = 0
    options: tuple[Option, ...] = ()
    tag: str | None = None
    short_flag: str | None = None


PRIORS = Registry(
    Option(
        "prior",
        default="none",
        help="add --tau times the log share of each class in the training data to its score; with"
        " --loss corr, which trains on cosines, fit and posthoc act when images are scored",
        off="none",
    ),
    {
        "none": Prior("no"),
        "fit": Prior(
            "in training and prediction, for images with the shares of the training data",
            training=1,
            prediction=1,
            options=(TAU,),
            tag="prior",
            short_flag="clspri",
        ),
        "balanced": Prior(
            "in training alone, so that predictions hold where all classes are equally frequent:"
            " balanced softmax, logit-adjusted loss",
            training=1,
            options=(TAU,),
            tag="balanced",
        ),
        "posthoc": Prior(
            "taken off in prediction after plain training, for the same",
            prediction=-1,
            options=(TAU,),
            tag="posthoc",
        ),
    },
)


def prior_from_counts(counts: np.ndarray | torch.Tensor | list) -> torch.Tensor:
    """Class prior pi (C,) float32 from counts (C,) of training images; an absent class counts as
    one image.
    """
    counts = present(counts)
    return torch.from_numpy(counts / counts.sum()).float()


def present(counts: np.ndarray | torch.Tensor | list) -> np.ndarray:
    """Counts (C,) float64 with one image in the place of none."""
    counts = np.asarray(counts).astype(np.float64)
    return np.where(counts > 0, counts, 1.0)
