"""The model card (Mitchell et al. 2019): what a network is, what it was trained on, how good it is, and its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cnn.exporting.network import Portable
from cnn.exporting.parity import Parity

_FACES = re.compile(r"fer|fed|face|emotion|affect", re.IGNORECASE)
_LIMITS = (
    "It must not decide, or help to decide, about people: not on work, schooling, credit, insurance, health, policing, "
    "borders or punishment.",
    "Its score is that of images like those of its data set. On others, such as other cameras, light or subjects, it "
    "was not measured and can be much worse.",
    "It always answers with one of its classes, also for an image that shows none of them. Its probabilities were not "
    "checked to be frequencies.",
)
_OF_FACES = (
    "It does not read feelings. Its labels are what other people guessed at a face in a photo; an expression is not an "
    "emotion, and both differ between people and cultures.",
    "It must not watch people who did not agree to it, and must not be used to infer emotions at work or in schools: "
    "the law forbids this in some places (in the European Union: article 5 of Regulation 2024/1689).",
    "The data have more of some groups of people than of others, and do not say which. Errors differ between groups, "
    "and it is not known how.",
)
_RECIPE = ("optimizer", "schedule", "augment", "trainer")


def card_sections(network: Portable, parity: Parity | None = None) -> list[tuple[str, list[str]]]:
    """The sections of the card: a heading, and paragraphs or lines of plain text."""
    metadata, results = network.about.get("metadata", {}), network.about.get("results", {})
    return [
        ("What it is", _what(network, parity)),
        ("What it must not be used for", limits(network)),
        ("Data", _data(metadata, results)),
        ("Results", _results(results)),
        ("Training", _training(metadata, results)),
    ]


def card_text(network: Portable, parity: Parity | None = None) -> str:
    """The card as Markdown, with a table of classes and the confusion matrix where they are known."""
    lines = [f"# {_plain(network.name)}"]
    for heading, paragraphs in card_sections(network, parity):
        lines += ["", f"## {heading}", ""]
        lines += [f"- {_plain(each)}" for each in paragraphs]
        if heading == "Results":
            lines += _tables(network)
        if heading == "Training":
            lines += _recipe(network)
    return "\n".join(lines) + "\n"


def limits(network: Portable) -> list[str]:
    """What the network must not be used for."""
    return [*(_OF_FACES if of_faces(network) else ()), *_LIMITS]


def of_faces(network: Portable) -> bool:
    """Whether the data are faces, by its name or by classes that are emotions."""
    name = str(network.about.get("results", {}).get("data", ""))
    emotions = {"angry", "happy", "sad", "fear", "surprise"}
    return bool(_FACES.search(name)) or len(emotions & {each.lower() for each in network.classes}) >= 3


def _what(network: Portable, parity: Parity | None) -> list[str]:
    size = " x ".join(map(str, network.shape))
    kind = "pixels from 0 to 255" if network.scaling.of_bytes else "floating-point numbers, as in training"
    found = [
        f"A network for the classes {', '.join(network.classes)}.",
        f"Input: {'images' if len(network.shape) == 3 else 'rows'} of {size}, {kind}; it scales them itself. "
        "Output: a probability for each class.",
        f"{network.model.parameter_count:,} parameters, stored as {network.weights}; architecture '{network.name}' of "
        "cnn-from-scratch.",
    ]
    return found if parity is None else [*found, f"Checked: {parity}."]


def _data(metadata: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    name, digest = results.get("data"), metadata.get("pack_hash")
    if not digest:
        return ["Trained on arrays in Python; what they were is not recorded."]
    found = [f"Data set {name or '(not recorded)'}, pack hash {digest}: the same images in the same splits have it."]
    if name and "toy" in str(name):
        found.append("The images are cartoon faces, drawn by a program. It knows nothing of photographs.")
    return found


def _results(results: Mapping[str, Any]) -> list[str]:
    accuracy = results.get("test_accuracy", results.get("accuracy"))
    if not isinstance(accuracy, float):
        return ["It was not scored on a test split."]
    low, high = results.get("test_accuracy_interval", results.get("accuracy_interval", (accuracy, accuracy)))
    images = results.get("test_images", results.get("images"))
    tta = f" with tta={results['tta']}" if results.get("tta", "none") != "none" else ""
    found = [
        f"Test accuracy{tta} {accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f} (Wilson), on {images:,} images."
    ]
    if tta:
        found.append(
            "These scores are of the mean over several views of each image, as cnn.predict makes them with the same "
            "option; the network sees one at a time and was not scored so."
        )
    if isinstance(macro := results.get("macro_f1"), float):
        found.append(f"Macro F1 {macro:.4f}: {results.get('macro_f1_of', 'mean of the classes')}.")
    for name, value in (results.get("baselines") or {}).items():
        found.append(f"For comparison, {name}: {value:.4f}.")
    return found


def _training(metadata: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    found = [f"Epoch {metadata.get('epoch')} of {results.get('epochs', 'its run')}, seed {metadata.get('seed')}."]
    if isinstance(accuracy := results.get("val_accuracy"), float):
        found.append(f"The epoch was selected by validation accuracy, which was {accuracy:.4f}.")
    provenance = results.get("provenance") or {}
    if isinstance(git := provenance.get("git"), dict):
        changed = ", with changes" if git.get("dirty") else ""
        found.append(f"Code: revision {git.get('revision')}{changed}.")
    return found


def _tables(network: Portable) -> list[str]:
    results, lines = network.about.get("results", {}), []
    if isinstance(rows := results.get("per_class"), dict):
        lines += ["", "| class | precision | recall | F1 | images |", "| --- | --- | --- | --- | --- |"]
        for name, row in rows.items():
            numbers = " | ".join(f"{row.get(key, 0):.3f}" for key in ("precision", "recall", "f1"))
            lines.append(f"| {_plain(name)} | {numbers} | {row.get('support')} |")
    if (confusion := confusion_of(network)) is not None:
        names = [_plain(name) for name in network.classes]
        lines += ["", "Confusion matrix: a row for each label, a column for each prediction.", ""]
        lines += [f"| label | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
        lines += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(names, confusion, strict=True)]
    return lines


def confusion_of(network: Portable) -> Sequence[Sequence[int]] | None:
    """The confusion matrix of the test split, if it was recorded."""
    found = network.about.get("results", {}).get("confusion")
    count = len(network.classes)
    if not isinstance(found, list) or len(found) != count or not all(isinstance(row, list) for row in found):
        return None
    return found if all(len(row) == count for row in found) else None


def _recipe(network: Portable) -> list[str]:
    metadata = network.about.get("metadata", {})
    recipe = {group: metadata[group] for group in _RECIPE if isinstance(metadata.get(group), dict)}
    return ["", "```json", json.dumps(recipe, indent=1).replace("`", "'"), "```"] if recipe else []


def _plain(text: Any) -> str:
    """Text from a folder, for one line of Markdown: nothing in it is markup."""
    one_line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", one_line)
