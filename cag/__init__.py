"""Question to grounded answer: runbooks, retrieval, assembly, verification."""
