"""Configurations: composition with Hydra, schema, signatures of parts, secrets."""
