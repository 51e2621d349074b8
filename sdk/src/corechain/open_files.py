"""How many files, and so connections, a process may have open at a time."""


def allow_open_files(wanted: int) -> int:
    """Raises the soft limit to `wanted` as far as the hard one lets it; how many may be open then.

    The usual soft limit is 1,024, whatever the hard one is (systemd: 524,288): a process that
    serves or opens more connections is expected to ask for more (man 2 getrlimit).
    """
    # Not at the top: Windows has no such module, and no such limit.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
