"""The text of `__shared__` declarations, before and after."""

import pytest

from cuda_emulator import EmulatorError
from cuda_emulator.shared_rewrite import rewrite_shared


def rewritten(declaration: str) -> str:
    text = rewrite_shared("void kernel() {" + declaration + "}")
    return text.removeprefix("void kernel() {").removesuffix("}")


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("__shared__ float a[4];", "CUDA_EMULATOR_SHARED(a, float shared_type_a[4]);"),
        ("static __shared__ int a;", "CUDA_EMULATOR_SHARED(a, int shared_type_a);"),
        ("volatile __shared__ int a[2][3 + 1];", "CUDA_EMULATOR_SHARED(a, volatile int shared_type_a[2][3 + 1]);"),
        (
            "__shared__ __align__(16) float a[N], b[N < 4 ? 4 : N];",
            "CUDA_EMULATOR_SHARED(a, float shared_type_a[N] __attribute__((aligned(16)))); "
            "CUDA_EMULATOR_SHARED(b, float shared_type_b[N < 4 ? 4 : N] __attribute__((aligned(16))));",
        ),
        (
            "alignas(2 * sizeof(T)) __shared__ T a;",
            "CUDA_EMULATOR_SHARED(a, T shared_type_a __attribute__((aligned(2 * sizeof(T)))));",
        ),
        (
            "__shared__ Map<int, Pair<float, 2>> a[3];",
            "CUDA_EMULATOR_SHARED(a, Map<int, Pair<float, 2>> shared_type_a[3]);",
        ),
        (
            "__shared__ union { float f; int i; } a, *b;",
            "CUDA_EMULATOR_SHARED(a, union { float f; int i; } shared_type_a); "
            "CUDA_EMULATOR_SHARED(b, union { float f; int i; } *shared_type_b);",
        ),
        ("extern __shared__ float a[];", "CUDA_EMULATOR_DYNAMIC_SHARED(a, alignof(float), float);"),
        (
            "extern __shared__ __align__(16) unsigned char a[];",
            "CUDA_EMULATOR_DYNAMIC_SHARED(a, 16, unsigned char);",
        ),
        ("int x; __shared__ int a;", "int x; CUDA_EMULATOR_SHARED(a, int shared_type_a);"),
        ("// __shared__ int a;\n", "// __shared__ int a;\n"),
        ('const char* s = "__shared__ int a;";', 'const char* s = "__shared__ int a;";'),
        (
            "\n#ifdef F\n__shared__ int a;\n#endif\n",
            "\n#ifdef F\nCUDA_EMULATOR_SHARED(a, int shared_type_a);\n#endif\n",
        ),
    ],
)
def test_a_declaration(declaration, expected):
    assert rewritten(declaration) == expected


def test_lines_stay_where_they_are():
    text = "void k() {\n  __shared__ // why\n    float\n  a[2],\n  b;\n  int after;\n}\n"
    lines = rewrite_shared(text).splitlines()
    assert len(lines) == len(text.splitlines())
    assert lines[5] == "  int after;"


def test_a_macro_is_rewritten_where_it_is_defined():
    text = "#define TILE(T, n) \\\n  __shared__ T tile[n]; \\\n  int other;\n"
    expected = "#define TILE(T, n) \\\n  CUDA_EMULATOR_SHARED(tile, T shared_type_tile[n]); \\\n  int other;\n"
    assert rewrite_shared(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__shared__ float a[4];", "k.cu:1: declare shared memory inside the kernel"),
        ("void k() {\n  __shared__ int a = 3;\n}", "k.cu:2: CUDA does not initialise shared memory"),
        ("void k() { __shared__ int a", "k.cu:1: the declaration does not end"),
        ("void k() { extern __shared__ int a[4]; }", "k.cu:1: extern __shared__ must be an array of unknown size"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(text, message):
    with pytest.raises(EmulatorError, match=message):
        rewrite_shared(text, "k.cu")
