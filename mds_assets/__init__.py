"""The modern data stack in a box: GitHub's API as a trusted, fast, local warehouse."""
