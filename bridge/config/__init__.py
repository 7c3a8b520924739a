"""What the operator writes: the models, how a file becomes a `Config`, and references to secrets."""
