"""MySQL and MariaDB, read through PyMySQL's connection: rows as the server sent them, decoded column by column."""
