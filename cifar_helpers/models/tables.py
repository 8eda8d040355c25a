"""Networks as tables: layers with shapes, parameters and operations; export to ONNX."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..env import write_atomically
from .layers import parameter_count

SHAPE = (1, 3, 32, 32)


def layer_table(model: torch.nn.Module) -> list[dict[str, str]]:
    """Every layer without parts of its own: output size for one 32×32 image, and parameters, by torchinfo."""
    from torchinfo import summary

    was_training = model.training
    found = summary(model, SHAPE, verbose=0, device=next(model.parameters()).device, depth=12, mode="eval")
    model.train(was_training)
    rows = []
    for layer in found.summary_list:
        if layer.is_leaf_layer:
            size = "×".join(str(n) for n in layer.output_size[1:])
            size_of = layer.kernel_size if isinstance(layer.kernel_size, list | tuple) else [layer.kernel_size] * 2
            kernel = "×".join(str(n) for n in size_of) if layer.kernel_size else "–"
            row = {"layer": layer.class_name, "kernel": kernel, "output": size, "parameters": f"{layer.num_params:,}"}
            rows.append(row)
    return rows


def forward_flops(model: torch.nn.Module, shape: Sequence[int] = SHAPE[1:]) -> int:
    """Floating-point operations of one image's forward pass (3, height, width): convolutions and matrix products.

    Torch counts a multiplication and an addition as two. A training step takes about three times as many per image.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape, device=device))
    model.train(was_training)
    return counter.get_total_flops()


def save_onnx(model: torch.nn.Module, path: Path) -> Path:
    """Write the network as an ONNX file, which https://netron.app draws; ``CourseError`` where it cannot be written."""
    was_training = model.training
    model = model.eval()

    def write(temporary: Path) -> None:
        program = torch.onnx.export(model, (torch.zeros(SHAPE),), dynamo=True, verbose=False)
        program.save(str(temporary))

    write_atomically(path, write)
    model.train(was_training)
    return path


def size_table(networks: Mapping[str, torch.nn.Module | tuple[torch.nn.Module, int | None]]) -> list[dict[str, str]]:
    """Parameters, those that a source reports if any does, and operations of one forward pass; a row per network.

    ``networks``: name → the network; or a pair of it and a source's number of parameters, or None.
    """
    pairs = {name: net if isinstance(net, tuple) else (net, None) for name, net in networks.items()}
    rows, reported = [], any(theirs for _, theirs in pairs.values())
    for name, (net, theirs) in pairs.items():
        row = {"network": name, "parameters": f"{parameter_count(net):,}"}
        row |= {"source": f"{theirs:,}" if theirs else "–"} if reported else {}
        rows.append(row | {"operations per image": f"{forward_flops(net) / 1e6:,.1f} M"})
    return rows
