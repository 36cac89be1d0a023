"""Everything that is persisted: one store per noun, and artifacts."""
