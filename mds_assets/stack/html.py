"""jinja2 for pages of HTML: all that a template writes is escaped and printable, see `text`."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mds_assets.stack.text import printable


def html_environment(folder: Path, keep: str = "") -> Environment:
    """An environment for the templates of a folder.

    Args:
        folder: The folder.
        keep: Characters that act, such as a line break, to leave as they are; a template's own markup, such as a
            macro's, keeps them all.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: (
            printable(value, keep=keep) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
