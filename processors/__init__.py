"""Raw bytes -> documents: the pure steps of ingestion, and its two edges (embedder, index client)."""
