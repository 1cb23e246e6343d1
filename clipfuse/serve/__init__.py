"""A trained run behind HTTP, for a person's browser and for programs (``pip install 'clipfuse[serve]'``).

::

    request -> Guard (host, origin, token) -> read_body, read_rows (limits) -> BatchQueue (the model) -> JSON
"""
