"""The parts of `ape run deploy` that need no Ape. Ape takes nothing here for a command: the name
begins with an underscore."""
