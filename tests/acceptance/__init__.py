"""Acceptance by an independent server: the real command against a server its authors did not write.

Nothing here imports the product. What is known of it is its contract (commands, files,
exit codes), and what is known of the server is its documentation.
"""
