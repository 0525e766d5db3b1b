"""The only place that imports Lightning: search and evaluation modules, data modules, control, callbacks."""
