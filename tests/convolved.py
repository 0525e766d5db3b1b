"""Searches on a few small point clouds and graphs, and their retrainings, by space."""

_SMALL = [
    "trainer=cpu", "search.epochs=2", "search.init_channels=4", "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1", "evaluation.epochs=1", "evaluation.init_channels=4", "~callbacks.curvature",
    "search.arch.warmup_epochs=0",
]  # fmt: skip
CONVOLVED = {
    "points": [
        "space=points", "data=points_digits", "data.points=20", "data.val_fraction=0.05", "space.embedding=8",
        "space.hidden=[8]", "space.neighbours=4", "search.batch_size=8", "evaluation.batch_size=8", *_SMALL,
    ],
    "graphs": [
        "space=graphs", "data=graphs_digits", "data.train_graphs=16", "data.test_graphs=4", "data.nodes=8",
        "search.batch_size=4", "evaluation.batch_size=4", *_SMALL,
    ],
}  # fmt: skip
