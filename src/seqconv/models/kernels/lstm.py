"""The loops of the LSTM. Its gates: input, forget, candidate, output."""

from __future__ import annotations

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.recurrence import (
    CHUNK,
    GATES,
    Loop,
    add_into_state,
    add_plain_gates,
    add_step,
    gradient_shape,
    operand_size,
    read_state,
    scratch_places,
    set_operands,
    sigmoid,
    tanh,
    weighted,
    write_input_gradient,
    write_state,
    write_step,
)
from seqconv.models.kernels.vectors import (
    Array,
    add_product,
    constant,
    load,
    store,
    stream,
    streamed,
    where,
)

SAVED = 7
"""Vectors a step and unit: state and cell before it, the four gates, hyperbolic tangent of the cell after it."""


@compiled
def forward(
    block: int,
    loop: Loop,
    weights: Array,
    initial: Array,
    outputs: Array,
    finals: Array,
    saved: Array,
    scratch: Array,
) -> None:
    """As `gru.forward`, with two states `(samples, 2, shown)`, state and cell, and `SAVED`."""
    units, lanes, tiles = loop.units, loop.units * 16, loop.units // 4
    depth, size = units + 1 + loop.features, operand_size(loop)
    gates = loop.operands * size
    state = gates + GATES * lanes
    cell = state + (units + 15) // 16 * 256
    read_state(loop, initial, block, 0, 2, scratch, state)
    read_state(loop, initial, block, 1, 2, scratch, cell)
    for step in range(loop.steps):
        set_operands(loop, block, step, scratch, state, scratch, 0)
        for gate in range(GATES):
            a, w, out = gate % loop.operands * size, gate * tiles * depth * 4, gates + gate * lanes
            weighted(scratch, out, weights, w, depth, scratch, a, depth, tiles, False)
        to = (block * loop.steps + step) * SAVED * lanes
        for row in range(0, lanes, 16):
            enter = sigmoid(load(scratch, gates + row))
            forget = sigmoid(load(scratch, gates + lanes + row))
            candidate = tanh(load(scratch, gates + 2 * lanes + row))
            leave = sigmoid(load(scratch, gates + 3 * lanes + row))
            before, cell_before = load(scratch, state + row), load(scratch, cell + row)
            cell_after = add_product(forget, cell_before, enter * candidate)
            shown = tanh(cell_after)
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
            write_step(loop, scratch, state, outputs, block, step, loop.shown)
    write_state(loop, scratch, state, finals, block, 0, 2)
    write_state(loop, scratch, cell, finals, block, 1, 2)
    streamed()


@compiled
def backward(
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
    """As `gru.backward`, with two states `(samples, 2, shown)`."""
    lanes, size = loop.units * 16, operand_size(loop)
    rows, kinds, columns = gradient_shape(loop.units, loop.features)
    o = block * rows * kinds * columns
    gates, state, room = scratch_places(loop)
    cell = state + (loop.units + 15) // 16 * 256
    one, zero = constant(1.0), constant(0.0)
    read_state(loop, final_upstream, block, 0, 2, scratch, state)
    read_state(loop, final_upstream, block, 1, 2, scratch, cell)
    for stop in range(loop.steps, 0, -CHUNK):
        start = max(stop - CHUNK, 0)
        for step in range(stop - 1, start - 1, -1):
            if loop.sequences:
                add_step(loop, upstream, block, step, scratch, state, room)
            at = (block * loop.steps + step) * SAVED * lanes
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
            add_into_state(loop, block, state_weights, 0, 4, scratch, g, state, room)
        steps = stop - start
        for i in range(steps):
            a, g = i * (loop.operands + 1) * size, gates + i * GATES * lanes
            at = (block * loop.steps + start + i) * SAVED * lanes
            set_operands(loop, block, start + i, saved, at, scratch, a)
            write_input_gradient(
                loop, block, start + i, input_weights, 4, scratch, g, room, input_gradient
            )
        add_plain_gates(loop, 0, 4, steps, scratch, gates, room, sums, o)
    write_state(loop, scratch, state, initial_gradient, block, 0, 2)
    write_state(loop, scratch, cell, initial_gradient, block, 1, 2)
