"""The deployment of `deploy/celery` on this machine: what it bears, and how fast it is.

RabbitMQ, PostgreSQL, a code server, the daemon and Celery workers, all real, on free ports of 127.0.0.1 and in a
temporary folder. `python -m mds_assets_tests.github.scale --help` says what can be asked for.
"""
