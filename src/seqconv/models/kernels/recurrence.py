"""The loops of the recurrent layers, forward and backward, compiled by numba: numpy in, numpy out.

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

from typing import NamedTuple

from numba.extending import register_jitable

from seqconv.models.kernels.compiling import compiled, part
from seqconv.models.kernels.vectors import (
    WIDE,
    Array,
    Vector,
    add_product,
    constant,
    copy_number,
    limited,
    load,
    spread,
    store,
    stream,
    streamed,
    transpose_part,
    where,
)

GATES = 4
_CHUNK = 8  # steps whose gradients are gathered before they go into those of the weights

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
def gradient_shape(loop: Loop) -> tuple[int, int, int]:
    """Of the sums of the weights' gradients of a block: rows, the last three unused; gates; units and unused ones."""
    return loop.units + 1 + loop.features + 3, GATES, (loop.units + 15) // 16 * 16


@register_jitable
def _operand_size(loop: Loop) -> int:
    """Numbers of an operand: `_read` writes whole vectors, `_add_weights` reads four rows at once."""
    return (loop.units + 1 + (loop.features + 15) // 16 * 16 + 3) * 16


@register_jitable
def scratch_size(loop: Loop) -> int:
    """Numbers of working memory that a kernel needs."""
    room = max(_CHUNK * ((loop.units + 15) // 16 * 256), 2 * _operand_size(loop))
    return _places(loop)[2] + room


@register_jitable
def _places(loop: Loop) -> tuple[int, int, int]:
    """Where in its working memory a backward kernel has the gates' gradients, those of the states, and room.

    In front are the operands of some steps, those of the gates and one more for the GRU.
    """
    gates = _CHUNK * (loop.operands + 1) * _operand_size(loop)
    # Of the last gate whole vectors are turned, more than there are.
    state = gates + _CHUNK * GATES * loop.units * 16 + 256
    return gates, state, state + 2 * ((loop.units + 15) // 16 * 256)


@part
def _samples_of(loop: Loop, block: int) -> int:
    return min(16, loop.samples - block * 16)


@part
def _tanh(x: Vector) -> Vector:
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
def _sigmoid(x: Vector) -> Vector:
    half = constant(0.5)
    return add_product(half, _tanh(half * x), half)


@part
def _product(
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
    """Products of columns of weights with rows of an operand, four columns at a time.

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
    tile = 0
    if WIDE:
        while tile + 2 <= tiles:
            at, to = w + tile * depth * 4, o + tile * 64
            _two_tiles(out, to, weights, at, depth * 4, operand, a, rows, add)
            tile += 2
    while tile < tiles:
        at, to = w + tile * depth * 4, o + tile * 64
        _one_tile(out, to, weights, at, operand, a, rows, add)
        tile += 1


@part
def _one_tile(
    out: Array, to: int, weights: Array, at: int, operand: Array, a: int, rows: int, add: bool
) -> None:
    if add:
        sum0, sum1 = load(out, to), load(out, to + 16)
        sum2, sum3 = load(out, to + 32), load(out, to + 48)
    else:
        sum0 = constant(0.0)
        sum1, sum2, sum3 = sum0, sum0, sum0
    for row in range(rows):
        x = load(operand, a + row * 16)
        sum0 = add_product(spread(weights, at), x, sum0)
        sum1 = add_product(spread(weights, at + 1), x, sum1)
        sum2 = add_product(spread(weights, at + 2), x, sum2)
        sum3 = add_product(spread(weights, at + 3), x, sum3)
        at += 4
    store(sum0, out, to)
    store(sum1, out, to + 16)
    store(sum2, out, to + 32)
    store(sum3, out, to + 48)


@part
def _two_tiles(
    out: Array,
    to: int,
    weights: Array,
    at: int,
    tile: int,
    operand: Array,
    a: int,
    rows: int,
    add: bool,
) -> None:
    """Two neighbouring tiles, `tile` numbers apart, at once: eight sums keep AVX-512's two units busy."""
    if add:
        sum0, sum1 = load(out, to), load(out, to + 16)
        sum2, sum3 = load(out, to + 32), load(out, to + 48)
        sum4, sum5 = load(out, to + 64), load(out, to + 80)
        sum6, sum7 = load(out, to + 96), load(out, to + 112)
    else:
        sum0 = constant(0.0)
        sum1, sum2, sum3, sum4, sum5, sum6, sum7 = sum0, sum0, sum0, sum0, sum0, sum0, sum0
    for row in range(rows):
        x = load(operand, a + row * 16)
        sum0 = add_product(spread(weights, at), x, sum0)
        sum1 = add_product(spread(weights, at + 1), x, sum1)
        sum2 = add_product(spread(weights, at + 2), x, sum2)
        sum3 = add_product(spread(weights, at + 3), x, sum3)
        sum4 = add_product(spread(weights, at + tile), x, sum4)
        sum5 = add_product(spread(weights, at + tile + 1), x, sum5)
        sum6 = add_product(spread(weights, at + tile + 2), x, sum6)
        sum7 = add_product(spread(weights, at + tile + 3), x, sum7)
        at += 4
    store(sum0, out, to)
    store(sum1, out, to + 16)
    store(sum2, out, to + 32)
    store(sum3, out, to + 48)
    store(sum4, out, to + 64)
    store(sum5, out, to + 80)
    store(sum6, out, to + 96)
    store(sum7, out, to + 112)


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
def _write_step(
    loop: Loop, vectors: Array, v: int, rows: Array, block: int, step: int, width: int
) -> None:
    """`_write` a step of sequences."""
    first = (block * 16 * loop.steps + step) * width
    _write(vectors, v, rows, first, loop.steps * width, _samples_of(loop, block), width)


@part
def _read_state(
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
def _write_state(
    loop: Loop, vectors: Array, v: int, states: Array, block: int, kind: int, kinds: int
) -> None:
    """Write one of the states of `(samples, kinds, shown)`."""
    stride = kinds * loop.shown
    first = block * 16 * stride + kind * loop.shown
    _write(vectors, v, states, first, stride, _samples_of(loop, block), loop.shown)


@part
def _add_step(
    loop: Loop, rows: Array, block: int, step: int, out: Array, o: int, room: int
) -> None:
    """Add a step of the gradient of the states of all steps to `out[o:]`; `out[room:]` is room."""
    _read_step(loop, rows, block, step, loop.shown, out, room)
    for row in range(0, loop.shown * 16, 16):
        store(load(out, o + row) + load(out, room + row), out, o + row)


@part
def _copy(vectors: Array, v: int, count: int, out: Array, o: int) -> None:
    for row in range(0, count * 16, 16):
        store(load(vectors, v + row), out, o + row)


@part
def _set_operands(
    loop: Loop, block: int, step: int, state: Array, s: int, out: Array, o: int
) -> None:
    """Write the operands of a step: state times mask; one; inputs times mask, zero in a step to leave out."""
    units, features, size = loop.units, loop.features, _operand_size(loop)
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
            _multiply(state, s, loop.state_masks, masks * units * 16, units, out, to)
        store(constant(1.0), out, to + units * 16)
        to += (units + 1) * 16
        _multiply(out, inputs, loop.input_masks, masks * features * 16, features, out, to)


@part
def _multiply(vectors: Array, v: int, masks: Array, m: int, count: int, out: Array, o: int) -> None:
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
def _add_into_state(
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
        _product(scratch, o, weights, w, depth, scratch, a, rows, tiles, True)
        return
    for gate in range(first, stop):
        w, a = gate * units * 4, g + gate * lanes
        _product(scratch, room, weights, w, depth, scratch, a, units, tiles, False)
        mask = (block * loop.operands + gate % loop.operands) * lanes
        _add_masked(scratch, room, loop.state_masks, mask, units, scratch, o)


@part
def _write_input_gradient(
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
        _product(scratch, product, weights, w, depth, scratch, a, rows, tiles, False)
        mask = (block * loop.operands + gate % loop.operands) * features * 16
        _add_masked(scratch, product, loop.input_masks, mask, features, scratch, room)
    _write_step(loop, scratch, room, out, block, step, features)


@part
def _add_weight_gradient(
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
    operands_step, gates_step = (loop.operands + 1) * _operand_size(loop), GATES * loop.units * 16
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
    row = first
    if WIDE:
        while row + 4 < first + rows:
            for column in range(columns):
                to = o + row * width + gate * turned + column * 16
                _add_eight_rows(
                    scratch, a + row * 16, operands_step, room + column * 16, turned, steps, sums, to, width
                )  # fmt: skip
            row += 8
    while row < first + rows:
        for column in range(columns):
            to = o + row * width + gate * turned + column * 16
            _add_four_rows(
                scratch, a + row * 16, operands_step, room + column * 16, turned, steps, sums, to, width
            )  # fmt: skip
        row += 4


@part
def _add_four_rows(
    scratch: Array,
    at: int,
    apart: int,
    of: int,
    turned: int,
    steps: int,
    sums: Array,
    to: int,
    width: int,
) -> None:
    sum0, sum1 = load(sums, to), load(sums, to + width)
    sum2, sum3 = load(sums, to + 2 * width), load(sums, to + 3 * width)
    for _step in range(steps):
        for _sample in range(16):
            x = load(scratch, of)
            sum0 = add_product(spread(scratch, at), x, sum0)
            sum1 = add_product(spread(scratch, at + 16), x, sum1)
            sum2 = add_product(spread(scratch, at + 32), x, sum2)
            sum3 = add_product(spread(scratch, at + 48), x, sum3)
            at += 1
            of += turned
        at += apart - 16
    store(sum0, sums, to)
    store(sum1, sums, to + width)
    store(sum2, sums, to + 2 * width)
    store(sum3, sums, to + 3 * width)


@part
def _add_eight_rows(
    scratch: Array,
    at: int,
    apart: int,
    of: int,
    turned: int,
    steps: int,
    sums: Array,
    to: int,
    width: int,
) -> None:
    sum0, sum1 = load(sums, to), load(sums, to + width)
    sum2, sum3 = load(sums, to + 2 * width), load(sums, to + 3 * width)
    sum4, sum5 = load(sums, to + 4 * width), load(sums, to + 5 * width)
    sum6, sum7 = load(sums, to + 6 * width), load(sums, to + 7 * width)
    for _step in range(steps):
        for _sample in range(16):
            x = load(scratch, of)
            sum0 = add_product(spread(scratch, at), x, sum0)
            sum1 = add_product(spread(scratch, at + 16), x, sum1)
            sum2 = add_product(spread(scratch, at + 32), x, sum2)
            sum3 = add_product(spread(scratch, at + 48), x, sum3)
            sum4 = add_product(spread(scratch, at + 64), x, sum4)
            sum5 = add_product(spread(scratch, at + 80), x, sum5)
            sum6 = add_product(spread(scratch, at + 96), x, sum6)
            sum7 = add_product(spread(scratch, at + 112), x, sum7)
            at += 1
            of += turned
        at += apart - 16
    store(sum0, sums, to)
    store(sum1, sums, to + width)
    store(sum2, sums, to + 2 * width)
    store(sum3, sums, to + 3 * width)
    store(sum4, sums, to + 4 * width)
    store(sum5, sums, to + 5 * width)
    store(sum6, sums, to + 6 * width)
    store(sum7, sums, to + 7 * width)


@part
def _add_plain_gates(
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
    """`_add_weight_gradient` of gates into which inputs and state go."""
    size, depth = _operand_size(loop), loop.units + 1 + loop.features
    for gate in range(start, stop):
        _add_weight_gradient(
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


# The GRU. Gates: candidate, update, reset, and the candidate's recurrent product.

GRU_SAVED = 5
"""Vectors a step and unit for the backward loop: the state before it, update, reset, candidate, recurrent product."""


@compiled
def gru_forward(
    block: int,
    loop: Loop,
    weights: Array,
    initial: Array,
    outputs: Array,
    finals: Array,
    saved: Array,
    scratch: Array,
) -> None:
    """Run a block of samples.

    Args:
        block: which one.
        loop: see there.
        weights: packed, a row for each row of an operand, a column for each gate and unit.
        initial: states `(samples, 1, shown)`.
        outputs: gets the states `(samples, steps, shown)` if all are wanted.
        finals: gets the last states `(samples, 1, shown)`.
        saved: `(blocks, steps, GRU_SAVED, units, 16)`, at an address that is a multiple of 64; 0: nothing is saved.
        scratch: working memory.
    """
    units, lanes, tiles = loop.units, loop.units * 16, loop.units // 4
    depth, size = units + 1 + loop.features, _operand_size(loop)
    gates = loop.operands * size
    update_at, reset_at, recurrent_at = gates + lanes, gates + 2 * lanes, gates + 3 * lanes
    masked, state = gates + 4 * lanes, gates + 5 * lanes
    one = constant(1.0)
    _read_state(loop, initial, block, 0, 1, scratch, state)
    for step in range(loop.steps):
        _set_operands(loop, block, step, scratch, state, scratch, 0)
        # Of the candidate first what does not depend on the state.
        _product(
            scratch, gates, weights, units * 4, depth, scratch, lanes, 1 + loop.features, tiles, False
        )  # fmt: skip
        for gate in range(1, 3):
            a, w, out = gate % loop.operands * size, gate * tiles * depth * 4, gates + gate * lanes
            _product(scratch, out, weights, w, depth, scratch, a, depth, tiles, False)
        w = 3 * tiles * depth * 4
        if loop.reset_after:
            _product(scratch, recurrent_at, weights, w, depth, scratch, 0, units + 1, tiles, False)
        for row in range(0, lanes, 16):
            update = _sigmoid(load(scratch, update_at + row))
            reset = _sigmoid(load(scratch, reset_at + row))
            if loop.skips:
                # With an update gate of exactly 1 the state stays, and all gradients of the step are exactly 0: the
                # backward loop needs no mask.
                update = where(load(loop.keep, (block * loop.steps + step) * 16), update, one)
            store(update, scratch, update_at + row)
            store(reset, scratch, reset_at + row)
            store(reset * load(scratch, row), scratch, masked + row)
        if not loop.reset_after:
            _product(scratch, recurrent_at, weights, w, depth, scratch, masked, units, tiles, False)
        to = (block * loop.steps + step) * GRU_SAVED * lanes
        for row in range(0, lanes, 16):
            update, reset = load(scratch, update_at + row), load(scratch, reset_at + row)
            given, recurrent = load(scratch, gates + row), load(scratch, recurrent_at + row)
            before = load(scratch, state + row)
            factor = reset if loop.reset_after else one
            candidate = _tanh(add_product(factor, recurrent, given))
            if saved != 0:
                stream(before, saved, to + row)
                stream(update, saved, to + lanes + row)
                stream(reset, saved, to + 2 * lanes + row)
                stream(candidate, saved, to + 3 * lanes + row)
                stream(recurrent, saved, to + 4 * lanes + row)
            after = add_product(update, before, (one - update) * candidate)
            store(after, scratch, state + row)
        if loop.sequences:
            _write_step(loop, scratch, state, outputs, block, step, loop.shown)
    _write_state(loop, scratch, state, finals, block, 0, 1)
    streamed()


@compiled
def gru_backward(
    block: int,
    loop: Loop,
    state_weights: Array,
    input_weights: Array,
    saved: Array,
    upstream: Array,
    final_upstream: Array,
    input_gradient: Array,
    initial_gradient: Array,
    sums: Array,
    scratch: Array,
) -> None:
    """Run a block of samples from the last step to the first.

    Args:
        block: which one.
        loop: see there.
        state_weights: packed, a row for each gate and unit, a column for each unit.
        input_weights: the same with a column for each feature.
        saved: by `gru_forward`.
        upstream: gradient of its `outputs`.
        final_upstream: gradient of its `finals`.
        input_gradient: gets that of the inputs, `(samples, steps, features)`; 0: it is not wanted.
        initial_gradient: gets that of the initial state, `(samples, 1, shown)`.
        sums: gets that of the weights, `(blocks, *gradient_shape)`; zeros.
        scratch: working memory.
    """
    units, lanes = loop.units, loop.units * 16
    size = _operand_size(loop)
    rows, kinds, columns = gradient_shape(loop)
    o = block * rows * kinds * columns
    gates, state, room = _places(loop)
    one = constant(1.0)
    _read_state(loop, final_upstream, block, 0, 1, scratch, state)
    for stop in range(loop.steps, 0, -_CHUNK):
        start = max(stop - _CHUNK, 0)
        for step in range(stop - 1, start - 1, -1):
            if loop.sequences:
                _add_step(loop, upstream, block, step, scratch, state, room)
            at = (block * loop.steps + step) * GRU_SAVED * lanes
            g = gates + (step - start) * GATES * lanes
            update_at, reset_at, recurrent_at = g + lanes, g + 2 * lanes, g + 3 * lanes
            for row in range(0, lanes, 16):
                before, update = load(saved, at + row), load(saved, at + lanes + row)
                reset = load(saved, at + 2 * lanes + row)
                candidate = load(saved, at + 3 * lanes + row)
                gradient = load(scratch, state + row)
                rest = gradient * (one - update)
                d_candidate = rest * (one - candidate * candidate)
                store(d_candidate, scratch, g + row)
                store(rest * (before - candidate) * update, scratch, update_at + row)
                store(gradient * update, scratch, state + row)
                if loop.reset_after:
                    recurrent = load(saved, at + 4 * lanes + row)
                    d_recurrent = d_candidate * reset
                    store(d_recurrent, scratch, recurrent_at + row)
                    store(d_recurrent * recurrent * (one - reset), scratch, reset_at + row)
                else:
                    store(d_candidate, scratch, recurrent_at + row)
            if loop.reset_after:
                _add_into_state(loop, block, state_weights, 1, 4, scratch, g, state, room)
                continue
            # Of the product of reset gate and state.
            for row in range(0, lanes, 16):
                store(constant(0.0), scratch, room + row)
            _add_into_state(loop, block, state_weights, 3, 4, scratch, g, room, room + lanes)
            for row in range(0, lanes, 16):
                reset = load(saved, at + 2 * lanes + row)
                product = load(scratch, room + row) * reset
                d_reset = product * load(saved, at + row) * (one - reset)
                store(d_reset, scratch, reset_at + row)
                store(load(scratch, state + row) + product, scratch, state + row)
            _add_into_state(loop, block, state_weights, 1, 3, scratch, g, state, room)
        # What does not carry over from step to step.
        steps = stop - start
        for i in range(steps):
            a, g = i * (loop.operands + 1) * size, gates + i * GATES * lanes
            at = (block * loop.steps + start + i) * GRU_SAVED * lanes
            _set_operands(loop, block, start + i, saved, at, scratch, a)
            if not loop.reset_after:
                reset = at + 2 * lanes
                _multiply(scratch, a, saved, reset, units, scratch, a + loop.operands * size)
            _write_input_gradient(
                loop, block, start + i, input_weights, 3, scratch, g, room, input_gradient
            )
        _add_weight_gradient(
            loop, 0, 0, units, 1 + loop.features, steps, scratch, gates, room, sums, o
        )
        _add_plain_gates(loop, 1, 3, steps, scratch, gates, room, sums, o)
        a, count = (0, units + 1) if loop.reset_after else (loop.operands * size, units)
        _add_weight_gradient(loop, 3, a, 0, count, steps, scratch, gates, room, sums, o)
    _write_state(loop, scratch, state, initial_gradient, block, 0, 1)


# The LSTM. Gates: input, forget, candidate, output.

LSTM_SAVED = 7
"""Vectors a step and unit: state and cell before it, the four gates, hyperbolic tangent of the cell after it."""


@compiled
def lstm_forward(
    block: int,
    loop: Loop,
    weights: Array,
    initial: Array,
    outputs: Array,
    finals: Array,
    saved: Array,
    scratch: Array,
) -> None:
    """As `gru_forward`, with two states `(samples, 2, shown)`, state and cell, and `LSTM_SAVED`."""
    units, lanes, tiles = loop.units, loop.units * 16, loop.units // 4
    depth, size = units + 1 + loop.features, _operand_size(loop)
    gates = loop.operands * size
    state = gates + GATES * lanes
    cell = state + (units + 15) // 16 * 256
    _read_state(loop, initial, block, 0, 2, scratch, state)
    _read_state(loop, initial, block, 1, 2, scratch, cell)
    for step in range(loop.steps):
        _set_operands(loop, block, step, scratch, state, scratch, 0)
        for gate in range(GATES):
            a, w, out = gate % loop.operands * size, gate * tiles * depth * 4, gates + gate * lanes
            _product(scratch, out, weights, w, depth, scratch, a, depth, tiles, False)
        to = (block * loop.steps + step) * LSTM_SAVED * lanes
        for row in range(0, lanes, 16):
            enter = _sigmoid(load(scratch, gates + row))
            forget = _sigmoid(load(scratch, gates + lanes + row))
            candidate = _tanh(load(scratch, gates + 2 * lanes + row))
            leave = _sigmoid(load(scratch, gates + 3 * lanes + row))
            before, cell_before = load(scratch, state + row), load(scratch, cell + row)
            cell_after = add_product(forget, cell_before, enter * candidate)
            shown = _tanh(cell_after)
            after = leave * shown
            if saved != 0:
                stream(before, saved, to + row)
                stream(cell_before, saved, to + lanes + row)
                stream(enter, saved, to + 2 * lanes + row)
                stream(forget, saved, to + 3 * lanes + row)
                stream(candidate, saved, to + 4 * lanes + row)
                stream(leave, saved, to + 5 * lanes + row)
                stream(shown, saved, to + 6 * lanes + row)
            if loop.skips:
                keep = load(loop.keep, (block * loop.steps + step) * 16)
                after = where(keep, after, before)
                cell_after = where(keep, cell_after, cell_before)
            store(after, scratch, state + row)
            store(cell_after, scratch, cell + row)
        if loop.sequences:
            _write_step(loop, scratch, state, outputs, block, step, loop.shown)
    _write_state(loop, scratch, state, finals, block, 0, 2)
    _write_state(loop, scratch, cell, finals, block, 1, 2)
    streamed()


@compiled
def lstm_backward(
    block: int,
    loop: Loop,
    state_weights: Array,
    input_weights: Array,
    saved: Array,
    upstream: Array,
    final_upstream: Array,
    input_gradient: Array,
    initial_gradient: Array,
    sums: Array,
    scratch: Array,
) -> None:
    """As `gru_backward`, with two states `(samples, 2, shown)`."""
    lanes, size = loop.units * 16, _operand_size(loop)
    rows, kinds, columns = gradient_shape(loop)
    o = block * rows * kinds * columns
    gates, state, room = _places(loop)
    cell = state + (loop.units + 15) // 16 * 256
    one, zero = constant(1.0), constant(0.0)
    _read_state(loop, final_upstream, block, 0, 2, scratch, state)
    _read_state(loop, final_upstream, block, 1, 2, scratch, cell)
    for stop in range(loop.steps, 0, -_CHUNK):
        start = max(stop - _CHUNK, 0)
        for step in range(stop - 1, start - 1, -1):
            if loop.sequences:
                _add_step(loop, upstream, block, step, scratch, state, room)
            at = (block * loop.steps + step) * LSTM_SAVED * lanes
            g = gates + (step - start) * GATES * lanes
            keep = one
            if loop.skips:
                keep = load(loop.keep, (block * loop.steps + step) * 16)
            for row in range(0, lanes, 16):
                cell_before, enter = (
                    load(saved, at + lanes + row),
                    load(saved, at + 2 * lanes + row),
                )
                forget = load(saved, at + 3 * lanes + row)
                candidate = load(saved, at + 4 * lanes + row)
                leave, shown = (
                    load(saved, at + 5 * lanes + row),
                    load(saved, at + 6 * lanes + row),
                )
                # A step to leave out has no gradients, and those of state and cell stay.
                d_state, d_cell = load(scratch, state + row), load(scratch, cell + row)
                gradient = where(keep, d_state, zero)
                store(where(keep, zero, d_state), scratch, state + row)
                d_shown = gradient * leave
                total = d_cell + d_shown * (one - shown * shown)
                store(where(keep, total * forget, d_cell), scratch, cell + row)
                total = where(keep, total, zero)
                d_enter = total * candidate * enter * (one - enter)
                store(d_enter, scratch, g + row)
                store(total * cell_before * forget * (one - forget), scratch, g + lanes + row)
                d_candidate = total * enter * (one - candidate * candidate)
                store(d_candidate, scratch, g + 2 * lanes + row)
                store(gradient * shown * leave * (one - leave), scratch, g + 3 * lanes + row)
            _add_into_state(loop, block, state_weights, 0, 4, scratch, g, state, room)
        steps = stop - start
        for i in range(steps):
            a, g = i * (loop.operands + 1) * size, gates + i * GATES * lanes
            at = (block * loop.steps + start + i) * LSTM_SAVED * lanes
            _set_operands(loop, block, start + i, saved, at, scratch, a)
            _write_input_gradient(
                loop, block, start + i, input_weights, 4, scratch, g, room, input_gradient
            )
        _add_plain_gates(loop, 0, 4, steps, scratch, gates, room, sums, o)
    _write_state(loop, scratch, state, initial_gradient, block, 0, 2)
    _write_state(loop, scratch, cell, initial_gradient, block, 1, 2)
