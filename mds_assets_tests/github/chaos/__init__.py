"""Chaos: seeded schedules of killed, refused and concurrent runs, and a search for what they lost, doubled or let in.

`schedule.py` says what happens, `faults.py` what GitHub does wrong, `process.py` is a run that can die at any moment,
`ended.py` one that is over, `checks.py` what must hold afterwards, `play.py` brings them together. `make chaos` plays
200 schedules.
"""
