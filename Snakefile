# The workflow: model and data → runs → notebooks → report. ./run_all.sh starts it; see course_utils/workflow/start.py.

import shlex
import sys
from math import ceil

from course_utils.code_identity import code_digest, content, reading_code, training_code
from course_utils.config import load_experiment, options_of, parse_overrides
from course_utils.host import number_in
from course_utils.methods import METHODS
from course_utils.paths import relative_to_project, reports_folder, runs_folder
from course_utils.report.bind import read_settings
from course_utils.report.chapters import notebook_names, subject
from course_utils.workflow.estimates import expected_memory, expected_seconds, memory_needed

OVERRIDES = parse_overrides(config.get("overrides", []))
EXPERIMENT = load_experiment(config.get("profile", "quick"), OVERRIDES)
SHARED = EXPERIMENT.shared
# Names begin at the project, which may have any: in a path Snakemake takes {x} and <x> for something to fill in.
RUNS = Path(relative_to_project(runs_folder()))
REPORT = Path(relative_to_project(reports_folder())) / EXPERIMENT.name
RECORDS = [REPORT / "records" / "SHA256SUMS"] if config.get("from_records") else []  # instead of the runs
CONFIGS = {} if RECORDS else {RUNS / run.path / "result.json": run for run in EXPERIMENT.configs()}
RUNS /= EXPERIMENT.name
BESIDE = [] if RECORDS or not EXPERIMENT.classifies else [RUNS / "baselines.parquet", RUNS / "measured.json"]
# Of language models, the report is written without notebooks.
NOTEBOOKS = notebook_names(EXPERIMENT.methods) if EXPERIMENT.classifies else []
WITHOUT = config.get("without", "").split(",")  # after failures: chapters, and "runs" for those that are missing
if "runs" in WITHOUT:
    CONFIGS = {path: run for path, run in CONFIGS.items() if path.exists()}
    BESIDE = [path for path in BESIDE if path.exists()]
    shown = {run.method for run in CONFIGS.values() if (run.study, run.seed) == ("main", 0)}  # what a chapter trains
    NOTEBOOKS = [name for name in NOTEBOOKS if subject(name) not in METHODS or subject(name) in shown]
NOTEBOOKS = [name for name in NOTEBOOKS if name not in WITHOUT]

GALLERY = [REPORT / "gallery.html"] if EXPERIMENT.classifies else []
PAPER = [REPORT / "paper.pdf"] if read_settings()["paper"] and "06_comparison" in NOTEBOOKS else []
# What an earlier report had and this one has not.
OUTDATED = [REPORT / "notebooks" / f"{name}.ipynb" for name in notebook_names([*METHODS]) if name not in NOTEBOOKS]
OUTDATED += [] if PAPER else [REPORT / "paper.pdf"]
LOGS = f"logs/{EXPERIMENT.name}"
PYTHON = f"{shlex.quote(sys.executable)} -m"
OPTIONS = shlex.join(options_of(EXPERIMENT.profile_name, OVERRIDES))
FORCE = "--force" if config.get("force") else ""
PROCESSES = number_in("COURSE_PROCESSES", 1)  # that train a run together
GPUS = number_in("COURSE_GPUS", 0)  # that a training asks a cluster for
LAUNCH = f"accelerate.commands.launch --multi_gpu --main_process_port 0 --num_processes {PROCESSES} -m"  # 0: a free one
TRAIN = f"{PYTHON} {LAUNCH}" if PROCESSES > 1 else PYTHON


def record_of(method, wildcards):
    return RUNS / wildcards.study / method / f"seed-{wildcards.seed}" / "result.json"


def results_for(notebook):
    """Runs that a notebook reads: those of its method, all where it compares them, else none."""
    if subject(notebook) in METHODS:
        return [path for path, run in CONFIGS.items() if run.method == subject(notebook)]
    return [*CONFIGS, *BESIDE] if subject(notebook) == "comparison" else []


wildcard_constraints:
    seed=r"\d+",
    study=r"[^/]+",
    notebook=r"[^/]+",


rule all:
    input:
        REPORT / "report.html",
        REPORT / "report.pdf",
        REPORT / "comparison.csv",
        GALLERY,
        PAPER,
        list(CONFIGS),


rule inputs:
    input:
        "assets.lock",
    output:
        RUNS / "inputs.json",
    params:
        settings=SHARED.digest,
        content=content(Path("assets.lock"), *SHARED.files()),  # the reader's own, of any name
        reading=reading_code(),
    log:
        f"{LOGS}/inputs.log",
    resources:
        mem_mb=1000,
    message:
        "Fetch and check the model and the data"
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} course_utils inputs {OPTIONS} > {log:q} 2>&1"


