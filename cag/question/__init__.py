"""Understanding a question: times, names, wishes, follow-ups. Pure."""
