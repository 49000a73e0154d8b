"""The command line: flags, rules between them, files of arguments, and the name that options give
to a run.
"""