for method in EXPERIMENT.methods:

    rule:
        name:
            f"train_{method}"
        input:
            RUNS / "inputs.json",
        output:
            # update: a finished run stays, for train() to find, when the run has to be looked at again
            update(RUNS / "{study}" / method / "seed-{seed}" / "result.json"),
        params:
            # of wildcards alone: Snakemake does not compare what depends on `output`
            settings=lambda wildcards, method=method: CONFIGS[record_of(method, wildcards)].digest,
            code=lambda wildcards, method=method: training_code(CONFIGS[record_of(method, wildcards)]),
            method=method,
            threads=EXPERIMENT.config(method).threads,
        log:
            f"{LOGS}/{{study}}-{method}-seed-{{seed}}.log",
        threads: EXPERIMENT.config(method).threads * PROCESSES
        resources:
            mem_mb=expected_memory(EXPERIMENT.config(method), PROCESSES) * PROCESSES,
            device=PROCESSES,
            gpu=GPUS,
            # in minutes: a cluster ends what takes longer
            runtime=10 + ceil(expected_seconds(EXPERIMENT.config(method)) / 15),
        # the longest first, so that no long run comes last; any run before a notebook
        priority: ceil(10 * METHODS[method].relative_cost)
        message:
            f"Train {METHODS[method].title}, seed {{wildcards.seed}} ({{wildcards.study}})"
        shell:
            "OMP_NUM_THREADS={params.threads} {TRAIN} course_utils train {OPTIONS} --method {params.method} --seed {wildcards.seed}"
            " --study {wildcards.study:q} {FORCE} > {log:q} 2>&1"


rule baselines:
    input:
        RUNS / "inputs.json",
    output:
        # what is there stays, to be found, unless every step is run again; train and measure see to that themselves
        RUNS / "baselines.parquet" if FORCE else update(RUNS / "baselines.parquet"),
    params:
        settings=SHARED.digest,
        code=code_digest(),
    log:
        f"{LOGS}/baselines.log",
    threads: SHARED.threads
    resources:
        mem_mb=expected_memory(SHARED),
        device=1,
        gpu=GPUS,
        runtime=10 + ceil(expected_seconds(SHARED) / 15),
    priority: 1  # the comparison waits for them, and may run beside another chapter then
    message:
        "Fit the baselines"
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} course_utils baselines {OPTIONS} > {log:q} 2>&1"


rule measure:
    input:
        list(CONFIGS),
    output:
        update(RUNS / "measured.json"),
    params:
        code=code_digest(),
    log:
        f"{LOGS}/measure.log",
    threads: SHARED.threads
    resources:
        mem_mb=memory_needed(EXPERIMENT),  # it trains some steps
        device=1,
        gpu=GPUS,
        runtime=10 + ceil(expected_seconds(SHARED)),  # it may evaluate and train on some dozens of adapters
    priority: 1  # like the baselines
    message:
        "Measure what needs weights or a clock"
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} course_utils measure {OPTIONS} > {log:q} 2>&1"


rule notebook:
    input:
        "notebooks/{notebook}.ipynb",
        RUNS / "inputs.json",
        lambda wildcards: results_for(wildcards.notebook),
        RECORDS,
    output:
        REPORT / "notebooks" / "{notebook}.ipynb",
    params:
        settings=EXPERIMENT.parameters,
        code=code_digest(),
        content=lambda wildcards: content(Path("notebooks", f"{wildcards.notebook}.ipynb")),
    log:
        f"{LOGS}/{{notebook}}.log",
    resources:
        mem_mb=2000,
    message:
        "Run notebook {wildcards.notebook}"
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} course_utils notebook {wildcards.notebook:q} {OPTIONS} > {log:q} 2>&1"


rule report:
    input:
        "reports/report.toml",
        expand(REPORT / "notebooks" / "{notebook}.ipynb", notebook=NOTEBOOKS),
        [*CONFIGS, *BESIDE],
        RECORDS,
    output:
        REPORT / "report.html",
        REPORT / "report.pdf",
        REPORT / "comparison.csv",
        GALLERY,
        PAPER,
    params:
        code=code_digest(),
        content=content(Path("reports/report.toml")),
        outdated=list(map(str, OUTDATED)),
    log:
        f"{LOGS}/report.log",
    message:
        "Bind the report"
    shell:
        "rm -f -- {params.outdated:q}; OMP_NUM_THREADS={threads} {PYTHON} course_utils report {OPTIONS} > {log:q} 2>&1"
