"""The real Open WebUI beside our API, and a browser that uses it: for the demo, the browser test and the screenshots.

`environments` installs, `server` starts and wires the product, `browser` drives `page` in an environment of its own.
"""
