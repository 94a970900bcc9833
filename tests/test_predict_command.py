"""``detr-mini predict``: which images are meant, what is written for them, and what is never written over."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import detr_mini
from detr_mini.commands.cli import main
from detr_mini.commands.images import find_images
from detr_mini.commands.predict import PANOPTIC
from detr_mini.data import CATEGORIES, draw_scene
from detr_mini.data.panoptic import read_segment_ids
from detr_mini.modeling.config import get_config
from detr_mini.modeling.segmentation import THRESHOLD, DETRSegmentation

NAMES = {i: f"class {i}" for i in range(14)}
ENDINGS = [".boxes.jpg", ".boxes.json", ".panoptic.jpg", ".panoptic.png"]  # by a model with masks, in order


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, but for the weights of small models, ``w.safetensors`` and, with masks, ``m``."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    size = {"hidden_dim": 16, "nheads": 2, "num_queries": 8}
    model = detr_mini.DETR(get_config("nano", **size)).eval()
    model.class_names = NAMES
    detr_mini.save(model, "w.safetensors")
    model = detr_mini.build("nano", masks=True, **size)
    torch.nn.init.constant_(model.detr.class_embed.bias[3:4], 20)  # sure of class 3, in every slot
    model.class_names = NAMES
    detr_mini.save(model, "m.safetensors", dtype=None)
    return tmp_path


def draw(*names: str) -> None:
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        draw_scene(number).image.save(name)


def predict(*arguments: str) -> int:
    return main(["predict", "--weights", "w.safetensors", "--threshold", "0", "--device", "cpu", *arguments])


def segment(*arguments: str) -> int:
    return main(["predict", "--weights", "m.safetensors", "--device", "cpu", *arguments])


def listed(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_both_files_say_what_was_found(capsys):
    draw("a/street.png")
    assert predict("a/street.png", "--out", "out") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(Path("out/street.boxes.json")),
        str(Path("out/street.boxes.jpg")),
    ]
    content = json.loads(Path("out/street.boxes.json").read_text())
    picture = draw_scene(0).image
    assert (content["file"], content["width"], content["height"]) == ("a/street.png", *picture.size)
    assert content["weights"] == "w.safetensors"
    assert content["classes"] == {str(number): name for number, name in NAMES.items()}
    (found,) = detr_mini.predict(detr_mini.load("w.safetensors"), [picture], threshold=0)
    limits = torch.tensor([*picture.size, *picture.size])
    for one, score, label, box in zip(content["detections"], *found.values(), strict=True):
        assert (one["label"], one["name"]) == (label, f"class {label}")
        assert one["score"] == pytest.approx(score.item(), abs=1e-4)
        assert one["box"] == pytest.approx(box.clamp(min=0).minimum(limits).tolist(), abs=0.006)
    with Image.open("out/street.boxes.jpg") as drawn:
        assert max(drawn.size) == 800


def test_boxes_are_clipped_to_the_image(monkeypatch):
    draw("a.png")
    outputs = {"pred_logits": torch.zeros(1, 1, 15), "pred_boxes": torch.tensor([[[0.5, 0.5, 1.2, 1.2]]])}
    monkeypatch.setattr(detr_mini.DETR, "forward", lambda *_: outputs)
    assert predict("a.png") == 0
    (one,) = json.loads(Path("predictions/a.boxes.json").read_text())["detections"]
    assert one["box"] == [0, 0, *draw_scene(0).image.size]


def test_one_bad_file_costs_only_itself(capsys):
    draw("in/a.png", "in/c.png")
    Path("in/b.jpg").write_bytes(b"not an image")
    assert predict("in", "gone.jpg", "--batch-size", "2") == 2
    assert listed("predictions") == ["a.boxes.jpg", "a.boxes.json", "c.boxes.jpg", "c.boxes.json"]
    error = capsys.readouterr().err
    assert "2 inputs gave nothing" in error
    assert "in/b.jpg: it is no picture" in error
    assert "gone.jpg: No such file" in error


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("https://example.com/street.jpg", "https://example.com/street.jpg is an address"),
        ("empty", "the folder empty has no images in it (JPEG, PNG"),
        ("empty/*.jpg", "no image fits empty/*.jpg"),
        ("a/street.MP4", "ffmpeg -i a/street.MP4 -vf fps=5 street/%06d.jpg makes a folder of them"),
    ],
)
def test_what_means_no_image_is_said(argument, message, capsys):
    Path("empty").mkdir()
    assert predict(argument) == 2
    assert message in capsys.readouterr().err
    assert not Path("predictions").exists()


def test_folders_and_patterns():
    draw("in/b.PNG", "in/a.jpg", "in/deep/c.webp", "in/.hidden.png", "in/[x].png")
    Path("in/notes.txt").touch()
    files = [Path("in/[x].png"), Path("in/a.jpg"), Path("in/b.PNG")]
    assert find_images(["in"]) == (files, [])
    assert find_images(["in/*"]) == (files, [])
    assert find_images(["in/*.jpg", "in/a.jpg"]) == ([Path("in/a.jpg")], [])
    assert find_images(["in/**/*.webp"]) == ([Path("in/deep/c.webp")], [])
    assert find_images(["in/[x].png"]) == ([Path("in/[x].png")], []), "a file, though it looks like a pattern"


def test_an_image_is_never_written_over():
    draw("gray.png", "gray.boxes.jpg")
    before = {path: Path(path).read_bytes() for path in ("gray.png", "gray.boxes.jpg")}
    assert predict("gray.png", "gray.boxes.jpg", "--out", ".") == 0
    assert {path: Path(path).read_bytes() for path in before} == before
    assert Path("gray.png.boxes.json").exists()
    assert Path("gray.boxes.boxes.json").exists()


def test_a_result_that_is_an_input_is_never_written_over():
    draw("gray.png")
    assert predict("gray.png", "--out", ".") == 0
    before = Path("gray.boxes.jpg").read_bytes()
    assert predict("gray.png", "gray.boxes.jpg", "--out", ".", "--threshold", "1") == 0
    assert Path("gray.boxes.jpg").read_bytes() == before


def test_a_picture_that_somebody_put_in_the_place_of_a_result_is_never_written_over():
    draw("gray.png")
    assert predict("gray.png") == 0
    with Image.open("predictions/gray.boxes.jpg") as drawn:
        drawn.rotate(90).save("predictions/gray.boxes.jpg", comment=b"rotated")
    before = Path("predictions/gray.boxes.jpg").read_bytes()
    assert predict("gray.png") == 0
    assert Path("predictions/gray.boxes.jpg").read_bytes() == before


@pytest.mark.parametrize("mine", ["street.boxes.json", "street.boxes.jpg"])
@pytest.mark.parametrize("content", [b"mine", b"[]", b'{"made_by": "me", "file": "street.png"}'])
def test_a_file_of_somebody_else_is_never_written_over(mine, content):
    draw("street.png")
    Path("out").mkdir()
    Path("out", mine).write_bytes(content)
    assert predict("street.png", "--out", "out") == 0
    assert Path("out", mine).read_bytes() == content
    assert listed("out") == sorted(["street.png.boxes.jpg", "street.png.boxes.json", mine])


def test_the_same_image_again_replaces_its_results_and_another_of_its_name_does_not():
    draw("a/1.jpg", "b/1.jpg")
    for _ in range(2):
        assert predict("a/1.jpg", "--out", "out") == 0
        assert listed("out") == ["1.boxes.jpg", "1.boxes.json"]
    first = Path("out/1.boxes.json").read_bytes()
    assert predict("b/1.jpg", "--out", "out") == 0
    assert Path("out/1.boxes.json").read_bytes() == first
    assert len(listed("out")) == 4


def test_images_of_one_name_in_one_call_do_not_meet():
    draw("a/1.jpg", "a/1.png", "b/1.jpg", "b/1.JPG")
    assert predict("a", "b", "--out", "out") == 0
    files = [json.loads(path.read_text())["file"] for path in Path("out").glob("*.json")]
    assert sorted(files) == ["a/1.jpg", "a/1.png", "b/1.JPG", "b/1.jpg"]
    assert len(list(Path("out").glob("*.jpg"))) == 4


def test_results_are_no_images_of_the_next_call():
    draw("a.png")
    for _ in range(2):
        assert predict(".", "--out", ".") == 0
        assert listed(".") == ["a.boxes.jpg", "a.boxes.json", "a.png", "m.safetensors", "w.safetensors"]


def test_what_weights_do_not_tell_can_be_set(monkeypatch, capsys):
    draw("a.png")
    sizes = []
    forward = detr_mini.DETR.forward

    def look(model, samples):
        sizes.append(max(samples[0].shape))
        return forward(model, samples)

    monkeypatch.setattr(detr_mini.DETR, "forward", look)
    assert predict("a.png", "--set", "config.max_size=64") == 0
    assert sizes == [64]
    assert predict("a.png", "--set", "config.dilation=true") == 2
    assert "dilation=True needs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict("a.png", "--set", "recipe.lr=1")


def test_a_folder_that_cannot_be_is_said(capsys):
    draw("a.png")
    assert predict("a.png", "--out", "a.png") == 2
    assert "cannot make the folder a.png: File exists" in capsys.readouterr().err


def test_a_full_disk_is_said(monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    draw("a.png")
    monkeypatch.setattr("detr_mini.commands.results.write_atomically", fail)
    assert predict("a.png") == 2
    assert "a.boxes.json or a.boxes.jpg: No space left on device" in capsys.readouterr().err


def test_many_images_are_never_in_memory_together(alive_images):
    for number in range(24):
        Image.new("RGB", (90, 60)).save(f"{number}.png")
    most = alive_images("detr_mini.data.read_image")
    assert predict(".", "--batch-size", "3") == 0
    assert len(most) == 24
    assert max(most) <= 4, "a batch, and the last of the batch before"


@pytest.mark.parametrize("value", ["5", "-0.1", "nan", "high"])
def test_a_threshold_is_a_score(value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "a.png", "--threshold", value])
    assert stop.value.code == 2
    assert "--threshold" in capsys.readouterr().err


def test_models_of_the_drawn_town_say_so(capsys):
    draw("a.png")
    town = detr_mini.load("nano")
    detr_mini.save(town, "town.safetensors")
    for weights, said in [("nano", True), ("town.safetensors", True), ("w.safetensors", False)]:
        assert main(["predict", "a.png", "--weights", weights, "--device", "cpu"]) == 0
        assert ("knows a drawn town only" in capsys.readouterr().err) == said
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "chance" in capsys.readouterr().out


@pytest.mark.parametrize("stuff", [False, True])
def test_a_model_of_the_whole_town_says_so(stuff, capsys):
    draw("a.png")
    model = detr_mini.load("w.safetensors")
    model.class_names = {one.id: one.name for one in CATEGORIES if stuff or one.id != 13}
    detr_mini.save(model, "town.safetensors")
    assert main(["predict", "a.png", "--weights", "town.safetensors", "--device", "cpu"]) == 0
    error = capsys.readouterr().err
    assert ("knows a drawn town only (person, car" in error) == stuff
    assert ("sky, grass, road, water)" in error) == stuff


def test_a_model_with_masks_writes_its_segments_too(capsys):
    draw("a/street.png")
    assert segment("a/street.png", "--out", "out") == 0
    wanted = ["street.boxes.json", "street.boxes.jpg", "street.panoptic.png", "street.panoptic.jpg"]
    assert capsys.readouterr().out.splitlines() == [str(Path("out", name)) for name in wanted]
    content = json.loads(Path("out/street.boxes.json").read_text())
    assert (content["threshold"], content["panoptic_threshold"]) == (0.7, 0.85)
    model, picture = detr_mini.load("m.safetensors"), draw_scene(0).image
    (found,) = detr_mini.predict_panoptic(model, [picture])
    assert content["panoptic"] == {"file_name": "street.panoptic.png", "segments_info": found["segments"]}
    assert len(found["segments"]) > 1
    assert (read_segment_ids("out/street.panoptic.png") == found["ids"].numpy()).all()
    assert len(content["detections"]) == len(detr_mini.predict(model, [picture])[0]["scores"]) > 0
    with Image.open("out/street.panoptic.jpg") as drawn, Image.open("out/street.boxes.jpg") as boxes:
        assert drawn.size == boxes.size
        assert drawn.tobytes() != boxes.tobytes()


def test_the_tools_of_coco_can_read_the_segments():
    """What panopticapi asks of an annotation: all ids of the PNG but 0 are listed, once, with a category."""
    draw("in/a.png", "in/b.png")
    assert segment("in", "--out", "out") == 0
    for number, path in enumerate(sorted(Path("out").glob("*.json"))):
        annotation = {"image_id": number, **json.loads(path.read_text())["panoptic"]}
        assert annotation.keys() == {"image_id", "file_name", "segments_info"}
        with Image.open(Path("out", annotation["file_name"])) as file:
            assert file.mode == "RGB"
            red, green, blue = (torch.tensor(list(band.tobytes())) for band in file.split())
        ids = (red + 256 * green + 256**2 * blue).unique().tolist()
        listed_ids = [one["id"] for one in annotation["segments_info"]]
        assert sorted(listed_ids) == [k for k in ids if k]
        for one in annotation["segments_info"]:
            assert {"id", "category_id", "area", "bbox"} <= one.keys()


def test_a_model_with_masks_that_finds_nothing_says_so():
    draw("a.png")
    assert segment("a.png", "--panoptic-threshold", "1") == 0
    content = json.loads(Path("predictions/a.boxes.json").read_text())
    assert content["panoptic"]["segments_info"] == []
    assert content["panoptic_threshold"] == 1
    assert not read_segment_ids("predictions/a.panoptic.png").any()
    assert listed("predictions") == [f"a{ending}" for ending in ENDINGS]


def test_a_model_without_masks_says_nothing_of_segments():
    draw("a.png")
    assert predict("a.png") == 0
    content = json.loads(Path("predictions/a.boxes.json").read_text())
    assert not [name for name in content if "panoptic" in name]


def test_boxes_and_segments_come_from_one_pass(monkeypatch):
    draw("in/a.png", "in/b.png", "in/c.png")
    passes = []
    forward = DETRSegmentation.forward
    monkeypatch.setattr(DETRSegmentation, "forward", lambda self, x: passes.append(len(x)) or forward(self, x))
    assert segment("in") == 0
    assert sum(passes) == 3


def test_one_bad_file_costs_only_itself_with_masks_too(capsys):
    draw("in/a.png", "in/c.png")
    Path("in/b.jpg").write_bytes(b"not an image")
    assert segment("in", "--batch-size", "2") == 2
    assert listed("predictions") == sorted(f"{name}{ending}" for name in "ac" for ending in ENDINGS)
    assert "in/b.jpg: it is no picture" in capsys.readouterr().err


def foreign_png(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, "PNG")


def foreign_jpeg(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, "JPEG", comment=b"mine")


@pytest.mark.parametrize("mine", [f"street{ending}" for ending in ENDINGS])
@pytest.mark.parametrize("make", [foreign_png, foreign_jpeg, Path.mkdir, Path.touch])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_of_somebody_else_moves_all_four_to_another_name(mine, make, again):
    """Also in the place of a result of an earlier call."""
    draw("street.png")
    if again:
        assert segment("street.png", "--out", "out") == 0
        Path("out", mine).unlink()
    Path("out").mkdir(exist_ok=True)
    make(Path("out", mine))
    before = {path: path.is_file() and path.read_bytes() for path in Path("out").iterdir()}
    assert segment("street.png", "--out", "out") == 0
    assert {path: path.is_file() and path.read_bytes() for path in before} == before
    new = [f"street.png{ending}" for ending in ENDINGS]
    assert listed("out") == sorted([*(path.name for path in before), *new])
    content = json.loads(Path("out/street.png.boxes.json").read_text())
    assert content["panoptic"]["file_name"] == "street.png.panoptic.png"


def test_the_same_image_again_replaces_all_its_results():
    draw("a/1.jpg", "b/1.jpg")
    first = [f"1{ending}" for ending in ENDINGS]
    assert predict("a/1.jpg", "--out", "out") == 0, "boxes alone"
    for threshold in ("0.5", "1"):
        assert segment("a/1.jpg", "--out", "out", "--panoptic-threshold", threshold) == 0
        assert listed("out") == first
    assert not read_segment_ids("out/1.panoptic.png").any(), "it is the second one's"
    assert segment("b/1.jpg", "--out", "out") == 0
    assert listed("out") == sorted([*first, *(f"1.jpg{ending}" for ending in ENDINGS)])


def test_a_segment_file_that_is_an_input_is_never_written_over():
    draw("gray.png")
    assert segment("gray.png", "--out", ".") == 0
    before = Path("gray.panoptic.png").read_bytes()
    assert segment("gray.png", "gray.panoptic.png", "--out", ".", "--panoptic-threshold", "1") == 0
    assert Path("gray.panoptic.png").read_bytes() == before


def test_pictures_of_segments_are_no_images_of_the_next_call():
    draw("in/a.png")
    for _ in range(2):
        assert segment("in", "in/*", "--out", "in") == 0
        assert listed("in") == [*(f"a{ending}" for ending in ENDINGS), "a.png"]


def test_a_full_disk_is_said_of_all_four(monkeypatch, capsys):
    def fail(path: Path, data: bytes) -> None:
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")

    draw("a.png")
    monkeypatch.setattr("detr_mini.commands.results.write_atomically", fail)
    assert segment("a.png") == 2
    names = "a.boxes.json or a.boxes.jpg or a.panoptic.png or a.panoptic.jpg: No space left on device"
    assert names in capsys.readouterr().err


def test_help_tells_of_the_files_of_segments_and_of_the_published_threshold(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    told = capsys.readouterr().out
    assert PANOPTIC in told
    assert all(f"NAME{ending}" in told for ending in ENDINGS)
    assert f"(default {THRESHOLD})" in " ".join(told.split())


def test_the_scenes_that_help_offers_can_be_drawn_and_predicted():
    assert main(["make-data", "scenes", "--train", "0", "--val", "2", "--workers", "1"]) == 0
    assert predict("scenes/val") == 0
    assert len(listed("predictions")) == 4


def coco_of(file: str, annotations: str) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(annotations).loadRes(file)


def test_results_of_coco_with_the_ids_of_an_annotation_file():
    draw("set/val/1.png", "set/val/deep/1.png")
    listed = [{"id": 70, "file_name": "deep/1.png"}, {"id": 7, "file_name": "1.png"}]
    categories = [{"id": number, "name": name} for number, name in NAMES.items()]
    Path("ids.json").write_text(json.dumps({"images": listed, "categories": categories, "annotations": []}))
    assert predict("set/val", "set/val/deep", "--coco", "found.json", "--annotations", "ids.json") == 0
    assert not Path("found.images.json").exists()
    results = coco_of("found.json", "ids.json")
    assert {one["image_id"] for one in results.dataset["annotations"]} == {7, 70}
    for number, picture in ((7, draw_scene(0).image), (70, draw_scene(1).image)):
        (found,) = detr_mini.predict(detr_mini.load("w.safetensors"), picture, threshold=0)
        mine = [one for one in json.loads(Path("found.json").read_text()) if one["image_id"] == number]
        assert [one["score"] for one in mine] == pytest.approx(found["scores"].tolist(), abs=1e-5)
        assert [one["category_id"] for one in mine] == found["labels"].tolist()
        for one, (left, top, right, bottom) in zip(mine, found["boxes"].tolist(), strict=True):
            x, y, w, h = one["bbox"]
            corners = [max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)]
            assert [x, y, x + w, y + h] == pytest.approx(corners, abs=0.01)


def test_results_of_coco_without_an_annotation_file_come_with_one(capsys):
    draw("in/a.png", "in/c.png")
    Path("in/b.jpg").write_bytes(b"not an image")
    assert predict("in", "--coco", "found.json", "--threshold", "0.01") == 2
    results = coco_of("found.json", "found.images.json")
    images = {one["file_name"]: one for one in results.dataset["images"]}
    assert images.keys() == {"in/a.png", "in/c.png"}
    assert (images["in/a.png"]["width"], images["in/a.png"]["height"]) == draw_scene(0).image.size
    assert {one["image_id"] for one in results.dataset["annotations"]} <= {one["id"] for one in images.values()}
    assert results.cats[3]["name"] == "class 3"
    assert "found.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--annotations", "ids.json"], "--annotations gives the ids for --coco"),
        (["--coco", "ids.json", "--annotations", "ids.json"], "would be written over"),
        (["--coco", "x.json", "--annotations", "ids.json"], "ids.json does not list a.png"),
        (["--coco", "x.json", "--annotations", "no.json"], "no.json has no list of images"),
        (["--coco", "no/x.json"], "cannot write no/x.json: No such file"),
    ],
)
def test_results_of_coco_that_cannot_be(options, message, capsys):
    draw("a.png")
    Path("ids.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "b.png"}]}))
    before = Path("ids.json").read_bytes()
    assert predict("a.png", *options) == 2
    assert message in capsys.readouterr().err
    assert Path("ids.json").read_bytes() == before
