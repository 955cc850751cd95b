"""Public data sets: what there is, fetched and unpacked."""
