"""A network: its graph, its tensors, and the state that a checkpoint has."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops
from cnn.layers import BatchNorm, Buffer, Parameter, Pass, Pointwise, Streams
from cnn.models.arena import Arena
from cnn.models.execute import Executor
from cnn.models.graph import INPUT, Graph, Node
from cnn.models.plan import Plan, make_plan
from cnn.models.timing import Stopwatch, TimedExecutor
from foundation.errors import UserError

STORAGES = ("float32", "bfloat16")


class Model:
    """Maps images (n, h, w, c) to logits (n, classes).

    All parameters are in one arena, their gradients in another of the same layout: first those with weight decay
    (`decayed` elements), then those without (up to `trained` elements), then the `fixed` ones, those of frozen nodes
    and others that are not trained, which no update changes. Running statistics are in a third. With storage bfloat16
    there is one more: `rounded`, a copy of the parameters in bfloat16, whose weights the products read. Optimizers and
    `load_state` keep it equal to the parameters; after any other change of `values` call `update_rounded`.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        ops: Ops,
        seed: int,
        init: str = "he_normal",
        dtype: str = "float32",
        storage: str = "float32",
        fuse: bool = True,
    ) -> None:
        """Create the tensors. `storage` is the type of activations, their gradients and the weights in products,
        float32 or bfloat16: see `Executor`.

        Without `fuse` every node is computed separately, for tests.
        """
        if storage not in STORAGES:
            raise ValueError(f"there is no storage '{storage}'; choose one of: {', '.join(STORAGES)}")
        self.name, self.ops, self.seed, self.storage = name, ops, seed, storage
        self._init, self._fuse = init, fuse
        self.dtype, self.input_shape = np.dtype(dtype), graph.input_shape
        streams = Streams(seed)
        self._specs: dict[str, Parameter] = {}
        self._buffers: dict[str, Buffer] = {}
        initial: dict[str, NDArray[Any]] = {}
        nodes = []
        for node in graph.nodes:
            parameters, buffers = node.layer.parameters(node.input_shape, init), node.layer.buffers(node.input_shape)
            _check_names(node, parameters, buffers)
            for key, spec in parameters.items():
                self._specs[f"{node.name}.{key}"] = spec
                values = spec.initial(streams.generator()) if callable(spec.initial) else spec.initial
                initial[f"{node.name}.{key}"] = np.broadcast_to(np.asarray(values, self.dtype), spec.shape)
            for key, buffer in buffers.items():
                self._buffers[f"{node.name}.{key}"] = buffer
            random = isinstance(node.layer, Pointwise) and node.layer.random
            nodes.append(replace(node, stream=streams.next()) if random else node)
        self.graph = Graph(tuple(nodes), graph.input_shape, graph.frozen)
        self._make_tensors(initial)
        self._training = self._executor(train=True, fuse=fuse)
        self._scoring = self._executor(train=False, fuse=fuse)

    def twin(self) -> Model:
        """Another model of the same graph, with copies of the parameters and running statistics."""
        options = self._init, self.dtype.name, self.storage, self._fuse
        other = Model(self.name, self.graph, self.ops, self.seed, *options)
        other.load_state(self.state(), "the model")
        return other

    def resized(self, height: int, width: int) -> Model:
        """This model for images of another size: with the same tensors, not copies of them.

        Raises ValueError if the graph cannot have it: see `Graph.resized`.
        """
        other = copy.copy(self)
        other.graph = self.graph.resized((height, width, *self.input_shape[2:]))
        other.input_shape = other.graph.input_shape
        other._training = other._executor(train=True, fuse=self._fuse)
        other._scoring = other._executor(train=False, fuse=self._fuse)
        return other

    def _make_tensors(self, initial: Mapping[str, NDArray[Any]]) -> None:
        first = {node.name for node in self.graph.nodes[: self.graph.frozen]}
        self.fixed = [
            name for name, spec in self._specs.items() if name.rpartition(".")[0] in first or not spec.trained
        ]
        trained = [name for name in self._specs if name not in set(self.fixed)]
        self._trained_names: dict[str, list[str]] = {}
        for name in trained:
            self._trained_names.setdefault(name.rpartition(".")[0], []).append(name)
        decays = [name for name in trained if self._specs[name].decay]
        order = decays + [name for name in trained if not self._specs[name].decay] + self.fixed
        shapes = {name: self._specs[name].shape for name in order}
        self.values, self.gradients = (Arena(self.ops, shapes, self.dtype) for _ in range(2))
        begins = [self.values.begin(name) for name in order] + [self.values.flat.size]
        self.decayed, self.trained = begins[len(decays)], begins[len(trained)]
        shapes = {name: buffer.initial.shape for name, buffer in self._buffers.items()}
        self.statistics = Arena(self.ops, shapes, self.dtype)
        self.values.fill(initial)
        self.statistics.fill({name: buffer.initial for name, buffer in self._buffers.items()})
        self.rounded = None if self.storage == "float32" else self.values.stored(self.storage)
        self.tensors = [self._of_node(node.name, self.values, self.statistics) for node in self.graph.nodes]
        self._places = [self._of_node(node.name, self.gradients) for node in self.graph.nodes]

    @staticmethod
    def _of_node(name: str, *arenas: Arena) -> dict[str, Array]:
        """The tensors of one node, by their own names."""
        return {
            key.removeprefix(f"{name}."): tensor
            for arena in arenas
            for key, tensor in arena.tensors.items()
            if key.startswith(f"{name}.")
        }

    def _executor(self, train: bool, fuse: bool) -> Executor:
        plan = make_plan(self.graph, train, fuse)
        exact = plan.blocks[-1].nodes()
        params = [
            tensors if index in exact else {**tensors, **self.rounded_weights(index)}
            for index, tensors in enumerate(self.tensors)
        ]
        return Executor(self.ops, plan, params, self._places, self.seed, self.storage)

    def rounded_weights(self, index: int) -> dict[str, Array]:
        """The weights of node `index` that products read, rounded to the storage type; empty for float32."""
        if self.rounded is None:
            return {}
        found = self._of_node(self.graph.nodes[index].name, self.rounded)
        return {key: found[key] for key in found if self._specs[f"{self.graph.nodes[index].name}.{key}"].product}

    def update_rounded(self) -> None:
        """In place: set the copy of the parameters in bfloat16, if there is one, to the parameters."""
        if self.rounded is not None:
            self.ops.overwrite(self.rounded.flat, self.ops.stored(self.values.flat, self.storage))

    # --- passes -----------------------------------------------------------------------------------------------------

    def forward(self, x: Array, train: bool, clock: Array | None = None) -> tuple[Array, Any]:
        """Logits (n, classes), and in training the values that `backward` needs.

        The first element of `clock` int64 is the number of the training step; dropout draws another mask in each step.
        """
        return (self._training if train else self._scoring).forward(x, clock)

    def backward(self, saved: Any, dlogits: Array, done: Callable[[Sequence[int]], object] | None = None) -> None:
        """Fill `gradients`, including those of the L2 penalties; those of frozen nodes stay 0. `saved` is emptied.

        `done` is called with nodes, by index, when their gradients are complete, the last ones first; only for a
        backend that computes no gradients `beside` others.
        """
        if done is None:
            self._training.backward(saved, dlogits)
            self._penalize(range(len(self.graph.nodes)))
            return

        def complete(nodes: Sequence[int]) -> None:
            self._penalize(nodes)
            done(nodes)

        self._training.backward(saved, dlogits, complete)

    def _penalize(self, nodes: Sequence[int]) -> None:
        """In place: add the gradients of the L2 penalties of these nodes."""
        for index in nodes:
            for name in self.trained_names(index):
                if l2 := self._specs[name].l2:
                    self.ops.l2_penalty_backward(self.values.tensors[name], l2, self.gradients.tensors[name])

    def trained_names(self, index: int) -> list[str]:
        """The names of the trained parameters of node `index`."""
        return self._trained_names.get(self.graph.nodes[index].name, [])

    @property
    def plan(self) -> Plan:
        """The plan of training passes."""
        return self._training.plan

    def measured_by(self, watch: Stopwatch) -> None:
        """From now on `watch` measures each block of training passes."""
        self._training = TimedExecutor.of(self._training, watch)

    def feature_maps(self, x: Array, names: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs of the nodes `names`, by default of all, in inference, computed without fusion in float32."""
        values = {INPUT: x}
        for index, node in enumerate(self.graph.nodes):
            inputs = tuple(values[given] for given in node.inputs)
            ctx = Pass(self.ops, False, node.input_shape)
            values[index], _ = node.layer.forward(self.tensors[index], inputs if len(inputs) > 1 else inputs[0], ctx)
        wanted = [node.name for node in self.graph.nodes] if names is None else names
        return {name: values[self.graph.index(name)] for name in wanted}

    @property
    def norm_of_single_values(self) -> str | None:
        """The first batch norm that has one value of each channel per example, as behind a dense layer; None if none.

        The variance of a batch of one example is then that of one value: it trains on batches of two and more.
        """
        for node in self.graph.nodes[self.graph.frozen :]:
            if isinstance(node.layer, BatchNorm) and math.prod(node.input_shape[:-1]) == 1:
                return node.name
        return None

    @property
    def penalized(self) -> bool:
        """Whether any parameter has an L2 penalty."""
        return any(spec.l2 for spec in self._specs.values())

    def penalty(self) -> float:
        """The sum of all L2 penalties."""
        terms = [
            self.ops.l2_penalty(self.values.tensors[name], spec.l2) for name, spec in self._specs.items() if spec.l2
        ]
        return float(sum(float(self.ops.to_numpy(term)) for term in terms))

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def trainable_count(self) -> int:
        """The number of trained elements."""
        return self._count() - sum(math.prod(self._specs[name].shape) for name in self.fixed)

    @property
    def parameter_count(self) -> int:
        """The number of trained and frozen elements and running statistics (as in Keras)."""
        return self._count() + sum(buffer.initial.size for buffer in self._buffers.values())

    def _count(self) -> int:
        return sum(math.prod(spec.shape) for spec in self._specs.values())

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters and buffers on the host, by name."""
        found = self.values.on_host()
        found = {name: found[name] for name in self._specs}  # in the order of the nodes
        for name, tensor in self.statistics.on_host().items():
            node = name.rpartition(".")[0]
            found |= {f"{node}.{part}": row for part, row in zip(self._buffers[name].parts, tensor, strict=True)}
        return found

    @property
    def sees_images(self) -> bool:
        """Whether a layer takes tensors from the training images: see `take_from_images`."""
        return any(node.layer.sees_images for node in self.graph.nodes)

    def take_from_images(self, images: NDArray[np.float32]) -> None:
        """In place: the tensors that layers compute from training images (n, h, w, c), as the network gets them."""
        state = self.state()
        for node in self.graph.nodes:
            if node.layer.sees_images:
                state |= {f"{node.name}.{key}": value for key, value in node.layer.from_images(images).items()}
        self.load_state(state, "the training images")

    def load_state(self, state: Mapping[str, NDArray[Any]], origin: str) -> None:
        """Load a state. Raises `UserError`, naming `origin`, if it does not fit; then nothing has changed."""
        own = self.state()
        if missing := sorted(set(own) ^ set(state)):
            raise UserError(f"{origin} is not of model '{self.name}': tensor {missing[0]} is in only one of the two")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise UserError(f"{origin}: {name} has shape {state[name].shape}, the model needs {tensor.shape}")
            if state[name].dtype.kind != "f" or not np.isfinite(state[name]).all():
                raise UserError(f"{origin}: {name} holds {_unusable(state[name])}: the network is unusable")
        self.values.fill({name: state[name] for name in self._specs})
        self.update_rounded()
        buffers = {}
        for name, buffer in self._buffers.items():
            node = name.rpartition(".")[0]
            buffers[name] = np.stack([state[f"{node}.{part}"] for part in buffer.parts])
        self.statistics.fill(buffers)

    def __repr__(self) -> str:
        """The name, the counts, and one line per node."""
        lines = [f"{self.name}: {self.parameter_count:,} parameters, input {self.input_shape}"]
        return "\n".join(lines + [f"  {node!r}" for node in self.graph.nodes])


def _unusable(tensor: NDArray[Any]) -> str:
    return "NaN or infinity" if tensor.dtype.kind == "f" else f"numbers of type {tensor.dtype}"


def _check_names(node: Node, parameters: Mapping[str, Parameter], buffers: Mapping[str, Buffer]) -> None:
    """Raise ValueError if two tensors of a layer have the same name, or a name has a dot."""
    rows = [part for buffer in buffers.values() for part in buffer.parts]
    for names in ([*parameters, *buffers], [*parameters, *rows]):
        for name in names:
            if "." in name or names.count(name) > 1:
                raise ValueError(f"{node.place}: {node.layer!r} calls its tensors {', '.join(names)}: not '{name}'")


def parameter_state(model: Model, arena: Arena) -> dict[str, NDArray[Any]]:
    """Copies of an arena with the layout of the parameters, such as moments, by the names of the parameters."""
    found = arena.on_host()
    return {name: found[name] for name in model.values.tensors}
