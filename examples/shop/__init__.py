"""A shop: orders from a REST API, customers from PostgreSQL, price lists from CSV files."""
