"""Recorded runs: one run's folder, many runs below a folder, where they come from, and their log to
MLflow.
"""
