"""Run the main job from the command line: in this process, or in one of its own.

Runs made here are ordinary Dagster runs: the UI shows them like those that the sensor asked for.
"""
