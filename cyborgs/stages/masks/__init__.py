"""What people do with mask shards; one module a command of ``cyborgs masks``."""
