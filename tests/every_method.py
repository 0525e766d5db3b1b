"""Every method in a search of seconds."""

import pytest

import nas_lightning as nl
from cases import BLOCK_SPACES, CONF

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
WITHOUT_SKIP = ("s4", *BLOCK_SPACES)
DISPARITY = ("disparity", "disparity_full")
CONVOLUTIONS = ("points", "graphs")
LAYERED = ("mobilenet", "mobilenet_small", "proxyless")
RECURRENT = ("recurrent", "recurrent_reduced")
BY_CHANNELS = ("pc_darts", "pc_sdarts_rs", "pc_sdarts_adv", "gaea_pc_darts", "drnas_progressive")
"""Methods that search on a part of the channels."""
IN_STAGES_OF_DEPTH = ("p_darts", "p_sdarts_rs", "p_sdarts_adv")
"""Methods whose fresh stages have ever more cells."""
SECOND_ORDER = ("darts_2nd", "darts_es", "darts_ada", "rdarts_l2", "idarts")
"""Methods that differentiate through a step of SGD."""
REFUSED = {
    **{
        (method, space): "noisy_darts_nfa"
        for method in ("noisy_darts", "noisy_darts_pt")
        for space in (*WITHOUT_SKIP, *RECURRENT)
    },
    **{("darts_plus", space): "have at most 0 skip connections" for space in (*WITHOUT_SKIP, *RECURRENT)},
    **{("darts_pt_fixed_alpha", space): "by learned weights" for space in BLOCK_SPACES},
    **{
        ("fair_darts", space): "use selector=magnitude"
        for space in (*BLOCK_SPACES, *RECURRENT, *DISPARITY, *LAYERED, *CONVOLUTIONS)
    },
    **{
        (method, space): r"~regularizer\.partial_channels"
        for method in BY_CHANNELS
        for space in (*DISPARITY, *RECURRENT, *LAYERED)
    },
    **{("drnas_progressive", space): "cannot be widened" for space in CONVOLUTIONS},
    ("darts_plus", "proxyless"): "have at most 0 skip connections",
    **{("rdarts_dp", space): r"~regularizer\.cutout" for space in (*DISPARITY, *RECURRENT, *CONVOLUTIONS)},
    **{
        (method, space): r"search\.weights\.optimizer=adam"
        for method in SECOND_ORDER
        for space in (*DISPARITY, *RECURRENT)
    },
    **{
        (method, space): "offers skip_connect" for method in IN_STAGES_OF_DEPTH for space in (*WITHOUT_SKIP, *RECURRENT)
    },
    **{(method, space): r"search\.layers=" for method in IN_STAGES_OF_DEPTH for space in (*DISPARITY, *LAYERED)},
    **{(method, "proxyless"): "has no skip_connect" for method in IN_STAGES_OF_DEPTH},
    **{("oles", space): "no operation of space=.* has weights" for space in RECURRENT},
}
"""Words of the message, by method and space."""
QUICK = {
    "gaea": ["search.epochs=2"],
    "proxyless": ["search.arch.interval=1"],
    "rdarts_l2": ["candidates.values=[3e-4,81e-4]", "candidates.epochs=1"],
    "rdarts_dp": ["candidates.values=[[0.0,0.0],[0.4,1.0]]", "candidates.epochs=1"],
    "random_search": ["candidates.values=2", "candidates.epochs=1"],
    "rank_nosh": ["candidates.pool=3", "candidates.initial=2", "candidates.batch=1", "candidates.levels=[1,2]"],
    "rs_ws": ["selector.candidates=4", "selector.finalists=2", "selector.batches=1"],
    "sdarts_adv": ["perturbation.steps=2"],
    "fair_darts": ["selector.threshold=0.49"],
    "rsps": ["selector.candidates=4", "selector.batches=1"],
    "setn": ["selector.candidates=4", "selector.batches=1"],
    "drnas_progressive": [
        "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 1, overrides:"
        " {control.progressive_shrinking.options: 2, regularizer.partial_channels.divisor: 1}}]",
        "regularizer.partial_channels.divisor=2",
        "search.epochs=2",
        "search.arch.warmup_epochs=0",
    ],
}
QUICK |= {
    m: ["regularizer.partial_channels.divisor=2"]
    for m in ("pc_darts", "pc_sdarts_rs", "pc_sdarts_adv", "gaea_pc_darts")
}
QUICK |= {
    m: [
        "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 1, fresh: true, overrides: {search.layers: 2,"
        " control.progressive_shrinking.options: 2, regularizer.skip_dropout.probability: 0.4}}]",
        "search.epochs=2",
        "search.arch.warmup_epochs=0",
    ]
    for m in IN_STAGES_OF_DEPTH
}
for m in ("pc_sdarts_adv", "p_sdarts_adv"):
    QUICK[m].append("perturbation.steps=2")
QUICK |= {
    m: ["selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"]
    for m in ("darts_pt", "darts_pt_fixed_alpha", "sdarts_rs_pt", "noisy_darts_pt")
}
QUICK |= {
    m: ["candidates.pool=3", "candidates.initial=2", "candidates.batch=1", "candidates.epochs=1"]
    for m in ("evolution", "local_search", "bananas")
}
QUICK |= {
    m: ["control.greedy_decisions.first_epoch=0", "control.greedy_decisions.interval=1"]
    for m in ("sgas", "sgas_cri2", "sgas_pt")
}


UNTRAINED = ("random_search", "evolution", "local_search", "bananas", "rank_nosh")
"""Methods that train no supernet."""
STEERED = ("darts_es", "darts_ada")
"""Methods that need the curvature."""


def run(method, space, tiny, folder):
    if method in STEERED:
        tiny = [override for override in tiny if override != "~callbacks.curvature"]
    cfg = nl.compose([*tiny, f"method={method}", f"space={space}", *QUICK.get(method, [])])
    if (method, space) in REFUSED:
        with pytest.raises(nl.ConfigError, match=REFUSED[method, space]):
            nl.search(cfg, run_dir=folder)
        assert not folder.exists()
        return
    result = nl.search(cfg, run_dir=folder)
    nl.build_space(cfg).validate(result.genotype)
    assert result.summary["method"] == method
    assert result.summary["space"] == space
