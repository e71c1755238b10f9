"""The report's figures, charts and pages. The asset is in `reports.py`."""
