"""Recorded runs at work: measured again, with the model rebuilt, and asked about new images."""
