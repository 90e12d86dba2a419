"""The kernel table is sound, and the launch wrapper checks every argument against it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from cnn.backends.cuda import launcher as launcher_module
from cnn.backends.cuda.launcher import Launcher
from cnn.kernels import (
    FOLDER,
    KERNELS,
    STORAGES,
    STRUCTS,
    Argument,
    Kernel,
    compile_options,
    kernels_of,
    source_names,
)
from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import for_each_storage
from cnn.kernels.nvrtc import ARCHITECTURES
from cnn.kernels.table import _named

# --- the table ----------------------------------------------------------------------------------------------------


def test_names_are_unique():
    assert all(name == kernel.name for name, kernel in KERNELS.items())
    expressions = [(kernel.source, kernel.expression) for kernel in KERNELS.values()]
    assert len(set(expressions)) == len(expressions)
    with pytest.raises(ValueError, match=r"^two kernels are called 'add'$"):
        _named([KERNELS["add"], KERNELS["relu"], KERNELS["add"]])


def test_kernels_of_covers_the_table():
    assert [kernel for source in source_names() for kernel in kernels_of(source)] == sorted(
        KERNELS.values(), key=lambda kernel: source_names().index(kernel.source)
    )
    assert all((FOLDER / source).is_file() for source in source_names())


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_entry_is_sound(kernel):
    names = [argument.name for argument in kernel.arguments]
    assert len(set(names)) == len(names)
    for argument in kernel.arguments:
        assert argument.pointer or not (argument.const or argument.optional)
    assert any(argument.pointer and not argument.const for argument in kernel.arguments), "a kernel that writes nowhere"
    passed = sum(8 if argument.pointer else argument.dtype.itemsize for argument in kernel.arguments)
    assert passed + 4 * len(names) <= 4096, "a launch passes at most 4 KiB, with room for alignment"
    assert 1 <= len(kernel.block) <= 3
    assert 32 <= np.prod(kernel.block) <= 1024
    assert np.prod(kernel.block) % 32 == 0, "whole warps"
    assert kernel.name.endswith(STORAGES[kernel.storage])
    expression = kernel.expression.replace("WarpgroupTile", "bfloat16")  # which it multiplies alone
    assert (kernel.storage in expression) == (kernel.storage == "bfloat16" or "float" in expression)
    assert kernel.min_arch in (0, *ARCHITECTURES)
    if kernel.target:
        assert [each for each in ARCHITECTURES if kernel.runs_on(each)] == [kernel.min_arch]
        assert kernel.alone, "its file's other kernels are not compiled for this target"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("const float* x", ("x", np.float32, True, True, False)),
        ("const float* bias?", ("bias", np.float32, True, True, True)),
        ("unsigned char* mask", ("mask", np.uint8, True, False, False)),
        ("bfloat16* y", ("y", np.uint16, True, False, False)),
        ("double rate", ("rate", np.float64, False, False, False)),
        (" long long seed ", ("seed", np.int64, False, False, False)),
        ("Window2D window", ("window", STRUCTS["Window2D"], False, False, False)),
    ],
)
def test_parameter_is_read(text, expected):
    name, dtype, pointer, const, optional = expected
    assert Argument.parse(text) == Argument(name, np.dtype(dtype), pointer, const, optional)


@pytest.mark.parametrize("text", ["half x", "float *x", "float** x", "x", "", "float& x", "float x[4]", "Window x"])
def test_unreadable_parameter_is_refused(text):
    with pytest.raises(ValueError, match="cannot read the kernel parameter"):
        Argument.parse(text)


def test_a_kernel_for_each_storage_type():
    float32, bfloat16 = for_each_storage(
        "sum", "any.cu", "sum<T, Total>", "const T* x, float* Tx", (32,), lambda values: (1,)
    )
    assert (float32.name, float32.storage, float32.expression) == ("sum", "float", "sum<float, Total>")
    assert (bfloat16.name, bfloat16.storage, bfloat16.expression) == ("sum_bf16", "bfloat16", "sum<bfloat16, Total>")
    assert [argument.dtype for argument in float32.arguments] == [np.float32, np.float32]
    assert [argument.dtype for argument in bfloat16.arguments] == [np.uint16, np.float32]


def plausible(kernel: Kernel, size: int) -> dict:
    """A value for each scalar argument: images of `size` x `size` pixels and channels, windows of 3 x 3."""
    one = {"groups", "splits", "relu", "kh", "kw", "stride_h", "stride_w", "dilation_h", "dilation_w", "top", "left"}
    windows = {"kh": min(size, 3), "kw": min(size, 3), "top": int(size >= 3), "left": int(size >= 3)}
    values = {}
    for argument in kernel.arguments:
        if argument.pointer:
            continue
        fields = argument.dtype.names
        if fields is None:
            values[argument.name] = 0.5 if argument.dtype.kind == "f" else 1 if argument.name in one else size
        else:
            values[argument.name] = {field: windows.get(field, 1 if field in one else size) for field in fields}
    return values


@pytest.mark.parametrize("size", [1, 3, 48, 256])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_grid_rule(kernel, size):
    values = plausible(kernel, size)
    grid = kernel.grid(values)
    assert 1 <= len(grid) <= 3
    assert all(type(blocks) is int for blocks in grid)
    assert all(1 <= blocks <= most for blocks, most in zip(grid, launcher_module.MOST_BLOCKS, strict=False))
    flops = kernel.flops(values)
    assert type(flops) is int
    assert flops >= 0


def test_launch_rules():
    assert [ceil_div(a, 4) for a in (0, 1, 4, 5)] == [0, 1, 1, 2]
    rule = elements(block=256, per_thread=4)
    assert [rule({"count": count}) for count in (1, 1024, 1025, 2**31 - 1)] == [(1,), (1,), (2,), (8192,)]


# --- the launch wrapper -------------------------------------------------------------------------------------------


class DeviceArray(np.ndarray):
    """Stands in for `cupy.ndarray`: only arrays made by `on_device` are one."""


class FarArray(DeviceArray):
    device = "<CUDA Device 1>"


def on_device(values, kind=DeviceArray) -> DeviceArray:
    return np.asarray(values).view(kind)


class Device(str):
    """Where arrays lie, and what it can do."""

    compute_capability = "86"


class FakeModules:
    """Stands in for the module `cupy`; `calls` are the launches, `modules` the compilations."""

    ndarray = DeviceArray

    def __init__(self) -> None:
        self.calls, self.modules, self.functions = [], [], {}
        self.cuda = SimpleNamespace(Device=lambda: Device("cpu"))  # where NumPy arrays say they are

    def RawModule(self, **arguments):
        self.modules.append(arguments)
        return self

    def get_function(self, expression):
        def function(grid, block, arguments, **options):
            self.calls.append((expression, grid, block, arguments, *options.items()))

        self.functions[expression] = function
        return function


TABLE = [
    Kernel(
        "scale",
        "scale.cu",
        "scale<4>",
        "const float* x, const float* bias?, unsigned char* mask, Window2D window, int count, unsigned seed, "
        "float factor",
        (256,),
        lambda values: (values["count"], values["window"]["c"]),
    ),
    Kernel("other", "scale.cu", "scale<8>", "float* x", (128,), lambda values: (3,)),
    Kernel(
        "shared",
        "shared.cu",
        "shared",
        "float* x, int n",
        (128,),
        lambda values: (1,),
        shared_bytes=lambda v: 4 * v["n"],
    ),
    Kernel("short", "scale.cu", "scale<2>", "float* x", (128,), lambda values: (1,), storage="bfloat16"),
    Kernel("ampere", "new.cu", "ampere", "float* x", (128,), lambda values: (1,), min_arch=80),
    Kernel("hopper", "new.cu", "hopper", "float* x", (128,), lambda values: (1,), min_arch=90),
    Kernel("only", "new.cu", "only", "float* x", (128,), lambda values: (1,), min_arch=90, alone=True, target="90a"),
]


@pytest.fixture
def xp(monkeypatch) -> FakeModules:
    table = {kernel.name: kernel for kernel in TABLE}
    monkeypatch.setattr(launcher_module, "KERNELS", table)
    monkeypatch.setattr("cnn.kernels.table.KERNELS", table)
    return FakeModules()


@pytest.fixture
def launch(xp, tmp_path) -> Launcher:
    for file in ("scale", "shared", "new"):
        (tmp_path / f"{file}.cu").write_text(f"// {file}")
    return Launcher(xp, tmp_path)


def arguments(**changed) -> list:
    """Sound arguments of the kernel `scale`, but for those given."""
    window = np.zeros(1, STRUCTS["Window2D"])
    window["c"] = 5
    sound = {
        "x": on_device(np.zeros((4, 3), np.float32)),
        "bias": None,
        "mask": on_device(np.zeros(12, np.uint8)),
        "window": window,
        "count": 12,
        "seed": 2**32 - 1,
        "factor": 0.5,
    }
    assert set(changed) <= set(sound)
    return list({**sound, **changed}.values())


def test_launch(launch, xp, tmp_path):
    given = arguments()
    launch("scale", *given)
    ((expression, grid, block, passed),) = xp.calls
    assert (expression, grid, block) == ("scale<4>", (12, 5), (256,))
    assert passed[0] is given[0]
    assert passed[1] is None
    assert passed[3] is given[3]
    # CuPy passes a Python float as a double; NumPy scalars go as what they are.
    assert [type(value) for value in passed[4:]] == [np.int32, np.uint32, np.float32]
    assert [value.item() for value in passed[4:]] == [12, 2**32 - 1, 0.5]


def test_a_file_is_compiled_once_with_all_its_kernels(launch, xp, tmp_path):
    launch("scale", *arguments())
    launch("other", on_device(np.zeros(3, np.float32)))
    launch("scale", *arguments())
    assert [call[0] for call in xp.calls] == ["scale<4>", "scale<8>", "scale<4>"]
    assert xp.modules == [
        {"code": "// scale", "options": compile_options(tmp_path), "name_expressions": ["scale<4>", "scale<8>"]}
    ]


@pytest.mark.parametrize(("version", "more"), [((12, 9), ("-default-device",)), ((13, 0), ())])
def test_nvrtc_12_gets_the_option_without_which_it_refuses_generic_lambdas(launch, xp, tmp_path, version, more):
    xp.cuda.nvrtc = SimpleNamespace(getVersion=lambda: version)
    launch("scale", *arguments())
    assert xp.modules[0]["options"] == (*compile_options(tmp_path), *more)


def test_kernels_of_another_storage_type_are_compiled_apart(launch, xp):
    launch("short", on_device(np.zeros(3, np.float32)))
    launch("other", on_device(np.zeros(3, np.float32)))
    assert [module["name_expressions"] for module in xp.modules] == [["scale<2>"], ["scale<4>", "scale<8>"]]


def test_observer_sees_arguments_by_name(launch):
    seen = []
    launch.observe = lambda kernel, passed: seen.append((kernel.name, list(passed), passed["count"]))
    launch("scale", *arguments())
    assert seen == [("scale", ["x", "bias", "mask", "window", "count", "seed", "factor"], 12)]


def test_no_blocks_no_launch(launch, xp):
    launch("scale", *arguments(count=0))
    assert not xp.calls


@pytest.mark.parametrize("number", [np.int64(7), np.uint8(7), 7])
def test_whole_numbers_of_any_width_fit(launch, xp, number):
    launch("scale", *arguments(count=number, factor=number))
    assert [type(value) for value in xp.calls[0][3][4:]] == [np.int32, np.uint32, np.float32]


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), np.float64(1e-50), 3.4e38])
def test_floats_that_fit(launch, xp, number):
    launch("scale", *arguments(factor=number))
    np.testing.assert_equal(xp.calls[0][3][6], np.float32(number))


def test_dynamic_shared_memory_is_passed_and_more_than_48_kib_is_allowed_first(launch, xp):
    x = on_device(np.zeros(3, np.float32))
    most = []
    for n in (0, 100, 12_288, 12_289, 20_000, 15_000):
        launch("shared", x, n)
        most.append(getattr(xp.functions["shared"], "max_dynamic_shared_size_bytes", None))
    assert [call[4:] for call in xp.calls] == [
        (),
        *((("shared_mem", size),) for size in (400, 49_152, 49_156, 80_000, 60_000)),
    ]
    assert most == [None, None, None, 49_156, 80_000, 80_000]


def test_kernels_of_a_newer_architecture_are_left_out(launch, xp):
    x = on_device(np.zeros(3, np.float32))
    launch("ampere", x)
    assert xp.modules[0]["name_expressions"] == ["ampere"]
    message = "kernel hopper needs compute capability 9.0, but the device has 8.6"
    with pytest.raises(ValueError, match=re.escape(message)):
        launch("hopper", x)
    assert [call[0] for call in xp.calls] == ["ampere"]


def test_a_kernel_of_one_architecture_is_compiled_for_it(launch, xp, tmp_path, monkeypatch):
    monkeypatch.setattr(Device, "compute_capability", "90")
    x = on_device(np.zeros(3, np.float32))
    launch("only", x)
    launch("hopper", x)
    options = compile_options(tmp_path)
    assert [(module["name_expressions"], module["options"]) for module in xp.modules] == [
        (["only"], (*options, "-arch=sm_90a")),
        (["ampere", "hopper"], options),
    ]


@pytest.mark.parametrize(("capability", "shown"), [("86", "8.6"), ("100", "10.0"), ("120", "12.0")])
def test_a_kernel_of_one_architecture_is_refused_elsewhere(launch, xp, monkeypatch, capability, shown):
    monkeypatch.setattr(Device, "compute_capability", capability)
    message = f"kernel only needs compute capability 9.0 and no other, but the device has {shown}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        launch("only", on_device(np.zeros(3, np.float32)))
    assert not xp.modules


def refused(launch, xp, error, message, **changed):
    with pytest.raises(error) as caught:
        launch("scale", *arguments(**changed))
    assert str(caught.value) == message
    assert not xp.calls


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": on_device(np.zeros(3))}, "argument x of kernel scale must be float32, not float64"),
        ({"mask": on_device(np.zeros(3, bool))}, "argument mask of kernel scale must be uint8, not bool"),
        (
            {"x": np.zeros(1, np.float32)},
            "argument x of kernel scale must be an array on the device, not a numpy array of 1 element of float32",
        ),
        ({"x": [1.0]}, "argument x of kernel scale must be an array on the device, not a list"),
        ({"x": 0}, "argument x of kernel scale must be an array on the device, not 0"),
        ({"x": None}, "argument x of kernel scale must be an array, not None"),
        ({"bias": 1.0}, "argument bias of kernel scale must be an array on the device, not 1.0"),
        ({"count": True}, "argument count of kernel scale must be a whole number, not True"),
        ({"count": np.True_}, "argument count of kernel scale must be a whole number, not np.True_"),
        ({"count": 12.0}, "argument count of kernel scale must be a whole number, not 12.0"),
        ({"count": None}, "argument count of kernel scale must be a whole number, not None"),
        (
            {"count": np.arange(3)},
            "argument count of kernel scale must be a whole number, not a numpy array of 3 elements of int64",
        ),
        ({"factor": "0.5"}, "argument factor of kernel scale must be a number, not a str"),
        ({"factor": False}, "argument factor of kernel scale must be a number, not False"),
        ({"factor": 1j}, "argument factor of kernel scale must be a number, not a complex"),
        ({"window": None}, "argument window of kernel scale must be one struct Window2D, not None"),
        ({"window": (1, 2)}, "argument window of kernel scale must be one struct Window2D, not a tuple"),
        (
            {"window": np.zeros(1, STRUCTS["ConvDivmods"])},
            "argument window of kernel scale must be one struct Window2D, not a numpy array of 1 element of "
            "ConvDivmods",
        ),
        (
            {"window": np.zeros(1, [("n", np.int32), ("c", np.int32)])},
            "argument window of kernel scale must be one struct Window2D, not a numpy array of 1 element of a struct "
            "of 2 fields",
        ),
        (
            {"window": np.zeros(2, STRUCTS["Window2D"])},
            "argument window of kernel scale must be one struct Window2D, not a numpy array of 2 elements of Window2D",
        ),
    ],
)
def test_wrong_kind_of_argument(launch, xp, changed, message):
    refused(launch, xp, TypeError, message, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"x": on_device(np.zeros((3, 4), np.float32).T)},
            "argument x of kernel scale must be C-contiguous; its shape is (4, 3), its strides (4, 16)",
        ),
        (
            {"x": on_device(np.zeros(4, np.float32), FarArray)},
            "argument x of kernel scale is on <CUDA Device 1>, but the current device is cpu",
        ),
        ({"count": 2**31}, "argument count of kernel scale must fit int32, but is 2147483648"),
        ({"count": -(2**31) - 1}, "argument count of kernel scale must fit int32, but is -2147483649"),
        ({"seed": -1}, "argument seed of kernel scale must fit uint32, but is -1"),
        ({"factor": 1e39}, "argument factor of kernel scale must fit float32, but is 1e+39"),
        ({"factor": -(10**400)}, f"argument factor of kernel scale must fit float32, but is {-(10**400)}"),
    ],
)
def test_argument_that_does_not_fit(launch, xp, changed, message):
    refused(launch, xp, ValueError, message, **changed)


def test_too_many_elements(launch, xp):
    class Vast(DeviceArray):
        size = 2**31

    message = (
        "argument x of kernel scale has 2,147,483,648 elements; kernels index with 32 bits, "
        "so the batch, or this split of the data, must be smaller"
    )
    refused(launch, xp, ValueError, message, x=on_device(np.zeros(1, np.float32), Vast))


def test_too_many_blocks(launch, xp):
    window = np.zeros(1, STRUCTS["Window2D"])
    window["c"] = 65_536
    message = "kernel scale would take a grid of (12, 65536) blocks; CUDA launches at most (2147483647, 65535, 65535)"
    refused(launch, xp, ValueError, message, window=window)


@pytest.mark.parametrize("count", [6, 8])
def test_wrong_number_of_arguments(launch, xp, count):
    with pytest.raises(TypeError) as caught:
        launch("scale", *(arguments() * 2)[:count])
    assert str(caught.value) == (
        f"kernel scale takes 7 arguments (x, bias, mask, window, count, seed, factor), not {count}"
    )
    assert not xp.calls


def test_unknown_kernel(launch):
    with pytest.raises(ValueError, match=r"^the kernel table has no kernel 'scael'$"):
        launch("scael")
