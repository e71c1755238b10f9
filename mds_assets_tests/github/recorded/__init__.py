"""A slice of the recorded answers of GitHub's API, for clones without the full recordings; see README.md."""
