"""The loops of the GRU. Its gates: candidate, update, reset, and the candidate's recurrent product."""

from __future__ import annotations

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.recurrence import (
    CHUNK,
    GATES,
    Loop,
    add_into_state,
    add_plain_gates,
    add_step,
    add_weight_gradient,
    gradient_shape,
    multiply,
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

SAVED = 5
"""Vectors a step and unit for the backward loop: the state before it, update, reset, candidate, recurrent product."""


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
    """Run a block of samples.

    Args:
        block: which one.
        loop: see there.
        weights: packed, a row for each row of an operand, a column for each gate and unit.
        initial: states `(samples, 1, shown)`.
        outputs: gets the states `(samples, steps, shown)` if all are wanted.
        finals: gets the last states `(samples, 1, shown)`.
        saved: `(blocks, steps, SAVED, units, 16)`, at an address that is a multiple of 64; 0: nothing is saved.
        scratch: working memory.
    """
    units, lanes, tiles = loop.units, loop.units * 16, loop.units // 4
    depth, size = units + 1 + loop.features, operand_size(loop)
    gates = loop.operands * size
    update_at, reset_at, recurrent_at = gates + lanes, gates + 2 * lanes, gates + 3 * lanes
    masked, state = gates + 4 * lanes, gates + 5 * lanes
    one = constant(1.0)
    read_state(loop, initial, block, 0, 1, scratch, state)
    for step in range(loop.steps):
        set_operands(loop, block, step, scratch, state, scratch, 0)
        # Of the candidate first what does not depend on the state.
        weighted(
            scratch, gates, weights, units * 4, depth, scratch, lanes, 1 + loop.features, tiles, False
        )  # fmt: skip
        for gate in range(1, 3):
            a, w, out = gate % loop.operands * size, gate * tiles * depth * 4, gates + gate * lanes
            weighted(scratch, out, weights, w, depth, scratch, a, depth, tiles, False)
        w = 3 * tiles * depth * 4
        if loop.reset_after:
            weighted(scratch, recurrent_at, weights, w, depth, scratch, 0, units + 1, tiles, False)
        for row in range(0, lanes, 16):
            update = sigmoid(load(scratch, update_at + row))
            reset = sigmoid(load(scratch, reset_at + row))
            if loop.skips:
                # With an update gate of exactly 1 the state stays, and all gradients of the step are exactly 0: the
                # backward loop needs no mask.
                update = where(load(loop.keep, (block * loop.steps + step) * 16), update, one)
            store(update, scratch, update_at + row)
            store(reset, scratch, reset_at + row)
            store(reset * load(scratch, row), scratch, masked + row)
        if not loop.reset_after:
            weighted(scratch, recurrent_at, weights, w, depth, scratch, masked, units, tiles, False)
        to = (block * loop.steps + step) * SAVED * lanes
        for row in range(0, lanes, 16):
            update, reset = load(scratch, update_at + row), load(scratch, reset_at + row)
            given, recurrent = load(scratch, gates + row), load(scratch, recurrent_at + row)
            before = load(scratch, state + row)
            factor = reset if loop.reset_after else one
            candidate = tanh(add_product(factor, recurrent, given))
            if saved != 0:
                stream(before, saved, to + row)
                stream(update, saved, to + lanes + row)
                stream(reset, saved, to + 2 * lanes + row)
                stream(candidate, saved, to + 3 * lanes + row)
                stream(recurrent, saved, to + 4 * lanes + row)
            after = add_product(update, before, (one - update) * candidate)
            store(after, scratch, state + row)
        if loop.sequences:
            write_step(loop, scratch, state, outputs, block, step, loop.shown)
    write_state(loop, scratch, state, finals, block, 0, 1)
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
    """Run a block of samples from the last step to the first.

    Args:
        block: which one.
        loop: see there.
        state_weights: packed, a row for each gate and unit, a column for each unit.
        input_weights: the same with a column for each feature.
        saved: by `forward`.
        upstream: gradient of its `outputs`.
        final_upstream: gradient of its `finals`.
        input_gradient: gets that of the inputs, `(samples, steps, features)`; 0: it is not wanted.
        initial_gradient: gets that of the initial state, `(samples, 1, shown)`.
        sums: gets that of the weights, `(blocks, *gradient_shape)`; zeros.
        scratch: working memory.
    """
    units, lanes = loop.units, loop.units * 16
    size = operand_size(loop)
    rows, kinds, columns = gradient_shape(units, loop.features)
    o = block * rows * kinds * columns
    gates, state, room = scratch_places(loop)
    one = constant(1.0)
    read_state(loop, final_upstream, block, 0, 1, scratch, state)
    for stop in range(loop.steps, 0, -CHUNK):
        start = max(stop - CHUNK, 0)
        for step in range(stop - 1, start - 1, -1):
            if loop.sequences:
                add_step(loop, upstream, block, step, scratch, state, room)
            at = (block * loop.steps + step) * SAVED * lanes
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
                add_into_state(loop, block, state_weights, 1, 4, scratch, g, state, room)
                continue
            # Of the product of reset gate and state.
            for row in range(0, lanes, 16):
                store(constant(0.0), scratch, room + row)
            add_into_state(loop, block, state_weights, 3, 4, scratch, g, room, room + lanes)
            for row in range(0, lanes, 16):
                reset = load(saved, at + 2 * lanes + row)
                product = load(scratch, room + row) * reset
                d_reset = product * load(saved, at + row) * (one - reset)
                store(d_reset, scratch, reset_at + row)
                store(load(scratch, state + row) + product, scratch, state + row)
            add_into_state(loop, block, state_weights, 1, 3, scratch, g, state, room)
        # What does not carry over from step to step.
        steps = stop - start
        for i in range(steps):
            a, g = i * (loop.operands + 1) * size, gates + i * GATES * lanes
            at = (block * loop.steps + start + i) * SAVED * lanes
            set_operands(loop, block, start + i, saved, at, scratch, a)
            if not loop.reset_after:
                reset = at + 2 * lanes
                multiply(scratch, a, saved, reset, units, scratch, a + loop.operands * size)
            write_input_gradient(
                loop, block, start + i, input_weights, 3, scratch, g, room, input_gradient
            )
        add_weight_gradient(
            loop, 0, 0, units, 1 + loop.features, steps, scratch, gates, room, sums, o
        )
        add_plain_gates(loop, 1, 3, steps, scratch, gates, room, sums, o)
        a, count = (0, units + 1) if loop.reset_after else (loop.operands * size, units)
        add_weight_gradient(loop, 3, a, 0, count, steps, scratch, gates, room, sums, o)
    write_state(loop, scratch, state, initial_gradient, block, 0, 1)
