"""reports/<experiment>/ as a Workflow Run RO-Crate: what was run, with which settings, and which files came of it.

The profile is https://w3id.org/ro/wfrun/workflow/0.5 (Leo et al. 2024, https://doi.org/10.1371/journal.pone.0309210).
"""

import json
import mimetypes
import shutil
from pathlib import Path
from typing import Any

from course_utils import __version__
from course_utils.comparison.results import ExperimentRuns
from course_utils.config import SharedSettings, as_typed, command_of
from course_utils.paths import PROJECT, write_whole
from course_utils.report.bind import read_settings

METADATA, WORKFLOW = "ro-crate-metadata.json", "workflow/Snakefile"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
CRATE_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
MADE = {
    "report.html": "The report as one page",
    "report.pdf": "The report as a PDF",
    "paper.pdf": "The comparison on a few pages",
    "gallery.html": "The runs to sort, filter and plot",
    "conclusions.json": "What the main comparison concludes",
    "comparison.csv": "A row for every run",
    "comparison_columns.csv": "What the columns of comparison.csv hold",
    "baselines.csv": "A row for every baseline that fine-tunes nothing",
    "baselines_columns.csv": "What the columns of baselines.csv hold",
    "records/records.jsonl.gz": "The record of every run",
    "records/predictions.parquet": "What every run predicted",
    "records/SHA256SUMS": "Checksums of the records",
}


def write_crate(results: ExperimentRuns) -> Path:
    """Describe the files of reports/<experiment>/ in ro-crate-metadata.json, and copy the workflow there."""
    folder = results.experiment.report_folder
    (folder / WORKFLOW).parent.mkdir(exist_ok=True)
    shutil.copy(PROJECT / "Snakefile", folder / WORKFLOW)
    crate = {"@context": CONTEXT, "@graph": graph(results, folder)}
    return write_whole(folder / METADATA, json.dumps(crate, indent=1) + "\n")


def graph(results: ExperimentRuns, folder: Path) -> list[dict[str, Any]]:
    """The entities of the crate in `folder`."""
    experiment, settings = results.experiment, read_settings(results.experiment)
    made = {name: what for name, what in MADE.items() if (folder / name).is_file()}
    shared = {name: getattr(experiment.shared, name) for name in SharedSettings.model_fields}
    given = {name: as_typed(value) for name, value in shared.items()} | {"seeds": str(len(experiment.seeds))}
    profiles = [_to(address) for address in CRATE_PROFILES]
    day = settings["date"].isoformat()
    author = {"@id": "#author", "@type": "Person", "name": settings["author"] or "unnamed"}
    return [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": _to("./"),
            "conformsTo": [_to("https://w3id.org/ro/crate/1.1"), profiles[-1]],
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"{settings['title']}: the experiment {experiment.name}",
            "description": experiment.description,
            "datePublished": day,
            "license": _to("https://spdx.org/licenses/MIT"),
            "conformsTo": profiles,
            "hasPart": [_to(name) for name in (WORKFLOW, *made)],
            "mainEntity": _to(WORKFLOW),
            "mentions": _to("#run"),
            "author": _to(author["@id"]),
        },
        *(
            {"@id": address, "@type": "CreativeWork", "name": name, "version": address.rpartition("/")[2]}
            for address, name in CRATE_PROFILES.items()
        ),
        {"@id": "https://spdx.org/licenses/MIT", "@type": "CreativeWork", "name": "MIT License"},
        author,
        {
            "@id": WORKFLOW,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": "Model and data, runs, notebooks, report",
            "encodingFormat": "text/plain",
            "conformsTo": _to("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
            "version": __version__,
            "programmingLanguage": _to(SNAKEMAKE),
            "input": [_to(f"#{name}") for name in given],
            "output": [_to(f"#{name}") for name in made],
        },
        {
            "@id": SNAKEMAKE,
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": _to("https://snakemake.readthedocs.io"),
            "url": _to("https://snakemake.readthedocs.io"),
        },
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"{len(results.runs)} of {len(experiment.configs())} runs, their notebooks and the report",
            "description": f"Made by: {command_of(experiment)}",
            "instrument": _to(WORKFLOW),
            "agent": _to(author["@id"]),
            "endTime": day,
            "object": [_to(f"#{name}-value") for name in given],
            "result": [_to(name) for name in made],
        },
        *(_parameter(name, "Text") for name in given),
        *(
            {"@id": f"#{name}-value", "@type": "PropertyValue", "name": name, "value": value}
            | {"exampleOfWork": _to(f"#{name}")}
            for name, value in given.items()
        ),
        *(_parameter(name, "File") for name in made),
        *(
            {
                "@id": name,
                "@type": "File",
                "name": what,
                "encodingFormat": mimetypes.guess_type(name)[0] or "application/octet-stream",
                "contentSize": str((folder / name).stat().st_size),
                "exampleOfWork": _to(f"#{name}"),
            }
            for name, what in made.items()
        ),
    ]


def _to(identifier: str) -> dict[str, str]:
    return {"@id": identifier}


def _parameter(name: str, kind: str) -> dict[str, Any]:
    profile = _to("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE")
    return {"@id": f"#{name}", "@type": "FormalParameter", "name": name, "additionalType": kind, "conformsTo": profile}
