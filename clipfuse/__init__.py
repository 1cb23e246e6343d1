"""Several labels per picture and caption, from frozen embeddings."""
