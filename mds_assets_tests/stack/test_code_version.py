"""Promises of the code version: a change of meaning changes it, wherever it is; a change of looks doesn't."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.stack import code_version
from mds_assets.stack.code_version import function_version, sql_version

MARTS = '''
"""Marts."""
from functools import cache
import shop.rates as given_rates
from shop import tools
from shop.tools import rounded as to_cents, Basket
from .names import *

LIMIT: int = 10
FACTORS = {"a": 1}
FACTORS["b"] = 2
FACTORS.update(c=3)
UNUSED = 1
day = "module"

def decorated(**options):
    return lambda function: function

def helper(total):
    return other(total) + LIMIT

def other(total):
    return total * FACTORS["a"] if total else helper(total)

def unrelated():
    return UNUSED

@decorated(tags=1)
def revenue(orders, day=3):
    """Revenue."""
    # The sum of all.
    import shop.late as late
    total = helper(sum(orders) + 1)
    return Basket(to_cents(total), given_rates.VAT, late.FEE, STARRED, tools.nested.DEEP, day)
'''
SHOP = {
    "__init__": "",
    "marts": MARTS,
    "rates": "VAT = 19\nOTHER = 1\n",
    "late": "FEE = 5\n",
    "names": "STARRED = 1\n",
    "nested": "DEEP = 1\nFLAT = 1\n",
    "tools": (
        "from . import nested\n"
        "def rounded(value): return round(value, digits())\n"
        "def digits(): return 2\n"
        "class Base:\n    factor = 1\n"
        "class Basket(Base):\n    def __init__(self, *parts): self.parts = parts\n"
    ),
}

Version = Callable[..., str]


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """The version of a function of the package `shop`, after replacing text in its files: `{"marts": ("1", "2")}`."""
    copies = iter(range(100))

    def of(changes: dict[str, tuple[str, str]] | None = None, function: str = "revenue", **files: str) -> str:
        folder = tmp_path / str(next(copies))
        (folder / "shop").mkdir(parents=True)
        for name, text in (SHOP | files).items():
            old, new = (changes or {}).get(name, ("", ""))
            assert old in text
            target = folder / "shop" / f"{name.replace('.', '/')}.py"
            target.parent.mkdir(exist_ok=True)
            target.write_text(text.replace(old, new) if old else text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            found: Any = importlib.import_module("shop.marts")
            for part in function.split("."):
                found = getattr(found, part)
            return function_version(found)

    yield of
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def marts(old: str, new: str) -> dict[str, tuple[str, str]]:
    return {"marts": (old, new)}


@pytest.mark.parametrize(
    "change",
    [
        marts("    # The sum of all.\n", "\n\n    # Something else.\n"),
        marts('    """Revenue."""\n', ""),
        marts('"""Marts."""', '"""Other marts."""'),
        marts("tags=1", "tags=2"),
        marts("@decorated(tags=1)\n", ""),
        marts("helper(sum(orders) + 1)", "(helper(\n        (sum(orders) + 1),\n    ))"),
        marts("return UNUSED", "return 7"),
        marts("UNUSED = 1", "UNUSED = 2"),
        marts('["b"]', "['b']"),
        {"rates": ("OTHER = 1", "OTHER = 2")},
        {"nested": ("FLAT = 1", "FLAT = 2")},
        {"tools": ("    factor = 1", '    """A base."""\n\n    factor = 1  # nothing')},
    ],
    ids=str,
)
def test_looks_and_unrelated_code_keep_the_version(version: Version, change: dict[str, tuple[str, str]]):
    assert version(change) == version()


@pytest.mark.parametrize(
    "change",
    [
        marts("sum(orders) + 1", "sum(orders) + 2"),
        marts("sum(orders) + 1", "sum(orders) + 1.0"),
        marts("sum(orders) + 1", "sum(orders) - 1"),
        marts("day=3", "day=4"),
        marts("day=3", "*, day=3"),
        marts("total * FACTORS", "total / FACTORS"),  # the helper's helper
        marts("LIMIT: int = 10", "LIMIT: int = 11"),
        marts('FACTORS = {"a": 1}', 'FACTORS = {"a": 2}'),
        marts('FACTORS["b"] = 2', 'FACTORS["b"] = 3'),
        marts("FACTORS.update(c=3)", "FACTORS.update(c=4)"),
        marts("rounded as to_cents", "digits as to_cents"),
        {"rates": ("VAT = 19", "VAT = 7")},
        {"late": ("FEE = 5", "FEE = 6")},
        {"names": ("STARRED = 1", "STARRED = 2")},
        {"nested": ("DEEP = 1", "DEEP = 2")},
        {"tools": ("return 2", "return 3")},
        {"tools": ("factor = 1", "factor = 2")},  # the class's base
        {"tools": ("self.parts = parts", "self.parts = parts[1:]")},
    ],
    ids=str,
)
def test_a_change_of_meaning_changes_the_version(version: Version, change: dict[str, tuple[str, str]]):
    assert version(change) != version()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(): return [X for X in (1,)], X\nX = 1", "def f(): return [X for X in (1,)], X\nX = 2"),
        ("X = 1\ndef f():\n def g(): X = 3\n return X", "X = 2\ndef f():\n def g(): X = 3\n return X"),
        ("X = 1\ndef f():\n global X\n X += 1", "X = 2\ndef f():\n global X\n X += 1"),
        ("X = 1\ndef f(a=lambda: X): pass", "X = 2\ndef f(a=lambda: X): pass"),
        ("X = 1\ndef f(a=lambda X: 1): return X", "X = 2\ndef f(a=lambda X: 1): return X"),
        ("X = 1\nX = 2\ndef f(): return X", "X = 2\nX = 1\ndef f(): return X"),
        ("if 1:\n X = 1\nelse:\n X = 2\ndef f(): return X", "if 0:\n X = 1\nelse:\n X = 2\ndef f(): return X"),
        ("try: from shop.rates import VAT as X\nexcept ImportError: X = 1\ndef f(): return X",
         "try: from shop.rates import OTHER as X\nexcept ImportError: X = 1\ndef f(): return X"),
        ("from math import floor as g\ndef f(): return g(1.5)", "from math import ceil as g\ndef f(): return g(1.5)"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from shop.rates import VAT as X\ndef f(): return X",
         "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from shop.late import FEE as X\ndef f(): return X"),
        ("X = 1\ndef f():\n X = 3\n def g():\n  global X\n  return X\n return g",
         "X = 2\ndef f():\n X = 3\n def g():\n  global X\n  return X\n return g"),
        ("X = 1\ndef f():\n class C:\n  X = X\n return C", "X = 2\ndef f():\n class C:\n  X = X\n return C"),
        ("X = [1]\ndef f(): return [X for X in X]", "X = [2]\ndef f(): return [X for X in X]"),
        ("def f():\n try: from shop.rates import VAT as X\n except ImportError: X = 1\n return X",
         "def f():\n try: from shop.late import FEE as X\n except ImportError: X = 1\n return X"),
        ("def f(): return g\ndef __getattr__(n): return 1\nfrom . import marts as me\ng = me.late_name",
         "def f(): return g\ndef __getattr__(n): return 2\nfrom . import marts as me\ng = me.late_name"),
        ("class C:\n a = 1\n def m(self): return self.a\nf = C.m",
         "class C:\n a = 2\n def m(self): return self.a\nf = C.m"),
        ("import functools\ndef g(a): return 1\nf = functools.partial(g, 1)",
         "import functools\ndef g(a): return 1\nf = functools.partial(g, 2)"),
        ("import functools\n@functools.cache\ndef f(): return 1",
         "import functools\n@functools.cache\ndef f(): return 2"),
        ("f = lambda: 1", "f = lambda: 2"),
        ("from functools import singledispatch\n@singledispatch\ndef g(a): return 1\n"
         "@g.register\ndef _(a: int): return 1\n"
         "def f(): return g(1)",
         "from functools import singledispatch\n@singledispatch\ndef g(a): return 1\n"
         "@g.register\ndef _(a: int): return 2\n"
         "def f(): return g(1)"),
    ],
)  # fmt: skip
def test_scopes_and_statements_that_bind_a_name_count(version: Version, before: str, after: str):
    assert version(function="f", marts=before) == version(function="f", marts=f"# the same\n\n{before}")
    assert version(function="f", marts=before) != version(function="f", marts=after)


def test_a_module_that_is_passed_around_counts_as_a_whole(version: Version):
    source = "from shop import rates\ndef f(): return getattr(rates, 'V' + 'AT')"
    changed = version({"rates": ("VAT = 19", "VAT = 7")}, function="f", marts=source)
    assert changed != version(function="f", marts=source)


def test_code_of_another_package_counts_by_its_name(version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = "from elsewhere import rate\ndef f(): return rate()"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "elsewhere.py").write_text("def rate(): return 1\ndef other_rate(): return 1\n")
    before = version(function="f", marts=source)
    (tmp_path / "elsewhere.py").write_text("def rate(): return 2\ndef other_rate(): return 1\n")
    assert version(function="f", marts=source) == before
    assert version(function="f", marts=source.replace("import rate", "import other_rate as rate")) != before


def test_the_stack_is_not_followed_into_and_not_out_of(version: Version, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(code_version, "STACK", "shop.tools")
    assert version({"tools": ("return 2", "return 3")}) == version()  # the stack, from outside
    monkeypatch.setattr(code_version, "STACK", "shop.marts")
    assert version({"tools": ("return 2", "return 3")}) == version()  # from inside
    assert version(marts("LIMIT: int = 10", "LIMIT: int = 11")) != version()  # its own module


def test_a_closure_counts_with_its_values_and_functions(version: Version):
    source = """
