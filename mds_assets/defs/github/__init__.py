"""GitHub, the worked example: which repositories of an organisation are active, and how they move."""
