"""Whether a run that is there is the one that is asked for: of the same options, tree, split and
images; and whether other seeds beside it are.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import data
from files.fingerprints import FILES, is_of_pixels
from files.text import printable, some_of
from options import folder_name
from options.resumed import differing, without_younger
from runs.folder import Run, RunError
from runs.provenance import provenance


def is_kept(record: Run, machine: Mapping) -> bool:
    """Whether a run is recorded that --overwrite does not drop."""
    return record.exists and not machine["overwrite"]


def as_started(record: Run, options: Mapping, machine: Mapping) -> Mapping:
    """The options as a run that is gone on with has them, see `without_younger`."""
    return without_younger(options, record.options) if is_kept(record, machine) else options


def identify(options: Mapping, splits: data.Splits) -> dict:
    """What config.json says of what a run is and of what it is on."""
    return {
        "options": dict(options),
        "hierarchy": splits.hierarchy.digest,
        "split": splits.digest,
        "images": {"digest": splits.content_digest, "fingerprints_of": splits.fingerprints_of},
    }


def check_same(record: Run, options: Mapping, machine: Mapping, splits: data.Splits) -> list[str]:
    """What cannot be compared between the recorded run and this one.

    Raises: RunError: If it had other options, another tree, another split or other images.
    """
    before, now = record.options, dict(options)
    elsewhere = other_collection(record, machine)
    again = f": {elsewhere}" if elsewhere else ". Use --overwrite to start again"
    for name in differing(before, now):
        if name in folder_name.file_options():  # which count by their content: it names the folder
            continue
        raise RunError(
            f"{record.folder}: --{name} was {before.get(name)!r} when this run was started and"
            f" is {now.get(name)!r} now{again}"
        )
    for key, digest in (("hierarchy", splits.hierarchy.digest), ("split", splits.digest)):
        if record.config.get(key) != digest:
            raise RunError(
                f"{record.folder}: the {key} is not the one this run was started with; have the"
                f" images changed?{again}"
            )
    changed = record.changed_images(splits.files, splits.content_by, splits.digest_by)
    if changed is None:
        return ["whether the images are still the same is not known: " + _unknown(record)]
    if changed:
        raise RunError(
            f"{record.folder}: {len(changed)} of {len(splits.files)} images are not those that this"
            f" run was started with, {some_of(changed, 10, printable)}{_other_reader(record)};"
            f" put the originals back{again}"
        )
    return []


def _unknown(record: Run) -> str:
    if record.config.get("images") is None:
        return "an earlier version of this project has recorded the run"
    if record.fingerprints_of != FILES and not is_of_pixels(record.fingerprints_of):
        return "a later version of this project has recorded the run"
    return "they were recorded with, or are now read with, --stream"


def _other_reader(record: Run) -> str:
    """A possible cause, where images are read by another version of Pillow."""
    versions, name = record.config.get("versions"), "pillow"
    before = versions.get(name) if isinstance(versions, Mapping) else None
    now = provenance()["versions"][name]
    if before in (None, now):
        return ""
    return f" (or Pillow {now} reads them otherwise than {before}, which the run was started with)"


def place(machine: Mapping) -> str | None:
    """The whole path of the collection."""
    return None if machine["data_dir"] is None else str(Path(machine["data_dir"]).resolve())


def other_collection(record: Run, machine: Mapping) -> str | None:
    """A sentence that names both where a recorded run is on a collection in another place than
    this one, of the same name; None else.
    """
    before, now = record.images_in, place(machine)
    if before is None or now is None or before == now:
        return None
    return (
        f"{record.folder} holds a run on the images in {before}, and this one is on those in"
        f" {now}: to keep both, give this one another --record DIR"
    )


def note_replaced(record: Run, machine: Mapping) -> list[str]:
    """A note where --overwrite replaces a run on a collection in another place."""
    try:
        elsewhere = record.exists and other_collection(record, machine)
    except RunError:  # a damaged one
        return []
    return [f"replaced on request: {elsewhere} the next time"] if elsewhere else []


def known_by(record: Run, splits: data.Splits) -> dict[str, str]:
    """The digest of the images by the hashes of other seeds, which are of earlier versions, so that
    tables can compare them.
    """
    found = {}
    for other in _other_seeds(record):
        with contextlib.suppress(RunError, OSError):
            of = other.fingerprints_of
            if of not in (None, splits.fingerprints_of, *found):
                found[of] = splits.digest_by(of)
    return {of: digest for of, digest in found.items() if digest is not None}


def check_other_seeds(record: Run, machine: Mapping, splits: data.Splits) -> list[str]:
    """Notes on other seeds of the same options on other images, which no mean should mix.

    Raises: RunError: If those are a collection of their own, which has the same name.
    """
    notes = []
    for other in _other_seeds(record):
        try:
            of, elsewhere = other.fingerprints_of, other_collection(other, machine)
            before = other.images_in
        except (RunError, OSError):
            continue
        now = None if of is None else splits.digest_by(of)
        if now is None or other.config["images"].get("digest") == now:
            continue
        if elsewhere is not None and Path(before).is_dir():
            raise RunError(f"{elsewhere}; else tables would take both for one method's seeds")
        notes.append(
            f"{other.folder} was trained on other images, or an earlier state of them: do not"
            " compare this run with it, or take a mean over both"
        )
    return notes


def _other_seeds(record: Run) -> list[Run]:
    """Other seeds of the same options."""
    folders = sorted(record.folder.parent.glob("seed*"))
    return [Run(folder) for folder in folders if folder != record.folder]


def mend(record: Run, splits: data.Splits) -> None:
    """Writes again what is damaged of the files that say what a run is on, which is known to be
    the same by now.

    Raises: RunError: If it does not come out as it was.
    """
    table = data.split_table(splits, of=record.fingerprints_of)
    contents = {"hierarchy.json": splits.hierarchy.to_dict(), "split.csv": table}
    for name, content in contents.items():
        intact = record.is_intact(name)
        if intact is None:  # of an earlier version, without checksums
            intact = _reads_as(record, name, splits)
        if intact:
            continue
        write = record.write_json if name.endswith(".json") else record.write_table
        write(name, content)
        if record.is_intact(name) is False:
            raise RunError(
                f"{record.folder / name} was damaged, and what is written now is not what it was;"
                " start again with --overwrite"
            )
        record.log(f"note: {name} was damaged or changed, and is written again")


def _reads_as(record: Run, name: str, splits: data.Splits) -> bool:
    try:
        if name == "hierarchy.json":
            return record.hierarchy.digest == splits.hierarchy.digest
        columns = ["file", "class", "label", "split"]
        return (
            record.split[columns].astype(str).equals(data.split_table(splits)[columns].astype(str))
        )
    except (RunError, KeyError):
        return False
