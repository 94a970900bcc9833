"""From a trained model to one that only predicts: batch norms folded away, or a graph that needs no Python of ours."""

import copy
import itertools
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.norm import FrozenBatchNorm2d


class Deployable(nn.Module):
    """What every detector of this package can do once it is trained."""

    example_size = (65, 97)  # of the pictures that export traces a model with
    class_names: dict[int, str]  # category id to name, where the training data had them
    stuff: frozenset[int] = frozenset()  # those of its category ids that are stuff and not things
    optimized = False  # True for what optimize_for_inference returns, which cannot be trained or saved

    def optimize_for_inference(self) -> Self:
        """A copy that predicts the same, faster: in evaluation mode, every batch norm folded into its convolution.

        The copy can be neither trained nor saved; this model stays as it is.
        """
        model = copy.deepcopy(self).eval().requires_grad_(False)
        fold_batch_norms(model)
        model.optimized = True
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode.

        Raises:
            RuntimeError: training mode for a model that was optimized for inference.
        """
        if mode and self.optimized:
            raise RuntimeError("a model optimized for inference has no batch norms to train; train the original model")
        return super().train(mode)

    def export(self) -> torch.export.ExportedProgram:
        """The model, optimized for inference, as a graph that runs without this package.

        ``torch.export.save`` writes it. Its ``module()`` takes normalized images ``(B, 3, H, W)`` and their mask
        ``(B, H, W)``, True at padding, on this model's device, and returns what the model does: for any number of
        images and any size of more than 32 pixels a side, or of as many cells as a two-stage model has queries.
        """
        weights = next(self.parameters())
        # The sizes that it is traced with stay free if no feature map of theirs is a single cell high, wide or many.
        images = weights.new_zeros(2, 3, *self.example_size)
        mask = weights.new_zeros(2, *self.example_size, dtype=torch.bool)
        free = torch.export.Dim.DYNAMIC
        sizes = {0: free, 2: free, 3: free}, {0: free, 1: free, 2: free}
        model = _OfTensors(self.optimize_for_inference()).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return torch.export.export(model, (images, mask), dynamic_shapes=sizes)


class _OfTensors(nn.Module):
    """A model that is called with tensors: a stored graph knows no classes of ours."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, mask: Tensor) -> dict[str, Any]:
        return self.model(NestedTensor(images, mask))  # type: ignore[no-any-return]


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm of a module in evaluation mode into the convolution before it, in place.

    With its statistics fixed, a batch norm multiplies and shifts every channel; the convolution's weights can do that.
    "Before" is the order in which a module names its children, which for those here is the order of use.
    """
    for (_, conv), (name, norm) in itertools.pairwise(module.named_children()):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d)):
            continue
        mean, variance = norm.running_mean, norm.running_var
        if mean is not None and variance is not None:  # a norm that keeps no statistics cannot be folded
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            setattr(module, name, nn.Identity())
    for child in module.children():
        fold_batch_norms(child)
