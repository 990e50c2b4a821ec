"""Tools of the host, which know no environment: errors, checks, text and tables, charts, exact
solvers.
"""
