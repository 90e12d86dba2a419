"""The plan of a network: nodes grouped into blocks that a backend runs in few memory passes.

A block is a producer (a convolution, a dense layer, or none) with an epilogue, and a tail: all pointwise operations
that follow, up to the next operation that needs the whole batch. The rules of fusion are only in this module, not in
layers and backends. The results of a network are the same for every plan, up to rounding.

In training a batch norm needs the statistics of the whole batch. So it begins a block, or directly follows a producer
(and its activation), whose epilogue then fills the statistics. In inference the running statistics are known, so a
batch norm is a stage like any other; in training it is so in the frozen part of a network. With `fold` a batch norm
after a product, or before a dense layer, is marked to be multiplied into the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cnn.layers import BatchNorm, Dense, ElementwiseJoin, Pointwise, Producer
from cnn.layers.activations import ActivationLayer
from cnn.layers.dropout import RandomDrop
from cnn.models.graph import Graph


@dataclass
class Block:
    """Nodes that are computed together, by index."""

    input: int  # the output that the block reads
    producer: int | None = None
    activation: int | None = None  # in the producer's epilogue
    ahead: int | None = None  # a batch norm before a dense producer, multiplied into its weights in inference
    fold: int | None = None  # a batch norm after the producer, multiplied into its weights in inference
    norm: int | None = None  # a batch norm by the statistics of the batch, the first stage of the tail
    tail: list[int] = field(default_factory=list)  # stages in order, `norm` included
    joined: dict[int, int] = field(default_factory=dict)  # the other operand of each join in the tail
    alone: int | None = None  # a layer that is neither producer nor stage: the only node of the block
    output: int = 0  # the node whose output is that of the block
    train: bool = False  # in training, and not frozen: statistics of the batch, and a backward pass

    def nodes(self) -> list[int]:
        """All nodes of the block, in the order of the graph."""
        own = (self.producer, self.activation, self.fold, self.alone)
        return sorted([index for index in own if index is not None] + self.tail)


@dataclass(frozen=True)
class Plan:
    """The blocks of a network in the order of computation."""

    graph: Graph
    blocks: tuple[Block, ...]
    train: bool

    @cached_property
    def last_readers(self) -> list[list[int]]:
        """For each block, the outputs that no later block reads; their memory can be freed after it."""
        last: dict[int, int] = {}
        for number, block in enumerate(self.blocks):
            for index in self.read_by(block):
                last[index] = number
        return [[index for index, reader in last.items() if reader == number] for number in range(len(self.blocks))]

    def read_by(self, block: Block) -> list[int]:
        """The outputs of other blocks that `block` reads."""
        if block.alone is not None:
            return list(self.graph.nodes[block.alone].inputs)
        return [block.input, *block.joined.values()]

    def name_of(self, block: Block) -> str:
        """The names of a block's nodes, in the order of computation."""
        return " + ".join(self.graph.nodes[index].name for index in block.nodes())

    def __str__(self) -> str:
        """One line per block."""
        return "\n".join(map(self.name_of, self.blocks))


def make_plan(graph: Graph, train: bool, fuse: bool = True, fold: bool = False) -> Plan:
    """Group the nodes of `graph` into blocks. Without `fuse` every node is a block of its own.

    `fold` is for inference by a caller that multiplies batch norms into the weights before it runs the plan. In
    inference and in frozen nodes, dropout and stochastic depth are the identity and are left out, unless such a layer
    would be the only node of a block.
    """
    return Plan(graph, tuple(_Planner(graph, train, fuse, fold).blocks()), train)


