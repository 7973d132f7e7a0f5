"""Nothing outside methods/ knows a method by its name, save its own chapter, the profiles and what is installed."""

import ast
import re

from course_utils.methods import METHODS
from course_utils.paths import PROJECT

# A name as a word of its own. "head" and "full" are words of the language too, and mean parts and profiles.
NAME = re.compile(rf"(?<![\w@])({'|'.join(name for name in METHODS if name not in ('head', 'full'))})(?![\w])")
FILES = [
    path
    for folder in ("course_utils", "benchmarks", "tests")
    for path in sorted((PROJECT / folder).rglob("*.py"))
    if "methods" not in path.parts
]


def test_no_text_of_the_code_holds_a_methods_name():
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):  # docstrings may give examples
            match getattr(node, "body", None):
                case [ast.Expr(value=ast.Constant(value=str())), *_] as body:
                    del body[0]
        found += [
            f"{path.relative_to(PROJECT)}, line {node.lineno}: {node.value[:60]!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.search(node.value)
        ]
    assert len(FILES) > 100 and not found
