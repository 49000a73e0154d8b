"""Options of heads, and which of them go together."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from models.proxies import SOLVERS, check_beta

METHODS = ("softmax", "normface", "DR")
ALIASES = {"SD": "normface", "NormFace": "normface", "ProxyDR": "DR"}
DISTANCES = ("euc", "arccos")
PROXIES = ("gradient", "ema", "mds")


@dataclass(frozen=True)
class HeadOptions:
    """What a head is built from, beside the method and the number of classes C. None means not
    given.

    Attributes:
        dim: Dimension D of the embeddings.
        distance: "euc" (default) or "arccos"; not for softmax.
        proxies: How the class vectors move: by "gradient", as moving averages "ema", or not, as
            placed by "mds".
        alpha: Share of a batch's mean in a moving average, in (0, 1]; default 0.01.
        fixed: (C, D) placed class vectors, with "mds".
        dynamic: Whether the scale follows the angles; legacy_dynamic: by the published update.
        prior: (C,) positive class prior, whose logarithm is added to the scores.
        lr: Learning rate of the dynamic scale.
    """

    dim: int = 128
    distance: str | None = None
    proxies: str = "gradient"
    alpha: float | None = None
    fixed: torch.Tensor | None = None
    dynamic: bool = False
    legacy_dynamic: bool = False
    prior: torch.Tensor | None = None
    lr: float = 1e-4


def resolve_method(name: str) -> str:
    """The name in METHODS of a method or its alias. Raises: ValueError: If there is no such
    method.
    """
    method = ALIASES.get(name, name)
    if method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join([*METHODS, *ALIASES])}, got {name!r}")
    return method


def check_head_options(options: Mapping) -> None:
    """Refuses values and combinations without meaning, by the names of the flags.

    Args:
        options: Flag name -> value for any of method, distance, ema, alpha, mds_W, beta,
            mds_solver, dynamic, legacy_dynamic, loss. A flag that was not given is absent, None or
            False; others are ignored.

    Raises: ValueError: Naming the flags and what is allowed.
    """
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    method = resolve_method(given.get("method", "DR"))
    if given.get("distance", "euc") not in DISTANCES:
        raise ValueError(
            f"--distance must be one of {', '.join(DISTANCES)}, got {given['distance']!r}"
        )
    if not 0 < given.get("alpha", 1) <= 1:
        raise ValueError(f"--alpha must lie in (0, 1], got {given['alpha']}")
    check_beta(given.get("beta", 1))
    if given.get("mds_solver", "auto") not in SOLVERS:
        raise ValueError(
            f"--mds_solver must be one of {', '.join(SOLVERS)}, got {given['mds_solver']!r}"
        )
    if method == "softmax":
        for name in ("distance", "ema", "mds_W", "dynamic", "legacy_dynamic"):
            if name in given:
                raise ValueError(
                    f"--method softmax takes no --{name}; use --method normface or DR, or drop the"
                    " flag"
                )
    for name, needed in {
        "alpha": "ema",
        "beta": "mds_W",
        "mds_solver": "mds_W",
        "legacy_dynamic": "dynamic",
    }.items():
        if name in given and needed not in given:
            raise ValueError(f"--{name} acts only with --{needed}; add that or drop --{name}")
    if "ema" in given and "mds_W" in given:
        raise ValueError(
            "--ema moves the class vectors and --mds_W fixes them; give one of the two"
        )
    if given.get("loss") == "corr":
        _check_corr(method, given)


def _check_corr(method: str, given: Mapping) -> None:
    if method == "softmax":
        raise ValueError(
            "--loss corr needs class vectors of fixed direction; use --method normface or DR with"
            " --mds_W"
        )
    if "mds_W" not in given:
        instead = " in place of --ema" if "ema" in given else ""
        raise ValueError(f"--loss corr needs fixed class vectors; add --mds_W{instead}")
    if "dynamic" in given:
        raise ValueError("--loss corr does not use the scale; drop --dynamic")