class _Planner:
    def __init__(self, graph: Graph, train: bool, fuse: bool, fold: bool) -> None:
        self.graph, self.train, self.fuse, self.fold = graph, train, fuse, fold
        self._ahead: dict[int, int] = {}  # by the dense layer, the batch norm to fold into it
        self.consumers = graph.consumers()

    def blocks(self) -> Sequence[Block]:
        taken: set[int] = set()
        found = []
        for index in range(len(self.graph.nodes)):
            if index not in taken:
                block = self._begin(index)
                block.train = self._trains(index)
                if self.fuse and block.alone is None:
                    self._extend(block)
                taken |= {*block.nodes(), *self._skipped}
                found.append(block)
        return found

    def _trains(self, index: int) -> bool:
        return self.train and index >= self.graph.frozen

    def _begin(self, index: int) -> Block:
        """The block whose first node is `index`."""
        node, self._skipped = self.graph.nodes[index], set[int]()
        layer = node.layer
        if isinstance(layer, Producer):
            return Block(node.inputs[0], producer=index, ahead=self._ahead.get(index), output=index)
        if isinstance(layer, BatchNorm) and self._trains(index):
            return Block(node.inputs[0], norm=index, tail=[index], output=index)
        if isinstance(layer, Pointwise):
            return Block(node.inputs[0], tail=[index], output=index)
        if isinstance(layer, ElementwiseJoin):
            main = layer.main(node.input_shape)[0]
            return Block(node.inputs[main], tail=[index], joined={index: node.inputs[1 - main]}, output=index)
        return Block(node.inputs[0], alone=index, output=index)

    def _extend(self, block: Block) -> None:
        """Add every node that can be computed in the same block."""
        while (index := self._next(block)) is not None:
            layer = self.graph.nodes[index].layer
            behind_product = block.producer is not None and not block.tail
            if isinstance(layer, RandomDrop) and not block.train:
                self._skipped.add(index)
            elif isinstance(layer, BatchNorm) and self.fold and (dense := self._dense_behind(index)) is not None:
                self._ahead[dense] = index
                self._skipped.add(index)
            elif isinstance(layer, BatchNorm) and self._folds_into(block):
                block.fold = index
            elif isinstance(layer, BatchNorm) and block.train:
                if not behind_product:
                    return
                block.norm = index
                block.tail.append(index)
            elif isinstance(layer, ActivationLayer) and behind_product and block.activation is None:
                if block.train and layer.activation.needs == "input":
                    block.tail.append(index)
                else:
                    block.activation = index
            else:
                if isinstance(layer, ElementwiseJoin):
                    inputs = self.graph.nodes[index].inputs
                    block.joined[index] = inputs[1 - inputs.index(block.output)]
                block.tail.append(index)
            block.output = index

    def _folds_into(self, block: Block) -> bool:
        """Whether a batch norm after the block can be multiplied into its weights, because nothing is in between."""
        between = block.tail or block.activation is not None or block.fold is not None
        return self.fold and block.producer is not None and not between

    def _dense_behind(self, index: int) -> int | None:
        """The dense layer that is the only reader of node `index`, in inference, where dropout is the identity."""
        readers = self.consumers[index]
        if len(readers) != 1 or readers[0] >= len(self.graph.nodes):
            return None
        layer = self.graph.nodes[readers[0]].layer
        if isinstance(layer, RandomDrop):
            return self._dense_behind(readers[0])
        return readers[0] if isinstance(layer, Dense) else None

    def _next(self, block: Block) -> int | None:
        """The only node that reads the block's output, if it is pointwise and its other operands are computed.

        A block does not reach from frozen nodes to trained ones.
        """
        readers = self.consumers[block.output]
        if len(readers) != 1 or readers[0] >= len(self.graph.nodes) or self._trains(readers[0]) != block.train:
            return None
        node = self.graph.nodes[readers[0]]
        if isinstance(node.layer, Pointwise):
            return readers[0]
        if isinstance(node.layer, ElementwiseJoin):
            place = node.inputs.index(block.output)
            first = min([*block.nodes(), block.output])
            ready = all(given < first for given in node.inputs if given != block.output)
            if place in node.layer.main(node.input_shape) and ready:
                return readers[0]
        return None
