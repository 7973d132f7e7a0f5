"""The finding on the report's title page and its abstract, computed from the runs of an experiment."""

from collections import defaultdict
from functools import cache
from math import inf
from typing import Any

from course_utils.comparison.calibration import scaled_predictions
from course_utils.comparison.conclusions import OF_CONTRASTS, above_majority, bought, differing, judge_experiment
from course_utils.comparison.domains import read_domains
from course_utils.comparison.other_experiments import Conclusions, conclude, disagreements, others
from course_utils.comparison.other_scores import other_scores
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.tables import by_method
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.report.choice import ON_TEXTS, Row, choices, in_words, unbeaten
from course_utils.report.display import TEMPLATES
from course_utils.report.other_choices import judged_otherwise
from course_utils.report.rates import main_by_accuracy, rate_regime
from course_utils.report.training_size import size_regime
from course_utils.stats import MINIMUM_SEEDS, PairedComparison
from course_utils.text import in_sentence, margin_points, one_line, template


def finding(results: ExperimentRuns) -> str:
    """The main finding, Markdown: which adapter method is the most accurate, if any, and where another one leads."""
    return _filled("finding.md.jinja", results)


def abstract(results: ExperimentRuns) -> str:
    """What was compared, on what, and what came out: paragraphs of Markdown, every number read from the runs."""
    return _filled("abstract.md.jinja", results)


def _filled(name: str, results: ExperimentRuns) -> str:
    """The paragraphs of a template, in which ¶ stands between two of them."""
    filled = template(TEMPLATES / name, OF_CONTRASTS).render(_facts(results))
    return "\n\n".join(filter(None, map(one_line, filled.split("¶"))))


@cache  # both templates ask for it
def _facts(results: ExperimentRuns) -> dict[str, Any]:
    """What the two templates say, by name."""
    experiment, judged = results.experiment, judge_experiment(results)
    best, summary = judged.best, by_method(results)
    facts: dict[str, Any] = {
        "results": results,
        "experiment": experiment,
        "adapters": [name for name in experiment.methods if not METHODS[name].is_baseline],
        "baselines": [name for name in experiment.methods if METHODS[name].is_baseline],
        "best": best,
        "rows": summary.dropna(subset="accuracy").to_dict("index"),
        "full": CEILING.name,
        "head": FLOOR.name,
    }
    if not best:  # no adapter method ran, and the templates say no more
        return facts
    trained = summary["parameters_trainable"].dropna()
    share = trained[best] / trained.get(CEILING.name, inf)
    found, ours, theirs = unbeaten(results, judged), conclude(results), others(results)
    rows = choices(results, found) if found else []
    shown = differing(judged.pairs)
    unconfirmed, besides = elsewhere(ours, theirs)
    otherwise = main_by_accuracy(results)
    by_name = {(pair.first, pair.second) for pair in shown}
    return facts | {
        "judged": judged,
        "trained": trained,
        "share_of_full": f"{share:.1%}" if share else "",
        "bought": bought(results),
        "above_majority": above_majority(results),
        "against_full": judged.against(best, [CEILING.name]),
        "found": found,
        "advice": _advice(rows),
        "left_out": [*dict.fromkeys(name for row in rows for name in row.left_out)],
        "not_better": [domain.title for domain in read_domains(results)[1:] if domain.not_beaten],
        "data": results.of(best)[0].result.data,
        "regime": [size_regime(results, best), rate_regime(results, best)] if len(judged.adapters) > 1 else [],
        "scored": other_scores(results, scaled_predictions(results.mains)),
        "otherwise": otherwise,
        "scored_otherwise": other_scores(results, scaled_predictions(otherwise.runs)) if otherwise else [],
        "otherwise_judged": judged_otherwise(results),
        "differing": shown,
        "unconfirmed": unconfirmed,
        # shown here, and by another experiment only without the method whose seeds lie far apart
        "hidden": [(other, pair) for other in theirs for pair in other.hidden if pair in by_name],
        "shown_elsewhere": besides,
        "searched": ours,
        "minimum_seeds": MINIMUM_SEEDS,
        "within": f"within {margin_points(judged.margin)}",
    }


def _advice(rows: list[Row]) -> dict[bool, dict[str, list[str]]]:
    """What to take → the needs for which "Which one, when" says so; under True, rows of the adapter methods alone."""
    advice: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
    for row in rows:
        needs = advice[row.of_adapters].setdefault(in_words(row), [])
        needs.append(in_sentence(row.need.removeprefix(ON_TEXTS)))
    return advice


def elsewhere(
    ours: Conclusions, theirs: list[Conclusions]
) -> tuple[dict[tuple[int, int], list[str]], dict[str, list[PairedComparison]]]:
    """Other experiments, their names as code, of which differences are not shown there or not here; no head only.

    Those that do not show all of the differences that are shown here, by the number of these that they show and the
    number that they judge. Then, of each, the differences that it shows and this one does not, the better method first.
    """
    unconfirmed, besides = defaultdict[tuple[int, int], list[str]](list), {}
    for other in theirs:
        name = f"`{other.experiment}`"
        unlike, alike = disagreements(ours, other)
        missing, shown = (sum(one.differs for one, _ in pairs) for pairs in (unlike, alike))
        if missing:
            unconfirmed[shown, missing + shown].append(name)
        if found := differing(there for here, there in unlike if not here.differs):
            besides[name] = found
    return unconfirmed, besides
