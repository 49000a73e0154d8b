"""WordNet's noun file, the trees cut from it, and the two that the repository ships."""

from pathlib import Path

import numpy as np
import pytest

from hierarchies import read_edges
from hierarchies.distances import path_length
from hierarchies.export import describe
from hierarchies.wordnet import edge_lines, first_hypernym_tree, longest_path_tree, read_nouns
from scripts import build_wordnet_trees

SHIPPED = Path(__file__).resolve().parents[1] / "hierarchies"

# offset, lexicographer file, type, number of words in hexadecimal, words with ids, number of
# pointers, pointers | gloss
NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
  2 Princeton University under the following license.
00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which is perceived
00001930 03 n 01 physical_entity 0 002 @ 00001740 n 0000 ~ 00002684 n 0000 | an entity | that exists
00002137 03 n 02 abstraction 0 abstract_entity 0 002 @ 00001740 n 0000 + 00692329 v 0101 | a general concept
00002684 03 n 02 object 0 physical_object 0 002 @ 00001930 n 0000 + 00532607 v 0101 | a tangible entity
00015388 05 n 0a animal 0 animate_being 0 beast 0 brute 0 fauna 0 a 0 b 0 c 0 d 0 e 0 001 @ 00002684 n 0000 | ten words
01317541 05 n 01 Domestic_animal 0 001 @ 00015388 n 0000 | tamed
02075296 05 n 01 carnivore 0 001 @ 00015388 n 0000 | eats meat
02083346 05 n 02 canine 0 canid 0 002 @ 02075296 n 0000 %p 05586759 n 0000 | a fissiped mammal
02084071 05 n 02 dog 0 Canis_familiaris 0 002 @ 01317541 n 0000 @ 02083346 n 0000 | two hypernyms; "it barked"
02120997 05 n 01 feline 0 001 @ 02075296 n 0000 | with a roundish head
02121620 05 n 01 house_cat 0 002 @ 02120997 n 0000 @ 01317541 n 0000 | two hypernyms
02512053 05 n 01 fish 0 001 @ 00015388 n 0000 | swims
09600001 18 n 01 Lassie 0 001 @i 02084071 n 0000 | an instance
09600002 18 n 01 Rex 0 002 @i 02512053 n 0000 @ 02084071 n 0000 | a kind and an instance
13582013 23 n 01 number 0 001 @ 00002137 n 0000 | a concept
"""
DOG, CAT, FISH, LASSIE, REX, NUMBER = (
    "n02084071",
    "n02121620",
    "n02512053",
    "n09600001",
    "n09600002",
    "n13582013",
)
ANIMAL, TAME, CARNIVORE, CANINE, FELINE = (
    "n00015388",
    "n01317541",
    "n02075296",
    "n02083346",
    "n02120997",
)


@pytest.fixture
def nouns(tmp_path):
    return read_nouns(write(tmp_path / "data.noun", NOUNS))


def write(path, text):
    path.write_text(text, encoding="latin-1")
    return path


def test_hypernyms_come_in_the_order_of_their_lemmas_whatever_their_case(nouns):
    assert nouns.hypernyms[DOG] == (CANINE, TAME)
    assert nouns.hypernyms[CAT] == (TAME, FELINE)
    assert nouns.hypernyms["n00001740"] == ()


def test_the_first_lemma_names_a_synset_and_words_are_counted_in_hexadecimal(nouns):
    assert nouns.lemmas[ANIMAL] == "animal" and nouns.hypernyms[ANIMAL] == ("n00002684",)
    assert nouns.lemmas[DOG] == "dog" and len(nouns.lemmas) == 15


def test_an_instance_hangs_below_its_kind_only_if_it_has_no_hypernym(nouns):
    assert nouns.hypernyms[LASSIE] == (DOG,)
    assert nouns.hypernyms[REX] == (DOG,)


def test_first_hypernyms_are_followed_and_the_chain_at_the_top_is_dropped(nouns):
    tree = first_hypernym_tree(nouns, [LASSIE, FISH, CAT])
    assert tree.class_paths == ((TAME, CAT), (FISH,), (CARNIVORE, CANINE, DOG, LASSIE))
    assert tree.names[0] == ANIMAL and tree.class_names == ("house_cat", "fish", "Lassie")


def test_the_root_stays_above_classes_of_one_kind(nouns):
    assert first_hypernym_tree(nouns, [LASSIE, REX]).class_paths == ((LASSIE,), (REX,))
    assert first_hypernym_tree(nouns, [FISH, NUMBER]).class_paths[1] == ("n00002137", NUMBER)


def test_a_class_above_another_is_refused(nouns):
    with pytest.raises(ValueError, match=f"{DOG}.* is also an inner node"):
        first_hypernym_tree(nouns, [DOG, LASSIE, FISH])


def test_longest_paths_are_followed_and_single_children_dropped(nouns):
    # the cat goes by carnivore and feline (5 edges below physical entity), not by domestic animal
    # (4)
    tree = longest_path_tree(nouns, [DOG, CAT, FISH])
    assert tree.class_paths == ((CARNIVORE, DOG), (CARNIVORE, CAT), (FISH,))
    assert tree.class_names == ("dog", "house_cat", "fish")
    assert tree.names[1] == "carnivore" and tree.names[0] == ANIMAL


def test_of_equally_long_paths_the_first_lemma_wins(tmp_path):
    # domestic animal one level deeper: both ways from the cat are now of one length
    nouns = read_nouns(
        write(
            tmp_path / "data.noun",
            NOUNS.replace("animal 0 001 @ 00015388", "animal 0 001 @ 02075296"),
        )
    )
    tree = longest_path_tree(nouns, [LASSIE, CAT, REX], parents={LASSIE: TAME})
    assert tree.class_paths == ((TAME, CAT), (TAME, LASSIE), (REX,))


def test_parents_can_be_replaced(nouns):
    tree = longest_path_tree(nouns, [DOG, FISH, NUMBER], parents={NUMBER: FELINE})
    assert tree.class_paths == ((CARNIVORE, DOG), (FISH,), (CARNIVORE, NUMBER))


def test_a_noun_that_is_nothing_physical_has_no_longest_path(nouns):
    with pytest.raises(ValueError, match=r"n13582013 \(number\) is not below physical entity"):
        longest_path_tree(nouns, [DOG, NUMBER])


@pytest.mark.parametrize("build", [first_hypernym_tree, longest_path_tree])
def test_an_unknown_wnid_is_named(nouns, build):
    with pytest.raises(ValueError, match="n99999999 is not a noun of WordNet"):
        build(nouns, [DOG, "n99999999"])


@pytest.mark.parametrize(
    "line",
    [
        "no synset at all",
        "02084071 05 n 0x dog 0 000 | words that are no number",
        "02084071 05 n 02 dog 0 001 @ 02083346 n 0000 | fewer words than told",
        "02084071 05 n 01 dog 0 002 @ 02083346 n 0000 | fewer pointers than told",
        "0208407a 05 n 01 dog 0 001 @ 02083346 n 0000 | an offset that is no number",
        "02084071 05 n",
        "",
    ],
)
def test_a_malformed_line_is_named(tmp_path, line):
    lines = NOUNS.splitlines()
    lines[10] = line
    with pytest.raises(ValueError, match="data.noun, line 11: this is not a synset"):
        read_nouns(write(tmp_path / "data.noun", "\n".join(lines) + "\n"))


def test_a_hypernym_that_the_file_lacks_is_named(tmp_path):
    cut = "\n".join(line for line in NOUNS.splitlines() if not line.startswith("02075296")) + "\n"
    with pytest.raises(
        ValueError, match="n02083346 .canine. is below n02075296, which is not there"
    ):
        read_nouns(write(tmp_path / "data.noun", cut))


def test_edge_and_name_files_hold_the_tree(nouns, tmp_path):
    tree = longest_path_tree(nouns, [DOG, CAT, FISH])
    edges, names = edge_lines(tree)
    assert edges.splitlines() == [
        f"{CARNIVORE} {ANIMAL}",
        f"{DOG} {CARNIVORE}",
        f"{CAT} {CARNIVORE}",
        f"{FISH} {ANIMAL}",
    ]
    assert f"{CAT} house cat" in names.splitlines()
    files = [
        write(tmp_path / f"x.{suffix}", text)
        for suffix, text in (("edges", edges), ("names", names))
    ]
    assert read_edges(*files) == tree


def test_the_script_writes_both_files(tmp_path, capsys):
    noun_file, wnids = (
        write(tmp_path / "data.noun", NOUNS),
        write(tmp_path / "wnids.txt", f"{FISH}\n{DOG}\n{CAT}\n"),
    )
    arguments = [
        "--wordnet",
        str(noun_file),
        "--tinyimagenet",
        str(wnids),
        "--imagenet",
        str(wnids),
        "--out",
        str(tmp_path),
    ]
    assert build_wordnet_trees.main(arguments) == 0
    assert (
        read_edges(tmp_path / "tinyimagenet.edges", tmp_path / "tinyimagenet.names").num_nodes == 7
    )
    assert read_edges(tmp_path / "imagenet.edges").num_nodes == 5
    assert "'classes': 3" in capsys.readouterr().out


def shipped(name):
    return read_edges(SHIPPED / f"{name}.edges", SHIPPED / f"{name}.names")


def distances(tree):
    return path_length(tree)[~np.eye(tree.num_classes, dtype=bool)]


def test_the_shipped_tree_of_tinyimagenet_has_the_published_statistics():
    tree = shipped("tinyimagenet")
    found = describe(tree)
    assert (
        found["classes"],
        found["nodes"],
        found["inner"],
        found["single_child"],
        found["height"],
    ) == (200, 518, 318, 223, 16)
    assert found["level_sizes"] == [
        2,
        4,
        8,
        18,
        37,
        73,
        107,
        134,
        159,
        177,
        185,
        188,
        192,
        199,
        199,
        200,
    ]
    assert found["by_depth"] == [2, 4, 8, 17, 34, 66, 85, 86, 69, 53, 28, 23, 15, 16, 7, 4]
    assert (distances(tree).min(), distances(tree).max()) == (2, 25) and distances(
        tree
    ).mean() == pytest.approx(13.0297, abs=5e-5)
    assert tree.names[0] == "n00001930" and sorted(tree.names[1:3]) != sorted(tree.keys[1:3])


def test_the_shipped_tree_of_tinyimagenet_collapses_to_295_nodes():
    tree = shipped("tinyimagenet").collapse()
    found = describe(tree)
    assert (found["nodes"], found["inner"], found["single_child"], found["height"]) == (
        295,
        95,
        0,
        11,
    )
    assert (distances(tree).min(), distances(tree).max()) == (2, 17)


def test_the_shipped_tree_of_imagenet_has_the_published_statistics_but_for_ties():
    # classes, nodes, height and range of distances are those of Bertinetto et al.; who wins a tie
    # shifts a few levels
    tree = shipped("imagenet")
    found = describe(tree)
    assert (
        found["classes"],
        found["nodes"],
        found["inner"],
        found["single_child"],
        found["height"],
    ) == (1000, 1372, 372, 0, 15)
    published = [2, 5, 22, 47, 112, 240, 403, 587, 736, 819, 887, 921, 977, 999, 1000]
    assert np.abs(np.subtract(found["level_sizes"], published)).max() == 12
    assert (distances(tree).min(), distances(tree).max()) == (2, 23) and distances(
        tree
    ).mean() == pytest.approx(11.44, abs=0.05)


@pytest.mark.parametrize("name", ["tinyimagenet", "imagenet"])
def test_the_shipped_classes_are_wnids_in_their_order_and_have_lemmas_for_names(name):
    tree = shipped(name)
    wnids = [path[-1] for path in tree.class_paths]
    assert wnids == sorted(wnids) and all(
        len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids
    )
    assert dict(zip(wnids, tree.class_names))["n01443537"] == "goldfish"
    assert not any("_" in shown or shown == key for shown, key in zip(tree.class_names, wnids))
