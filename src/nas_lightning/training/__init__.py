"""Foundations of search and evaluation: the workbench that builds a run's parts, processes, the non-finite guard."""
