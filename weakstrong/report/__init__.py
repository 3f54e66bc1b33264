"""Results as a person reads them: figures, a terminal table, one self-contained HTML page.

Nothing is imported here, so that the terminal table does not pay for matplotlib: import
`weakstrong.report.table`, `weakstrong.report.figures` or `weakstrong.report.page`.
"""
