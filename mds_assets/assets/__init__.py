"""The tables: one module a layer."""
