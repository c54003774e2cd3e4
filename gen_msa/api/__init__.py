"""The Python API: what `import gen_msa as gm` offers. The command line calls the same functions."""
