"""What a graph takes of memory and time, from shapes alone, before onnxruntime sees it.

Shapes are those of one text as long as may be: a text is always a run of its own. Only operators
whose result's shape follows from shapes and constants are allowed, so nothing remains unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from edgeslm.formats.onnx.parts import DOUBLE, INT64, UINT64, Node, Parts

Shape = tuple[int, ...]

_MAX_NODES: Final = 5_000
_MAX_RANK: Final = 8
#: multiplications of a run; BERT-large takes 1.6e11 for 512 tokens
_MAX_PRODUCTS: Final = 2 * 10**11
#: bytes of the values that a run holds at once
_MAX_BYTES: Final = 1024**3
#: the same of what follows from constants alone: the library computes it while it loads
_MAX_CONSTANT_PRODUCTS: Final = 10**9
_MAX_CONSTANT_BYTES: Final = 64 * 1024**2
#: heads of one attention
_MAX_HEADS: Final = 1024
_FUSED: Final = "com.microsoft"


class CostError(ValueError):
    """Why a graph is refused: an operator that is not allowed, shapes that do not fit, or a cost
    beyond what a specialist may take."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a value. ``width`` is in bytes an element, an upper bound; ``ints`` are the
    numbers themselves where they are few integers; ``constant`` says that no input decides it."""

    shape: Shape
    width: int
    constant: bool
    ints: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        return prod(self.shape) * self.width


@dataclass(frozen=True, slots=True)
class _Result:
    """Shapes of an operator's outputs, its multiplications, and bytes that it holds meanwhile."""

    shapes: Sequence[Shape]
    products: int = 0
    aside: int = 0
    ints: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """``products`` are multiplications of one run, ``held`` the bytes of its values at once,
    ``shapes`` those of all values by name."""

    products: int
    held: int
    shapes: Mapping[str, Shape]


def cost_of(parts: Parts, sizes: Mapping[str, Shape]) -> Cost:
    """What one run takes, with inputs of these shapes.

    Raises:
        CostError: the graph is refused.
    """
    if len(parts.nodes) > _MAX_NODES:
        raise CostError(f"its graph has {len(parts.nodes):,} operators; {_MAX_NODES:,} are allowed")
    values = {name: _Known(shape, 8, constant=False) for name, shape in sizes.items()}
    values |= {
        tensor.name: _Known(
            tensor.shape, 8 if tensor.element_type == INT64 else 4, constant=True, ints=tensor.ints
        )
        for tensor in parts.initializers.values()
        if tensor.name not in values
    }
    return _Walk(values, parts).cost()


class _Walk:
    """Goes through the nodes in their order, which is the order of a run."""

    def __init__(self, values: dict[str, _Known], parts: Parts) -> None:
        self._values = values
        self._nodes = parts.nodes
        kept = len(self._nodes)
        self._last = {name: at for at, node in enumerate(self._nodes) for name in node.inputs}
        self._last |= {value.name: kept for value in parts.outputs}
        self._products = self._folded = 0
        self._held = self._most = self._constant = 0

    def cost(self) -> Cost:
        for at, node in enumerate(self._nodes):
            self._step(at, node)
        shapes = {name: value.shape for name, value in self._values.items()}
        return Cost(self._products, self._most, shapes)

    def _step(self, at: int, node: Node) -> None:
        known = [self._known(node, name) for name in node.inputs]
        there = [value for value in known if value is not None]
        result = _result(node, known)
        if len(result.shapes) != len(node.outputs):
            raise CostError(f"its {node.kind} has {len(node.outputs)} outputs")
        constant = all(value.constant for value in there) or result.ints is not None
        width = _width(node, there)
        held = result.aside
        for name, shape in zip(node.outputs, result.shapes, strict=True):
            if not name or name in self._values:
                raise CostError(f"its {node.kind} gives a value a name that is taken")
            if len(shape) > _MAX_RANK:
                raise CostError(f"its {node.kind} gives a value of {len(shape)} dimensions")
            value = _Known(shape, width, constant, result.ints)
            self._values[name] = value
            held += value.size
        self._add(node, result.products, held, constant=constant)
        for name in {*node.inputs, *node.outputs}:
            if name and self._last.get(name, at) == at:
                self._release(name)
        self._held -= result.aside

    def _add(self, node: Node, products: int, held: int, *, constant: bool) -> None:
        self._held += held
        self._most = max(self._most, self._held)
        self._products += products
        if constant:
            self._constant += held
            self._folded += products
            if self._constant > _MAX_CONSTANT_BYTES or self._folded > _MAX_CONSTANT_PRODUCTS:
                raise CostError(f"its {node.kind} makes too much of constants alone")
        if self._most > _MAX_BYTES:
            raise CostError(
                f"its {node.kind} takes more than {_MAX_BYTES // 1024**2:,} MB for the longest text"
            )
        if self._products > _MAX_PRODUCTS:
            raise CostError("its graph takes too long for the longest text")

    def _known(self, node: Node, name: str) -> _Known | None:
        if not name:
            return None
        if name not in self._values:
            raise CostError(f"its {node.kind} reads {name[:100]!r}, which comes from nowhere")
        return self._values[name]

    def _release(self, name: str) -> None:
        value = self._values[name]
        if not value.constant:  # what is made of constants stays
            self._held -= value.size