def one(): return 1
def two(): return 2
def make(value):
    def inner(total): return total, value
    return inner
"""
    versions = [
        version(function="f", marts=f"{source}\nf = make({value})")
        for value in (
            "1",
            "1.0",
            "'1'",
            "None",
            "True",
            "(1, 'a')",
            "[1]",
            "{'a': [1]}",
            "{'a'}",
            "one",
            "two",
            "__import__('datetime').date.min",
        )
    ]
    assert len(set(versions)) == len(versions)
    changed = version(function="f", marts=f"{source}\nf = make(one)".replace("return 1", "return 3"))
    assert changed != version(function="f", marts=f"{source}\nf = make(one)")
    defaults = "def make(n):\n def inner(n=n): return n\n return inner\nf = make({})"
    assert version(function="f", marts=defaults.format(1)) != version(function="f", marts=defaults.format(2))


def test_a_wrapper_counts_with_the_function_inside(version: Version):
    source = """
import functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args) * 2
    return wrapper
@twice
def f(): return 1
"""
    before = version(function="f", marts=source)
    assert version(function="f", marts=source.replace("return 1", "return 2")) != before
    assert version(function="f", marts=source.replace("* 2", "* 3")) != before


def test_the_arguments_of_a_decorator_below_the_outermost_count(version: Version):
    source = "from functools import *\n@cache\n@lru_cache(maxsize={})\ndef f(): return 1"
    assert version(function="f", marts=source.format(1)) != version(function="f", marts=source.format(2))


def test_references_in_a_circle_end(version: Version):
    closure = "def make(value):\n def f(): return value, f\n return f\nloop = []\nloop.append(loop)\nf = make(loop)"
    assert version(function="f", marts=closure)
    a = "import shop.b\ndef f(): return shop.b.g()\nx = y = lambda: (x, y)"
    b = "import shop.marts\nfrom shop.marts import *\nfrom .b import *\ndef g(): return shop.marts.f(), missing"
    assert version(function="f", marts=a, b=b)


def test_a_function_without_source_counts_by_its_bytecode():
    def made(source: str) -> Callable[..., object]:
        names: dict[str, Any] = {}
        exec(source, names)  # noqa: S102
        return names["f"]

    source = "X = 1\ndef g(): return 1\ndef f(a, b=8): return a + 1, X, a in {'a', 'b'}, [lambda: g() + 5]"
    before = function_version(made(source))
    assert function_version(made(f"\n\n# the same\n{source}")) == before
    for old, new in {
        "a + 1": "a + 2",
        "a + ": "a - ",
        "5": "6",
        "8": "9",
    }.items():
        assert function_version(made(source.replace(old, new, 1))) != before


def test_several_functions_count_together():
    assert function_version(sql_version, function_version) != function_version(sql_version)


def test_another_process_gets_the_same_version():
    code = (
        "from mds_assets.stack.code_version import *; from mds_assets.github.session import Session;"
        'exec(\'def f(a): return a in {1, 2, "a", "b"}\');'
        "print(function_version(sql_version, Session.only, f), sql_version('SELECT 1'))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


QUERY = "SELECT id, 'it''s -- a' AS Label, count(*) OVER (PARTITION BY x) FROM orders WHERE total >= 1.5e3"


@pytest.mark.parametrize(
    "same",
    [
        QUERY.replace(" ", "\n\t "),
        f"-- a\n{QUERY} /* b /* c */ */ -- d",
        QUERY.replace("SELECT", "select").replace("FROM", "From").replace("AS", "as"),
        QUERY.replace("OVER (PARTITION BY", "over (partition By"),
    ],
)  # fmt: skip
def test_whitespace_comments_and_the_case_of_keywords_keep_a_querys_version(same: str):
    spaced = same.replace("'it''s\n\t --\n\t a'", "'it''s -- a'")
    assert sql_version(spaced) == sql_version(QUERY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-- a", "--  a"),
        ("it''s", "It''s"),
        ("'it''s -- a'", "\"it''s -- a\""),
        ("Label", "label"),
        ("id,", "ID,"),
        ("1.5e3", "1.5e4"),
        ("1.5e3", "1.5 e3"),
        (">=", ">"),
        ("orders", "order_s"),
        ("WHERE", "-- WHERE"),
        ("AS Label", "AS Select"),
        ("'it''s", "'é''s"),
    ],
)
def test_text_names_numbers_and_operators_change_a_querys_version(old: str, new: str):
    assert sql_version(QUERY.replace(old, new)) != sql_version(QUERY)


def test_the_case_of_a_keyword_counts_where_it_names_a_column():
    assert sql_version("SELECT 1 AS Select") != sql_version("SELECT 1 AS select")
    assert sql_version("SELECT 1 AS Day") != sql_version("SELECT 1 AS day")


TOKENS = [
    query.split("|")
    for query in (
        "SELECT|a|.|b|::|DATE|,|'x -- y'|AS|Day|FROM|t|WHERE|é|=|'ü'",
        "SELECT|-|1|-|.5|*|1e3|,|\"Q /* i\"|/|$$ a $$|+|e'\\n'|,|x|->>|'$.b'",
        "FROM|read_parquet|(|$1|)|SELECT|*|EXCLUDE|(|day|)|,|{|'k'|:|[|1|]|}",
        "WITH|w|AS|(|SELECT|NULL|)|SELECT|sum|(|n|)|FILTER|(|WHERE|n|>=|1|)|;",
    )
]
BLANKS = [" ", "\n", "\t", "\r\n", " /* ' */ ", ' /* /* " */ */', " -- it's $$\n", " --\n", "\n/**/\n"]
GAPS = st.lists(st.sampled_from(BLANKS), min_size=1).map("".join)


@given(st.data(), st.sampled_from(TOKENS))
def test_whatever_stands_between_tokens_never_counts(data: st.DataObject, tokens: list[str]):
    written = "".join(data.draw(GAPS) + token for token in tokens) + data.draw(GAPS)
    assert sql_version(written) == sql_version(" ".join(tokens))
