"""CONTRIBUTING.md and the pages beside it: recipes do what they say, names and links lead somewhere."""

import re
import sys
import types

import pytest
import torch
import yaml
from small import SENTIMENT
from transformers import BertConfig, BertModel, BertTokenizerFast

from course_utils import __version__, paths
from course_utils.errors import CourseError
from course_utils.inputs import sources
from course_utils.inputs.bases import Base
from course_utils.inputs.splits import load_data
from course_utils.methods import METHODS
from course_utils.report.chapters import papers
from course_utils.tasks.classification import METRICS

pytestmark = pytest.mark.slow

PAGE = (paths.PROJECT / "CONTRIBUTING.md").read_text("utf-8")
DOCS = sorted(f"docs/{path.name}" for path in (paths.PROJECT / "docs").glob("*.md"))
WORDS = ["a", "the", "fine", "dull", "film", "plot", "is", "was", "not", "very", "and", "but"]


def code(recipe: str) -> str:
    """The Python of the recipe `recipe`, a section of the page, without the list's indent."""
    [section] = re.findall(rf"^## Add a {recipe}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    [(indent, block)] = re.findall(r"^( *)```python\n(.*?)^ *```$", section, re.M | re.S)
    return re.sub(rf"^{indent}", "", block, flags=re.M)


@pytest.fixture
def tiny_base(tmp_path, monkeypatch):
    """A random encoder of two small layers in bases/mine, as the recipes name it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS) + 6, **sizes)).save_pretrained("bases/mine")
    BertTokenizerFast(str(vocabulary)).save_pretrained("bases/mine")
    return Base("bases/mine")


def test_the_recipe_for_a_method(tiny_base, tmp_path, monkeypatch):
    module = types.ModuleType("course_utils.methods.rslora")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code("method"), vars(module))
    monkeypatch.setitem(METHODS, module.METHOD.name, module.METHOD)

    method = METHODS["rslora"]
    settings = method.Settings(learning_rate=1e-3, rank=4)
    assert method.citation in papers()
    ids = torch.tensor([[2, 6, 7, 3]])
    plain = method.load_base(tiny_base, SENTIMENT, "fp32", settings)
    SENTIMENT.initialise_head(plain, seed=0)
    before = plain(ids).logits
    model = method.adapt(plain, settings)
    torch.testing.assert_close(model.eval()(ids).logits, before)
    layers = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
    assert layers and all(layer.scaling["default"] == 16 / 4**0.5 for layer in layers)
    trained = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert trained == sum(method.trained_numbers(16, 16, settings) for _ in layers)

    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    expected = model(ids).logits
    method.save(method.finish(model), tmp_path)
    for load in (method.load, method.load_merged):
        torch.testing.assert_close(load(tiny_base.load(SENTIMENT), tmp_path)(ids).logits, expected)


def test_the_recipe_for_a_source(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    module = dict(vars(sources))  # what is written into sources.py sees its names
    exec(code("source of data"), module)
    source = module["HEADLINES"]
    monkeypatch.setitem(sources.SOURCES, source.name, source)

    with pytest.raises(CourseError, match="data=headlines: put headlines.csv"):
        source.check()
    lines = [f"headline number {n} of the day,{n % 2}" for n in range(1_500)]
    (tmp_path / "headlines.csv").write_text("\n".join(["text,label", *lines]))
    source.check()
    assert source.files() == [tmp_path / "headlines.csv"]
    data = load_data("headlines")
    assert {name: len(frame) for name, frame in data.sets.items()} == {
        "train": 1_040,
        "validation": 260,
        "test": 200,
    }
    assert data.titles["test"] == "headline test"
    assert set(data.sets["train"].label) == {0, 1} and len(source.class_names) == 2


def test_the_recipe_for_a_base(tiny_base, capsys):
    found = {}
    exec(code("base model"), found)
    assert found["base"] == tiny_base
    assert found["model"].num_labels == 2 and found["model"].config.id2label == SENTIMENT.labels
    printed = capsys.readouterr().out
    assert "head: ['classifier']" in printed and "'query'" in printed and tiny_base.fingerprint() in printed


def test_the_recipe_for_a_task(tiny_base):
    found = {}
    exec(code("task"), found)
    model, task = found["model"], found["stance"]
    assert model(torch.tensor([[2, 6, 7, 3]])).logits.shape == (1, 3)
    assert model.config.id2label == {0: "against", 1: "neutral", 2: "for"}
    again = tiny_base.load(task)
    task.initialise_head(again, seed=0)
    torch.testing.assert_close(model.classifier.weight, again.classifier.weight)

    assert found["accuracy"] == 0.75
    assert found["interval"].low < 0.75 < found["interval"].high
    by_hand = -torch.log_softmax(torch.tensor(found["logits"]), 1)[range(4), found["labels"]].mean()
    assert METRICS["nll"].value(found["logits"], found["labels"]) == pytest.approx(by_hand.item())


def test_every_recipe_is_tested():
    recipes = set(re.findall(r"^## Add a (.+)$", PAGE, re.M))
    assert recipes == {"method", "source of data", "base model", "task"}


def test_the_page_names_files_that_there_are():
    named = re.findall(r"`((?:course_utils|tests|docs|notebooks|\.github)/[\w./]+)`", PAGE)
    missing = [name for name in named if not (paths.PROJECT / name.rstrip("/")).exists() and "NN_" not in name]
    assert named and not missing


def test_the_citation_and_the_changelog_name_the_version():
    citation = yaml.safe_load((paths.PROJECT / "CITATION.cff").read_text("utf-8"))
    title = (paths.PROJECT / "README.md").read_text("utf-8").partition("\n")[0]
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)
    assert citation["title"] == title.removeprefix("# ")
    assert f"\n## [{__version__}] - " in (paths.PROJECT / "CHANGELOG.md").read_text("utf-8")


def test_every_link_to_a_file_leads_to_one():
    pages = [paths.PROJECT / page for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS)]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8"))
    ]
    assert len(links) > 30 and not [(page.name, link) for page, link in links if not (page.parent / link).exists()]
