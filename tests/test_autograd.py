"""The library that notebook 09 builds: its cells are run here, and every operation meets both oracles."""

import functools
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "09_autograd.ipynb"
SIDES = st.integers(1, 4)


@functools.cache
def library() -> dict:
    """What the notebook's cells tagged ``library`` define."""
    names = {"np": np}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "library" in cell.metadata.get("tags", []):
            exec(compile(cell.source, NOTEBOOK.name, "exec"), names)
    return names


def central_differences(loss, arrays, h=1e-6):
    gradients = []
    for i, array in enumerate(arrays):
        gradient = np.zeros_like(array)
        for place in np.ndindex(*array.shape):
            moved = [[a.copy() for a in arrays] for _ in range(2)]
            moved[0][i][place] += h
            moved[1][i][place] -= h
            gradient[place] = (loss(*moved[0]) - loss(*moved[1])) / (2 * h)
        gradients.append(gradient)
    return gradients


def agree(ours, theirs, *arrays):
    """Our backward equals central differences and torch.autograd, for a loss in which every output counts."""
    tensor, backward = library()["Tensor"], library()["backward"]
    inputs = [tensor(array) for array in arrays]
    result = ours(*inputs)
    weights = np.random.default_rng(0).normal(size=result.value.shape)
    product = library()["Divide"].apply(result, tensor(1 / weights))  # weighted by division: no other product is there
    backward(library()["Sum"].apply(product))
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = theirs(*leaves)
    np.testing.assert_allclose(result.value, expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    (expected * torch.tensor(weights)).sum().backward()
    numbers = central_differences(lambda *a: float((ours(*map(tensor, a)).value * weights).sum()), arrays)
    for mine, leaf, number in zip(inputs, leaves, numbers, strict=True):
        np.testing.assert_allclose(mine.grad, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(mine.grad, number, rtol=1e-6, atol=1e-6)


def drawn(seed, *shape, low=None):
    """Random values, away from 0 (where ReLU has no derivative) and above ``low``."""
    random = np.random.default_rng(seed)
    if low is not None:
        return np.asarray(random.uniform(low, low + 1, size=shape))
    return np.asarray(random.choice([-1, 1], size=shape) * random.uniform(0.1, 2, size=shape))


few = settings(max_examples=25, deadline=None, derandomize=True)


@few
@given(st.lists(SIDES, max_size=4), st.integers(0, 99))
def test_elementwise_operations(shape, seed):
    ops = library()
    agree(ops["Divide"].apply, torch.div, drawn(seed, *shape), drawn(seed + 1, *shape, low=0.5))
    agree(ops["Add"].apply, torch.add, drawn(seed, *shape), drawn(seed + 1, *shape))
    agree(ops["ReLU"].apply, torch.relu, drawn(seed, *shape))
    agree(ops["Sigmoid"].apply, torch.sigmoid, drawn(seed, *shape))
    cubed = functools.partial(ops["Elementwise"].apply, f=lambda x: x**3, derivative=lambda x: 3 * x**2)
    agree(cubed, lambda x: x**3, drawn(seed, *shape))


@few
@given(st.lists(SIDES, max_size=3), st.integers(1, 16), st.integers(0, 99))
def test_copies_and_sum(shape, copies, seed):
    expand = functools.partial(library()["Expand"].apply, copies=copies)
    agree(expand, lambda x: x.expand(copies, *x.shape), drawn(seed, *shape))
    agree(library()["Sum"].apply, torch.sum, drawn(seed, *shape))


@few
@given(st.lists(SIDES, max_size=2), SIDES, SIDES, SIDES, st.integers(0, 99))
def test_matrix_product(stack, n, f, m, seed):
    agree(library()["MatMul"].apply, torch.matmul, drawn(seed, *stack, n, f), drawn(seed + 1, *stack, f, m))


@few
@given(SIDES, st.integers(2, 5), st.integers(0, 99))
def test_cross_entropy(n, classes, seed):
    labels = np.random.default_rng(seed).integers(classes, size=n)
    ours = functools.partial(library()["CrossEntropy"].apply, labels=labels)
    agree(ours, lambda x: F.cross_entropy(x, torch.tensor(labels)), drawn(seed, n, classes))
    large = library()["Tensor"](np.full((n, classes), 1e4) * np.arange(classes))
    library()["backward"](loss := ours(large))
    assert np.isfinite(loss.value) and np.isfinite(large.grad).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 2), SIDES, SIDES, st.integers(1, 3), st.integers(0, 2), st.integers(0, 99))
def test_convolution(n, channels, filters, kernel, more, seed):
    images = drawn(seed, n, channels, kernel + more, kernel + more + 1)
    agree(library()["Conv2d"].apply, F.conv2d, images, drawn(seed + 1, filters, channels, kernel, kernel))


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("Divide", ((2, 3), (3, 2))),
        ("Add", ((2, 3), (3,))),
        ("MatMul", ((2, 3), (2, 3))),
        ("MatMul", ((2, 3), (3,))),
        ("Conv2d", ((1, 3, 4, 4), (2, 4, 3, 3))),
        ("Conv2d", ((1, 3, 4, 2), (2, 3, 3, 3))),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(op, shapes):
    with pytest.raises(ValueError, match="do not fit") as error:
        library()[op].apply(*(np.ones(shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)


def test_labels_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5,\)"):
        library()["CrossEntropy"].apply(np.ones((4, 3)), labels=np.zeros(5, int))


def test_an_unused_branch_does_not_stall_backward():
    ops = library()
    x = ops["Tensor"](np.arange(1.0, 4.0))
    unused = ops["ReLU"].apply(x)
    ops["backward"](ops["Sum"].apply(x + x))
    assert x.grad.tolist() == [2, 2, 2] and unused.grad.tolist() == [0, 0, 0]


def test_both_walks_agree_and_one_visits_every_tensor_once():
    ops, found = library(), {}
    for walk in ("backward_by_paths", "backward"):
        end = leaf = ops["Tensor"](3.0)
        for _ in range(10):
            end = end + end
        found[walk] = ops[walk](end, 1.0), float(leaf.grad)
    assert found == {"backward_by_paths": (2**11 - 1, 1024.0), "backward": (11, 1024.0)}


def test_backward_reaches_the_start_of_a_graph_deeper_than_recursion():
    ops = library()
    end = leaf = ops["Tensor"](1.0)
    for _ in range(20_000):
        end = end + ops["Tensor"](0.0)
    ops["backward"](end)
    assert leaf.grad == 1


def test_backward_starts_at_a_number():
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        library()["backward"](library()["Tensor"](np.ones((2, 2))))
