"""The estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from cnn.api import options
from cnn.api.arrays import label_numbers, read_images, read_training_data
from cnn.api.explanation import Explanation
from cnn.api.folder import metadata_of, read_folder, write_folder
from cnn.api.images import folder_data
from cnn.api.network import shared_backend
from cnn.api.report import Report
from cnn.api.training import Trained, train
from cnn.backends import Ops
from cnn.explaining import last_feature_map
from cnn.models import Model
from cnn.models.summary import summary_text
from cnn.training.progress import Progress
from foundation.errors import UserError
from foundation.screen import screen


class Classifier(ClassifierMixin, BaseEstimator):
    """A network that classifies images, or vectors of features, with scikit-learn's protocol.

    X is images (n, h, w) or (n, h, w, channels) of any size, or vectors (n, features); uint8, other integers or floats.
    y is one label for each: text, integers or booleans. Training standardises each channel (of vectors each feature)
    by the training data. The same seed gives the same network, on any number of threads.

    Args:
        model: the network. A name in `conf/model` ("resnet9", "vgg_small", "lenet", ...), the path of such a YAML
            file, its content as a mapping, or a list of layers (`cnn.layers`, and `Residual` and `Branches` of
            `cnn.models`) that ends in `Dense("classes")`. "auto" is `small` for images and `mlp` for vectors.
        epochs: how many times training visits each example.
        batch_size: examples in one step; with fewer examples than that, all of them.
        learning_rate: instead of the optimizer's own.
        optimizer: a name in `conf/optimizer` ("adam", "adamw", "sgd"), a mapping of its settings, or
            `cnn.training.optimizers.AdamSettings` or `SgdSettings`.
        schedule: of the learning rate: a name in `conf/schedule` ("constant", "cosine", "one_cycle", "plateau"), a
            mapping, or `cnn.training.schedules.ScheduleSettings`.
        augment: a name in `conf/augment` ("none", "flip", "flip_shift", "strong"), a mapping, or
            `cnn.training.batches.AugmentSettings`. Only images can be augmented.
        validation: a fraction of the examples, drawn by the seed from each class, or a pair (X, y) of others. Their
            accuracy selects the epoch whose weights are kept. None trains on all examples and keeps the last epoch.
        early_stopping: stop after this many epochs without a better validation accuracy.
        class_weights: "balanced", or a weight for each label, in the loss.
        label_smoothing: a fraction from 0 to below 1 (Szegedy et al. 2016).
        clip_norm: the largest norm of the gradient of all parameters; a longer gradient is scaled down to it.
        pixels: "standardize", or "unit" for uint8 images divided by 255.
        precision: "float32"; "bfloat16" for activations and for the weights in products, with sums and parameters in
            float32; "tf32" for products on a GPU of compute capability 8.0 or more; or "auto": bfloat16 on such a GPU,
            else float32. A CPU emulates bfloat16, which is slow and for comparison.
        trainer: a mapping of further options in `conf/trainer`: "ema", "lookahead", "lookahead_share", "sizes"
            (progressive resizing), "max_minutes".
        start_from: the folder of a run or of a saved network, with whose weights training begins; with other labels
            the last dense layer is new.
        freeze: "features" keeps all layers but the last dense one as `start_from` has them, or the name of a node: all
            up to it.
        seed: of weights, order, dropout, augmentation and the validation examples.
        backend: "auto", "cpu", "numpy" or "cupy"; "auto" selects a GPU, else the CPU engine, else plain NumPy.
        threads: of the CPU engine; None takes all cores that the process may use.
        verbose: True shows a line per epoch, and a bar on a terminal; False shows nothing. "auto" shows a bar on a
            terminal, lines in a notebook, and nothing elsewhere.

    Attributes:
        classes_: the distinct labels, in order (classes,).
        class_count_: the number of training examples of each (classes,).
        history_: a mapping per epoch: `train_loss`, `train_accuracy`, `learning_rate`, `seconds`, with validation also
            `val_loss` and `val_accuracy`.
        best_epoch_: the epoch, counted from 1, whose weights are kept.
        input_shape_: (h, w, channels) of images, (features,) of vectors.
        n_features_in_, feature_names_in_: for vectors only, as scikit-learn defines them.

    `fit` checks the options and raises ValueError with one line for a wrong one.
    """

    def __init__(
        self,
        model: Any = "auto",
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float | None = None,
        optimizer: Any = "adam",
        schedule: Any = "one_cycle",
        augment: Any = "none",
        validation: Any = None,
        early_stopping: int | None = None,
        class_weights: str | Mapping[Any, float] | None = None,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        pixels: str = "standardize",
        precision: str = "float32",
        trainer: Mapping[str, Any] | None = None,
        start_from: str | Path | None = None,
        freeze: str | None = None,
        seed: int = 0,
        backend: str = "auto",
        threads: int | None = None,
        verbose: bool | str = "auto",
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.augment = augment
        self.validation = validation
        self.early_stopping = early_stopping
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.clip_norm = clip_norm
        self.pixels = pixels
        self.precision = precision
        self.trainer = trainer
        self.start_from = start_from
        self.freeze = freeze
        self.seed = seed
        self.backend = backend
        self.threads = threads
        self.verbose = verbose

    # --- training -----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Classifier:
        """Train from fresh weights; returns the estimator itself."""
        data = read_training_data(self, X, y)
        with self._progress() as progress:
            trained = train(self, data, self._ops(), progress)
        return self._keep(trained)

    def fit_folder(
        self,
        path: str | Path,
        *,
        image_size: int | None = None,
        channels: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> Classifier:
        """Train on a folder of images, an archive or a table; returns the estimator itself.

        Classes, splits, size and channels are found out as `cnn.load_folder` does, which also reads the test split for
        `score`. A validation split in the folder is used unless the option `validation` is given. Images with equal
        pixels are used once, and not at all if the folder has them in validation or test too. Raises ValueError for a
        path without images or classes.
        """
        data = folder_data(path, image_size=image_size, channels=channels, classes=classes)
        given = self.validation
        try:
            if given is None:
                self.validation = data.validation
            return self.fit(data.images, data.labels)
        finally:
            self.validation = given

    def _keep(self, trained: Trained) -> Classifier:
        """Set the attributes of a trained network."""
        self.classes_, self.class_count_ = trained.classes, trained.class_count
        self.input_shape_ = trained.network.shape
        self.history_, self.best_epoch_ = trained.history, trained.best_epoch
        if len(self.input_shape_) == 1:
            self.n_features_in_ = self.input_shape_[0]
        self._trained, self._summary = trained, summary_text(trained.network.model(self._ops()))
        return self

    def _ops(self) -> Ops:
        threads = None if self.threads is None else options.require_int(self.threads, "threads", 1)
        return shared_backend(self.backend, threads)

    def _progress(self) -> Progress:
        if self.verbose == "auto":
            return Progress(lines=screen().is_jupyter)
        return Progress(bar=bool(self.verbose), lines=bool(self.verbose))

    # --- a trained network --------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each example (n,)."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each label (n, classes), in the order of `classes_`."""
        check_is_fitted(self)
        return self._trained.network.probabilities(read_images(self, X, self.input_shape_), self._ops())

    def feature_maps(self, X: Any, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """The output of each node for X, by name: (n, h, w, c) or (n, c) float32; `names` selects nodes.

        Raises KeyError for an unknown name; the message lists the known names.
        """
        check_is_fitted(self)
        return self._trained.network.feature_maps(read_images(self, X, self.input_shape_), self._ops(), names)

    def explain(self, X: Any, labels: Any = None, *, node: str | None = None, method: str = "grad_cam") -> Explanation:
        """Where the network looked: for each image a map of the places that speak for a label.

        Args:
            X: images, as `predict` takes them.
            labels: the label that each map is about (n,); None takes the prediction.
            node: the name of the node whose feature map is read, by default the last one.
            method: "grad_cam" (Selvaraju et al. 2017) or "class_activation": the part of the label's score that comes
                from each place, of either sign.

        The result has `maps`, `strengths` at the size of the images, and `overlay()`; a notebook displays it. Raises
        ValueError for an unknown node, method or label, and for a network without a feature map.
        """
        check_is_fitted(self)
        images = read_images(self, X, self.input_shape_)
        if labels is None:
            classes = self._trained.network.probabilities(images, self._ops()).argmax(axis=1)
        else:
            classes = label_numbers(labels, self.classes_, "labels")
            if len(classes) != len(images):
                raise UserError(f"labels are {len(classes)} for {len(images)} images: give one label for each")
        found = self._trained.network.class_maps(images, self._ops(), classes, node, method)
        return Explanation(images, self.classes_[classes], found)

    @property
    def model_(self) -> Model:
        """The trained `cnn.models.Model`; it takes scaled images, see `feature_maps`."""
        check_is_fitted(self)
        return self._trained.network.model(self._ops())

    def report(self, X: Any, y: Any, split: str = "test") -> Report:
        """Scores, curves, confusion matrix, and where the network looked, as the report of the commands.

        A notebook displays it, and its `save` writes it. `split` is the name of these examples in the report.
        """
        check_is_fitted(self)
        images = read_images(self, X, self.input_shape_)
        network, ops = self._trained.network, self._ops()

        def explain(indices: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[Any]:
            return network.class_maps(images[indices], ops, classes, None, "grad_cam").maps

        return Report(
            title=f"{self._trained.network.config.get('name', 'network')}, {len(self.classes_)} classes",
            split=split,
            images=images,
            labels=label_numbers(y, self.classes_, "y"),
            probabilities=self._trained.network.probabilities(images, self._ops()),
            classes=tuple(map(str, self.classes_.tolist())),
            class_count=self.class_count_,
            history=self.history_,
            best_epoch=self.best_epoch_,
            model=self.model_,
            options=super().__repr__(N_CHAR_MAX=10_000),
            explain=None if last_feature_map(self.model_) is None else explain,
        )

    def save(self, folder: str | Path) -> None:
        """Write the trained network to `folder`, which `Classifier.load` and `python -m cnn.evaluate run=` take.

        Raises ValueError for a folder that has a run of cnn.train, for layers of your own classes, and for labels that
        are not text, integers or booleans.
        """
        check_is_fitted(self)
        write_folder(Path(folder), self._trained)

    def export(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        weights: str = "float32",
        check: bool = True,
        images: Any = None,
    ) -> str:
        """Write the trained network for other programs, as `python -m cnn.export`; returns the comparison in words.

        Args:
            path: a file that ends in .onnx, .py (PyTorch), .keras or .html (a page), or a folder.
            format: onnx, torch, keras, page or safetensors (a folder with a model card); None: by the ending.
            weights: the type in which weights are stored: float32, float16 or bfloat16.
            check: compare the file's output with ours, on inputs made for it and on `images` (n, h, w[, c]).

        Raises ValueError if a probability differs by more than 1e-4; then nothing is written.
        """
        from cnn.exporting.formats import Export, export_network  # noqa: PLC0415 - only for a network that leaves
        from cnn.exporting.opening import portable  # noqa: PLC0415

        check_is_fitted(self)
        metadata = {**metadata_of(self._trained), "labels": None}
        network = portable(self._trained.network.weights, metadata, self._ops(), {})
        more = None if images is None else read_images(self, images, self.input_shape_)
        if more is not None and network.scaling.of_bytes and more.dtype != np.uint8:
            raise UserError(f"images are {more.dtype}, but the network was trained on uint8")
        if more is not None and len(self.input_shape_) == 1:
            more = more.reshape(len(more), -1)
        parity = export_network(network, Path(path), Export(format, weights, check, more))
        return "not compared" if parity is None else str(parity)

    @classmethod
    def load(
        cls, folder: str | Path, *, backend: str = "auto", threads: int | None = None, verbose: bool | str = "auto"
    ) -> Classifier:
        """The network that `save` wrote to `folder`, or the best epoch of a run of `python -m cnn.train`.

        The estimator gets the options of that training that it has; for a run of cnn.train the labels are the names of
        the classes. Raises ValueError for a folder without a network or with a damaged one.
        """
        estimator = cls(backend=backend, threads=threads, verbose=verbose)
        trained, parameters = read_folder(Path(folder), estimator._ops())
        return estimator.set_params(**parameters)._keep(trained)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """The options that differ from the defaults; after training also the network as a table."""
        text = super().__repr__(N_CHAR_MAX=N_CHAR_MAX)
        return f"{text}\n{self._summary}" if hasattr(self, "_summary") else text

    def __sklearn_tags__(self) -> Any:
        """Images are arrays of three or four dimensions."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
