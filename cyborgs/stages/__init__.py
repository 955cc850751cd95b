"""The stages of the workflow, one module a rule: paths and settings in, files out.

They alone join the other packages.
"""
