"""Every contract with the outside: topics, records, index documents, settings. No I/O here."""
