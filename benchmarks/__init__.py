"""Benchmarks: the project beside what the machine can do at best and beside what Dagster alone takes.

`make bench` runs `run.py`. What does not belong here: tests of results (`mds_assets_tests/`), anything that the project
imports.
"""
