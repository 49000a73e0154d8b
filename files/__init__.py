"""Files that appear whole or not at all, locks between processes, and pickles that run no
program.
"""
