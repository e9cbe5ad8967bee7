"""`parasim schemes`: every scheme says what it is, and the README's table is made of that."""

import dataclasses
import json
import re

import pytest

import parasim
from parasim import SCHEMES, ScenarioError
from parasim.cli import main
from parasim.program.scheme import Scheme
from parasim.report.schemes import scheme_entry, schemes_list
from parasim.report.taxonomy import likes_entry
from parasim.schemes import find
from parasim.schemes.dcasgd import Compensation
from tests.golden import ROOT
from tests.schemes_setup import make

EACH = pytest.mark.parametrize("name", SCHEMES)
AXES = {  # SCHEMES 14
    "concurrency": {"none", "data parallel", "model parallel", "pipeline parallel", "hybrid"},
    "consistency": {"synchronous", "stale-synchronous", "asynchronous", "independent"},
    "distribution": {"none", "centralised", "decentralised", "shared memory", "hybrid"},
    "communication": {
        "none",
        "all-reduce",
        "gradients",
        "models",
        "shares",
        "the centre",
        "shared memory",
        "activations",
        "predictions",
    },
    "training": {
        "one model",
        "model averaging",
        "elastic averaging",
        "ensemble",
        "distillation",
        "hyper-parameter search",
    },
}


def listed(capsys):
    assert main(["schemes", "--json"]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}


def test_all_are_listed_with_all_they_say(capsys):
    entries = listed(capsys)
    assert set(entries) == set(SCHEMES)
    for name, entry in entries.items():
        assert entry == json.loads(json.dumps(scheme_entry(SCHEMES[name])))


@EACH
def test_what_a_scheme_says_is_complete(name):
    entry = scheme_entry(SCHEMES[name])
    assert re.search(r"\(\d{4}(?:, \d{4})*\)", entry["citation"])
    assert entry["summary"]
    assert entry["staleness"]
    assert list(entry["family"]) == list(AXES)
    for axis, words in AXES.items():
        assert entry["family"][axis].startswith(tuple(words)), axis
    assert entry["closed_form"] is None or entry["closed_form"]["formula"].endswith((".", ":"))


@EACH
def test_options_have_a_line_of_words_and_the_default_that_they_take(name):
    scheme = SCHEMES[name]
    entries = {option["name"]: option for option in scheme_entry(scheme)["options"]}
    assert list(entries) == [field.name for field in dataclasses.fields(scheme.Options)]
    made = scheme.Options()
    for option in entries.values():
        assert option["doc"]
        assert option["default"] == getattr(made, option["name"])
        assert option["default"] in option.get("values", [option["default"]])


@EACH
def test_names_of_the_literature_are_found(name):
    scheme = SCHEMES[name]
    assert all(find(word) is scheme for word in (name, *scheme.aliases))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        *(("Hardsync", "parameter_server"), ("BSP", "parameter_server"), ("Sync-SGD", "allreduce")),
        *(("K-sync SGD", "k_sync"), ("K-batch-async", "k_batch_async"), ("Pipe-SGD", "pipe_sgd")),
        *(("SimuParallelSGD", "one_shot"), ("FedAvg", "local_sgd"), ("post-local SGD", "local_sgd"), ("BMUF", "bmuf")),
        *(("EASGD", "easgd"), ("EAMSGD", "eamsgd"), ("ASGD", "downpour"), ("Downpour SGD", "downpour"), ("SSP", "ssp")),
        *(("n-softsync", "softsync"), ("DynSGD", "dynsgd"), ("AGN", "agn"), ("ADAG", "adag"), ("DC-ASGD", "dcasgd")),
        *(("Omnivore", "compute_groups"), ("Hogwild!", "hogwild"), ("HogBatch", "hogbatch"), ("AsySVRG", "asysvrg")),
        *(("D-PSGD", "dpsgd"), ("AD-PSGD", "adpsgd"), ("SGP", "sgp"), ("Overlap-SGP", "osgp")),
    ],
)
def test_names_are_found_as_papers_write_them(word, name):
    assert find(word) is SCHEMES[name]
    assert make(word, 1 if "Hog" in word or "SVRG" in word else 4).scheme.name == name


