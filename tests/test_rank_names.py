"""What the levels of a tree are called: read from tables, kept with runs, and named by --at."""

import json
import unicodedata

import numpy as np
import pytest
from recorded import run_main, write_whole_run
from trees import TREE

import predict
from data.label_map import apply_label_map
from data.table import read_table
from evaluation.decision import choose_decision
from evaluation.scope import choose_scope
from evaluation.sources import Source
from hierarchies import Hierarchy, ranks, read_tree
from hierarchies.tree import format_path
from hierarchies.variants import cut_at_rank
from options import of_prediction
from runs.folder import Run

TAXA = """Kingdom,Order,Family,Genus,scientificName
Animalia,Calanoida,Calanidae,Calanus,Calanus finmarchicus
Animalia,Calanoida,Calanidae,Calanus,Calanus helgolandicus
Animalia,Calanoida,Calanidae,Neocalanus,Neocalanus gracilis
Animalia,Calanoida,Temoridae,,Temoridae nauplius
Animalia,Cyclopoida,,,Cyclopoida
"""


@pytest.fixture
def taxa(tmp_path):
    """The tree of TAXA, whose kingdom is its root."""
    (tmp_path / "taxa.csv").write_text(TAXA, "utf-8")
    return read_tree(tmp_path / "taxa.csv").hierarchy


def by_path(tree):
    return {format_path(path): rank for path, rank in tree.ranks_by_path.items()}


def written(tree):
    return [format_path(path) for path in tree.class_paths]


def test_a_table_of_ranks_says_what_its_levels_are_called(taxa):
    assert taxa.names[0] == "Animalia" and taxa.rank_names == ("order", "family", "genus")
    found = by_path(taxa)
    assert found["Calanoida"] == found["Cyclopoida"] == "order"
    assert found["Calanoida/Temoridae"] == "family"
    assert found["Calanoida/Calanidae/Calanus"] == "genus"
    assert "Calanoida/Calanidae/Calanus/Calanus finmarchicus" not in found  # a name, of any rank
    assert len(found) == 6


def test_other_titles_are_names_as_they_are_written_and_epithets_are_species(tmp_path):
    (tmp_path / "t.csv").write_text("Big group,Small\na,x\na,y\nb,z\n", "utf-8")
    assert read_tree(tmp_path / "t.csv").hierarchy.rank_names == ("Big group", "Small")
    text = "family,genus,specificEpithet\nC,Calanus,minor\nC,Acartia,minor\n"
    (tmp_path / "e.csv").write_text(text, "utf-8")
    tree = read_tree(tmp_path / "e.csv").hierarchy
    assert by_path(tree)["Calanus/Calanus minor"] == "species" and tree.names[0] == "C"
    chosen = read_tree(tmp_path / "e.csv", levels=["genus", "specificEpithet"]).hierarchy
    assert chosen.rank_names == ("genus", "specificEpithet")
    (tmp_path / "p.paths").write_text("a/x\na/y\nb\n")
    assert read_tree(tmp_path / "p.paths").hierarchy.rank_names == ()


def test_a_node_with_two_ranks_has_none(tmp_path):
    (tmp_path / "t.csv").write_text("order,family\nO,A\nO,B\nP,\n,O\n", "utf-8")
    tree = read_tree(tmp_path / "t.csv", self_leaves=True).hierarchy
    assert by_path(tree) == {"P": "order", "O/A": "family", "O/B": "family"}


def test_ranks_are_kept_with_a_tree_and_change_nothing_else(taxa, tmp_path):
    content = json.loads(json.dumps(taxa.to_dict()))
    again = Hierarchy.from_dict(content)
    assert again.ranks == taxa.ranks and again == taxa and again.digest == taxa.digest
    assert again.names == taxa.names
    (tmp_path / "tree.json").write_text(json.dumps(content))
    assert read_tree(tmp_path / "tree.json").hierarchy.ranks == taxa.ranks
    del content["ranks"]  # of an earlier version
    assert set(Hierarchy.from_dict(content).ranks) == {""} and Hierarchy.from_dict(content) == taxa
    assert "ranks" not in TREE.to_dict()
    for wrong in (["genus"], "genus", [1] * taxa.num_nodes, {}):
        with pytest.raises(ValueError, match="'ranks' must be a list of a text for each of the"):
            Hierarchy.from_dict({**content, "ranks": wrong})


def test_parts_of_a_tree_keep_their_ranks(taxa):
    some = taxa.subset([2, 0])
    assert by_path(some) == {
        path: rank
        for path, rank in by_path(taxa).items()
        if path not in ("Cyclopoida", "Calanoida/Temoridae")
    }
    # Temoridae has one class below it, which takes its place
    assert by_path(taxa.collapse())["Calanoida/Calanidae"] == "family"
    assert "family" in by_path(taxa.collapse()).values()


