"""How the report is made: its figures, charts and page. Apart from `assets/`, as what draws takes long to import."""
