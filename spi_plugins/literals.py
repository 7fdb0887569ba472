"""Values as people and rl_zoo3 write them in words and files. Nothing is run."""

import ast
from typing import Any


def read_value(text: str) -> Any:
    """A Python literal, also with ``dict(a=1)``, and with ``nn.ReLU`` for its last name; or else the text itself."""
    try:
        tree = _Literals().visit(ast.parse(text.strip(), mode="eval"))
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


class _Literals(ast.NodeTransformer):
    """Turns what rl_zoo3 evaluates in its ``policy_kwargs`` into literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``dict(a=1)`` becomes ``{"a": 1}``."""
        names = [keyword.arg for keyword in node.keywords]
        if not (isinstance(node.func, ast.Name) and node.func.id == "dict") or node.args or None in names:
            return node
        keys: list[ast.expr | None] = [ast.Constant(name) for name in names]
        return ast.Dict(keys, [self.visit(keyword.value) for keyword in node.keywords])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``nn.ReLU`` becomes ``"ReLU"``, which our algorithms know."""
        modules = ast.unparse(node.value)
        return ast.Constant(node.attr) if modules in ("nn", "th.nn", "torch.nn") else node