def test_a_tree_is_cut_at_a_rank_and_classes_without_it_stay(taxa):
    tree, groups = cut_at_rank(taxa, "genus")
    assert written(tree) == [
        "Calanoida/Calanidae/Calanus",
        "Calanoida/Calanidae/Neocalanus",
        "Calanoida/Temoridae/Temoridae nauplius",
        "Cyclopoida",
    ]
    assert groups.tolist() == [0, 0, 1, 2, 3]
    tree, groups = cut_at_rank(taxa, "order")
    assert written(tree) == ["Calanoida", "Cyclopoida"] and groups.tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="no node of the rank 'tribe'"):
        cut_at_rank(taxa, "tribe")
    with pytest.raises(ValueError, match="at the rank family the tree has one superclass"):
        cut_at_rank(taxa.subset([0, 1, 2]), "family")


@pytest.mark.parametrize("at", ["genus", "Genus", " genus", "taxon_genus"])
def test_answers_at_a_rank_by_its_name(taxa, at):
    scope = choose_scope(taxa, None, at)
    assert scope.tree.num_classes == 4 and scope.grouped
    assert "classes without a genus stay as they are: 2, such as Temoridae nauplius" in scope.notes
    assert choose_scope(taxa, ["Calanoida"], "family").notes == ()


@pytest.mark.parametrize(
    "within, at, message",
    [
        (None, "tribe", "levels of this run are called order, family, genus; give one of them, or"),
        (None, "tribe", "or the number of a level, 1 for the first to 3"),
        (["Calanoida"], "order", "--within Calanoida --at order: at the rank order"),
        (["Cyclopoida", "Temoridae"], "genus", "no node of the rank 'genus'"),
    ],
)
def test_a_rank_that_leaves_nothing_is_refused(taxa, within, at, message):
    with pytest.raises(ValueError, match=message):
        choose_scope(taxa, within, at)


def test_the_lowest_rank_is_refused_where_it_changes_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("family,genus\nA,x\nA,y\nB,z\n", "utf-8")
    tree = read_tree(tmp_path / "t.csv").hierarchy
    with pytest.raises(ValueError, match="--at genus: answers go down to no more than that"):
        choose_scope(tree, None, "genus")


def test_a_run_without_ranks_says_so_and_a_number_or_a_name_is_taken(capsys):
    with pytest.raises(ValueError, match="does not know what its levels are called.* 1 for the f"):
        choose_scope(TREE, None, "genus")
    parse = of_prediction.build_parser("").parse_args
    assert parse(["run", "image", "--at", "2"]).at == 2
    assert parse(["run", "image", "--at", "genus"]).at == "genus"
    for wrong in ("0", "-1", ""):
        assert run_main(predict.main, capsys, "run", "image", "--at", wrong)[0] == 2


def test_a_run_keeps_the_ranks_and_answers_by_them(tmp_path):
    tree = Hierarchy.from_paths(
        TREE.class_paths, ranks=ranks.of_levels(TREE.class_paths, ("order", "family", "genus"))
    )
    run = Run(write_whole_run(tmp_path, tree=tree, val=True).folder)
    assert run.hierarchy.rank_names == ("order", "family", "genus")
    by_name, by_depth = (choose_scope(run.hierarchy, None, at) for at in ("family", 2))
    assert by_name.tree == by_depth.tree
    found = [
        choose_decision(Source(run, scope=scope), "majority").calibrated(
            run.arrays("test")["scores"]
        )
        for scope in (by_name, by_depth)
    ]
    np.testing.assert_allclose(*found)


def test_tables_of_images_and_maps_of_labels_hand_their_ranks_on(tmp_path):
    (tmp_path / "taxa.csv").write_text(TAXA, "utf-8")
    header, *lines = TAXA.splitlines()
    rows = [f"{i}.png,{line}" for i, line in enumerate(lines)]
    (tmp_path / "images.csv").write_text("\n".join([f"file,{header}", *rows]), "utf-8")
    for i in range(len(rows)):
        (tmp_path / f"{i}.png").write_bytes(b"")
    listed = read_table(tmp_path / "images.csv", tmp_path)
    assert {"order", "family", "genus"} <= set(listed.hierarchy.rank_names)
    labels = [f"l{i}" for i in range(len(lines))]
    plain = "\n".join(["file,label", *(f"{i}.png,{name}" for i, name in enumerate(labels))])
    (tmp_path / "plain.csv").write_text(plain, "utf-8")
    rows = [f"{name},{line}" for name, line in zip(labels, lines)]
    (tmp_path / "map.csv").write_text("\n".join([f"raw_label,{header}", *rows]), "utf-8")
    mapped = apply_label_map(read_table(tmp_path / "plain.csv", tmp_path), tmp_path / "map.csv")
    assert {"order", "family", "genus"} <= set(mapped.hierarchy.rank_names)


