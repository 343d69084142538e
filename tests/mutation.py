"""Weaker spellings of a module: one rule broken at a time, each as code that can be run in its place."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

_OPPOSITES: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_ARITHMETIC: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.FloorDiv: ast.Mult(),
    ast.Mod: ast.Mult(),
    ast.Pow: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.LShift: ast.RShift(),
    ast.RShift: ast.LShift(),
}
_TWINS = {"all": "any", "any": "all", "min": "max", "max": "min"}
_LAXER = {
    "fullmatch": "match",
    "isdisjoint": "issuperset",
    "startswith": "endswith",
    "endswith": "startswith",
}
_NORMALISERS = ("lower", "strip", "rstrip", "removeprefix", "partition", "union", "translate")
_SHORTEST_PATTERN = 4
# Memory, not meaning: what these say changes no answer.
_NO_RULE = frozenset({"frozen", "slots", "eq", "kw_only", "maxsize", "compare", "init"})

# A pattern, piece by piece: a look-around, a range, an escape, a quantifier, a character.
_PIECE = re.compile(
    r"\(\?[!=](?:[^()]|\([^()]*\))*\)|\\x[0-9a-f]{2}(?:-\\x[0-9a-f]{2})?|\\.(?:-\\?.)?|\w-\w|\{\d,\d*\}"
    r"|[*+?]\+?|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module in which one thing is changed; the name says what, whatever its line."""

    name: str
    line: int
    code: CodeType


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node hangs, so that another can hang there for a while."""

    holder: ast.AST
    field: str
    index: int | None = None

    def put(self, node: object) -> None:
        if self.index is None:
            setattr(self.holder, self.field, node)
        else:
            getattr(self.holder, self.field)[self.index] = node


_Change = tuple[str, _Place, object, object]  # its name, and what stands there after and before


def mutants_of(source: str, filename: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for scope, line, (name, place, after, before) in _changes(tree, ""):
        full = f"{scope or 'module'}: {name}"
        seen[full] += 1
        if seen[full] > 1:
            full = f"{full} #{seen[full]}"
        place.put(after)
        ast.fix_missing_locations(tree)
        code = compile(tree, filename, "exec")
        place.put(before)
        yield Mutant(full, line, code)


def _changes(node: ast.AST, scope: str) -> Iterator[tuple[str, int, _Change]]:
    """Walk depth first, with the name of the function or class around."""
    for field, value in ast.iter_fields(node):
        if _is_prose(node, field):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_docstring(child):
                continue
            place = _Place(node, field, index if isinstance(value, list) else None)
            line = getattr(child, "lineno", 0)
            yield from ((scope, line, change) for change in _mutations(place, child))
            inner = f"{scope}.{own}".lstrip(".") if (own := _own_name(child)) else scope
            if not isinstance(child, ast.Raise):  # a message is no rule
                yield from _changes(child, inner)


def _own_name(node: ast.AST) -> str:
    """What a statement defines; "" if it defines nothing, or more than a name."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def _is_prose(node: ast.AST, field: str) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in _NO_RULE
    return field in ("annotation", "returns") or isinstance(node, ast.Import | ast.ImportFrom)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _mutations(place: _Place, node: ast.AST) -> Iterator[_Change]:
    """Everything that can be done to one node, and to the lists that hang from it."""
    for after in () if _is_member(place, node) else _others(node):
        yield f"{ast.unparse(node)} -> {ast.unparse(after)}", place, after, node
    match node:
        case ast.If(test=test):
            for forced in (False, True):
                yield (
                    f"if {ast.unparse(test)} -> if {forced}",
                    _Place(node, "test"),
                    ast.Constant(forced),
                    test,
                )
        case ast.BoolOp(op=op, values=values):
            for index, value in enumerate(values):
                rest = values[:index] + values[index + 1 :]
                after = ast.BoolOp(op, rest) if rest[1:] else rest[0]
                yield f"{ast.unparse(value)} left out", place, after, node
        case ast.Dict(keys=[ast.Constant(), *_] as keys, values=values):
            for index, key in enumerate(keys):
                after = ast.Dict(keys[:index] + keys[index + 1 :], values[:index] + values[index + 1 :])
                yield f"{ast.unparse(key or node)} left out", place, after, node
        case _:
            yield from _shorter(node)


def _shorter(node: ast.AST) -> Iterator[_Change]:
    """A list of constants without each of its members; never empty, which would not compile."""
    match node:
        case (
            ast.Set(elts=items) | ast.Tuple(elts=items, ctx=ast.Load()) | ast.List(elts=items, ctx=ast.Load())
        ):
            if not all(isinstance(item, ast.Constant | ast.Tuple | ast.Attribute) for item in items):
                return
            field, names = "elts", [ast.unparse(item) for item in items]
        case ast.Match(cases=items):
            field, names = "cases", [f"case {ast.unparse(case.pattern)}" for case in items]
        case _:
            return
    for index, name in enumerate(names):
        if len(names) > 1:
            yield f"{name} left out", _Place(node, field), [*items[:index], *items[index + 1 :]], items


def _is_member(place: _Place, node: ast.AST) -> bool:
    """A text in a list of several, or a key: without it is as good as another in its place."""
    listed = isinstance(place.holder, ast.Set | ast.Tuple | ast.List) and len(place.holder.elts) > 1
    return isinstance(node, ast.Constant) and (
        listed or (isinstance(place.holder, ast.Dict) and place.field == "keys")
    )


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in place of a node."""
    yield from _flipped(node)
    yield from _left_out(node)
    match node:
        case ast.Constant(value=value):
            yield from map(ast.Constant, _other_values(value))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in _TWINS:
            yield ast.Call(ast.Name(_TWINS[name], ast.Load()), args, keywords)
        case ast.Attribute(value=value, attr=name) if name in _LAXER:
            yield ast.Attribute(value, _LAXER[name], ast.Load())


def _flipped(node: ast.AST) -> Iterator[ast.AST]:
    """The opposite of a condition or of a sum."""
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for index, op in enumerate(ops):
                for opposite in _OPPOSITES[type(op)]:
                    yield ast.Compare(left, [*ops[:index], opposite(), *ops[index + 1 :]], comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(op)], right)


def _left_out(node: ast.AST) -> Iterator[ast.AST]:
    """What is left when a statement, a branch, a slice or a call that makes alike is not there."""
    match node:
        case ast.Raise() | ast.Break() | ast.Continue() | ast.Expr() | ast.AugAssign():
            yield ast.Pass()
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)
        case ast.Subscript(value=value, slice=ast.Slice()):
            yield value
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _NORMALISERS:
            yield value


def _other_values(value: object) -> Iterator[bool | int | float | str | bytes]:
    match value:
        case bool():
            yield not value
        case int() | float():
            yield from (value - 1, value + 1)
        case str():
            yield from _other_texts(value)
        case bytes():
            yield from (text.encode("latin-1") for text in _other_texts(value.decode("latin-1")))


def _other_texts(value: str) -> Iterator[str]:
    """A text that says something else; a pattern without each of its pieces."""
    if len(value) < _SHORTEST_PATTERN or not re.search(r"[\[(\\]", value):
        yield value[1:] if len(value) > 1 else value + "x"
        return
    for piece in _PIECE.finditer(value):
        without = value[: piece.start()] + value[piece.end() :]
        try:
            re.compile(without)
        except re.error:
            continue
        yield without
