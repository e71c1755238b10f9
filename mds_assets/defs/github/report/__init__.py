"""The report's figures, charts and page. Separate from `reports.py`, because the charting library is slow to import."""
