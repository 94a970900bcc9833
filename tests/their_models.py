"""What the comparisons with transformers' models share."""

from typing import Any

import torch


@torch.no_grad()
def randomize(model: Any, queries: float) -> Any:
    """Weights as after training, the statistics of the frozen norms too; all large enough to leave a trace.

    Args:
        model: is changed in place, and returned.
        queries: the spread of the queries.
    """
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(std=0.2)
        elif value.dim() == 1 and name.endswith("weight"):
            value.uniform_(0.5, 1.0)
        elif value.dim() == 1 and "sampling_offsets" not in name:
            value.normal_(std=0.2)
        elif "query" in name:
            value.normal_(std=queries)
        elif value.dim() == 2:
            value.normal_(std=1.5 * value.shape[1] ** -0.5)
    return model


def names_of_their_resnet(key: str) -> str:
    """torchvision's (and timm's) names to those of transformers' own ResNet."""
    if not key.startswith("model.backbone.model."):
        return key
    key = key.replace(".model.conv1.", ".model.embedder.embedder.convolution.")
    key = key.replace(".model.bn1.", ".model.embedder.embedder.normalization.")
    for stage in range(4):
        key = key.replace(f".layer{stage + 1}.", f".encoder.stages.{stage}.layers.")
    for n in range(3):
        key = key.replace(f".conv{n + 1}.", f".layer.{n}.convolution.").replace(
            f".bn{n + 1}.", f".layer.{n}.normalization."
        )
    return key.replace(".downsample.0.", ".shortcut.convolution.").replace(".downsample.1.", ".shortcut.normalization.")
