"""Whether weights and a model go together, name by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from detr_mini.errors import WeightsError
from detr_mini.modeling.build import Detector
from detr_mini.weight_files import first_names

COUNTERS = "num_batches_tracked"  # of batch norms that learn; of use only to those without a momentum


def under_all_names(model: Detector, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with those filled in that the model has under several names, and the file under another of them."""
    names: dict[int, list[str]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        names.setdefault(id(value), []).append(key)
    found = dict(state)
    for same in names.values():
        if known := next((key for key in same if key in state), None):
            found |= {key: state.get(key, state[known]) for key in same}
    return found


def completed(model: Detector, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the model takes of the weights, in float32; the counters that a frozen model lacks start at 0."""
    wanted = {key: state[key] if key in state else torch.tensor(0) for key in model.state_dict()}
    return {key: v.float() if v.is_floating_point() else v for key, v in wanted.items()}


def check_fit(model: Detector, state: Mapping[str, Tensor]) -> None:
    """Refuse weights with other names or shapes than the model's.

    Raises:
        WeightsError: the message names the first of them.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith(COUNTERS)]
    surplus = [key for key in state if key not in wanted and not key.endswith(COUNTERS)]
    faults = [f"{what} {first_names(keys)}" for what, keys in (("missing", missing), ("unknown", surplus)) if keys]
    for key in wanted.keys() & state.keys():
        if (here := tuple(state[key].shape)) != (there := tuple(wanted[key].shape)):
            faults.append(f"{key} is {here}, the model has {there}")
    if faults:
        raise WeightsError(f"the weights do not fit the config: {'; '.join(faults[:5])}")
