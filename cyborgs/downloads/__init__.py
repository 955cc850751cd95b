"""Public data sets and published weights: what there is, fetched and unpacked."""
