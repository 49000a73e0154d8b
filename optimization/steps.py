"""What happens to a step beside the optimizer's own: shorter gradients, averaged weights."""

from registry import Option, below_one, positive

CLIP = Option(
    "clip",
    positive,
    None,
    "NORM",
    "shorten the gradient of a step, over all weights, to this length where it is longer",
)
AVERAGE = Option(
    "average",
    below_one,
    0,
    "DECAY",
    "evaluate and keep an average of the weights over the steps, in which each step has DECAY times"
    " the share of the next: .999 is about the last thousand steps",
    off=0,
)
OPTIONS = (CLIP, AVERAGE)
