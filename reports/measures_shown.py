"""Which measures a table shows: those asked for, or the main ones."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from metrics import catalogue
from metrics.outputs import SAMPLE

# the columns of the papers' tables: Kim et al. 2023 first, then Urbani et al. 2024; ahs@250, or
# less with few images
DEFAULT_METRICS = (
    "accuracy",
    "prototype/accuracy",
    "accuracy@5",
    "ahc",
    "ahd@5",
    "hp@5",
    "ahs@*",
    "W/corr",
    "P/corr",
    f"W_of_{SAMPLE}/corr",
    f"P_of_{SAMPLE}/corr",
    "hierarchical_accuracy",
    "wtd",
)
# what evaluate.py prints of one run
MAIN = (*DEFAULT_METRICS, "macro_accuracy", "severity", "ece")
MANY = 25  # measures of one table


def select_metrics(
    wanted: Sequence[str] | None, known: Iterable[str], where: str = "summary.csv"
) -> list[str]:
    """The columns asked for, by name or pattern such as 'W/*', each once; None: those of the papers
    that exist.

    Args:
        where: The file with all the names, for the message.

    Raises: ValueError: If a name or pattern means none of the known metrics.
    """
    known = list(dict.fromkeys(known))
    chosen = {}
    for name in wanted or DEFAULT_METRICS:
        found = (
            [name] if name in known else [metric for metric in known if fnmatchcase(metric, name)]
        )
        if not found and wanted:
            raise ValueError(_unknown(name, known, where))
        chosen.update(dict.fromkeys(found))
    return list(chosen) or known[:10]


def check_names(wanted: Iterable[str]) -> None:
    """Before anything is measured. Raises: ValueError: If a name, which is no pattern, can be that
    of no measure of this project.
    """
    for name in wanted:
        if not (catalogue.is_known(name) or set("*?[") & set(name)):
            known = [measure.name for measure in catalogue.MEASURES if "{k}" not in measure.name]
            raise ValueError(_unknown(name, known, "docs/measures.md"))


def _unknown(name: str, known: Sequence[str], where: str) -> str:
    """The message on a name that is not known."""
    close = get_close_matches(name, known, n=3, cutoff=0.4)
    advice = f"did you mean {', '.join(close)}?" if close else f"the names are in {where}"
    if "," in name:
        advice = f"names are separated by spaces, --metrics {' '.join(name.split(','))}"
    return f"--metrics {name}: there is no measure of this name; {advice}"


def main_metrics(known: Iterable[str], added: Sequence[str] = ()) -> list[str]:
    """The main measures that there are, the first ten of any where there is none of those; then
    those of the added ones, only the main ones of a column (`hie/accuracy`) where they are many.
    """
    known = list(known)
    names = [metric for name in MAIN for metric in known if fnmatchcase(metric, name)]
    if len(added) > MANY:
        added = [
            metric
            for metric in added
            if any(fnmatchcase(catalogue.split(metric)[-1], name) for name in MAIN)
            and not catalogue.split(metric)[1]
        ]
    return list(dict.fromkeys([*(names or known[:10]), *added]))
