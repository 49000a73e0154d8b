"""What is known about a measure from its name: which way it is better, and where it stands in the
tables of one run.
"""

import re

# by the name without its column (see COLUMNS) and rule; a new measure needs a place in exactly one
# of the three
DIRECTIONS: dict[str | None, str] = {
    "higher": r"accuracy(@\d+)?|macro_.*|level_.*|(height|cut|hierarchical|wasserstein)_accuracy.*|correct|exact"
    r"|hp@\d+(_published)?|hierarchical_precision@\d+|hmap@\d+|h_.*|(depth|info)_(precision|recall|f1)"
    r"|(ac|ap|recall@\d+)_(depth|info)|(hs|ahs|hp_barz|ahp|ahp_wu_palmer)@\d+|(p@1|r_precision|map@r)_level\d+"
    r"|corr(_elementwise|_published)?(_living)?|(upgma|nj)_recovered|discriminability"
    r"|confidence_(spearman|point_biserial)",
    "lower": r"ahc.*|ahd@.*|severity.*|hdist_top@.*|wtd.*|(depth|info)_(excess|deficient)|ece.*|mce|aurc"
    r"|(upgma|nj)_rf(_normalised)?|rf_published",
    None: r"hp@\d+.*_set_size|depth|corr.*_p(_living)?|cophenetic|var_inter|var_intra|angle_.*|intensity|l_hp|sep"
    r"|resultant|l_unif|pair_angle_.*|proxy_prototype_angle|nc/.*",
}

# title -> names, in the order of the tables of one run; the first that fits
SECTIONS: dict[str, str] = {
    "accuracy": r"accuracy.*|macro_.*|level_.*|height_accuracy.*",
    "distance in the tree": r"ahc.*|ahd@.*|severity.*|hdist_top@.*|hp@.*|hierarchical_precision@.*|hmap@.*|h_.*"
    r"|(depth|info)_.*",
    "posterior in the tree": r"wtd.*|(hierarchical|wasserstein|cut)_accuracy.*",
    "calibration": r"ece.*|mce|confidence_.*",
    "operating curves": r"(ac|ap|recall@\d+)_.*|aurc",
    "retrieval of images": r"(hs|ahs|hp_barz|ahp|ahp_wu_palmer)@.*",
    "class vectors (W) and prototypes (P)": r"corr.*|cophenetic|(p@1|r_precision|map@r)_.*|(upgma|nj|rf)_.*",
    "geometry": r".*",
}
# prefixes that stand side by side in the tables of one run; split takes the first that fits
COLUMNS = ("prototype/calibrated", "prototype", "crm", "crm_lca_height", "calibrated", "W", "P")
BACKING_OFF = "backing off"


def direction(metric: str) -> str | None:
    """'higher' or 'lower', whichever is better; None for a measure that only describes."""
    name = split(metric)[-1]
    return next((way for way, pattern in DIRECTIONS.items() if re.fullmatch(pattern, name)), None)


def place(metric: str) -> tuple[str, str, str]:
    """Section, column and row of a measure in the tables of one run."""
    column, rule, name = split(metric)
    if rule:
        return f"{BACKING_OFF}: {rule}", column, name
    return (
        next(section for section, pattern in SECTIONS.items() if re.fullmatch(pattern, name)),
        column,
        name,
    )


def split(metric: str) -> tuple[str, str, str]:
    """The column ('value' if none), the rule that backs off ('' if none) and the name of a
    measure.
    """
    column = next((prefix for prefix in COLUMNS if metric.startswith(f"{prefix}/")), "value")
    name = metric.removeprefix(f"{column}/")
    rule, slash, answer = name.partition("/")
    return (column, rule, answer) if slash and rule != "nc" else (column, "", name)
