"""What options set, read without composing, against what Hydra composes for them."""

import pytest
from omegaconf import OmegaConf

import nas_lightning as nl
from nas_lightning.config.compose import conf_dir, global_groups
from nas_lightning.config.options import list_options
from nas_lightning.config.schema import PART_LISTS

MOMENTA = ("space.batch_norm_momentum", "space.network_batch_norm_momentum")
BY_COMBINATION = {
    "space=points": {"space.embedding", "space.hidden"},
    **{f"space=nasbench1shot1_{k}": {"search.layers", *MOMENTA} for k in (1, 2, 3)},
    "method=drnas_progressive": {"regularizer.partial_channels.divisor", "search.stages"},
    "space=nasbench201": {"search.layers"},
    "experiment=rethinking": {"methods"},
    "+callbacks=curvature": {"callbacks.curvature.interval"},
}
"""Keys that the data set of the test sets, too, and later: files of conf/when and conf/protocol."""
ABSENT = object()


def cases():
    for group, options in list_options().items():
        for option in options.values():
            # A sweep, an interpolation or a plugin is composed in test_experiments; a file of data in test_configs.
            if "/" not in option.name and group != "protocol":
                yield pytest.param(option, id=option.word)


@pytest.mark.parametrize("option", list(cases()))
def test_every_default_is_the_one_that_is_composed(option):
    words = [] if option.word == "+callbacks=curvature" else [option.word]  # there already
    if option.group == "proxy":  # all are in the list of this analysis already
        words = ["task=analyse", "analysis=proxies"]
    words += ["data=cifar10"] * (option.group == "method")  # the digits choose a space of their own for all
    if option.word == "task=list":
        assert option.keys == ()
    composed = nl.compose(words)
    differing = {}
    for key in option.keys:
        if key.name.startswith("hydra.") or (isinstance(key.default, str) and "${" in key.default):
            continue
        value = OmegaConf.select(composed, key.name, default=ABSENT)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if value != key.default:
            differing[key.name] = (key.default, value)
    assert set(differing) == BY_COMBINATION.get(option.word, set()), differing


@pytest.mark.parametrize(
    "option",
    [option for group in list_options().values() for option in group.values() if option.combined],
    ids=lambda option: option.word,
)
def test_values_for_combinations_are_those_that_are_composed(option):
    for word, keys in option.combined.items():
        composed = nl.compose([option.word, word])
        assert keys
        for key in keys:
            value = OmegaConf.select(composed, key.name, default=ABSENT)
            assert (OmegaConf.to_container(value) if OmegaConf.is_config(value) else value) == key.default, key.name


def test_combinations_are_those_of_the_files():
    """Each file of conf/when is found with its option; those of three names are a protocol."""
    found = {
        f"{option.name}_{word.partition('=')[2]}"
        for group in list_options().values()
        for option in group.values()
        for word in option.combined
    }
    files = {path.stem for path in (conf_dir() / "when").rglob("*.yaml") if path.parent.name != "paper_data"}
    assert found == files


def test_parts_of_a_method_are_those_that_are_composed():
    option = list_options("method")["pc_darts"]
    composed = nl.compose([option.word, "data=cifar10"])
    assert {"space=darts", "+regularizer=partial_channels", "selector=magnitude"} <= set(option.parts)
    assert set(composed.regularizer) == {"partial_channels", "edge_normalisation"}
    names = [key.name for key in option.keys]
    assert "regularizer.partial_channels.divisor" in names
    assert len(names) == len(set(names))


def test_own_values_win_over_those_of_the_parts():
    keys = {key.name: key for key in list_options("method")["rsps"].keys}
    assert keys["selector.candidates"].default == 100
    assert keys["selector.candidates"].meaning == "paths sampled per round"


def test_a_file_of_the_same_group_that_is_included_gives_its_keys():
    keys = {key.name: key.default for key in list_options("evaluation")["cifar_drnas"].keys}
    assert keys["evaluation.ema_decay"] is None  # of a file that recipes of images share
    assert (keys["evaluation.drop_path"], keys["evaluation.epochs"]) == (0.3, 600)


def test_experiments_have_the_keys_of_those_that_they_extend():
    keys = {key.name: key.default for key in list_options("experiment")["darts_pt/table3_1"].keys}
    assert keys["sweep"] == "darts_pt_cifar10"


def test_a_missing_file_of_the_users_is_left_out(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method/mine.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults:\n  - /selector: gone\n  - /space: s2\nmethod: mine\n"
    )
    option = list_options("method", tmp_path)["mine"]
    assert list(option.parts) == ["space=s2"]


def test_keys_of_combinations_mean_what_they_mean_elsewhere():
    keys = {key.name: key for key in list_options("paper")["nasbench201"].combined["selector=random_search"]}
    assert (keys["selector.batches"].default, keys["selector.batches"].meaning) == (
        1,
        "batches of val to score each candidate",
    )


def test_the_place_of_keys_without_a_header_is_that_of_the_group():
    """The rule of `section_of` holds for every file: global groups have headers, parts of lists names."""
    for group, options in list_options().items():
        for option in options.values():
            elsewhere = {"proposer": "candidates.proposer.", "proxy": f"analysis.proxies.{option.name}."}
            expected = f"{group}.{option.name}." if group in PART_LISTS else elsewhere.get(group, f"{group}.")
            global_file = "# @package" in (conf_dir() / group / f"{option.name}.yaml").read_text().partition("\n")[0]
            if not global_file and group not in global_groups():
                assert all(key.name.startswith(expected) for key in option.keys if "." in key.name), option.word
