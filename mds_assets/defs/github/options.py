"""GitHub's options of `mds run`: by name the setting that an option stands for, and its help."""

RUN_OPTIONS = {"org": ("GITHUB_ORG", "Organisations or users, comma-separated; default GITHUB_ORG, else the sample.")}
