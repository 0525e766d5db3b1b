"""The vocabulary of all rooms: choices, genotypes, decisions, contracts of parts, keyed draws, errors. Pure torch."""
