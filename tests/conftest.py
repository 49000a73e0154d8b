"""Keeps torch to one thread: several test processes share the cores of a test machine."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
