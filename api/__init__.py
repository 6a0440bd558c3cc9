"""The chat API: OpenAI's routes and ours over HTTP, and a terminal client for them. Thin: answers come from `cag`."""
