"""What every service of the network is built from: node, database, supervision, HTTP, logs.

Needs the extra `corechain[service]`; a dApp that imports the SDK never loads it. Knows no role.
"""
