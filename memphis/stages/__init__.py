"""Stages, a file for each kind: take a typed config, call the lower layers, write outputs. Kinds: memphis.pipeline."""
