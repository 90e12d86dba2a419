"""Runs a plan: its blocks forward, in training and inference, and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnn.backends import Activation, Array, Epilogue, Join, Ops, RandomKey, Stage
from cnn.layers import Conv2D, ElementwiseJoin, Pass, Pointwise, Producer, Tensors
from cnn.layers.activations import ActivationLayer
from cnn.models.graph import INPUT
from cnn.models.plan import Block, Plan

NodeTensors = Sequence[Tensors]  # of every node, by index


@dataclass
class SavedBlock:
    """The values of a block's forward pass that its backward pass needs."""

    producer: Any = None
    product: Array | None = None  # the output of the producer with its epilogue's activation
    stages: Sequence[Stage] = ()
    tail: Any = None
    alone: Any = None


@dataclass(frozen=True)
class ReadyBlock:
    """The data of a block that is the same in every pass, for one clock."""

    block: Block
    ctx: Pass  # of the producer, or of the layer of a block without one
    activation: Activation | None
    epilogue: Epilogue
    stages: Sequence[Stage | int]  # a number is a node whose stage depends on the pass
    tail_ctx: Mapping[int, Pass]  # of such nodes
    static: bool  # no stage depends on the pass
    storage: str  # the type of the arrays in the block


class Executor:
    """Runs the blocks of a plan. It has the tensors of the nodes, but keeps no results of a pass.

    `storage` is the type of the arrays in memory: the network's input, the outputs of blocks, a product inside a block,
    and the gradients of all of these. They are rounded to it, unless the backend computed them in it. The last block is
    computed in float32, with unrounded weights, because the loss is sensitive to the logits, and they are few.
    """

    def __init__(
        self,
        ops: Ops,
        plan: Plan,
        params: NodeTensors,
        grads: NodeTensors,
        seed: int = 0,
        storage: str = "float32",
    ) -> None:
        """`params` and `grads` have a mapping for each node; those of gradients are empty in inference."""
        self.ops, self.plan, self.params, self.grads = ops, plan, params, grads
        self.seed, self.storage = seed, storage
        self._nodes = plan.graph.nodes
        self._clock: Array | None = None
        self._ready = self._prepare(None)

    def forward(self, x: Array, clock: Array | None = None) -> tuple[Array, list[SavedBlock]]:
        """The network's output for a batch, and the values that `backward` needs; an empty list in inference.

        In training the frozen part of the network computes as in inference, and has no part in these values.

        `clock` has the training step, which is part of dropout's random key. An output is freed after its last use.
        """
        if clock is not self._clock:
            self._clock, self._ready = clock, self._prepare(clock)
        values, kept = {INPUT: self._stored(x, self.storage)}, []
        del x
        for ready, done in zip(self._ready, self.plan.last_readers, strict=True):
            if ready.storage != self.storage:
                values |= {
                    index: self._stored(values[index], ready.storage) for index in self.plan.read_by(ready.block)
                }
            y, saved = self.block_forward(ready, values)
            values[ready.block.output] = self._stored(y, ready.storage)
            del y
            if ready.block.train:
                kept.append(saved)
            del saved
            for index in done:
                del values[index]
        return values[len(self._nodes) - 1], kept

    def backward(
        self, saved: list[SavedBlock], dy: Array, done: Callable[[Sequence[int]], object] = lambda nodes: None
    ) -> None:
        """Fill the gradients of all trained parameters, given dy, the gradient of the network's output.

        `saved` is emptied: the values of a block are freed after its backward pass. `done` is called with the nodes of
        each block then, which are in one block only.
        """
        given = {len(self._nodes) - 1: dy}
        for ready in reversed([ready for ready in self._ready if ready.block.train]):
            self.block_backward(ready, saved.pop(), given)
            done(ready.block.nodes())
        self.ops.join()

    # --- preparation, once per clock --------------------------------------------------------------------------------

    def _prepare(self, clock: Array | None) -> list[ReadyBlock]:
        *blocks, last = self.plan.blocks
        return [
            *(self._prepared(block, clock, self.storage) for block in blocks),
            self._prepared(last, clock, "float32"),
        ]

    def _prepared(self, block: Block, clock: Array | None, storage: str) -> ReadyBlock:
        own = block.alone if block.producer is None else block.producer
        ctx = Pass(self.ops, block.train)
        if own is not None:
            ctx = self._pass(own, block, clock, self._is_trained(block.input) or block.producer is None)
        stages: list[Stage | int] = []
        contexts = {}
        for index in block.tail:
            layer = self._nodes[index].layer
            contexts[index] = self._pass(index, block, clock)
            if index == block.norm or not isinstance(layer, Pointwise) or (layer.random and clock is None):
                stages.append(index)
            elif (stage := layer.stage(self.params[index], self.grads[index], contexts[index])) is not None:
                stages.append(stage)
        activation = None
        if block.activation is not None:
            layer = self._nodes[block.activation].layer
            assert isinstance(layer, ActivationLayer)
            activation = layer.activation
        static = not any(isinstance(stage, int) for stage in stages)
        return ReadyBlock(block, ctx, activation, Epilogue(activation), tuple(stages), contexts, static, storage)

    def _is_trained(self, index: int) -> bool:
        """Whether the output `index` has a gradient: not so the network's input, and what is frozen."""
        return index >= self.plan.graph.frozen

    def _pass(self, index: int, block: Block, clock: Array | None, input_gradient: bool = True) -> Pass:
        node = self._nodes[index]
        key = RandomKey(self.seed, node.stream, clock) if node.stream and clock is not None else None
        return Pass(self.ops, block.train, node.input_shape, key, None, input_gradient)

    # --- forward ----------------------------------------------------------------------------------------------------

    def block_forward(self, ready: ReadyBlock, values: Mapping[int, Array]) -> tuple[Array, SavedBlock]:
        """The block's output, given earlier outputs by index, and the values that its backward pass needs."""
        block = ready.block
        if block.alone is not None:
            node = self._nodes[block.alone]
            inputs = tuple(values[index] for index in node.inputs)
            x = inputs if len(inputs) > 1 else inputs[0]
            y, alone = node.layer.forward(self.params[block.alone], x, ready.ctx)
            return y, SavedBlock(alone=alone)
        x, saved, moments = values[block.input], SavedBlock(), None
        if block.producer is not None:
            x, saved.producer, moments = self._product(ready, x)
            saved.product = x if ready.activation is not None else None
        elif block.norm is not None:
            moments = self.ops.moments(x)
        if moments is not None:
            self.ops.share_moments(moments)
        stages = ready.stages if ready.static else self._stages(ready, values, moments)
        if not stages:
            return x, saved
        y, saved.tail = self.ops.tail(x, stages, block.train)  # type: ignore[arg-type]
        saved.stages = stages if ready.static else _without_summands(stages)  # type: ignore
        return y, saved

    def _product(self, ready: ReadyBlock, x: Array) -> tuple[Array, Any, Array | None]:
        """The producer's output, the values that its backward pass needs, and the moments that its epilogue filled."""
        block = ready.block
        assert block.producer is not None
        node = self._nodes[block.producer]
        assert isinstance(node.layer, Producer)
        moments, epilogue = None, ready.epilogue
        if block.norm is not None:
            moments = self.ops.empty((2, node.shape[-1]), self.params[block.norm]["moments"].dtype)
            epilogue = Epilogue(ready.activation, moments)
        y, saved = node.layer.forward(self.params[block.producer], x, ready.ctx, epilogue)
        return self._stored(y, ready.storage), saved, moments

    def _stages(self, ready: ReadyBlock, values: Mapping[int, Array], moments: Array | None) -> list[Stage]:
        """The stages of this pass, with the other operands of joins and the moments of the norm."""
        found: list[Stage] = []
        for stage in ready.stages:
            if not isinstance(stage, int):
                found.append(stage)
                continue
            layer = self._nodes[stage].layer
            if isinstance(layer, ElementwiseJoin):
                found.append(layer.stage(values[ready.block.joined[stage]]))
            elif isinstance(layer, Pointwise):
                ctx = replace(ready.tail_ctx[stage], moments=moments)
                made = layer.stage(self.params[stage], self.grads[stage], ctx)
                if made is not None:
                    found.append(made)
        return found

    # --- backward ---------------------------------------------------------------------------------------------------

    def block_backward(self, ready: ReadyBlock, saved: SavedBlock, given: dict[int, Array]) -> None:
        """Take the gradient of the block's output out of `given`, and add those of its inputs."""
        block = ready.block
        dy = given.pop(block.output)
        if block.alone is not None:
            node = self._nodes[block.alone]
            dx = node.layer.backward(self.params[block.alone], saved.alone, dy, self.grads[block.alone], ready.ctx)
            for index, gradient in zip(node.inputs, dx if len(node.inputs) > 1 else (dx,), strict=True):
                self._give(given, index, gradient)
            return
        before = None if ready.activation is None else (ready.activation, saved.product)
        if saved.stages:
            dy, others = self.ops.tail_backward(dy, saved.stages, saved.tail, before)
            for index, gradient in zip(block.joined.values(), others, strict=True):
                self._give(given, index, gradient)
        elif ready.activation is not None:
            dy = self.ops.activation_backward(dy, saved.product, ready.activation)
        del before  # what the tail needed is freed before the producer's pass, which asks for its own memory
        saved.tail = saved.product = None
        saved.stages = ()
        if block.producer is not None:
            layer, dy, ctx = self._nodes[block.producer].layer, self._stored(dy, ready.storage), ready.ctx
            if self.ops.sums_gradients and isinstance(layer, Conv2D) and block.input in given:
                ctx = replace(ctx, summand=given.pop(block.input))
            dy = layer.backward(self.params[block.producer], saved.producer, dy, self.grads[block.producer], ctx)
        if dy is not None:
            self._give(given, block.input, dy)

    def _give(self, given: dict[int, Array], index: int, gradient: Array) -> None:
        """Add to the gradient of output `index`, which is a sum if several branches read the output.

        An output that needs none, the network's input or one of a frozen node, gets none.
        """
        if not self._is_trained(index):
            return
        gradient = self._stored(gradient, self.storage)
        if index in given:
            gradient = self._stored(self.ops.add(given[index], gradient), self.storage)
        given[index] = gradient

    def _stored(self, x: Array, storage: str) -> Array:
        return x if self.storage == "float32" else self.ops.stored(x, storage)


def _without_summands(stages: Sequence[Stage]) -> list[Stage]:
    """The stages without the operands of sums, which the backward pass does not need."""
    return [replace(s, other=None) if isinstance(s, Join) and s.kind == "add" else s for s in stages]
