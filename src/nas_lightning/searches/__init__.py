"""The bilevel search: its Lightning module, its state and stages, how it is built, checked, run and selected from."""
