"""Runs on many machines, through Celery. Only `deploy/celery` refers to this package; nothing imports it.

It needs the extra `scale`.
"""
