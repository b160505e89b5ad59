"""The command line: each command calls one library function and shows its result.

`tree.py` is the table of all commands; `main.py` runs one. Whatever people read leaves through
`output.py` or `console.py`, which write out what could steer a terminal. Only `converters`, whose
command line speaks the same way, imports this folder.
"""
