"""Power cuts: what a lake, and Dagster's records of it, look like after one.

`recorder` records a run's system calls with strace, `disk` is a model of what a disk keeps of them, `device` cuts the
power of a real file system, `__main__` runs both. Run `python -m mds_assets_tests.stack.power --help`.
"""
