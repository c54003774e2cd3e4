"""Public functions with several parameters, or arrays, document arguments and results."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gen_msa

PACKAGE = Path(gen_msa.__file__).parent
MODULES = [p for p in sorted(PACKAGE.rglob("*.py")) if "_resources" not in p.parts]
ARRAYS = ("Tensor", "ndarray", "Array", "NDArray")


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {ast.unparse(d).split("(")[0] for d in node.decorator_list}
            if not node.name.startswith("_") and not decorators & {"overload", "typing.overload"}:
                yield node


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is a command, whose docstring and options are help texts."""
    return "typer.Option" in ast.unparse(function.args) or bool(
        re.search(r"\b_?options\.|Option\b|Argument\b", ast.unparse(function.args))
    )


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    a = function.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return [x for x in arguments if x.arg not in ("self", "cls")]


def missing_sections(source: str) -> list[str]:
    """Return what is missing, as `function: Args` or `function: Returns`."""
    missing = []
    for function in public_functions(ast.parse(source).body):
        arguments = parameters(function)
        has_array = any(
            kind in ast.unparse(x.annotation) for x in arguments if x.annotation for kind in ARRAYS
        )
        if (len(arguments) < 2 and not has_array) or is_command(function):
            continue
        doc = ast.get_docstring(function) or ""
        returns = ast.unparse(function.returns) if function.returns else "None"
        if "Args:" not in doc:
            missing.append(f"{function.name}: Args")
        elif undocumented := [x.arg for x in arguments if f"{x.arg}:" not in doc]:
            missing.append(f"{function.name}: Args of {', '.join(undocumented)}")
        is_plain = returns in ("None", "Self", "NoReturn") or doc.startswith(("Return ", "Yield "))
        if not is_plain and "Returns:" not in doc and "Yields:" not in doc:
            missing.append(f"{function.name}: Returns")
    return missing


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_document_arguments_and_results(path: Path) -> None:
    assert missing_sections(path.read_text("utf-8")) == []


def test_check_finds_what_is_missing() -> None:
    documented = (
        "def f(a: int, b: int) -> int:\n"
        '    """Return a sum.\n\n    Args:\n        a: One.\n        b: Two.\n    """'
    )
    assert missing_sections(documented) == []
    assert missing_sections(documented.replace("        b: Two.\n", "")) == ["f: Args of b"]
    assert missing_sections('def f(x: "torch.Tensor") -> int:\n    """Add."""') == [
        "f: Args",
        "f: Returns",
    ]
