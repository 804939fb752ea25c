"""A file a kind: typed config in, call the packages below, write outputs. memphis.pipeline has the kinds."""
