"""`corechain indexer influx setup`: buckets, downsampling tasks and tokens of an InfluxDB 2.

Idempotent: what is there as the settings say stays as it is. With `check` nothing is changed, and
the same sentences say what differs. Tokens go into files of mode 0600 and nowhere else.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.http import client
from corechain.protocol.errors import CoreChainError
from corechain.service.reasons import reason_of, without_addresses
from corechain.service.settings import InvalidSetting
from corechain_indexer.errors import (
    AdminTokenMissing,
    AdminTokenRefused,
    NoInfluxDB,
    RetentionShortened,
    SeriesUnavailable,
    SetupRefused,
)
from corechain_indexer.influx_settings import InfluxLayout
from corechain_indexer.store.tiers import DAY_S, TIERS, task, task_name

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
USER = "corechain"
ADMIN, PASSWORD, EXPORTER, READER = (
    "admin-token",
    "admin-password",
    "exporter-token",
    "reader-token",
)
MODE, FOLDER_MODE = 0o600, 0o700
PAGE = 100
"""What InfluxDB lists at most."""


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """A folder with a file a kind of secret, in each one a server, comma separated: as
    `INDEXER_INFLUX_TOKEN_FILE` takes them."""

    folder: Path
    servers: int

    def read(self, name: str) -> list[str]:
        """One a server; empty where there is none."""
        try:
            found = [part.strip() for part in (self.folder / name).read_text().split(",")]
        except FileNotFoundError:
            found = []
        return found + [""] * (self.servers - len(found))

    def check(self) -> None:
        """Raises InvalidSetting where a file has secrets of more servers: which of them is one that
        is named, nobody knows, and written anew the others' would be lost."""
        for name in (ADMIN, PASSWORD, EXPORTER, READER):
            held = len(self.read(name))
            if held > self.servers:
                raise InvalidSetting(
                    f"{self.folder / name} is of {held} servers, and INDEXER_INFLUX_URL names "
                    f"{self.servers}: name all of them, take out what is of the others, or use "
                    "another folder (--secrets)"
                )

    def write(self, name: str, number: int, secret: str) -> None:
        held = self.read(name)
        if held[number] == secret:
            return
        held[number] = secret
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        path, fresh = self.folder / name, self.folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=MODE, exist_ok=False)
        fresh.write_text(",".join(held) + "\n")
        fresh.replace(path)


