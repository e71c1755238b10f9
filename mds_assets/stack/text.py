r"""How text from outside reaches each sink: terminal, log, HTML, SVG, CSV, JSON, chat.

Names, titles and error messages come from strangers. A terminal obeys escape sequences, a spreadsheet computes
formulas, a chat notifies people, and every display reorders text at a bidi override (https://trojansource.codes).

| sink | function | what happens to such text |
|---|---|---|
| terminal | `printable` | `\x1b` for an escape character, likewise for all others that are invisible or act |
| log | `log_text` | the same; a line break stays, but the next line begins with a bar: it can't pass for an entry |
| HTML, SVG | `printable`, then escaped by jinja2's autoescape, or by `svg_text` | the same, then `&lt;` for `<` |
| CSV | `FORMULA`, `FORMULA_AS_TEXT` | a leading ' for text that a spreadsheet would compute; else as it is |
| JSON | `json_text` | `\u001b`: the same text to whoever parses it |
| chat | `chat_text` | a code block, in which neither mentions nor links nor images work |

Secrets are removed before, by `settings.redact`. `count` is for text of our own.
"""

import html
import json
import re

# Line and tab controls are among them: only `keep` lets them through. Joiners stay where they join (emoji, Persian,
# Indic), but not beside ASCII, where they would only make two equal-looking names differ.
_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi, line breaks
    "\ud800-\udfff\ufdd0-\ufdef"  # surrogates and noncharacters
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"  # invisible: musical controls, tags
    "|(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])"
)

# A cell that a spreadsheet would take for a formula (https://owasp.org/www-community/attacks/CSV_Injection), and its
# replacement in the syntax of Polars and Rust. Cells that look like the replacement get another ', so that it can be
# undone: remove one ' wherever this matches.
FORMULA, FORMULA_AS_TEXT = "^'*[=+\\-@\t\r\n＝＋－＠]", "'$0"  # noqa: RUF001  # full-width, which Excel computes too


def printable(text: str, *, keep: str = "") -> str:
    r"""The text on one line, with an escape such as `\x1b` for each character that is invisible or acts.

    Args:
        text: Any text, also with lone surrogates.
        keep: Such characters to leave as they are.
    """
    if text.isprintable():  # most text: what acts is never printable to Python
        return text
    return _ACTS.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def log_text(text: str) -> str:
    """The text for a log, with `| ` before every line but the first; the same when applied twice."""
    return re.sub(r"\n(?!\| )", "\n| ", printable(text, keep="\n\t"))


def svg_text(text: str) -> str:
    """The text as the content of an XML element or attribute."""
    return html.escape(printable(text))


def json_text(document: str) -> str:
    """A JSON document with JSON's own escapes for characters that act; it parses as the same values."""
    return _ACTS.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], document)


def chat_text(text: str) -> str:
    """Lines of text as a message for Slack, Mattermost or similar: a code block, which a backtick can't close."""
    # Slack reads <!channel> and <https://...|text> in code blocks too, and asks for these three characters escaped.
    inside = html.escape(printable(text, keep="\n").replace("`", "'"), quote=False)
    return f"```\n{inside}\n```"


def count(number: int, thing: str) -> str:
    """A number of things: `1 day`, `1,000 days`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
