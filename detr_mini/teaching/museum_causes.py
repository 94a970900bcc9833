"""What can be wrong with a detector: causes, the symptoms that each would leave, and the cheapest test for it.

Chapter: *A museum of bugs*, ``book/23_museum``. Which exhibit has which cause is not said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One fault.

    Attributes:
        group: where it is made.
        line: what is wrong, in a sentence.
        explains: what it does, for a diagnosis that does not hold.
        would: the symptoms that it leaves, by name, the plainest first, each with a sentence that says why.
        may: further symptoms that it may leave.
        ask: which evidence tells it apart, where numbers do not.
        test: the cheapest test that would have caught it.
        code: the same, in a few lines.
        link: a cell of the book, ``NAME.ipynb#cell-LABEL``.
    """

    group: str
    line: str
    explains: str
    would: Mapping[str, str]
    test: str
    code: str
    link: str
    may: tuple[str, ...] = ()
    ask: str = "Look at the pictures of the batch, and ask what it would change there."


TARGETS, MODEL, TRAINING, MEASURING = "what the loss is given", "the model", "the training", "the measuring"

CAUSES = {
    "boxes in corners": Cause(
        TARGETS,
        "The targets are two corners, and the loss takes them for center and size.",
        "Every box of a target would be elsewhere, and larger.",
        {
            "box gap": "The model would learn the wrong boxes well, and fit them better than the right ones.",
            "boxes": "No box that it gives would fit an object.",
        },
        "Draw the targets over the pictures, as the loss gets them.",
        "draw_boxes(ax, picture, box_cxcywh_to_xyxy(target['boxes']) * scale)",
        "04_data.ipynb#cell-three-ways",
        may=("class gap", "too few"),
    ),
    "boxes in pixels": Cause(
        TARGETS,
        "The targets are in pixels, and the model's boxes are shares of the picture.",
        "No box of the model could come near a target.",
        {"huge L1": "An L1 term of boxes in pixels would be in the tens or hundreds, and stay there."},
        "Assert that all targets lie in [0, 1].",
        "assert target['boxes'].min() >= 0 and target['boxes'].max() <= 1",
        "04_data.ipynb#cell-always-a-box",
        may=("box loss", "boxes", "too few", "class loss"),
    ),
    "labels off by one": Cause(
        TARGETS,
        "Every label is one too low.",
        "Every object would be called by the name of its neighbor in the list.",
        {
            "names": "Boxes would be good and names wrong, so AP50 would rise once names are not looked at.",
            "class gap": "The wrong labels would be learned as well as right ones, and fit the right ones badly.",
        },
        "Print the names of one picture's targets beside the picture.",
        "print([class_names[int(label)] for label in target['labels']])",
        "04_data.ipynb#cell-ids",
    ),
    "targets in another order": Cause(
        TARGETS,
        "The targets of a batch come in another order than its pictures.",
        "Each picture would be compared with another one's objects.",
        {
            "box loss": "Nothing in a picture says where another one's objects are, so the box terms would stay high.",
            "class loss": "Nothing in a picture says what another one holds, so the class term would stay high.",
            "boxes": "What is learned would be where objects are on the whole, so even the best boxes would be off.",
        },
        "Train on one batch, over and over, with the pictures in a new order each time: it must be learned by heart.",
        "assert losses[-1] < 0.1 * losses[0]",
        "14_train.ipynb#cell-train-by-hand",
        may=("too few", "still loss", "flat", "pairs"),
    ),
    "mirrored without boxes": Cause(
        TARGETS,
        "Half of the pictures are mirrored, and their boxes are not.",
        "Half of the boxes would be on the wrong side.",
        {"box loss": "A picture may be either way, so a box can only guess its side, and its terms would stay high."},
        "Flip a picture twice: picture and boxes must come back. Once: the boxes must have moved.",
        "assert not flip(image, target)[1]['boxes'].equal(target['boxes'])",
        "04_data.ipynb#cell-break-flip",
        may=("pairs", "too many", "too few", "class loss", "still loss", "flat"),
    ),
    "every object twice": Cause(
        TARGETS,
        "Every object stands in the annotations twice, as after two files were merged.",
        "Every object would be asked for by two slots.",
        {
            "repeated": "Half of the targets of a batch would be repeats.",
            "pairs": "Two slots would learn to answer for each object.",
        },
        "Count equal boxes in the annotation file.",
        "assert len(set(map(tuple, boxes))) == len(boxes)",
        "15_evaluate.ipynb#cell-twins",
        may=("too many",),
    ),
    "shares of the padded frame": Cause(
        TARGETS,
        "Boxes are divided by the size of the padded batch, and not by that of their picture.",
        "Where a picture is padded, its boxes would be too small, and too near to its left upper corner.",
        {
            "box gap": "The model would learn boxes that do not fit, and fit them better than the right ones.",
            "boxes": "No box that it gives would fit an object of a padded picture.",
        },
        "Load a picture alone and in a batch with a larger one: its targets must be equal.",
        "assert alone['boxes'].allclose(together['boxes'])",
        "05_nested_tensor.ipynb#cell-in-frames",
        may=("box loss", "class loss", "class gap", "too few"),
    ),
    "padding mask inverted": Cause(
        MODEL,
        "The padding mask is True where there is picture.",
        "Attention would read the padding and nothing else.",
        {
            "flat": "In a picture without padding there would be nothing to read, and all attention would be 0.",
            "box loss": "Slots that cannot read the picture could not place a box, and the box terms would stay high.",
        },
        "Change the pixels of the padding: no output may change.",
        "assert model(samples)['pred_boxes'].allclose(model(other_padding)['pred_boxes'], atol=1e-4)",
        "05_nested_tensor.ipynb#cell-inverted",
        may=("class loss", "boxes", "too few", "still loss", "pairs"),
        ask="Look at the attention: which cells are read at all?",
    ),
    "positions left out": Cause(
        MODEL,
        "The positional encoding of the cells is left out.",
        "Cells would not know where they are.",
        {
            "box loss": "Without a place of their own, cells could not tell a slot where to put its box.",
            "boxes": "Even the best boxes would be off.",
        },
        "Shuffle the cells of the feature map: the boxes must change.",
        "assert not boxes(cells).allclose(boxes(cells.flip(1)))",
        "07_position_encoding.ipynb#cell-found",
        may=("still loss", "too few", "too many", "pairs", "class loss"),
        ask="Look at the attention: is the object found, and the box elsewhere?",
    ),
    "all queries equal": Cause(
        MODEL,
        "All object queries are the same vector, and stay so.",
        "All slots would give the same answer.",
        {
            "still queries": "Queries that stay equal would not move.",
            "boxes": "One box could not fit several objects.",
        },
        "Ask for the spread of the queries.",
        "assert model.query_embed.weight.std(0).min() > 0",
        "09_decoder.ipynb#cell-no-query-pos",
        may=("box loss", "class loss", "too few", "pairs", "too many", "still loss", "flat"),
        ask="Look at the pictures: how many different boxes are there?",
    ),
    "backbone not loaded, frozen": Cause(
        MODEL,
        "The backbone has random weights, and is frozen.",
        "The model would have to read features that nobody trained.",
        {
            "still backbone": "A frozen backbone would not move at all.",
            "class loss": "Random features tell colors and edges apart, not things, so the class term would stay high.",
        },
        "Compare the backbone with the file that it came from.",
        "assert all(w.equal(stored[name]) for name, w in backbone.state_dict().items())",
        "06_backbone.ipynb#cell-who-gets-gradients",
        may=("box loss", "boxes", "too few", "flat"),
    ),
    "no auxiliary losses": Cause(
        MODEL,
        "The earlier decoder layers have no loss.",
        "The earlier layers would be asked for nothing.",
        {"early layers": "Their predictions would get worse than the last layer's, or stay as bad as they were."},
        "Compare the loss of each decoder layer.",
        "assert len(outputs['aux_outputs']) == dec_layers - 1",
        "14_train.ipynb#cell-by-layer",
    ),
    "weight of no object is 0": Cause(
        TRAINING,
        "The class term gives no weight to slots without an object (eos_coef is 0).",
        "No slot would ever be asked to be silent.",
        {"too many": "Every slot would name something, sure of itself."},
        "Count detections and objects on twenty pictures.",
        "assert (scores > 0.5).sum() < 2 * objects",
        "12_loss.ipynb#cell-break-eos",
        may=("pairs", "class gap", "names", "class loss"),
    ),
    "learning rate too high": Cause(
        TRAINING,
        "The learning rate is fifty times too high.",
        "Every step would overshoot.",
        {
            "far": "Weights would end far from where they began.",
            "class loss": "What was known would be lost in the first steps, and the losses would stay high.",
        },
        "Try three rates for a hundred steps each.",
        "for lr in (1e-4, 3e-4, 1e-3): print(lr, train(lr, steps=100)[-1])",
        "14_train.ipynb#cell-three-recipes",
        may=("box loss", "boxes", "too few", "flat", "still loss", "pairs"),
    ),
    "rate falls to 0 too soon": Cause(
        TRAINING,
        "The schedule counts epochs where it should count steps, so the learning rate is 0 after a tenth of the run.",
        "Most of the steps would change nothing.",
        {
            "no rate": "Half-way the learning rate would be 0.",
            "still loss": "The loss would stop falling.",
        },
        "Print the rate at the beginning, half-way and at the end.",
        "print(*(scheduler.lr_lambdas[0](step) for step in (0, steps // 2, steps)))",
        "14_train.ipynb#cell-step-lengths",
        may=("class loss", "too few", "box loss"),
    ),
    "optimizer without the new head": Cause(
        TRAINING,
        "The class head was replaced after the optimizer had been made, which goes on with the old one.",
        "The class head would keep its random weights.",
        {
            "still head": "A head that no optimizer knows would not move.",
            "class loss": "All names would be chance, so the class term would stay high.",
        },
        "Look which weights a step changes.",
        "assert not any(w.equal(before[name]) for name, w in model.named_parameters())",
        "14_train.ipynb#cell-unmoved-head",
        may=("too few",),
    ),
    "first decoder layer measured": Cause(
        MEASURING,
        "What is measured are the boxes of the first decoder layer.",
        "All training would be as it should, and the boxes would be those of a beginner.",
        {
            "sound losses": "Training would be as in the twin, and so all losses.",
            "low AP": "Earlier boxes are worse, so AP would be lower.",
            "too few": "A first layer is less sure of itself, so far fewer detections would be above 0.5.",
        },
        "Measure the layers one by one: the last must be what the program reports.",
        "assert ap == layer_metrics(val, outputs)[-1]['AP']",
        "15_evaluate.ipynb#cell-layers-table",
    ),
    "height and width swapped": Cause(
        MEASURING,
        "Post-processing is given width and height where it wants height and width.",
        "All boxes would be squeezed one way and stretched the other.",
        {
            "sound losses": "Training would be as in the twin, and so all losses.",
            "low AP": "Most boxes would miss their objects, so AP would be far lower.",
            "boxes": "Only near the left upper corner would a box still fit.",
        },
        "Post-process the targets themselves: AP must be 1.",
        "assert ap_of(postprocess(as_outputs(targets), sizes)) > 0.999",
        "15_evaluate.ipynb#cell-wrong-boxes",
    ),
    "red and blue swapped": Cause(
        MEASURING,
        "Pictures are read for measuring with blue first, as OpenCV does, and were red first in training.",
        "The model would see every scene in the wrong colors.",
        {"class gap": "Training would go well, and the class term be high on every other picture."},
        "Compare the mean of each channel in training and in measuring.",
        "assert (train.mean((0, 2, 3)) - val.mean((0, 2, 3))).abs().max() < 0.1",
        "04_data.ipynb#cell-normalise",
        may=("box gap", "too few", "flat"),
        ask="Look at the pictures: are names wrong where a color matters, and are boxes good?",
    ),
    "AP on the training pictures": Cause(
        MEASURING,
        "AP is measured on the pictures that were trained on.",
        "What was learned by heart would count.",
        {
            "flattered": "AP would be higher than a model with these losses can have on pictures it never saw.",
            "seen only": "Losses on training pictures would be far lower than on others.",
        },
        "See that no file is in both splits.",
        "assert not {*train.ids} & {*val.ids}",
        "15_evaluate.ipynb#cell-early",
    ),
    "boxes left out under a score of 0.5": Cause(
        MEASURING,
        "Detections under a score of 0.5 are left out before AP is computed.",
        "The doubtful answers, which AP counts as well, would be missing.",
        {
            "sound losses": "Training would be as in the twin, and so all losses.",
            "low AP": "Some of what is left out would be right, so AP would be lower.",
        },
        "Count what is given to the measuring: one detection a slot and picture.",
        "assert len(results) == num_queries * len(val)",
        "15_evaluate.ipynb#cell-thresholds",
        ask="Look at the pictures: are there detections under 0.5, and are the boxes good?",
    ),
}
