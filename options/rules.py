"""What a command line means: which options apply, their values, and what excludes each other."""

from collections.abc import Callable, Mapping

import data
import losses
import models
from options.flags import declared
from registry import Option, possible, refuse_unneeded, taken, untaken_reason

# options of different parts that exclude each other: (does the clash hold?, message)
CLASHES: list[tuple[Callable[[Mapping], bool], str]] = [
    (
        lambda o: o["small"] and o["split"] == "official",
        "--small sets the sizes of random splits: choose it or --split official",
    ),
    (
        lambda o: o["weights"] and o["rand_backbone"],
        "--weights and --rand_backbone are two different starts: choose one",
    ),
    (
        lambda o: o["start_from"] and (o["weights"] or o["rand_backbone"]),
        "--start_from is a start of all weights: leave out --weights and --rand_backbone",
    ),
    (
        lambda o: o["freeze"] in ("last", "all") and (o["ema"] or o["dynamic"]),
        "--freeze last and all keep the head as it is, --ema and --dynamic move it: choose one of"
        " them",
    ),
    (
        lambda o: o["freeze"] == "all" and o["epochs"] > 0,
        "--freeze all leaves nothing to train: with --epochs 0 it evaluates the model as it starts",
    ),
    (
        lambda o: o["freeze"] == "butlast" and _starts_random(o) and not o["rand_backbone"],
        "--freeze butlast keeps the trunk as it starts, and this backbone has no ImageNet weights:"
        " add --weights FILE, choose another backbone, or say --rand_backbone if random features"
        " are meant",
    ),
    (
        lambda o: o["switch_epoch"] and 0 < o["epochs"] <= o["switch_epoch"],
        "--switch_epoch must be less than --epochs, else the loss is cross-entropy to the end:"
        " lower it, or choose --loss ce",
    ),
    (
        lambda o: o["warmup"] and 0 < o["epochs"] <= o["warmup"],
        "--warmup must be less than --epochs, else the learning rate only rises: lower it",
    ),
    (
        lambda o: o["weight_decay"] and o["decoupled_weight_decay"],
        "--weight_decay and the decay of --optimizer adamw shrink the same weights: leave out"
        " --weight_decay, or add --decoupled_weight_decay 0",
    ),
    (
        lambda o: o["freeze"] in ("last", "butlast", "all") and (o["backbone_lr"] is not None),
        "--backbone_lr sets the rate of the backbone against that of what follows it, and --freeze"
        " leaves one of them: set --lr",
    ),
    (
        lambda o: o["freeze"] in ("butlast", "all") and o["layer_decay"],
        "--layer_decay sets the rates of the backbone's layers, which --freeze keeps as they are:"
        " choose one",
    ),
    (
        lambda o: o["batch_size"] == 1 and data.mixes(o),
        "--mixup and --cutmix mix the images of a batch: --batch_size must be 2 or more",
    ),
    (
        lambda o: o["resume"] and o["overwrite"],
        "--resume goes on with a run, --overwrite drops it: choose one",
    ),
]


def _starts_random(options: Mapping[str, object]) -> bool:
    if options["weights"] or options["start_from"]:
        return False
    return not models.has_pretrained(options["backbone"])


def resolve(given: Mapping[str, object], usual: Mapping[str, object]) -> tuple[dict, dict]:
    """All options of a run.

    Args:
        given: Name -> value of what the command line says, the dataset included.
        usual: Defaults of the script for this dataset, beyond those that the options declare.

    Returns: Every option's value, None where it does not apply, with short forms written out; and
    the defaults of those that apply.
    Raises: ValueError: If an option or a combination has no meaning; the message says the way out.
    """
    given = _write_out_short_forms(given)
    everything = possible(declared())
    given = {name: value for name, value in given.items() if value is not None}
    off = {name for name, value in given.items() if _is_off(everything[name], value)}
    own = {option.name: option for option in taken(declared(), {**usual, **given})}
    for name in given:
        if name not in own and name not in off and given[name] is not False:  # 0 is a value
            reason = untaken_reason(name, declared(), {**usual, **given})
            raise ValueError(f"--{name} has no meaning here: {reason}")
    defaults = {name: _plain(usual.get(name, option.default)) for name, option in own.items()}
    options = {**dict.fromkeys(everything), **defaults}
    options |= {name: value for name, value in given.items() if name in own}
    options |= {name: None for name in own if _is_off(everything[name], options[name])}
    if models.HEADS[options["method"]].sets_dim:
        if "dim" in given:
            raise ValueError(
                f"--dim has no meaning here: --method {options['method']} has as many dimensions as"
                " the tree has nodes below its root"
            )
        options["dim"] = None
    refuse_unneeded([own[name] for name in given if name in own], options)
    for name, option in own.items():
        if option.needs is not None and not option.needs.holds(options):
            options[name] = None
    _check_parts(options)
    for holds, message in CLASHES:
        if holds(options):
            raise ValueError(message)
    if not models.has_pretrained(options["backbone"]):
        options["rand_backbone"] = options["weights"] is None
    return options, defaults


def _write_out_short_forms(given: Mapping[str, object]) -> dict[str, object]:
    given = dict(given)
    for registry in (losses.LOSSES, models.PRIORS):
        chooses = registry.option.name
        for name, part in registry.items():
            if part.short_flag is None or not given.pop(part.short_flag, False):
                continue
            if given.get(chooses, name) != name:
                raise ValueError(
                    f"--{part.short_flag} is short for --{chooses} {name}, but --{chooses} is"
                    f" {given[chooses]}: choose one"
                )
            given[chooses] = name
    return given


def _is_off(option: Option, value: object) -> bool:
    return option.off is not None and value == option.off


def _check_parts(options: Mapping[str, object]) -> None:
    """What dataset, head and loss have to say about their options together."""
    kinds = data.DATASETS[options["dataset"]].splits
    if options["split"] is not None and options["split"] not in kinds:
        raise ValueError(
            f"--split {options['split']} has no meaning here: the dataset {options['dataset']}"
            f" takes {' or '.join(kinds)}"
        )
    head = models.HEADS[options["method"]]
    head.check(options)
    loss = losses.LOSSES[options["loss"]]
    loss.check_head(head, options)
    if data.mixes(options) and loss.mixes is not True:
        raise ValueError(
            f"--mixup and --cutmix have no meaning for --loss {options['loss']}: {loss.mixes}"
        )
    if options["prior"] == "balanced" and not _reads_scores(loss, head, options):
        raise ValueError(
            f"--prior balanced acts on scores in training alone, and --loss {options['loss']} reads"
            " none: choose --prior posthoc, or another loss"
        )
    reason = (loss.on(head.offered(options)) or loss).inner_targets
    if options["coarse_labels"] == "use" and reason is not True:
        raise ValueError(
            f"--loss {options['loss']} takes no images labelled at superclasses: {reason}; choose"
            " another loss, or --coarse_labels drop"
        )


def _reads_scores(loss: type, head: type, options: Mapping[str, object]) -> bool:
    """Whether the loss reads what the prior is added to."""
    read = {"scores", "level_scores", "node_scores"}
    built = loss.on(head.offered(options)) or loss
    return bool(read & {*built.inputs}) or bool(options.get("corr_ce"))


def _plain(value: object) -> object:
    """As in JSON."""
    return list(value) if isinstance(value, tuple) else value