LANGUAGES = [
    "Klasse Überfamilie Familie Gattung Art",
    "classe super-famille famille genre espèce",
    "clase superfamilia familia género especie",
    "classe superfamília família gênero espécie",
    "classe superfamiglia famiglia genere specie",
    "klasse overfamilie familie slekt art",
    "纲 总科 科 属 种",
    "綱 上科 科 属 種名",
    "Класс Надсемейство Семейство Род Вид",
    "gromada nadrodzina rodzina rodzaj gatunek",
    "třída nadčeleď čeleď genus druh",
    "luokka yliheimo heimo suku laji",
    "sınıf üstfamilya familya cins tür",
    "ομοταξία υπεροικογένεια οικογένεια γένος είδος",
    "class 상과 과 속 종명",
]
OF_SPECIES = [
    "Copepoda Centropagoidea Temoridae Temora longicornis",
    "Copepoda Centropagoidea Temoridae Temora stylifera",
    "Copepoda Megacalanoidea Calanidae Calanus glacialis",
    "Branchiopoda Polyphemoidea Podonidae Podon leuckartii",
]


@pytest.mark.parametrize("titles", LANGUAGES)
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1)])
def test_ranks_in_other_languages_are_levels_wherever_they_stand(tmp_path, titles, order):
    lines = [line.split() for line in (titles, *OF_SPECIES)]
    text = "".join(";".join(cells[at] for at in order) + "\n" for cells in lines)
    (tmp_path / "t.csv").write_text(unicodedata.normalize("NFD", text), "utf-8")
    tree = read_tree(tmp_path / "t.csv").hierarchy
    # a species is called by its genus, too
    expected = [line.replace(" ", "/").rsplit("/", 1) for line in OF_SPECIES]
    assert written(tree) == [f"{up}/{up.split('/')[-1]} {epithet}" for up, epithet in expected]
    assert tree.rank_names == ("class", "superfamily", "family", "genus", "species")


def test_a_word_in_two_languages_or_for_a_kind_or_of_numbers_is_no_rank():
    def found(titles, rows=()):
        return [rank for _, rank in ranks.columns(titles.split(), rows).ranks]

    both = ranks.columns("目 Order 科 Family".split())
    assert both.ranks == ((1, "order"), (3, "family")) and both.others == {0, 2}
    assert found("Label Art") == [] and found("Art") == ["species"]
    assert found("Label Gattung Art") == ["genus", "species"]
    assert found("Genus Art") == ["genus", "species"] and found("genre art") == ["genus", "species"]
    assert found("class genus art") == ["class", "genus"]
    assert found("art family name") == ["family"] and found("label class genre") == ["class"]
    assert ranks.columns(["art", "species"]) == ranks.columns(["use", "species"])
    assert ranks.columns(["species", "art"]) == ranks.columns(["species", "use"])
    assert found("name Stamm") == [] and found("species stam") == ["species"]  # of bacteria
    assert found("Stamm Art") == ["phylum", "species"]
    assert found("etiqueta Filo Orden Género") == ["phylum", "order", "genus"]
    twice = ranks.columns("Familie Familia Gattung Género".split())
    assert twice.ranks == ((0, "family"), (2, "genus")) and twice.others == {1, 3}
    assert found("Familie Art", [["Temoridae", "1,5"], ["Calanidae", "2"]]) == ["family"]
    assert found("name tür") == [] and found("cins tür") == ["genus", "species"]
    assert found("label Вид") == [] and found("Род Вид") == ["genus", "species"]
    assert found("class name", [["0", "a"], ["1", "b"]]) == []  # numbers of the names
    assert found("class name", [["0", "a"], ["0", "b"]]) == ["class"]  # of groups of them
    assert found("class", [["0"]]) == ["class"] and found("class name", [["A", "a"]]) == ["class"]
    assert (
        ranks.plain("Nom scientifique") == "scientificname" and ranks.plain("Étiquette") == "label"
    )


def test_a_class_in_another_language_is_no_name_to_show(tmp_path):
    (tmp_path / "t.csv").write_text("Gruppe;Klasse\nKrebse;a\nKrebse;b\nAlgen;c\n", "utf-8")
    tree = read_tree(tmp_path / "t.csv").hierarchy
    assert written(tree) == ["Krebse/a", "Krebse/b", "Algen/c"]


@pytest.mark.parametrize("titles", ["category,species", "species,category"])
def test_a_category_of_several_species_is_above_them(tmp_path, titles):
    rows = ["crabs,a", "crabs,b", "algae,c"]
    if titles.startswith("species"):
        rows = [",".join(reversed(row.split(","))) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join([titles, *rows]), "utf-8")
    tree = read_tree(tmp_path / "t.csv").hierarchy
    assert written(tree) == ["crabs/a", "crabs/b", "algae/c"]
    assert tree.rank_names == ("category", "species")


@pytest.mark.parametrize(
    "lines",
    [
        # a gap for each of two species is no group of them
        ["species,category", "a,x", "b,y", "c,", "d,"],
        ["species,scientific_name", "a,a", "b,b", "c,", "d,"],
        # nor is a name that synonyms share
        ["species,accepted_name", "a,a", "b,a", "c,c"],
        ["name,species", "copepod,a", "copepod,b", "krill,c"],
    ],
)
def test_names_of_species_and_gaps_are_not_groups_above_them(tmp_path, lines):
    (tmp_path / "t.csv").write_text("\n".join(lines), "utf-8")
    assert read_tree(tmp_path / "t.csv").hierarchy.rank_names == ("species",)
