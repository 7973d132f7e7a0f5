"""Cards of our own making beside real adapters on tiny random bases: each once truthful, once with one planted lie."""
# ruff: noqa: E501  (cards are long lines)

from __future__ import annotations

import json
import random
import warnings
from collections import defaultdict
from pathlib import Path

import peft
import torch
import transformers
from peft.utils import PeftType
from safetensors.torch import load_file, save_file

from course_utils.audit.audit import audit_card
from course_utils.audit.counts import HEADS as CLASSES
from course_utils.audit.findings import REFUTED

BERT = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
DECODER = BERT | {"num_key_value_heads": 2}
ARCHITECTURES = {  # tiny: settings, and the layers to adapt
    "bert": (BERT, ["query", "value"]),
    "roberta": (BERT, ["query", "key", "value"]),
    "electra": (BERT | {"embedding_size": 16}, ["query", "value"]),
    "deberta-v2": (BERT | {"pos_att_type": ["p2c"], "relative_attention": True}, ["query_proj", "value_proj"]),
    "distilbert": ({"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37}, ["q_lin", "v_lin"]),
    "gpt2": ({"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, ["c_attn"]),
    "opt": ({"vocab_size": 99, "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 37, "num_hidden_layers": 2, "num_attention_heads": 4}, ["q_proj", "v_proj"]),
    "llama": (DECODER, ["q_proj", "v_proj"]),
    "qwen2": (DECODER, ["q_proj", "k_proj", "v_proj"]),
    "t5": ({"vocab_size": 99, "d_model": 32, "d_ff": 37, "d_kv": 8, "num_layers": 2, "num_heads": 4}, ["q", "v"]),
}  # fmt: skip
DECODERS, PAIRS = ("gpt2", "opt", "llama", "qwen2"), ("t5",)
HEADS = ("SEQ_CLS", "TOKEN_CLS", "LM", "QUESTION_ANS")  # PEFT's types of task, those that generate text together
TYPES = {  # PEFT's type → how a card calls it, its settings of rank
    "LORA": ("LoRA", {"lora_alpha": 16}), "HIRA": ("HiRA", {}), "LOHA": ("LoHa", {"alpha": 16}),
    "LOKR": ("LoKr", {"alpha": 16}), "VERA": ("VeRA", {}), "IA3": ("IA3", {}), "PROMPT_TUNING": ("Prompt tuning", {}),
    "PREFIX_TUNING": ("Prefix-tuning", {}),
}  # fmt: skip
KINDS = ("base", "rank", "layers", "count", "percentage", "size", "method", "score", "sparsity", "data set")
WITHOUT_LAYERS = ("PROMPT_TUNING", "PREFIX_TUNING")


def make(folder: Path, architecture: str, head: str, kind: str, draw: random.Random) -> dict | None:
    """An adapter saved in `folder`, and the facts of it; None where PEFT or transformers has no such thing."""
    settings, layers = ARCHITECTURES[architecture]
    generates = "SEQ_2_SEQ_LM" if architecture in PAIRS else "CAUSAL_LM" if architecture in DECODERS else None
    task = generates if head == "LM" else head
    rank, options = draw.choice([2, 4, 8]), dict(TYPES[kind][1])
    if kind in WITHOUT_LAYERS:
        options |= {"num_virtual_tokens": rank}
    elif kind == "IA3":
        options |= {"target_modules": layers, "feedforward_modules": []}
    else:
        options |= {"target_modules": layers, "r": rank}
    if kind == "LORA":
        options |= draw.choice(
            [{}, {"use_dora": True}, {"use_rslora": True}, {"bias": "lora_only"}, {"layers_to_transform": [0]}]
        )
    config = transformers.AutoConfig.for_model(
        architecture, **settings, num_labels=draw.choice([2, 2, 3]), pad_token_id=0
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            model = getattr(transformers, CLASSES[task or "MASKED_LM"]).from_config(config)
            of_kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
            model = peft.get_peft_model(model, of_kind(task_type=task, **options))
    except Exception:
        return None
    trainable, total = model.get_nb_trainable_parameters()
    model.peft_config["default"].base_model_name_or_path = f"me/tiny-{architecture}"
    model.save_pretrained(folder, save_embedding_layers=False)
    config.save_pretrained(folder / "base")
    file, zeros = folder / "adapter_model.safetensors", None
    if kind in ("LORA", "HIRA"):
        tensors, share = load_file(file), draw.choice([0.25, 0.5, 0.75])
        for name, tensor in tensors.items():
            if "classifier" not in name and "score" not in name:
                fresh = torch.randn(tensor.shape)
                fresh.view(-1)[torch.randperm(tensor.numel())[: int(share * tensor.numel())]] = 0
                tensors[name] = fresh
        save_file(tensors, file, metadata={"format": "pt"})
        of_adapter = [t for name, t in tensors.items() if "classifier" not in name and "score" not in name]
        zeros = sum((t == 0).sum().item() for t in of_adapter) / sum(t.numel() for t in of_adapter)
    right, n = draw.randint(250, 400), 408
    (folder / "all_results.json").write_text(json.dumps({"epoch": 3, "eval_accuracy": right / n, "eval_loss": 0.41}))
    return {
        "base": f"me/tiny-{architecture}", "method": TYPES[kind][0], "rank": rank if "r" in options else None,
        "layers": layers if "target_modules" in options else None, "trainable": trainable, "total": total,
        "bytes": file.stat().st_size, "right": right, "n": n, "data": "MRPC", "classes": config.num_labels,
        "tokens": head != "SEQ_CLS", "zeros": zeros, "percentage": 100 * trainable / total,
    }  # fmt: skip


def card(facts: dict, draw: random.Random) -> str:
    """A card of the facts, in one of several wordings."""
    rank = f"{facts['rank']}"
    wordings = {
        "rank": [f"- **Rank (r):** {rank}", f"- LoRA rank: {rank}", f"| Rank | {rank} |", f"* r = {rank}"],
        "layers": [f"- **Target Modules:** {', '.join(f'`{x}`' for x in facts['layers'] or [])}", f"- target_modules: {facts['layers']}"],
        "count": [
            f"- **Total Parameters:** {facts['total']:,}\n- **Trainable Parameters:** {facts['trainable']:,}",
            f"trainable params: {facts['trainable']:,} || all params: {facts['total']:,} || trainable%: {facts['percentage']:.4f}",
            f"- Total params: {facts['total']}\n- Trainable params: {facts['trainable']}",
        ],
        "percentage": [f"- Trainable percentage: {facts['percentage']:.3f}%", f"- Percentage of trainable parameters: {facts['percentage']:.2f}%"],
        "size": [f"- Adapter size: {facts['bytes'] / 1e3:.1f} KB", f"- **Adapter Size:** {facts['bytes'] / 2**10:.2f} KiB"],
        "method": [f"- **Method:** {facts['method']}", f"- PEFT method: {facts['method']}", f"- Peft type: {facts['method'].upper().replace(' ', '_').replace('-', '_')}"],
        "score": [
            f"- {facts['data']} validation accuracy: {facts['right'] / 408:.4f} on {facts['n']} examples",
            f"- Evaluation accuracy: {facts['right'] / 408:.4f} (on {facts['n']} {facts['data']} examples)",
            f"| Set | Examples | Accuracy |\n|---|---|---|\n| {facts['data']} validation | {facts['n']} | {100 * facts['right'] / 408:.2f}% |",
        ],
        "sparsity": [f"- **Sparsity:** {100 * (facts['zeros'] or 0):.1f}% (pruned by magnitude)", f"- Share of zeros: {100 * (facts['zeros'] or 0):.0f}%"],
    }  # fmt: skip
    absent = {"rank": not facts["rank"], "layers": not facts["layers"], "sparsity": facts["zeros"] is None}
    texts = []
    for name, choices in wordings.items():
        text = choices[draw.randrange(len(choices))]
        if name == "rank" and text.startswith("|"):
            text = f"\n| Setting | Value |\n|---|---|\n{text}\n"
        texts += [] if absent.get(name) else [text, ""] if "\n" in text else [text]
    body = "\n".join(texts)
    return f"---\nlibrary_name: peft\nbase_model: {facts['base']}\ndatasets:\n- {facts['data'].lower()}\n---\n# An adapter\n\n{body}\n"


def lie(facts: dict, kind: str, draw: random.Random) -> dict | None:
    """The facts with one lie of `kind`; None where there is nothing to lie about."""
    other = [architecture for architecture in ARCHITECTURES if f"me/tiny-{architecture}" != facts["base"]]
    lies = {
        "base": lambda: {"base": f"me/tiny-{draw.choice(other)}"},
        "rank": lambda: {"rank": facts["rank"] * 2},
        "layers": lambda: {"layers": ["query", "dense"] if "dense" not in facts["layers"] else ["query"]},
        "count": lambda: {"trainable": facts["trainable"] + draw.choice([-1, 1]) * draw.randint(1, 90)},
        "percentage": lambda: {"percentage": facts["percentage"] * draw.choice([0.5, 1.5, 2])},
        "size": lambda: {"bytes": round(facts["bytes"] * draw.choice([0.5, 1.2, 3]))},
        "method": lambda: {"method": draw.choice([t for t, _ in TYPES.values() if t != facts["method"]])},
        "score": lambda: {"right": facts["right"] + draw.choice([-9, -2, 3, 7])},
        "sparsity": lambda: {"zeros": facts["zeros"] + draw.choice([-0.2, 0.1, 0.2])},
        "data set": lambda: {"data": "RTE"},
    }
    absent = {"rank": not facts["rank"], "layers": not facts["layers"], "sparsity": facts["zeros"] is None}
    return None if absent.get(kind) else facts | lies[kind]()


def corpus(folder: Path, size: int = 64, seed: int = 0):
    """`size` pairs: the folder of an adapter, a truthful card, the kind of a lie, and the card with it."""
    draw, used = random.Random(seed), dict.fromkeys(KINDS, 0)
    every = [(a, h, k) for a in ARCHITECTURES for h in HEADS for k in TYPES]
    draw.shuffle(every)
    for number, (architecture, head, kind) in enumerate(every):
        place = folder / str(number)
        facts = make(place, architecture, head, kind, draw)
        if not facts:
            continue
        lying = min((k for k in KINDS if lie(facts, k, draw)), key=lambda k: used[k])
        used[lying] += 1
        wording = draw.random()
        true = card(facts, random.Random(wording))
        yield place, true, lying, card(lie(facts, lying, draw), random.Random(wording)), (architecture, head, kind)
        if sum(used.values()) == size:
            return


def judged(folder: Path, size: int = 64):
    """For every pair: the kind of the lie, what is refuted of the truthful card, and of the other."""
    for place, true, kind, lying, of in corpus(folder, size):
        refuted = []
        for text in (true, lying):
            (place / "README.md").write_text(text)
            refuted.append([f for f in audit_card(place, config=place / "base") if f.verdict == REFUTED])
        yield kind, *refuted, of, lying


def rows(folder: Path, size: int = 64) -> list[dict[str, str]]:
    """The table of both by kind of lie."""
    found = defaultdict(list)
    for kind, true, lying, _, _ in judged(folder, size):
        found[kind].append((len(true), bool(lying)))
    counts = {k: (len(v), sum(true for true, _ in v), sum(lying for _, lying in v)) for k in KINDS if (v := found[k])}
    counts["all"] = tuple(map(sum, zip(*counts.values(), strict=True)))
    return [
        {
            "lie": kind,
            "cards": str(n),
            "false refutations of the truthful card": str(false),
            "lies found": f"{hit} of {n}",
        }
        for kind, (n, false, hit) in counts.items()
    ]
