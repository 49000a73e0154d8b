"""Training: what a run consists of, the only training loop, several devices and processes, one
experiment.
"""
