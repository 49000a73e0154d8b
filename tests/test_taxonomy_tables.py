"""Class trees from the tables of biologists: ranks, parents, separators, left-out columns."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import read  # noqa: F401

from hierarchies import check_shared, ranks, read_tree

WORMS = """\
ScientificName,AphiaID,Kingdom,Phylum,Class,Order,Family,Genus
Calanus finmarchicus,104464,Animalia,Arthropoda,Copepoda,Calanoida,Calanidae,Calanus
Calanus hyperboreus,104467,Animalia,Arthropoda,Copepoda,Calanoida,Calanidae,Calanus
Oithona,106485,Animalia,Arthropoda,Copepoda,Cyclopoida,Oithonidae,Oithona
Tripos furca,840623,Chromista,Myzozoa,Dinophyceae,Gonyaulacales,Ceratiaceae,Tripos
"""
PARENTS = """\
taxonID,parentNameUsageID,scientificName,taxonRank
1,,Biota,
2,1,Copepoda,class
3,2,Calanus finmarchicus,species
4,2,Calanus hyperboreus,species
5,1,Tripos furca,species
"""
SMALL = (("Copepoda", "Calanus f"), ("Copepoda", "Oithona s"), ("Tripos",))


@pytest.fixture
def tree_of(tmp_path):
    def tree_of(text, name="tree.csv", **options):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tree(tmp_path / name, **{"self_leaves": True, **options})

    return tree_of


def test_the_ranks_of_a_worms_table_are_the_levels_and_its_ids_are_left_out(tree_of):
    tree, notes = tree_of(WORMS)
    above = ("Animalia", "Arthropoda", "Copepoda")
    assert tree.class_paths == (
        (*above, "Calanoida", "Calanidae", "Calanus", "Calanus finmarchicus"),
        (*above, "Calanoida", "Calanidae", "Calanus", "Calanus hyperboreus"),
        (*above, "Cyclopoida", "Oithonidae", "Oithona"),  # the name of a genus is not put twice
        ("Chromista", "Myzozoa", "Dinophyceae", "Gonyaulacales", "Ceratiaceae", "Tripos")
        + ("Tripos furca",),
    )
    (note,) = notes
    assert "Kingdom > Phylum > Class > Order > Family > Genus > ScientificName" in note
    assert "left out: 'AphiaID' (--levels" in note


@pytest.mark.parametrize(
    "title, rank",
    [
        ("KINGDOM", "kingdom"),
        ("dwc:class", "class"),
        ("Sub Family", "subfamily"),
        ("infra-order", "infraorder"),
        ("taxon_class_name", "class"),
        ("family_name", "family"),
        ("class_name", "classname"),
        ("col:parentID", "parentid"),
        ("Genus:", "genus"),
        ("taxonRank", "taxonrank"),
        ("taxon_genus", "genus"),
    ],
)
def test_titles_of_ranks_in_all_dresses(title, rank):
    assert ranks.plain(title) == rank


def test_ranks_are_ordered_by_rank_and_not_by_place(tree_of):
    tree, (note,) = tree_of("species,genus,superfamily\nA b,A,S\nA c,A,S\nD e,D,T\n")
    assert tree.class_paths == (("S", "A", "A b"), ("S", "A", "A c"), ("T", "D", "D e"))
    assert "superfamily > genus > species" in note


def test_a_class_name_beside_the_names_of_ranks_is_a_rank(tree_of):
    rows = "Insecta,Diptera,Aedes aegypti\nInsecta,Diptera,Culex pipiens\nOther,Araneae,Pardosa a\n"
    tree, _ = tree_of("class_name,order_name,species_name\n" + rows)  # as BOLD and NCBI write them
    assert tree.class_paths[0] == ("Insecta", "Diptera", "Aedes aegypti")
    assert ranks.plain_titles(["class_name", "species_name"])[0] == "classname"


def test_a_linnaean_class_is_a_level(tree_of):
    rows = "Copepoda,Calanoida,Calanus,Calanus f\nCopepoda,Cyclopoida,Oithona,Oithona s\n"
    tree, notes = tree_of(
        "class,order,genus,species\n" + rows + "Thaliacea,Salpida,Salpa,Salpa a\n"
    )
    assert tree.class_paths[0] == ("Copepoda", "Calanoida", "Calanus", "Calanus f")
    assert tree.class_names[0] == "Calanus f" and notes == ()
    # all different, as names to show would be: the place decides
    text = "class,order,species\nA,o,s\nB,p,t\nC,q,u\n"
    assert tree_of(text).hierarchy.class_paths[0] == ("A", "o", "s")
    assert tree_of("kingdom,class\nK,A\nK,B\nL,C\n").hierarchy.class_paths[1] == ("K", "B")


def test_a_column_class_with_the_names_of_classes_stays_one(tree_of):
    # an order lies in one Linnaean class, so this is not the rank
    tree, _ = tree_of("class,order,family\nsmall one,O,F\nlarge one,O,G\nthird,P,H\n")
    assert tree.class_paths == (("O", "F"), ("O", "G"), ("P", "H"))
    assert tree.class_names == ("small one", "large one", "third")
    tree, _ = tree_of("family,genus,species,class\nF,G,s,one\nF,G,t,two\nH,I,u,three\n")
    assert tree.class_names == ("one", "two", "three") and tree.class_paths[0] == ("F", "G", "s")
    tree, _ = tree_of("class,group,kind\none,a,x\ntwo,a,y\nthree,b,z\n")
    assert tree.class_names == ("one", "two", "three") and tree.class_paths[2] == ("b", "z")


@pytest.mark.parametrize("empty", ["", "NA", "NaN", "null", " "])
def test_a_rank_that_is_missing_is_skipped_with_a_note(tree_of, empty):
    tree, (note,) = tree_of(f"kingdom,phylum,class,order\nA,P,{empty},o\nA,P,C,n\nB,{empty},,\n")
    assert tree.class_paths == (("A", "P", "o"), ("A", "P", "C", "n"), ("B",))
    assert (
        "1 of 3 rows with an empty level above a filled one" in note and "class in line 2" in note
    )
    assert tree_of("top,mid,low\na,,x\na,m,y\n").hierarchy.class_paths == (("x",), ("m", "y"))


def test_columns_that_nest_between_ranks_are_levels_and_others_are_not(tree_of):
    tree, notes = tree_of("kingdom,group,species\nA,g,s\nA,g,t\nB,h,u\n")
    assert tree.class_paths[0] == ("A", "g", "s") and notes == ()
    tree, (note,) = tree_of("kingdom,status,species\nA,ok,s\nB,ok,t\nB,new,u\n")
    assert tree.class_paths == (("A", "s"), ("B", "t"), ("B", "u")) and "'status'" in note
    tree, (note,) = tree_of("kingdom,seen,species\nA,1,s\nA,1,t\nB,2,u\n")
    assert tree.class_paths[0] == ("A", "s") and "'seen'" in note


def test_an_epithet_goes_behind_its_genus_and_a_label_below_all_ranks(tree_of):
    tree, _ = tree_of("family,genus,specificEpithet\nF,Calanus,finmarchicus\nF,Calanus,\n")
    assert tree.class_paths == (("Calanus", "Calanus finmarchicus"), ("Calanus", "."))
    tree, _ = tree_of("label,family,species\negg,F,A b\nadult,F,A b\nc,G,C d\n")
    assert tree.class_paths == (("F", "A b", "egg"), ("F", "A b", "adult"), ("G", "C d", "c"))
    text = (
        "kingdom,species,scientificName\nA,Calanus f,Calanus f (Gunnerus)\nA,B,B (L.)\nC,D,D (L.)\n"
    )
    tree, (note,) = tree_of(text)
    assert tree.class_paths[0] == ("A", "Calanus f") and "left out: 'scientificName'" in note


def test_epithets_give_way_to_the_whole_name_and_empty_columns_are_no_gaps(tree_of):
    text = (
        "ScientificName,AphiaID,Family,Genus,Subgenus,Species,Subspecies\n"
        "Calanus finmarchicus,1,Calanidae,Calanus,,finmarchicus,\n"
        "Calanus hyperboreus,2,Calanidae,Calanus,,hyperboreus,\nOithona,3,Oithonidae,Oithona,,,\n"
    )
    tree, (note,) = tree_of(text)
    assert tree.class_paths == (
        ("Calanidae", "Calanus", "Calanus finmarchicus"),
        ("Calanidae", "Calanus", "Calanus hyperboreus"),
        ("Oithonidae", "Oithona"),
    )
    assert "Family > Genus > ScientificName; left out: 'AphiaID', 'Subgenus', 'Species'" in note


@pytest.mark.parametrize("levels", [None, ["family", "genus", "species"], ["family", "species"]])
def test_epithets_below_a_genus_are_written_behind_it(tree_of, levels):
    rows = "F,Calanus,similis\nF,Oithona,similis\nG,Acartia,sp. 1\nG,Acartia,Acartia clausi\n"
    tree, notes = tree_of("family,genus,species\n" + rows, levels=levels)
    names = [path[-1] for path in tree.class_paths]
    assert names == ["Calanus similis", "Oithona similis", "Acartia sp. 1", "Acartia clausi"]
    assert any("'similis' as 'Calanus similis'" in note for note in notes)


def test_epithets_in_capitals_with_authors_of_hybrids_and_behind_a_letter_are_known(tree_of):
    rows = "CALANUS,MINOR\nCALANUS,MAJOR\nMentha,\u00d7 minor\nMentha,M. minor\n"
    rows += 'Mentha,"minor L., 1758"\n'
    names = [path[-1] for path in tree_of("genus,species\n" + rows)[0].class_paths]
    assert names == [
        *("CALANUS MINOR", "CALANUS MAJOR", "Mentha \u00d7 minor", "Mentha minor"),
        "Mentha minor L., 1758",
    ]


def test_names_that_are_no_epithets_stay_and_subspecies_go_behind_their_species(tree_of):
    rows = "Gadus,Cod\nGadus,Red cod\nRaja,unknown\n"
    names = [path[-1] for path in tree_of("genus,species\n" + rows)[0].class_paths]
    assert names == ["Cod", "Red cod", "unknown"]
    rows = "Parus,major,minor\nParus,major,\nSitta,minor,minor\n"
    assert tree_of("genus,species,subspecies\n" + rows)[0].class_paths == (
        ("Parus", "Parus major", "Parus major minor"),
        ("Parus", "Parus major", "."),
        ("Sitta", "Sitta minor", "Sitta minor minor"),
    )


def test_a_synonym_keeps_the_name_that_the_user_has_for_it_below_the_accepted_genus(tree_of):
    rows = "Oithona similis,Oithona,similis\nCeratium furca,Tripos,furca\n"
    rows += "Tripos muelleri,Tripos,muelleri\n"
    tree, _ = tree_of("ScientificName,Genus,Species\n" + rows)
    assert tree.class_paths == (
        ("Oithona", "Oithona similis"),
        ("Tripos", "Ceratium furca"),
        ("Tripos", "Tripos muelleri"),
    )


def test_rows_that_differ_in_left_out_columns_name_the_flag(tree_of):
    with pytest.raises(ValueError, match="line 3: the class .* comes twice.*--levels COLUMN"):
        tree_of("family,genus,stage\nF,G,egg\nF,G,adult\nH,I,egg\n")
    tree, _ = tree_of(
        "family,genus,stage\nF,G,egg\nF,G,adult\nH,I,egg\n", levels=["family", "Genus", "stage"]
    )
    assert tree.class_paths[1] == ("F", "G", "adult")


def test_levels_are_chosen_by_title(tree_of):
    text = "name,id,g1,g2\nx,1,A,B\ny,2,A,B\nz,3,A,C\n"
    tree, notes = tree_of(text, levels=["G1", "g2", "name"])
    assert tree.class_paths == (("B", "x"), ("B", "y"), ("C", "z")) and notes == ()
    with pytest.raises(ValueError, match="--levels names 'nam', but the columns are 'name', 'id'"):
        tree_of(text, levels=["g1", "nam"])
    with pytest.raises(ValueError, match="--levels names the column 'g1' twice"):
        tree_of(text, levels=["g1", "G1"])
    with pytest.raises(ValueError, match="'json', but --levels names columns of a table"):
        tree_of("{}", "tree.json", levels=["a"], format="json")
    paths = tree_of("n,where\n1,a>b>c\n2,a>d\n", levels=["where"]).hierarchy.class_paths
    assert paths == (("b", "c"), ("d",))


def test_a_table_of_ids_and_parents_is_read(tree_of):
    tree, notes = tree_of(PARENTS)
    assert tree.class_paths == (
        ("Copepoda", "Calanus finmarchicus"),
        ("Copepoda", "Calanus hyperboreus"),
        ("Tripos furca",),
    )
    assert tree.names[0] == "Biota" and "left out: 'taxonRank'" in notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "child,parent\nCalanus f,Copepoda\nOithona s,Copepoda\nCopepoda,life\nTripos,life\n",
        "Calanus f,Copepoda\nOithona s,Copepoda\nCopepoda,life\nTripos,life\n",
        "parent;child\nCopepoda;Calanus f\nCopepoda;Oithona s\nlife;Copepoda\nlife;Tripos\n",
        "AphiaID\tparent_AphiaID\tname\n9\t7\tCalanus f\n8\t7\tOithona s\n7\t1\tCopepoda\n"
        "6\t1\tTripos\n1\t\tlife\n",
        "name,parent name\nlife,NA\nCopepoda,life\nCalanus f,Copepoda\nOithona s,Copepoda\n"
        "Tripos,life\n",
        "tax_id|parent_tax_id|sciname\n1|1|life\n2|1|Copepoda\n3|2|Calanus f\n4|2|Oithona s\n"
        "5|1|Tripos\n",
    ],
)
@pytest.mark.parametrize("name", ["tree.csv", "tree.txt"])
def test_parents_in_all_dresses(tree_of, text, name):
    assert tree_of(text, name).hierarchy.class_paths == SMALL


@pytest.mark.parametrize("none", ["-1", "0", "NA"])
def test_an_id_that_only_says_that_there_is_no_parent_is_no_level(tree_of, none):
    rows = (
        f"id,parent,name\n1,{none},life\n2,1,Copepoda\n3,2,Calanus f\n4,2,Oithona s\n5,1,Tripos\n"
    )
    tree, notes = tree_of(rows)
    assert tree.class_paths == SMALL and tree.names[0] == "life" and len(notes) == 1


def test_numbered_levels_are_in_the_order_of_their_numbers(tree_of):
    tree = tree_of("Level_10,Level_2,Level_1\nx,a,A\ny,a,A\nz,b,B\n").hierarchy
    assert tree.class_paths == (("A", "a", "x"), ("A", "a", "y"), ("B", "b", "z"))
    tree = tree_of("a,b2,c1\nx,p,1\nx,q,2\ny,r,3\n").hierarchy
    assert tree.class_paths[0] == ("x", "p", "1")


@pytest.mark.parametrize(
    "text",
    [
        "folder,group\nCalanus f,Copepoda\nOithona s,Copepoda\nTripos,\n",
        "class,group\nCalanus f,Copepoda\nOithona s,Copepoda\nTripos,\n",
        "| group | class |\n|:--|--:|\n| Copepoda | Calanus f |\n|Copepoda|Oithona s|\n||Tripos|\n",
        "+---+\n group  | genus \n---+---\nCopepoda|Calanus f\nCopepoda|Oithona s\n |Tripos\n",
    ],
)
def test_classes_and_their_groups_are_read_in_any_order_and_between_lines(tree_of, text):
    assert tree_of(text, "tree.txt" if "|" in text else "tree.csv").hierarchy.class_paths == SMALL


def test_a_long_line_that_looks_like_one_between_rows_takes_no_time(tree_of):
    start = time.process_time()
    with pytest.raises(ValueError):
        tree_of("|" + "-" * 60_000 + "x\n", "tree.txt")
    assert time.process_time() - start < 5  # half a minute if each start of an end is tried


@pytest.mark.parametrize("accepted", ["3", "3.0"])
def test_a_synonym_without_a_parent_is_beside_the_accepted_name(tree_of, accepted):
    text = PARENTS.replace("taxonRank", "acceptedNameUsageID").replace(",class", ",2")
    text = text.replace(",species", ",") + f"6,,Cetochilus,{accepted}\n7,,Other,8\n8,,Top,8\n"
    tree, notes = tree_of(text)
    assert tree.class_paths == (
        ("Biota", "Copepoda", "Calanus finmarchicus"),
        ("Biota", "Copepoda", "Calanus hyperboreus"),
        ("Biota", "Tripos furca"),
        ("Biota", "Copepoda", "Cetochilus"),
        ("Other",),  # beside a name at the top
        ("Top",),
    )
    assert "1 synonym placed beside the accepted name, such as 'Cet" in notes[1]


def test_a_synonym_whose_parent_is_the_accepted_name_is_beside_it(tree_of):
    rows = "A,,accepted,C,genus\nB,A,accepted,C f,species\nD,B,synonym,C n,species\n"
    rows += "E,B,synonym,C f g,subspecies\n"  # of another rank: nobody says of which name
    tree, notes = tree_of("col:ID,col:parentID,col:status,col:scientificName,col:rank\n" + rows)
    assert tree.class_paths == (("C n",), ("C f", "C f g")) and "1 synonym" in notes[1]
    rows += "F,D,synonym,C m,species\n"  # of a synonym
    tree, notes = tree_of("col:ID,col:parentID,col:status,col:scientificName,col:rank\n" + rows)
    assert tree.class_paths == (("C n",), ("C f", "C f g"), ("C m",)) and "2 synonyms" in notes[1]
    loop = "1,,a,2\n2,,b,1\n3,,c,3\n4,3,d,\n"  # each is said to be the other
    tree, _ = tree_of("taxonID,parentNameUsageID,scientificName,acceptedNameUsageID\n" + loop)
    assert tree.num_classes == 3


@pytest.mark.parametrize("name", ["tree.txt", "tree.csv"])
def test_a_rank_without_a_name_in_a_path_is_no_group(tree_of, name):
    lines = ["k__A; p__B; g__; s__", "k__A; p__C; g__; s__x", "k__A; p__; g__; s__y", "k__D;p__E"]
    titles = "id,taxonomy\n" if name == "tree.csv" else ""
    lines = [f"{i},{line}" if titles else line for i, line in enumerate(lines)]
    tree, notes = tree_of(titles + "\n".join(lines), name)
    assert tree.class_paths == (
        ("k__A", "p__B"),
        ("k__A", "p__C", "s__x"),
        ("k__A", "s__y"),
        ("k__D", "p__E"),
    )
    assert any(
        note.endswith("'g__', 's__', 'p__' in a path is a rank without a name, and counts as empty")
        for note in notes
    )


def test_faults_of_parent_tables_are_named(tree_of):
    with pytest.raises(ValueError, match="line 3: 'a' has a second row and so a second parent"):
        tree_of("child,parent\na,b\na,c\n")
    with pytest.raises(ValueError, match="a -> b -> a is a cycle"):
        tree_of("child,parent\na,b\nb,a\n")
    tree, notes = tree_of("id,parent,name\n1,9,A\n2,1,x\n3,1,x\n4,8,B\n")
    assert tree.class_paths == (("9", "A", "x"), ("9", "A", "x (3)"), ("8", "B"))
    assert "2 parents without a row" in notes[1] and "'x (3)'" in notes[2]


@pytest.mark.parametrize(
    "text",
    [
        "Copepoda>Calanus f\nCopepoda>Oithona s\nTripos\n",
        "Copepoda|Calanus f\nCopepoda|Oithona s\nTripos|\n",
        "Copepoda\tCalanus f\nCopepoda\tOithona s\nTripos\n",
        "Copepoda; Calanus f\nCopepoda; Oithona s\nTripos\n",
        "Copepoda,Calanus f\nCopepoda,Oithona s\nTripos\n",
        "Copepoda\\Calanus f\nCopepoda\\Oithona s\nTripos\n",
        "Copepoda/Calanus f\nCopepoda/Oithona s\nTripos\n",
    ],
)
@pytest.mark.parametrize("name", ["tree.txt", "tax.dat", "tree"])
def test_paths_with_any_separator_and_any_suffix(tree_of, text, name):
    tree, notes = tree_of(text, name)
    assert tree.class_paths == SMALL and len(notes) == ("/" not in text)


def test_a_separator_is_not_taken_from_within_names(tree_of):
    text = "living>eggs/larvae\nliving>fish\nnot living>x\n"
    assert tree_of(text, "t.txt").hierarchy.class_paths[0] == ("living", "eggs/larvae")
    text = "Birds/Ducks, Geese\nBirds/Swans, white\nFish\n"
    assert tree_of(text, "t.txt").hierarchy.class_paths[0] == ("Birds", "Ducks, Geese")


def test_an_ecotaxa_column_of_lineages(tree_of):
    title = "object_annotation_category\tobject_annotation_hierarchy"
    text = f"{title}\nCopepoda\tliving>Crustacea>Copepoda\nfish\tliving>fish\n"
    tree, notes = tree_of(text, "export.tsv")
    assert tree.class_paths == (("Crustacea", "Copepoda"), ("fish",))
    assert "left out: 'object_annotation_category'" in notes[1]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_excels_first_line_and_empty_columns(tree_of, mark):
    rows = [["family", "species", ""], ["F", "a, b", ""], ["F", "c", ""], ["G", "d", ""]]
    text = "\n".join(mark.join(f'"{cell}"' for cell in row) for row in rows)
    for start in (f"sep={mark}\r\n", f'\ufeff"sep={mark}"\n', ""):
        assert tree_of(start + text).hierarchy.class_paths[0] == ("F", "a, b")
    with pytest.raises(ValueError, match="line 4: expected 2 cells"):
        tree_of("sep=;\nfamily;species\nF;a\nF;b;c\n")


def test_unicode_text_of_excel_is_read(tree_of):
    text = "family\tspecies\nF\tä\nF\tb\nG\tc\n"
    assert tree_of(text.encode("utf-16"), "tree.txt").hierarchy.class_paths[0] == ("F", "ä")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"PK\x03\x04rest", "an Excel workbook.*CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
        (b"<?xml version='1.0'?>\n<phyloxml/>", "XML or HTML, which is not read; .* Newick"),
        (b"just\nnames\n", "--hierarchy_format: paths, table, edges"),
        (b"Caf\xe9/x\n", "line 1: this is not valid UTF-8 text .*CSV UTF-8"),
    ],
)
def test_files_of_other_kinds_are_named_with_the_way_out(tree_of, content, message):
    with pytest.raises(ValueError, match=message):
        tree_of(content, "tax.dat")


def test_a_tree_in_which_nothing_is_shared_is_stopped(tree_of):
    tree, _ = tree_of("id,group,kind\n1,a,x\n2,a,y\n3,b,z\n")
    with pytest.raises(ValueError, match="tree.csv: no two classes share a superclass.*--levels"):
        check_shared(tree, "tree.csv")
    assert check_shared(tree_of("a\nb\nc\n", format="paths").hierarchy, "t")[0].startswith("t: all")
    assert check_shared(tree_of("a/x\nb/y\n", format="paths").hierarchy, "t") == ()
    assert check_shared(tree_of(WORMS).hierarchy, "t") == ()


def test_a_name_in_several_places_is_noted(tree_of):
    text = "class,order,family\nCopepoda,Calanoida,A\nHexanauplia,Calanoida,B\nCopepoda,C,D\n"
    (note,) = tree_of(text).notes
    assert "'Calanoida' is 'Copepoda/Calanoida' and 'Hexanauplia/Calanoida'" in note
    assert tree_of("g/Calanus/Calanus/x\ng/Calanus/y\nh\n", "t.txt").notes == ()


def test_names_with_control_characters_are_exact_in_the_tree_and_harmless_in_notes(tree_of):
    tree, (note,) = tree_of('kingdom,\x1b]0;x\x07,species\nA,1,"s\nt"\nB,2,u\nB,3,v\n')
    assert tree.class_paths[0] == ("A", "s\nt")
    assert note.isprintable() and "\\x1b]0;x\\x07" in note


def test_the_examples_of_the_documentation_are_read_without_a_flag(tree_of):
    guide = Path(__file__).resolve().parents[1] / "docs" / "trees.md"
    examples = re.findall(r"^```\n(.*?)^```\n", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    found = [tree_of(example, "tree.txt").hierarchy.class_paths for example in examples]
    assert [len(paths) for paths in found] == [2, 2, 3, 3, 3, 3, 3]
    assert [paths[0] for paths in found] == [
        ("Animalia", "Arthropoda", "Copepoda", "Calanoida", "Calanidae")
        + ("Calanus", "Calanus finmarchicus"),
        ("Copepoda", "Calanus finmarchicus"),
        ("living", "Copepoda", "Calanus finmarchicus"),
        ("node1", "Calanus_finmarchicus"),
        ("2", "3"),
        ("Copepoda", "Calanus"),
        ("Copepoda", "Calanus"),
    ]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp", "Cf"]),
    min_size=1,
    max_size=6,
).filter(
    lambda name: not ranks.is_empty(name) and not ranks.is_unplaced(name) and name.strip() == name
)


@given(
    rows=st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=3, max_size=6, unique_by=lambda r: r[2]),
    mark=st.sampled_from([",", ";", "\t"]),
)
def test_a_written_table_of_ranks_reads_as_its_rows(tmp_path_factory, rows, mark):
    titles = ["family", "genus", "species"]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    if any(cell in titles for row in rows for cell in row):
        return
    file = tmp_path_factory.mktemp("t") / "t.csv"
    lines = [mark.join(titles), *(mark.join(row) for row in quoted)]
    file.write_text("\n".join(lines), encoding="utf-8", newline="")
    found = read_tree(file).hierarchy
    paths = tuple(rows) if len({row[0] for row in rows}) > 1 else tuple(row[1:] for row in rows)
    assert found.class_paths == paths
