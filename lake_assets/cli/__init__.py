"""The command line: parse, call, print.

Results go to stdout; logs, progress, questions and errors go to stderr. Only typer is imported
before a command runs: `lake --help` has to answer at once.
"""
