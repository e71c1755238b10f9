"""Runs on many machines, through Celery. Nothing else imports this package: only `deploy/celery` names it.

It needs the extra `scale`.
"""