@dataclass(slots=True)
class InfluxAdmin:
    """The administrative part of InfluxDB 2's HTTP API. Every method raises SeriesUnavailable,
    AdminTokenRefused, NoInfluxDB, SetupRefused."""

    http: "httpx.Client"
    token: str = ""

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        import httpx

        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        try:
            said = self.http.request(method, path, json=body, params=query, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SeriesUnavailable(reason_of(error)) from error
        return self._document(said)

    def _document(self, said: "httpx.Response") -> Any:
        if said.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise AdminTokenRefused(said.status_code)
        if said.status_code == HTTPStatus.NO_CONTENT:
            return None
        try:
            document = said.json()
        except (ValueError, RecursionError):
            raise NoInfluxDB(said.status_code) from None
        if said.is_success:
            if not isinstance(document, dict):
                raise NoInfluxDB(said.status_code)
            return document
        why = document.get("message", "") if isinstance(document, dict) else ""
        raise SetupRefused(said.status_code, without_addresses(str(why))[:300])

    def listed(self, what: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        """All buckets, tasks or authorizations, page by page."""
        after: dict[str, Any] = {}
        while True:
            found = self.ask("GET", f"/api/v2/{what}", limit=PAGE, **query, **after).get(what)
            if not isinstance(found, list):
                raise NoInfluxDB(HTTPStatus.OK)
            yield from found
            # Authorizations come all at once, whatever the limit.
            if len(found) < PAGE or what == "authorizations":
                return
            after = {"after": found[-1]["id"]}


@dataclass(slots=True)
class ServerSetup:
    """One server. `said` gets a sentence for each thing that differed, and what was done."""

    admin: InfluxAdmin
    settings: InfluxLayout
    files: SecretFiles
    number: int
    check: bool = False
    shorten: bool = False
    said: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Raises what `InfluxAdmin` raises, AdminTokenMissing, RetentionShortened."""
        if not self._begin():
            return
        org = self._org()
        if org is None:
            return
        ids = [self._bucket(org, name, kept_s) for name, kept_s in self._buckets()]
        if self.settings.influx_downsamples:
            self._tasks(org)
        self._tokens(org, ids)

    def _differs(self, what: str, done: str) -> bool:
        """Whether to mend it."""
        self.said.append(
            f"InfluxDB {self.number + 1}: {what}" + ("" if self.check else f": {done}")
        )
        return not self.check

    def _buckets(self) -> list[tuple[str, int]]:
        """Names, and how long each keeps its points."""
        raw, kept = self.settings.influx_bucket, self.settings.influx_kept_s
        tiers = TIERS if self.settings.influx_downsamples else ()
        return list(zip([raw, *(tier.bucket(raw) for tier in tiers)], kept, strict=False))

    def _begin(self) -> bool:
        """A server that nobody has used gets its first user, organisation, bucket and token."""
        if self.admin.ask("GET", "/api/v2/setup").get("allowed"):
            if not self._differs("has no user yet", "made one, with a password and a token"):
                return False
            self._first_user()
        self.admin.token = self.files.read(ADMIN)[self.number]
        if not self.admin.token:
            raise AdminTokenMissing(self.files.folder / ADMIN)
        return True

    def _first_user(self) -> None:
        password, token = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        # First into the files: a server with a token that nobody knows is lost.
        self.files.write(PASSWORD, self.number, password)
        self.files.write(ADMIN, self.number, token)
        (name, kept_s), org = self._buckets()[0], self.settings.influx_org
        first = {"username": USER, "password": password, "org": org, "bucket": name}
        kept = {"retentionPeriodSeconds": kept_s, "token": token}
        self.admin.ask("POST", "/api/v2/setup", {**first, **kept})

    def _org(self) -> str | None:
        name = self.settings.influx_org
        try:
            found = self.admin.ask("GET", "/api/v2/orgs", org=name)["orgs"]
        except SetupRefused as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            found = []
        if found:
            return str(found[0]["id"])
        if not self._differs(f"has no organisation {name}", "made it"):
            return None
        return str(self.admin.ask("POST", "/api/v2/orgs", {"name": name})["id"])

    def _bucket(self, org: str, name: str, kept_s: int) -> str | None:
        rules = [{"type": "expire", "everySeconds": kept_s}] if kept_s else []
        found = [b for b in self.admin.listed("buckets", orgID=org) if b["name"] == name]
        if not found:
            if not self._differs(f"has no bucket {name}", f"made it, {_kept(kept_s)}"):
                return None
            document = {"orgID": org, "name": name, "retentionRules": rules}
            return str(self.admin.ask("POST", "/api/v2/buckets", document)["id"])
        bucket_id, held_s = str(found[0]["id"]), _kept_s(found[0])
        if held_s != kept_s:
            shorter = bool(kept_s) and (not held_s or kept_s < held_s)
            if shorter and not self.shorten and not self.check:
                raise RetentionShortened(name, _kept(held_s), _kept(kept_s))
            if self._differs(f"bucket {name} is {_kept(held_s)}", f"now it is {_kept(kept_s)}"):
                path = f"/api/v2/buckets/{bucket_id}"
                # Without a rule it would stay as it is: 0 says for ever.
                self.admin.ask("PATCH", path, {"retentionRules": rules or [_FOR_EVER]})
        return bucket_id

    def _tasks(self, org: str) -> None:
        held = {one["name"]: one for one in self.admin.listed("tasks", orgID=org)}
        for tier in TIERS:
            name, flux = (make(tier, self.settings.influx_bucket) for make in (task_name, task))
            found = held.get(name)
            if found is None:
                if self._differs(f"has no task '{name}'", "made it"):
                    self.admin.ask("POST", "/api/v2/tasks", {"orgID": org, "flux": flux})
                continue
            is_right = found["flux"].strip() == flux.strip() and found["status"] == "active"
            what = f"task '{name}' is another one, or stopped"
            if not is_right and self._differs(what, "set it right"):
                path = f"/api/v2/tasks/{found['id']}"
                self.admin.ask("PATCH", path, {"flux": flux, "status": "active"})

    def _tokens(self, org: str, buckets: Sequence[str | None]) -> None:
        held = list(self.admin.listed("authorizations", orgID=org))
        raw = self.settings.influx_bucket
        for name, actions in ((EXPORTER, ("read", "write")), (READER, ("read",))):
            wanted = {(action, bucket) for action in actions for bucket in buckets}
            self._token(org, name, f"corechain {name} of {raw}", wanted, held)

    def _token(
        self, org: str, name: str, title: str, wanted: set[tuple[str, str | None]],
        held: Sequence[Mapping[str, Any]],
    ) -> None:  # fmt: skip
        named = [one for one in held if one["description"] == title]
        fitting = [one for one in named if _rights(one) == wanted and one["status"] == "active"]
        kept = self.files.read(name)[self.number]
        known = [one for one in fitting if kept and one.get("token", kept) == kept]
        if known:
            return
        shown = [one["token"] for one in fitting if one.get("token")]
        path = self.files.folder / name
        if shown:
            if self._differs(f"{path} lacks its token", "written"):
                self.files.write(name, self.number, shown[0])
        elif self._differs(f"has no {name} for these buckets", f"made it, in {path}"):
            document = {
                "orgID": org,
                "description": title,
                "permissions": _permissions(org, wanted),
            }
            made = self.admin.ask("POST", "/api/v2/authorizations", document)
            self.files.write(name, self.number, made["token"])
        # Older ones of ours, for other buckets, stay: whoever uses one is not to be cut off.


_FOR_EVER = {"type": "expire", "everySeconds": 0}


def _kept(seconds: int) -> str:
    return f"kept for {seconds // DAY_S} days" if seconds else "kept for ever"


def _kept_s(bucket: Mapping[str, Any]) -> int:
    return sum(int(rule["everySeconds"]) for rule in bucket["retentionRules"])


def _rights(authorization: Mapping[str, Any]) -> set[tuple[str, str | None]]:
    """(action, bucket id), and something else for a right that is none of a bucket."""
    found = authorization["permissions"]
    return {
        (one["action"], one["resource"].get("id") if one["resource"]["type"] == "buckets" else "")
        for one in found
    }


def _permissions(org: str, rights: set[tuple[str, str | None]]) -> list[Mapping[str, Any]]:
    return [
        {"action": action, "resource": {"type": "buckets", "id": bucket, "orgID": org}}
        for action, bucket in sorted(rights, key=str)
    ]


def set_up(
    settings: InfluxLayout,
    folder: Path,
    said: list[str],
    *,
    check: bool = False,
    shorten: bool = False,
) -> None:
    """Adds to `said` what differed, a sentence each; with `check` nothing is changed. Raises what
    `ServerSetup.run` raises, after those sentences that it got to, with a note of which server;
    InvalidSetting, as `SecretFiles.check`, before anything."""
    urls = settings.influx_urls
    files = SecretFiles(folder, len(urls))
    files.check()
    for number, url in enumerate(urls):
        with client(url, base_url=url, timeout=TIMEOUT_S) as http:
            server = ServerSetup(InfluxAdmin(http), settings, files, number, check, shorten, said)
            try:
                server.run()
            except CoreChainError as error:
                error.add_note(f"InfluxDB {number + 1}")
                raise
