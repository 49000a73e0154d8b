"""How weights move: optimizer, the course of the learning rate, what happens to a step; and which
epoch is the result. What imports torch stands in averaging.py: pages of runs do without.
"""

from optimization import choosing, optimizers, schedules, steps
from optimization.optimizers import OPTIMIZERS, current_lr, parameter_groups
from optimization.schedules import SCHEDULES, build_schedule

OPTIONS = (*optimizers.OPTIONS, *schedules.OPTIONS, *steps.OPTIONS, *choosing.OPTIONS)

__all__ = [
    "OPTIMIZERS",
    "OPTIONS",
    "SCHEDULES",
    "build_schedule",
    "current_lr",
    "parameter_groups",
]
