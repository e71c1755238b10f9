"""Text that attacks whoever shows it: known tricks, and what hypothesis makes of every category of Unicode."""

import unicodedata

from hypothesis import strategies as st

HOSTILE = [
    "\x1b[2J\x1b[31mred\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "\x9b31mC1 \x90 DCS",
    "[red]markup[/red] [link=https://evil.example]x[/link] [a[b]c] \\[d]",
    ":tada: :warning:",
    "=HYPERLINK(\"https://evil.example\",\"x\")",
    "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1",  # noqa: RUF001
    "@channel @here <!channel> <!here> <https://evil.example|x> [x](https://evil.example) ![](https://evil.example)",
    "``` `code` ~~~",
    "</svg><script>alert(1)</script>\" onload='x' &amp; ]]> {{ 7 * 7 }} {% raw %}",
    "safe\u202e\u2066gnp.exe\u2069", "a\u200bb\u200dc\ufeff\u00ad", "\U000e0041\U000e007f",
    "\ud800\udfff\x00\ufffe\uffff\U0001fffe",
    "one\r\n2026-01-01 00:00:00 +0000 - dagster - INFO - forged\u2028\u2029\x85\x0b\x0c",
    "👩\u200d💻 क्\u200dष",
]  # fmt: skip
# Of every category of Unicode, assigned or not, and of every range that acts.
CHARACTER = st.one_of(
    *(st.characters(categories=[category]) for category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")),
    *(st.characters(categories=[category]) for category in ("L", "M", "N", "P", "S")),
    st.characters(max_codepoint=0x9F),
    st.sampled_from("\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2066\u2069\u2028\u2029\ufeff\u061c\u180e\x1b\x07\x9b"),
    st.sampled_from("=+-@'`\"<>&[]()!|:#*_~\\{}%"),
)
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(CHARACTER, max_size=30)) | st.tuples(
    st.sampled_from(HOSTILE), st.text(CHARACTER, max_size=8)
).map("".join)
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = set("\u200b\u200e\u200f\u061c\u180e\ufeff\u00ad\u2060\u2028\u2029")


def acting(text: str, keep: str = "") -> set[str]:
    """The characters that a display obeys or hides, by Unicode's own tables instead of ours."""
    return {
        each
        for each in text
        if each not in keep
        and (
            unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"}
            or unicodedata.bidirectional(each) in BIDI
            or each in MARKS
            or 0xE0000 <= ord(each) <= 0xE007F
            or ord(each) & 0xFFFE == 0xFFFE
        )
    }
