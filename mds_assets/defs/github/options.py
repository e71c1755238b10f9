"""GitHub's options for `mds run`: for each option, the setting it stands for and its help text."""

RUN_OPTIONS = {"org": ("GITHUB_ORG", "Organisations or users, comma-separated; default GITHUB_ORG, else the sample.")}
