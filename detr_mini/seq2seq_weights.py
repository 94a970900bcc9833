"""The trained Transformer of 2017 in a file, with the words of its two languages.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

import os
from pathlib import Path

import torch

from detr_mini.data.vocabulary import Vocabulary
from detr_mini.errors import NotFoundError, WeightsError
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.weight_files import read_weights, write_weights

SHIPPED = Path(__file__).resolve().parent / "checkpoints" / "translator.safetensors"


def save_translator(model: Seq2SeqTransformer, path: str | os.PathLike[str]) -> None:
    """Write a model that knows its languages (``model.source``, ``model.target``), its weights as float16.

    Raises:
        WeightsError: the model has no words.
    """
    if model.source is None or model.target is None:
        raise WeightsError("a translator is saved with its words; set model.source and model.target to a Vocabulary")
    languages = [{"words": one.words, "joiner": one.joiner} for one in (model.source, model.target)]
    write_weights(path, model.state_dict(), {"seq2seq": model.settings, "languages": languages}, torch.float16)


def load_translator(path: str | os.PathLike[str] = SHIPPED, device: str | torch.device = "cpu") -> Seq2SeqTransformer:
    """The model of a file that :func:`save_translator` wrote, in evaluation mode, with ``source`` and ``target``.

    Raises:
        NotFoundError: there is no such file.
        WeightsError: the file is damaged, or holds another kind of model.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    state, notes = read_weights(path)
    if "seq2seq" not in notes or "languages" not in notes:
        raise WeightsError(f"{path}: these are no weights of a translator; see detr_mini.load for those of a DETR")
    try:
        model = Seq2SeqTransformer(**notes["seq2seq"])
        model.load_state_dict({key: value.float() for key, value in state.items()})
        model.source, model.target = (Vocabulary(**language) for language in notes["languages"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: a damaged translator: {str(error).splitlines()[0]}") from error
    return model.to(device).eval()
