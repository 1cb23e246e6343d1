"""The command ``clipfuse``: parses, calls the library, prints."""
