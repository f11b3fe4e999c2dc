"""The PostgreSQL guard: PostgreSQL's parent, which lets it run only in the role that the cluster record allows."""
