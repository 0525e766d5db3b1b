"""A search on a few small point clouds, and its retraining."""

CLOUDS = [
    "data=points_digits", "data.points=20", "data.val_fraction=0.05", "trainer=cpu", "search.epochs=2",
    "search.batch_size=8", "search.init_channels=4", "space.embedding=8", "space.hidden=[8]", "space.neighbours=4",
    "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "evaluation.epochs=1",
    "evaluation.init_channels=4", "evaluation.batch_size=8", "~callbacks.curvature", "search.arch.warmup_epochs=0",
]  # fmt: skip
