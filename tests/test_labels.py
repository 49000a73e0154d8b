"""Labels of methods side by side: only what differs, and what is shared once."""

from reports.labels import method_labels, paper_names


def test_long_names_that_differ_in_the_middle_are_told_apart_by_just_that():
    tail = "backbone=resnet18-batch_size=256-epochs=20-lr=1e-05-resize=64"
    names = [f"DR-euc-{middle}-val-{tail}" for middle in ("ema", "dynamic", "ema-dynamic")]
    labels = method_labels(names)
    assert list(labels.by_name.values()) == ["DR-ema", "DR-dynamic", "DR-ema-dynamic"]
    assert labels.shared == (
        "euc, val, backbone=resnet18, batch_size=256, epochs=20, lr=1e-05, resize=64"
    )
    assert labels.note == f"every row: {labels.shared}"


def test_an_option_that_one_row_lacks_stays_with_the_others():
    labels = method_labels(["softmax-val", "NormFace-euc-val", "DR-euc-mds-val"])
    assert list(labels.by_name.values()) == ["softmax", "NormFace", "DR-mds"]
    assert labels.note == "every row: val; every row with a distance: euc"
    paper = method_labels(["softmax-val", "DR-euc-mds-val"], paper=True)
    assert list(paper.by_name.values()) == ["Softmax", "ProxyDR + MDS"]
    assert paper.note.endswith("every row with a distance: Euclidean distance")


def test_distances_that_differ_or_tell_rows_apart_stay():
    labels = method_labels(["softmax", "DR-euc", "DR-arccos"])
    assert list(labels.by_name.values()) == ["softmax", "DR-euc", "DR-arccos"] and not labels.note
    labels = method_labels(["DR-ema", "DR-euc-ema"])  # of a head that once had no distance
    assert list(labels.by_name.values()) == ["DR", "DR-euc"] and labels.note == "every row: ema"


def test_a_row_alone_keeps_its_whole_name():
    labels = method_labels(["DR-euc-val"])
    assert labels.by_name == {"DR-euc-val": "DR-euc-val"} and labels.note == ""


def test_values_that_differ_are_told_apart_and_numbers_are_not_cut():
    labels = method_labels(["DR-euc-lr=1e-05", "DR-euc-lr=1e-06"])
    assert list(labels.by_name.values()) == ["DR-lr=1e-05", "DR-lr=1e-06"]


def test_options_in_brackets_tell_equal_folder_names_apart():
    labels = method_labels(["DR-euc [beta=1, no ema]", "DR-euc [beta=2, no ema]"])
    assert list(labels.by_name.values()) == ["DR-beta=1", "DR-beta=2"]
    assert labels.shared == "euc, no ema"


def test_labels_are_as_different_as_names():
    names = ["DR-a-b", "DR-b-a", "DR-a"]
    assert len(set(method_labels(names).by_name.values())) == 3


def test_shortened_names_are_told_apart_by_their_options():
    start = "x" * 100
    shared = {"distance": "euc", "epochs": 20, "use_val": True, "lr": 1e-05}
    rows = {
        f"{start}-0123456789ab": {"method": "DR", "loss": "hxe", "hxe_alpha": 0.1, **shared},
        f"{start}-ab0123456789": {"method": "DR", "loss": "hxe", "hxe_alpha": 0.4, **shared},
        "NormFace-euc-ema": {"method": "normface", "loss": "ce", "ema": True, "alpha": 1, **shared},
    }
    labels = method_labels(list(rows), rows)
    assert list(labels.by_name.values()) == [
        "DR-hxe-hxe_alpha=0.1",
        "DR-hxe-hxe_alpha=0.4",
        "NormFace-ema",  # alpha comes with ema
    ]
    assert labels.shared == "euc, val, lr=1e-05, epochs=20"
    paper = method_labels(list(rows), rows, paper=True)
    assert list(paper.by_name.values())[0] == "ProxyDR + HXE + hxe_alpha=0.1"


def test_options_that_come_with_a_method_are_named_where_nothing_else_differs():
    names = [f"{'y' * 100}-{digit * 12}" for digit in "ab"]
    rows = dict(zip(names, ({"method": "DR"}, {"method": "DR", "fit": "pad"})))
    assert list(method_labels(names, rows).by_name.values()) == ["DR", "DR-fit=pad"]


def test_every_registered_method_and_loss_has_a_name_for_papers():
    from losses import LOSSES
    from models import HEADS

    names = {head.label or name for name, head in HEADS.items()} | {*LOSSES}
    assert names - {"NormFace"} <= {*paper_names()}
