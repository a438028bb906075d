"""What the loops of the recurrent layers, `gru` and `lstm`, are made of; compiled by numba.

Samples do not meet in a recurrence. The kernels therefore work on blocks of 16 samples, from the first time step
to the last, and inside a block a number is always 16 numbers, one for each sample: a vector of the processor
(`vectors.Lanes`). All that a step needs then stays in the cache, its products run at the speed of the processor's
arithmetic, and no product needs a transposed operand. The blocks are shared out among threads; what one block gives
does not depend on that, and gradients of weights are added up in the order of the blocks.

Rows of 16 numbers make up an operand. That of a step is

    state (units), one, inputs (features)

where the one is for the bias; `weights` has a row for each of them and a column for each gate and unit. A recurrent
product of the GRU's candidate counts as a gate of its own, so both layers have four:

    GRU: candidate, update, reset, the candidate's recurrent product
    LSTM: input, forget, candidate, output

Where gates have dropout masks of their own, each of them has an operand of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from seqconv.models.kernels.blocks import Block
from seqconv.models.kernels.blocks import generate as generate_block
from seqconv.models.kernels.compiling import part
from seqconv.models.kernels.vectors import (
    LANES,
    WIDE,
    Array,
    Vector,
    add_product,
    constant,
    copy_number,
    limited,
    load,
    pointer,
    store,
    transpose_part,
    where,
)

GATES = 4
CHUNK = 8  # steps whose gradients are gathered before they go into those of the weights

# Parts of the loops


@part
def _transpose(source: Array, s: int, s_stride: int, target: Array, t: int, t_stride: int) -> None:
    """Columns of 16 vectors, `s_stride` numbers apart, as vectors that are `t_stride` apart."""
    for i in range(0, 16, 8):
        for j in range(0, 16, 8):
            transpose_part(
                source, s + i * s_stride + j, s_stride, target, t + j * t_stride + i, t_stride
            )


class Loop(NamedTuple):
    """What forward and backward loops have in common.

    Attributes:
        samples: of the batch.
        steps: of a sequence.
        features: of a step's inputs.
        units: of the state, a multiple of 4.
        shown: units that are not there to make it a multiple.
        operands: of a step: 1, or one for each gate with masks of its own.
        reset_after: of a GRU, whether the reset gate is applied after the recurrent product.
        skips: whether there are steps to leave out.
        sequences: whether the states of all steps are wanted.
        inputs: `(samples, steps, features)`.
        keep: `(blocks, steps, 16)`, 0 for a step to leave out; 0 if there is none.
        input_masks: `(blocks, operands, features, 16)`, factors of the inputs.
        state_masks: `(blocks, operands, units, 16)`, factors of the state; 0 for one operand.
    """

    samples: int
    steps: int
    features: int
    units: int
    shown: int
    operands: int
    reset_after: bool
    skips: bool
    sequences: bool
    inputs: Array
    keep: Array
    input_masks: Array
    state_masks: Array


ARRAYS = ("inputs", "keep", "input_masks", "state_masks")
"""The fields of `Loop` that are addresses."""


@register_jitable
def gradient_shape(units: int, features: int) -> tuple[int, int, int]:
    """Of the sums of the weights' gradients of a block: rows, the last three unused; gates; units and unused ones."""
    return units + 1 + features + 3, GATES, (units + 15) // 16 * 16


