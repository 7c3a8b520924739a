"""Files as a source: fixed width, COBOL copybooks, CSV and dBase, taken from a folder or over SFTP once and whole."""
