"""Batches: network input from stored images."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Kernel, Values, for_each_storage

_SOURCE = "batches.cu"


def _images(values: Values) -> Grid:
    """A thread for each image."""
    return (ceil_div(values["count"], 128),)


BATCHES = [
    Kernel(
        "next_batch",
        _SOURCE,
        "next_batch",
        "const long long* order, const float* schedule, const long long* labels, long long* clock, float* numbers, "
        "long long* indices, long long* batch_labels, int images, int batches, int width, int count",
        (256,),
        lambda v: (1,),
    ),
    Kernel(
        "augmentation",
        _SOURCE,
        "augmentation",
        "const long long* clock, float* affine, int* erase, float* tone, AugmentRules rules, int count",
        (128,),
        _images,
        flops=lambda v: 100 * v["count"],
    ),
    Kernel(
        "next_augmented_batch",
        _SOURCE,
        "next_augmented_batch",
        "const long long* order, const float* schedule, const long long* labels, long long* clock, float* numbers, "
        "long long* indices, long long* batch_labels, float* affine, int* erase, float* tone, unsigned* counters, "
        "AugmentRules rules, int images, int batches, int width, int count",
        (128,),
        _images,
        flops=lambda v: 100 * v["count"],
    ),
    *(
        kernel
        for pixel, ending in (("unsigned char", ""), ("float", "_of_floats"))
        for kernel in for_each_storage(
            f"gather_batch{ending}",
            _SOURCE,
            f"gather_batch<{pixel}, T>",
            f"const {pixel}* images, const long long* indices, const float* affine?, const int* erase?, "
            "const float* tone?, "
            "const float* scale, const float* offset, T* batch, int n, int h, int w, int c",
            (256,),
            lambda v: (v["n"], ceil_div(v["h"] * v["w"], 256)),
            lambda v: v["n"] * v["h"] * v["w"] * (10 + 13 * v["c"]),
        )
    ),
    *for_each_storage(
        "mix_batch",
        _SOURCE,
        "mix_batch<T>",
        "const T* x, const float* mixing, T* y, int n, int h, int w, int c",
        (256,),
        lambda v: (v["n"], ceil_div(v["h"] * v["w"], 256)),
        lambda v: 3 * v["n"] * v["h"] * v["w"] * v["c"],
    ),
    Kernel(
        "batch_targets",
        _SOURCE,
        "batch_targets",
        "const long long* labels, const float* share, const float* table?, const long long* indices?, float* targets, "
        "int n, int classes",
        (256,),
        lambda v: (ceil_div(v["n"] * v["classes"], 256),),
        flops=lambda v: 3 * v["n"] * v["classes"],
    ),
]
