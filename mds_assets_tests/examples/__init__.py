"""Promises of the examples: they work as they lie there, in a copy of the project without its other sources."""