@register_jitable
def operand_size(loop: Loop) -> int:
    """Numbers of an operand: `_read` writes whole vectors, `add_weight_gradient` reads four rows at once."""
    return (loop.units + 1 + (loop.features + 15) // 16 * 16 + 3) * 16


@register_jitable
def scratch_size(loop: Loop) -> int:
    """Numbers of working memory that a kernel needs."""
    room = max(CHUNK * ((loop.units + 15) // 16 * 256), 2 * operand_size(loop))
    return scratch_places(loop)[2] + room


@register_jitable
def scratch_places(loop: Loop) -> tuple[int, int, int]:
    """Where in its working memory a backward kernel has the gates' gradients, those of the states, and room.

    In front are the operands of some steps, those of the gates and one more for the GRU.
    """
    gates = CHUNK * (loop.operands + 1) * operand_size(loop)
    # Of the last gate whole vectors are turned, more than there are.
    state = gates + CHUNK * GATES * loop.units * 16 + 256
    return gates, state, state + 2 * ((loop.units + 15) // 16 * 256)


@part
def _samples_of(loop: Loop, block: int) -> int:
    return min(16, loop.samples - block * 16)


@part
def tanh(x: Vector) -> Vector:
    """Hyperbolic tangent to 3e-7: the quotient of two polynomials that Eigen, and so TensorFlow, has."""
    x = limited(x, constant(7.90531110763549805))
    y = x * x
    p = add_product(y, constant(-2.76076847742355e-16), constant(2.00018790482477e-13))
    p = add_product(y, p, constant(-8.60467152213735e-11))
    p = add_product(y, p, constant(5.12229709037114e-08))
    p = add_product(y, p, constant(1.48572235717979e-05))
    p = add_product(y, p, constant(6.37261928875436e-04))
    p = add_product(y, p, constant(4.89352455891786e-03))
    q = add_product(y, constant(1.19825839466702e-06), constant(1.18534705686654e-04))
    q = add_product(y, q, constant(2.26843463243900e-03))
    q = add_product(y, q, constant(4.89352518554385e-03))
    return x * p / q


@part
def sigmoid(x: Vector) -> Vector:
    """The logistic function, as exact as `tanh`."""
    half = constant(0.5)
    return add_product(half, tanh(half * x), half)


def _sums(rows: int, width: int, a_row: int, a_step: int) -> Any:
    """A function for `rows` vectors of sums, a multiple of 4: `out[r] = sum over k of a[r, k] * b[k]`, or `+=`.

    Arrays are given by address and offset. The vectors of `b` and `out`, of `width` numbers, are so many numbers apart;
    in `a` rows are `a_row` apart and every four of them `a_four`, terms `a_step`, groups of `terms` terms `a_group`.
    """

    @intrinsic
    def sums(
        typing: Any,
        a: Any,
        a_start: Any,
        a_four: Any,
        a_group: Any,
        b: Any,
        b_start: Any,
        b_step: Any,
        out: Any,
        out_start: Any,
        out_row: Any,
        terms: Any,
        groups: Any,
        add: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, a_start, a_four, a_group, b, b_start, b_step = arguments[:7]
            out, out_start, out_row, terms, groups, add = arguments[7:]

            def number(value: int) -> Any:
                return ir.Constant(terms.type, value)

            fours = [builder.mul(a_four, number(four)) for four in range(rows // 4)]
            block = Block(
                a=pointer(builder, a, a_start),
                a_rows=[
                    builder.add(fours[row // 4], number(row % 4 * a_row)) for row in range(rows)
                ],
                a_term=lambda term: builder.mul(term, number(a_step)),
                a_group=a_group,
                b=pointer(builder, b, b_start),
                b_step=b_step,
                out=pointer(builder, out, out_start),
                out_rows=[builder.mul(out_row, number(row)) for row in range(rows)],
                width=width,
                terms=terms,
                groups=groups,
                add=add,
            )
            generate_block(builder, block)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 12, types.boolean), generate

    return sums


# Of columns of weights, which lie four by four, and of rows of operands, whose terms are the samples of some steps.
# Eight sums keep AVX-512's two units busy; with AVX2 they would have no room in the registers.
_four_columns, _eight_columns = _sums(4, LANES, 1, 4), _sums(8, LANES, 1, 4)
_four_rows, _eight_rows = _sums(4, LANES, 16, 1), _sums(8, LANES, 16, 1)
_eight_rows_by_two = _sums(8, 2 * LANES, 16, 1)


@part
def weighted(
    out: Array,
    o: int,
    weights: Array,
    w: int,
    depth: int,
    operand: Array,
    a: int,
    rows: int,
    tiles: int,
    add: bool,
) -> None:
    """The rows of an operand weighted: a product with columns of weights, four or eight of them at a time.

    Args:
        out: `out[o:]` gets a vector for each column.
        o: see above.
        weights: `(tiles, depth, 4)`; `weights[w:]` begins with the first row that counts of the first tile.
        w: see above.
        depth: see above.
        operand: `operand[a:]` holds the vectors.
        a: see above.
        rows: of the product.
        tiles: of the product.
        add: whether to add to what `out` holds.
    """
    tile, apart = 0, depth * 4
    if WIDE:
        while tile + 2 <= tiles:
            at, to = w + tile * apart, o + tile * 64
            _eight_columns(weights, at, apart, 0, operand, a, 16, out, to, 16, rows, 1, add)
            tile += 2
    while tile < tiles:
        at, to = w + tile * apart, o + tile * 64
        _four_columns(weights, at, apart, 0, operand, a, 16, out, to, 16, rows, 1, add)
        tile += 1


@part
def _read(
    rows: Array, size: int, first: int, stride: int, samples: int, width: int, out: Array, o: int
) -> None:
    """Read a row of numbers of each sample as `width` vectors; up to 15 behind them are overwritten.

    `rows` holds `size` numbers.
    """
    for column in range(0, width, 16):
        last = first + (samples - 1) * stride + column + 16
        if samples == 16 and last <= size:
            _transpose(rows, first + column, stride, out, o + column * 16, 16)
        else:
            for c in range(column, min(column + 16, width)):
                store(constant(0.0), out, o + c * 16)
                for sample in range(samples):
                    copy_number(rows, first + sample * stride + c, out, o + c * 16 + sample)


@part
def _write(
    vectors: Array, v: int, rows: Array, first: int, stride: int, samples: int, width: int
) -> None:
    """Write `width` vectors as a row of numbers of each sample."""
    whole = width // 16 * 16 if samples == 16 else 0
    for column in range(0, whole, 16):
        _transpose(vectors, v + column * 16, 16, rows, first + column, stride)
    for c in range(whole, width):
        for sample in range(samples):
            copy_number(vectors, v + c * 16 + sample, rows, first + sample * stride + c)


@part
def _read_step(
    loop: Loop, rows: Array, block: int, step: int, width: int, out: Array, o: int
) -> None:
    """`_read` a step of sequences."""
    first = (block * 16 * loop.steps + step) * width
    size = loop.samples * loop.steps * width
    _read(rows, size, first, loop.steps * width, _samples_of(loop, block), width, out, o)


@part
def write_step(
    loop: Loop, vectors: Array, v: int, rows: Array, block: int, step: int, width: int
) -> None:
    """`_write` a step of sequences."""
    first = (block * 16 * loop.steps + step) * width
    _write(vectors, v, rows, first, loop.steps * width, _samples_of(loop, block), width)


@part
def read_state(
    loop: Loop, states: Array, block: int, kind: int, kinds: int, out: Array, o: int
) -> None:
    """Read one of the states of `(samples, kinds, shown)`, zero for the units that are not there."""
    stride = kinds * loop.shown
    first = block * 16 * stride + kind * loop.shown
    size = loop.samples * stride
    _read(states, size, first, stride, _samples_of(loop, block), loop.shown, out, o)
    for row in range(loop.shown * 16, loop.units * 16, 16):
        store(constant(0.0), out, o + row)


@part
def write_state(
    loop: Loop, vectors: Array, v: int, states: Array, block: int, kind: int, kinds: int
) -> None:
    """Write one of the states of `(samples, kinds, shown)`."""
    stride = kinds * loop.shown
    first = block * 16 * stride + kind * loop.shown
    _write(vectors, v, states, first, stride, _samples_of(loop, block), loop.shown)


@part
def add_step(loop: Loop, rows: Array, block: int, step: int, out: Array, o: int, room: int) -> None:
    """Add a step of the gradient of the states of all steps to `out[o:]`; `out[room:]` is room."""
    _read_step(loop, rows, block, step, loop.shown, out, room)
    for row in range(0, loop.shown * 16, 16):
        store(load(out, o + row) + load(out, room + row), out, o + row)


@part
def _copy(vectors: Array, v: int, count: int, out: Array, o: int) -> None:
    for row in range(0, count * 16, 16):
        store(load(vectors, v + row), out, o + row)


@part
def set_operands(
    loop: Loop, block: int, step: int, state: Array, s: int, out: Array, o: int
) -> None:
    """Write the operands of a step: state times mask; one; inputs times mask, zero in a step to leave out."""
    units, features, size = loop.units, loop.features, operand_size(loop)
    inputs = o + (units + 1) * 16
    _read_step(loop, loop.inputs, block, step, features, out, inputs)
    if loop.skips:
        keep = load(loop.keep, (block * loop.steps + step) * 16)
        for row in range(inputs, inputs + features * 16, 16):
            store(where(keep, load(out, row), constant(0.0)), out, row)
    # The first one last: the others are made of its inputs.
    for operand in range(loop.operands - 1, -1, -1):
        to, masks = o + operand * size, block * loop.operands + operand
        if loop.operands == 1:
            _copy(state, s, units, out, to)
        else:
            multiply(state, s, loop.state_masks, masks * units * 16, units, out, to)
        store(constant(1.0), out, to + units * 16)
        to += (units + 1) * 16
        multiply(out, inputs, loop.input_masks, masks * features * 16, features, out, to)


@part
def multiply(vectors: Array, v: int, masks: Array, m: int, count: int, out: Array, o: int) -> None:
    """`out = vectors * masks`, `count` vectors of each."""
    for row in range(0, count * 16, 16):
        store(load(vectors, v + row) * load(masks, m + row), out, o + row)


@part
def _add_masked(
    vectors: Array, v: int, masks: Array, m: int, count: int, out: Array, o: int
) -> None:
    for row in range(0, count * 16, 16):
        value = add_product(load(vectors, v + row), load(masks, m + row), load(out, o + row))
        store(value, out, o + row)


@part
def add_into_state(
    loop: Loop,
    block: int,
    weights: Array,
    first: int,
    stop: int,
    scratch: Array,
    g: int,
    o: int,
    room: int,
) -> None:
    """Add what the gradients of some gates are as a gradient of the state.

    Args:
        loop: see there.
        block: see there.
        weights: packed, a row for each gate and unit, a column for each unit.
        first: gate.
        stop: gate behind the last one.
        scratch: `scratch[g:]` holds a vector for each gate and unit, `scratch[o:]` gets one for each unit, and
            `scratch[room:]` has room for as many.
        g: see above.
        o: see above.
        room: see above.
    """
    units, lanes = loop.units, loop.units * 16
    tiles, depth = units // 4, GATES * units
    if loop.operands == 1:
        rows, w, a = (stop - first) * units, first * units * 4, g + first * lanes
        weighted(scratch, o, weights, w, depth, scratch, a, rows, tiles, True)
        return
    for gate in range(first, stop):
        w, a = gate * units * 4, g + gate * lanes
        weighted(scratch, room, weights, w, depth, scratch, a, units, tiles, False)
        mask = (block * loop.operands + gate % loop.operands) * lanes
        _add_masked(scratch, room, loop.state_masks, mask, units, scratch, o)


@part
def write_input_gradient(
    loop: Loop,
    block: int,
    step: int,
    weights: Array,
    gates: int,
    scratch: Array,
    g: int,
    room: int,
    out: Array,
) -> None:
    """Write the gradient of the inputs of a step, where it is wanted.

    Args:
        loop: see there.
        block: see there.
        step: see there.
        weights: packed, a row for each gate and unit, a column for each feature.
        gates: how many of them the inputs go into.
        scratch: `scratch[g:]` holds a vector for each gate and unit, `scratch[room:]` has room.
        g: see above.
        room: see above.
        out: `(samples, steps, features)`; 0: it is not wanted.
    """
    if out == 0:
        return
    units, features = loop.units, loop.features
    depth, tiles = GATES * units, (features + 3) // 4
    together = gates if loop.operands == 1 else 1
    product = room + tiles * 64
    for row in range(room, product, 16):
        store(constant(0.0), scratch, row)
    for gate in range(0, gates, together):
        w, a, rows = gate * units * 4, g + gate * units * 16, together * units
        weighted(scratch, product, weights, w, depth, scratch, a, rows, tiles, False)
        mask = (block * loop.operands + gate % loop.operands) * features * 16
        _add_masked(scratch, product, loop.input_masks, mask, features, scratch, room)
    write_step(loop, scratch, room, out, block, step, features)


@part
def add_weight_gradient(
    loop: Loop,
    gate: int,
    a: int,
    first: int,
    rows: int,
    steps: int,
    scratch: Array,
    g: int,
    room: int,
    sums: Array,
    o: int,
) -> None:
    """Add the gradient of the weights of a gate, summed over samples and some steps.

    Args:
        loop: see there.
        gate: see there.
        a: `scratch[a:]` holds the gate's operands, `scratch` those of all gates of the steps.
        first: row of the operands that counts.
        rows: how many of them.
        steps: see above.
        scratch: `scratch[g:]` holds the gates' gradients of the steps.
        g: see above.
        room: `scratch[room:]` has room for the turned gradients of the steps.
        sums: `sums[o:]` has the sums so far, see `gradient_shape`.
        o: see above.
    """
    columns = (loop.units + 15) // 16
    turned, width = columns * 16, GATES * columns * 16
    apart, gates_step = (loop.operands + 1) * operand_size(loop), GATES * loop.units * 16
    for step in range(steps):
        for column in range(columns):
            _transpose(
                scratch,
                g + step * gates_step + (gate * loop.units + column * 16) * 16,
                16,
                scratch,
                room + step * 16 * turned + column * 16,
                turned,
            )
    # Of some steps at once: sums are read and written once, and stay in registers between.
    row = first
    while row < first + rows:
        at, to, column = a + row * 16, o + row * width + gate * turned, 0
        eight = WIDE and row + 4 < first + rows
        while column < columns:
            of, out = room + column * 16, to + column * 16
            if eight and column + 2 <= columns:
                _eight_rows_by_two(
                    scratch, at, 64, apart, scratch, of, turned, sums, out, width, 16, steps, True
                )
                column += 2
                continue
            if eight:
                _eight_rows(
                    scratch, at, 64, apart, scratch, of, turned, sums, out, width, 16, steps, True
                )
            else:
                _four_rows(
                    scratch, at, 64, apart, scratch, of, turned, sums, out, width, 16, steps, True
                )
            column += 1
        row += 8 if eight else 4


@part
def add_plain_gates(
    loop: Loop,
    start: int,
    stop: int,
    steps: int,
    scratch: Array,
    gates: int,
    room: int,
    sums: Array,
    o: int,
) -> None:
    """`add_weight_gradient` of gates into which inputs and state go."""
    size, depth = operand_size(loop), loop.units + 1 + loop.features
    for gate in range(start, stop):
        add_weight_gradient(
            loop,
            gate,
            gate % loop.operands * size,
            0,
            depth,
            steps,
            scratch,
            gates,
            room,
            sums,
            o,
        )
