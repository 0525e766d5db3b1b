"""From words to one checked configuration: composing, schema, parts and their signatures, secrets."""