def test_an_alias_may_stand_for_options_which_a_file_may_change():
    assert make("CBM", 4).scheme.options.block == "classical"
    assert make("nbm", 4).scheme.options.block == make("bmuf", 4).scheme.options.block == "nesterov"
    assert make("AEASGD", 4).scheme.options.moves == "after_steps"
    assert make("AEASGD", 4, moves="with_gradient").scheme.options.moves == "with_gradient"
    assert make("DC-ASGD-c", 4).scheme.compensation == Compensation(0.04, None)
    assert make("dcasgd", 4).scheme.compensation == Compensation(2.0, 0.95)
    for scheme in SCHEMES.values():
        for alias, options in scheme.presets.items():
            assert alias in scheme.aliases or scheme.presets is super(scheme, scheme).presets
            assert set(options) <= {field.name for field in dataclasses.fields(scheme.Options)}


def test_every_data_parallel_scheme_has_a_scenario_and_a_case_of_the_cross_check():
    ours = {name for name, scheme in SCHEMES.items() if scheme.taxonomy.concurrency == "data parallel"}
    files = {"schemes": sorted((ROOT / "scenarios/schemes").glob("*.yaml"))}
    files["crosscheck"] = [ROOT / "scenarios/crosscheck/schemes.yaml"]
    for folder, paths in files.items():
        used = {case.scheme.name for path in paths for case in parasim.load_all(path, allow_code=True)}
        assert ours <= used, folder


def test_names_are_told_apart_and_unknown_ones_refused():
    names = [word for scheme in SCHEMES.values() for word in (scheme.name, *scheme.aliases)]
    assert len({re.sub(r"[\W_]", "", word.casefold()) for word in names}) == len(names)
    with pytest.raises(ScenarioError, match=r"no scheme 'dpsdg' \(did you mean 'dpsgd'\?\)"):
        find("dpsdg")


def test_the_text_has_every_heading():
    text = schemes_list([SCHEMES["dpsgd"]])
    for heading in ("dpsgd (also: decentralized_sgd, ", "family", "paper", "staleness", "step      max(T_c", "graph:"):
        assert heading in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_row_of_the_readme_has_six_cells():
    table = re.search(r"<!-- schemes -->\n(.*?)<!-- /schemes -->", (ROOT / "README.md").read_text(), re.DOTALL)
    rows = table[1].strip().splitlines()
    assert len(rows) == 2 + len(SCHEMES)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 7, row


# the taxonomy --------------------------------------------------------------------------------------------------------
def test_every_scheme_is_a_leaf_of_the_tree_once(capsys):
    assert main(["schemes", "--tree"]) == 0
    leaves = [line.split("─ ")[1].split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(leaf for leaf in leaves if leaf in SCHEMES) == sorted(SCHEMES)
    assert main(["schemes", "--tree", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["data parallel"]["stale-synchronous"]["centralised"]["ssp"]["approximates"].startswith(
        "stale gradients"
    )


def test_neighbours_differ_where_it_is_said(capsys):
    found = likes_entry(SCHEMES["ssp"], list(SCHEMES.values()))
    assert len(found) == len(SCHEMES) - 1
    assert [len(each["differs"]) for each in found] == sorted(len(each["differs"]) for each in found)
    downpour = next(each for each in found if each["name"] == "downpour")
    assert downpour["differs"] == {"consistency": ["stale-synchronous", "asynchronous"]}
    assert downpour["related"]
    assert main(["schemes", "--like", "ssp"]) == 0
    text = capsys.readouterr().out
    assert "downpour\n  model consistency: asynchronous" in text
    assert max(map(len, text.splitlines())) <= 120
    assert main(["schemes", "--like", "spp"]) == 2
    assert "did you mean 'ssp'?" in capsys.readouterr().err


def test_what_can_be_sent_in_code_is_what_a_scenario_may_say():
    """Of schemes whose options do not decide: nothing is refused that is listed, nothing listed that is refused."""
    for name, scheme in SCHEMES.items():
        if scheme.codes is not Scheme.codes:
            continue
        options = {"learn": False, "compression": {"kind": "fp16"}}
        if scheme_entry(scheme)["in_code"] is None:
            with pytest.raises(ScenarioError, match="sends nothing that a compressor works on"):
                make(name, 4, **options)
        else:
            make(name, 4, **options)
    assert "No changes of them: partners are drawn" in scheme_entry(SCHEMES["adpsgd"])["in_code"]
    assert "graph: ring, complete, edges" in scheme_entry(SCHEMES["osgp"])["in_code"]
