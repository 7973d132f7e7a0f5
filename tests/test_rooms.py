"""The package's structure: arrows between its rooms go down, no module imports itself through others, names are one."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter

from course_utils.code_identity import imported_by
from course_utils.paths import PROJECT

PACKAGE = PROJECT / "course_utils"
# Every room may import those before it. A module that stands alone at the top is a room of its own.
ROOMS = [
    "paths", "text", "errors", "host", "stats", "inputs", "tasks", "methods", "code_identity", "tracking",
    "config", "runs", "training", "comparison", "audit", "report", "workflow", "__main__",
]  # fmt: skip


def modules() -> dict[str, str]:
    """Module of the package → its source."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path.read_text("utf-8")
    return found


def room(module: str) -> str:
    return module.removeprefix("course_utils.").split(".")[0]


def arrows() -> dict[str, set[str]]:
    """Module → modules that it imports."""
    sources = modules()
    known = {name for name in sources if name != "course_utils"}
    return {name: (imported_by(sources[name]) & known) - {name} for name in known}


def test_every_arrow_goes_down():
    place = {name: index for index, name in enumerate(ROOMS)}
    assert {room(module) for module in arrows()} == set(ROOMS)
    up = [(one, other) for one, others in arrows().items() for other in others if place[room(one)] < place[room(other)]]
    assert not up


def test_there_is_no_circle():
    # a package's own __init__ runs before each of its modules, and is no circle if it imports none of them back
    graph = {one: {o for o in others if not one.startswith(f"{o}.")} for one, others in arrows().items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names it


def test_a_constant_has_one_meaning():
    places = defaultdict(set)
    for name, source in modules().items():
        for node in ast.parse(source).body:
            for target in node.targets if isinstance(node, ast.Assign) else []:
                if isinstance(target, ast.Name) and target.id.isupper() and target.id not in ("METHOD", "PROJECT", "T"):
                    places[target.id].add(name)
    assert not {name: where for name, where in places.items() if len(where) > 1}