def _width(node: Node, inputs: Iterable[_Known]) -> int:
    """Bytes an element of what an operator gives, at most."""
    if node.kind == "Cast":
        return 8 if node.attributes.get("to") in {INT64, DOUBLE, UINT64} else 4
    if node.kind == "Shape":
        return 8
    if node.kind in {"Gather", "Slice", "Unsqueeze", "Squeeze", "Reshape", "Split"}:
        return next(iter(inputs)).width
    return max((value.width for value in inputs), default=8)


def _result(node: Node, inputs: Sequence[_Known | None]) -> _Result:
    rule = _RULES.get((node.domain, node.kind))
    if rule is None:
        kind = "".join(c for c in node.kind[:100] if c.isprintable())
        raise CostError(f"it has the operator {kind!r}, which no specialist has")
    try:
        return rule(_Call(node, inputs))
    except (IndexError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, CostError):
            raise
        raise CostError(f"the inputs of its {node.kind} do not fit each other") from error


@dataclass(frozen=True, slots=True)
class _Call:
    """An operator on values; what does not fit raises ValueError or IndexError."""

    node: Node
    inputs: Sequence[_Known | None]

    def value(self, place: int) -> _Known:
        value = self.inputs[place]
        if value is None:
            raise ValueError
        return value

    def has(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def shape(self, place: int) -> Shape:
        return self.value(place).shape

    def shapes(self) -> list[Shape]:
        return [self.shape(place) for place in range(len(self.inputs))]

    def ints(self, place: int) -> tuple[int, ...]:
        """Numbers that shapes depend on, which must be constants or sizes."""
        ints = self.value(place).ints
        if ints is None:
            raise CostError(f"its {self.node.kind} depends on numbers that only a run knows")
        return ints

    def number(self, name: str, default: int | None = None) -> int:
        number = self.node.attributes.get(name, default)
        if not isinstance(number, int):
            raise ValueError
        return number

    def most(self, count: int) -> None:
        if len(self.inputs) > count:
            raise ValueError


Rule = Callable[[_Call], _Result]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError
    return axis % rank


def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    together = []
    for sizes in zip(*padded, strict=True):
        size = max(sizes) if 0 not in sizes else 0
        if {*sizes} - {1, size}:
            raise ValueError
        together.append(size)
    return tuple(together)


def _elementwise(call: _Call) -> _Result:
    shape = _broadcast(*call.shapes())
    return _Result([shape], prod(shape))


def _same(call: _Call) -> _Result:
    """One output of the first input's shape; the others are scales, biases and the like."""
    shape = call.shape(0)
    for place in range(1, len(call.inputs)):
        if call.has(place) and len(call.shape(place)) > len(shape):
            raise ValueError
    return _Result([shape], 8 * prod(shape))


def _quantized(call: _Call) -> _Result:
    call.most(1)
    shape = call.shape(0)
    return _Result([shape, (), ()], prod(shape))


def _gather(call: _Call) -> _Result:
    call.most(2)
    data, ids = call.shape(0), call.shape(1)
    axis = _axis(call.number("axis", 0), len(data))
    return _Result([data[:axis] + ids + data[axis + 1 :]])


def _unsqueeze(call: _Call) -> _Result:
    shape, axes = list(call.shape(0)), call.ints(1)
    rank = len(shape) + len(axes)
    if rank > _MAX_RANK:
        raise ValueError
    places = {_axis(axis, rank) for axis in axes}
    if len(places) < len(axes):
        raise ValueError
    for place in sorted(places):
        shape.insert(place, 1)
    return _Result([tuple(shape)], ints=call.value(0).ints)


def _squeeze(call: _Call) -> _Result:
    shape = call.shape(0)
    places = {_axis(axis, len(shape)) for axis in call.ints(1)}
    if any(shape[place] != 1 for place in places):
        raise ValueError
    kept = tuple(size for at, size in enumerate(shape) if at not in places)
    return _Result([kept], ints=call.value(0).ints)


def _reduced(call: _Call) -> _Result:
    shape = call.shape(0)
    places = {_axis(axis, len(shape)) for axis in call.ints(1)}
    keep = call.number("keepdims", 1)
    kept = [
        1 if at in places else size for at, size in enumerate(shape) if keep or at not in places
    ]
    return _Result([tuple(kept)], prod(shape))


def _shape(call: _Call) -> _Result:
    shape = call.shape(0)
    end = call.number("end", len(shape))
    ints = shape[call.number("start", 0) : end]
    return _Result([(len(ints),)], ints=ints)


def _slice(call: _Call) -> _Result:
    call.most(4)
    shape = list(call.shape(0))
    starts, ends = call.ints(1), call.ints(2)
    axes = call.ints(3) if call.has(3) else tuple(range(len(starts)))
    places = [_axis(axis, len(shape)) for axis in axes]
    if len({*places}) < len(places):
        raise ValueError
    for place, start, end in zip(places, starts, ends, strict=True):
        shape[place] = len(range(shape[place])[start:end])
    return _Result([tuple(shape)])


def _reshape(call: _Call) -> _Result:
    shape, wanted = call.shape(0), list(call.ints(1))
    if call.number("allowzero", 0) or len(wanted) > _MAX_RANK or min(wanted, default=1) < -1:
        raise ValueError
    sizes = [shape[at] if size == 0 else size for at, size in enumerate(wanted)]
    if -1 in sizes:
        rest = prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = prod(shape) // rest if rest else 0
    if prod(sizes) != prod(shape) or -1 in sizes:
        raise ValueError
    return _Result([tuple(sizes)])


def _concat(call: _Call) -> _Result:
    first, *others = call.shapes()
    axis = _axis(call.number("axis"), len(first))
    if any(
        len(other) != len(first)
        or first[:axis] + first[axis + 1 :] != other[:axis] + other[axis + 1 :]
        for other in others
    ):
        raise ValueError
    whole = sum(shape[axis] for shape in (first, *others))
    return _Result([(*first[:axis], whole, *first[axis + 1 :])])


def _transpose(call: _Call) -> _Result:
    shape = call.shape(0)
    order = call.node.attributes.get("perm", tuple(reversed(range(len(shape)))))
    if not isinstance(order, tuple) or sorted(order) != [*range(len(shape))]:
        raise ValueError
    return _Result([tuple(shape[at] for at in order)])


def _split(call: _Call) -> _Result:
    shape = call.shape(0)
    axis = _axis(call.number("axis", 0), len(shape))
    count = len(call.node.outputs)
    if call.has(1):
        sizes = call.ints(1)
    else:
        call.number("num_outputs", count)
        sizes = (shape[axis] // count,) * count
    if sum(sizes) != shape[axis] or len(sizes) != count or min(sizes) < 0:
        raise ValueError
    return _Result([(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes])


def _matmul(call: _Call) -> _Result:
    a, b = call.shape(0), call.shape(1)
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError
    shape = (*_broadcast(a[:-2], b[:-2]), a[-2], b[-1])
    return _Result([shape], prod(shape) * max(1, a[-1]))


def _gemm(call: _Call) -> _Result:
    call.most(3)
    a, b = call.shape(0), call.shape(1)
    rows, inner = reversed(a) if call.number("transA", 0) else a
    other, columns = reversed(b) if call.number("transB", 0) else b
    if inner != other or (
        call.has(2) and _broadcast(call.shape(2), (rows, columns)) != (rows, columns)
    ):
        raise ValueError
    return _Result([(rows, columns)], rows * columns * max(1, inner))


def _matmul_bits(call: _Call) -> _Result:
    """A product with a constant of few bits: [..., K] and K x N give [..., N]."""
    call.most(4)
    *rows, inner = call.shape(0)
    columns, block, bits = call.number("N"), call.number("block_size"), call.number("bits", 4)
    if call.number("K") != inner or columns < 1 or block not in {16, 32, 64, 128, 256}:
        raise ValueError
    blocks = -(-inner // block)
    if bits not in {4, 8} or call.shape(1) != (columns, blocks, block * bits // 8):
        raise ValueError
    if prod(call.shape(2)) != columns * blocks:
        raise ValueError
    shape = (*rows, columns)
    return _Result([shape], prod(shape) * max(1, inner), aside=8 * prod(rows) * inner)


def _attention(call: _Call) -> _Result:
    """Queries, keys and values [batch, length, width], their bias, and which keys to look at."""
    call.most(5)
    query, key, value = (call.shape(place) for place in range(3))
    heads = call.number("num_heads")
    if not len(query) == len(key) == len(value) == 3 or key != value or query != key:
        raise ValueError
    batch, length, width = query
    if not 0 < heads <= _MAX_HEADS or width == 0 or width % heads:
        raise ValueError
    if call.has(3) and call.shape(3) != (3 * width,):
        raise ValueError
    if call.has(4) and call.shape(4) != (batch, length):
        raise ValueError
    scores = batch * heads * length * length
    return _Result(
        [query],
        2 * batch * length * length * width + scores,
        aside=4 * (2 * scores + 4 * prod(query)),
    )


_ONNX_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "BitwiseAnd", "BitShift"),
        _elementwise,
    ),
    **dict.fromkeys(
        (
            *("Cast", "Identity", "Relu", "Tanh", "Erf", "Sqrt", "Gelu", "Softmax"),
            *("LayerNormalization", "QuantizeLinear", "DequantizeLinear"),
        ),
        _same,
    ),
    "DynamicQuantizeLinear": _quantized,
    "Gather": _gather,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "ReduceSum": _reduced,
    "ReduceMean": _reduced,
    "Shape": _shape,
    "Slice": _slice,
    "Reshape": _reshape,
    "Concat": _concat,
    "Transpose": _transpose,
    "Split": _split,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Gemm": _gemm,
}
_FUSED_RULES: Final[Mapping[str, Rule]] = {
    "MultiHeadAttention": _attention,
    "MatMulNBits": _matmul_bits,
    **dict.fromkeys(("SkipLayerNormalization", "BiasGelu"), _same),
}
_RULES: Final[Mapping[tuple[str, str], Rule]] = {
    **{(domain, kind): rule for domain in ("", "ai.onnx") for kind, rule in _ONNX_RULES.items()},
    **{(_FUSED, kind): rule for kind, rule in _FUSED_RULES.items()},
}
#: domains and names of what may be in a graph: what exporters write, and what is as harmless
ALLOWED: Final = frozenset(_RULES)
