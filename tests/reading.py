"""How much of a notebook is ideas and how much is text: ``python tests/reading.py`` prints a row per notebook.

Counted is the main line: no exercise, none of its hints, nothing below "## Exercises". A line of code carries an idea
if its statement computes something: arithmetic, a comparison, a call of torch or numpy, a method of a value at hand.
An import, a setting, a drawing, a print of what is there, an assertion, or a statement that only calls the package
carries none.
"""

import ast
import json
import re
import sys
from pathlib import Path

from cifar_helpers.words import plain

BOOKKEEPING = {"page", "figures", "quiz", "checks", "widgets", "words", "plans", "notebook", "display", "interact"}
BOOKKEEPING |= {"study"}  # a notebook's figures and tables, one call each
PLAIN = {"zip", "map", "dict", "list", "len", "sorted", "min", "max", "sum", "enumerate", "range", "set", "str", "next"}
TAKEN = {"append", "items", "values", "keys", "update", "extend", "join", "format", "strip", "where", "get", "bands"}


def root(node: ast.expr) -> str:
    """The name that a chain of attributes, calls and indices begins with."""
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")


def computes(node: ast.AST, package: set[str]) -> bool:
    """Whether anything is computed in view below this node; what stands inside a text does not count."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert, ast.JoinedStr)):
        return False
    if isinstance(node, ast.Call):
        if root(node) in BOOKKEEPING:
            return False
        if root(node) not in package | PLAIN | {"print", ""} and getattr(node.func, "attr", "") not in TAKEN:
            return True
    if isinstance(node, ast.Compare) and not isinstance(node.ops[0], (ast.In, ast.NotIn, ast.Eq, ast.Is)):
        return True
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
        written = (ast.JoinedStr, ast.List, ast.Dict, ast.ListComp)
        if not any(isinstance(s, written) or isinstance(getattr(s, "value", 0), str) for s in sides):
            return True
    return any(computes(child, package) for child in ast.iter_child_nodes(node))


def lines(source: str, package: set[str]) -> tuple[int, int]:
    """Lines of code in a cell, and those of them that carry an idea."""
    code = {n for n, line in enumerate(source.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")}
    ideas = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) or computes(node, package):
            ideas |= set(range(node.lineno, node.end_lineno + 1))
    return len(code), len(ideas & code)


def count(cells: list[dict]) -> tuple[int, int, int]:
    """Lines of code, of ideas, and words of text in the main line of a notebook."""
    sources = [("".join(cell["source"]), cell) for cell in cells]
    tree = [node for text, cell in sources if cell["cell_type"] == "code" for node in ast.walk(ast.parse(text))]
    imported = [node for node in tree if isinstance(node, ast.ImportFrom) and node.module.startswith("cifar_helpers")]
    package = {alias.asname or alias.name for node in imported for alias in node.names}
    code = ideas = said = 0
    for text, cell in sources:
        if text.startswith("## Exercises"):
            break
        if re.match(r"### (Exercise|\d+ ·)", text) or text.startswith("checks.") or "nbgrader" in cell["metadata"]:
            continue
        if cell["cell_type"] == "markdown":
            said += len(plain(text).split())
        elif "parameters" in cell["metadata"].get("tags", []):
            code += len(text.splitlines())
        else:
            more, carry = lines(text, package)
            code, ideas = code + more, ideas + carry
    return code, ideas, said


if __name__ == "__main__":
    print("notebook                       lines  ideas  words a line")
    for path in map(Path, sys.argv[1:] or sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))):
        code, ideas, words = count(json.loads(path.read_text(encoding="utf-8"))["cells"])
        print(f"{path.stem:30} {code:5} {ideas / code:6.0%} {words / code:9.1f}  ({words} words)")
