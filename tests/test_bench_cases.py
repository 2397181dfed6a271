"""What is timed: each case has its work, its traffic and a right answer; wrong ones are refused."""

import dataclasses

import numpy as np
import pytest

from bench import answers, figures, peers
from bench.cases import KernelCase, cases, closest, find
from bench.commands import BenchError
from bench.measuring import Repeats
from bench.steps import NETS, tanh_net
from bench.workloads import programs, workloads
from bench.workloads.numpy_net import NumpyNet

SMALL = 3e6  # bytes of arrays that these tests draw
NO_ARITHMETIC = {"copy", "philox", "dropout_mask", "shuffle"}  # integers, or nothing at all


def _row(name):
    (row,) = [row for row in workloads(name) if row.name == name]
    return row


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in workloads()])
def test_work_and_traffic_are_those_of_the_arrays(row):
    for size in row.sizes:
        flops, traffic = row.flops(*size), row.bytes(size, 4)
        assert (flops > 0) == (row.name not in NO_ARITHMETIC), f"{row.name}: {flops} flops"
        if traffic > SMALL and row.sizes.index(size):
            continue
        inputs = row.draw(size, "float32")
        arrays = [a for a in inputs if isinstance(a, np.ndarray)]
        outputs = answers.outputs(row, inputs, row.call)
        exact = sum(np.asarray(a).nbytes for a in (*arrays, *outputs))
        assert traffic == pytest.approx(exact, rel=0.02), f"{row.name} {size}"


def test_a_kernel_that_an_older_fonio_lacks_leaves_its_row_out():
    from bench.workloads import register, table

    assert table.kernels.no_such_kernel is None
    register(dataclasses.replace(workloads()[0], name="no_such_kernel", call=None))
    assert workloads("no_such_kernel") == []


def test_names_of_cases_are_unique():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) > 150
    groups = {case.group for case in cases()}
    assert {"matrix", "activations", "steps", "fits", "inference", "cold start"} <= groups


def test_cases_by_size_precision_and_wildcard():
    (case,) = cases("matmul 128x784x512")
    assert case.flops == 2 * 128 * 784 * 512
    doubles = cases("matmul 128x784x512", dtypes=("float64",))
    assert doubles[0].name == "matmul 128x784x512 float64"
    assert doubles[0].bytes == 2 * case.bytes
    assert {c.workload.name for c in cases("gelu*") if hasattr(c, "workload")} >= {"gelu"}


def test_small_arrays_come_in_many_copies():
    assert KernelCase(_row("relu"), (64, 256)).copies == 4
    assert KernelCase(_row("relu"), (1_000_000,)).copies == 1
    assert KernelCase(_row("softmax"), (32, 2)).copies == 32


def test_an_unknown_pattern_names_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'matmul'"):
        find("matmull")
    assert closest([]) == ""


def _broken(row, change):
    def call(*inputs, out=None):
        result = change(row.call(*inputs))
        if out is None:
            return result
        out[...] = result
        return out

    return dataclasses.replace(row, call=call)


def test_a_wrong_answer_is_refused():
    row = _row("gelu")
    for change in (lambda y: y * 1.001, lambda y: np.full_like(y, np.nan), lambda y: y[:-1]):
        case = KernelCase(_broken(row, change), (33, 5))
        with pytest.raises(answers.WrongAnswer, match="gelu 33x5 float32"):
            case.check()
        assert "gelu" in figures.measure(case, 0.01)["wrong"]


def test_what_is_right_is_measured():
    found = figures.measure(KernelCase(_row("gelu"), (33, 5)), 0.02)
    assert 0 < found["error"] < 1e-5
    assert {"fonio", "called", "roof"} <= set(found["seconds"])
    assert found["ratios"]["called"]["median"] > 0
    assert found["absent"].get("torch", "not installed").startswith("not installed")


def test_the_size_checked_is_the_size_timed_where_that_is_affordable():
    assert answers.checked_size(_row("gelu"), (1_000_000,)) == (1_000_000,)
    assert answers.checked_size(_row("shuffle"), (60_000,)) == (100,)


def test_ulp_of_an_elementary_function():
    assert answers.check(_row("exp"), (64, 256)).ulp < 2


def test_missing_and_failing_peers_say_so():
    missing = peers.build("a_library_that_nobody_has", lambda: None)
    assert str(missing) == "not installed, pip install 'fonio[peers]'"

    def broken():
        raise OSError("no such symbol\nin a library")

    assert str(peers.build("numpy", broken)) == "fails: OSError: no such symbol"
    assert str(peers.build("numpy", lambda: broken)).startswith("fails: OSError")
    assert isinstance(peers.build("numpy", lambda: lambda: None), Repeats)


@pytest.mark.parametrize("net", [NETS["4-64-64-2, batch 32"], tanh_net(32)], ids=["sgd", "adam"])
def test_the_numpy_net_has_right_gradients(net):
    made = NumpyNet(net, np.float64)
    x, labels = made.x[:20], made.labels[:20]
    gradients = made._gradients(x, labels)
    for layer, kinds in enumerate(gradients):
        for kind, gradient in enumerate(kinds):
            place = np.unravel_index(gradient.size // 2, gradient.shape)
            ends = []
            for step in (1e-6, -1e-6):
                made.parameters[layer][kind][place] += step
                made._gradients(x, labels)
                ends.append(made.loss)
                made.parameters[layer][kind][place] -= step
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[place], abs=1e-7)


TRIED_PROGRAMS = (
    "step disc", "step 4-32", "fit 64", "predict 784-256-10, 1 row", "MLPClassifier.fit digits",
    "MLPClassifier.predict", "save a million",
)  # fmt: skip


@pytest.mark.parametrize("name", TRIED_PROGRAMS)
def test_programs_answer_rightly(name):
    program = next(program for program in programs() if program.name.startswith(name))
    assert program.check().error <= program.check().tolerance


def test_a_program_that_is_wrong_is_refused():
    program = dataclasses.replace(programs()[0], right=lambda package: (0.1, 0.01))
    with pytest.raises(answers.WrongAnswer, match="off by 0.1"):
        program.check()
