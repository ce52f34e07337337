"""The helpers beside this file, `planted` and `source_files`, can be imported from the folders below."""
