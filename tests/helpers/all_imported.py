"""Imports all that a script imports, now or when it is used: for the server from which `forked`
forks processes. A process that imports as much by itself takes five seconds of processor time.
"""

import pytest  # noqa: F401
import torch._dynamo  # noqa: F401 - which torch's optimizers import when they are first used
from PIL import Image

import evaluate  # noqa: F401
import predict  # noqa: F401
import train  # noqa: F401
from data import folder  # noqa: F401
from evaluation import files, measure  # noqa: F401
from metrics import trees
from reports import overview  # noqa: F401
from training import experiment  # noqa: F401

Image.init()  # imports the readers of all formats
trees.import_skbio()
