"""Accounts, credentials, domains and aliases, and the directory that remembers them."""

from __future__ import annotations

import pytest

from appliance.errors import ExistsError, NotFoundError, StoreError
from appliance.store import Account, Database, Domain, Store, StoredCredential, accounts
from appliance.store.accounts import FIRST_MAILBOXES, MAX_CREDENTIALS, MAX_TARGETS, create_account
from appliance.store.mailboxes import list_mailboxes
from tests.appliance.store.samples import accept, count, message, swept


async def test_a_new_account_has_its_first_mailboxes_subscribed(store: Store, ana: Account) -> None:
    found = store.peek(lambda db: list_mailboxes(db, ana.id))
    assert {(one.name, one.special_use) for one in found} == set(FIRST_MAILBOXES)
    assert found[0].name == "INBOX"
    assert all(one.subscribed and one.selectable and not one.messages for one in found)


async def test_names_are_kept_lower_case_and_taken_once(store: Store, ana: Account) -> None:
    assert store.peek(lambda db: accounts.get_account(db, "Ana@palomar.test")) == ana
    with pytest.raises(ExistsError):
        await store.write(lambda db: create_account(db, "ANA@Palomar.TEST"))
    await store.write(lambda db: accounts.add_alias(db, "office@palomar.test", ["ana@palomar.test"]))
    with pytest.raises(ExistsError):
        await store.write(lambda db: create_account(db, "office@palomar.test"))
    with pytest.raises(ExistsError):
        await store.write(lambda db: accounts.add_alias(db, "ana@palomar.test", ["x@example.com"]))


@pytest.mark.parametrize("name", ["ana", "ana@", "@palomar.test", "a b@palomar.test", "ana@palomar.test\n"])
async def test_a_name_that_is_no_address_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        await store.write(lambda db: create_account(db, name))


async def test_credentials_by_login(store: Store, ana: Account, luis: Account) -> None:
    await store.write(
        lambda db: accounts.set_credentials(
            db, "ana@palomar.test", "ana+phone@palomar.test", [("argon2id", b"p")], label="phone"
        )
    )
    assert store.peek(lambda db: accounts.credentials_of(db, "ana+phone@palomar.test")) == [
        StoredCredential("argon2id", "ana@palomar.test", "ana+phone@palomar.test", "phone", b"p")
    ]
    assert [one.login for one in store.peek(lambda db: accounts.list_credentials(db, ana.name))] == [
        "ana+phone@palomar.test",
        "ana@palomar.test",
    ]
    with pytest.raises(ExistsError):  # another account's login
        await store.write(lambda db: accounts.set_credentials(db, luis.name, "ana+phone@palomar.test", []))
    with pytest.raises(ExistsError):  # another account's name
        await store.write(lambda db: accounts.set_credentials(db, luis.name, ana.name, [("argon2id", b"x")]))
    await store.write(lambda db: accounts.remove_credentials(db, "ana+phone@palomar.test"))
    assert store.peek(lambda db: accounts.credentials_of(db, "ana+phone@palomar.test")) == []
    with pytest.raises(NotFoundError):
        await store.write(lambda db: accounts.remove_credentials(db, "ana+phone@palomar.test"))


async def test_the_number_of_credentials_is_limited(store: Store, ana: Account) -> None:
    many = [(f"kind{number}", b"") for number in range(MAX_CREDENTIALS)]
    with pytest.raises(StoreError, match="at most"):
        await store.write(lambda db: accounts.set_credentials(db, ana.name, "ana+x@palomar.test", many))
    assert len(store.peek(lambda db: accounts.list_credentials(db, ana.name))) == 1


async def test_settings_of_an_account(store: Store, ana: Account) -> None:
    await store.write(lambda db: accounts.set_quota(db, ana.name, 5000))
    await store.write(lambda db: accounts.set_enabled(db, ana.name, enabled=False))
    await store.write(lambda db: accounts.set_redirect(db, ana.name, "Ana@example.com"))
    await store.write(lambda db: accounts.set_weak_mechanisms(db, ana.name, allowed=True))
    found = store.peek(lambda db: accounts.account_by_id(db, ana.id))
    assert found == Account(ana.id, ana.name, 5000, 0, False, "ana@example.com", True)
    with pytest.raises(NotFoundError):
        await store.write(lambda db: accounts.set_quota(db, "nobody@palomar.test", 1))


async def test_deleting_an_account_takes_everything_of_it(store: Store, ana: Account, luis: Account) -> None:
    await accept(store, message(), ana, luis)
    await accept(store, message(2), ana)
    await store.write(lambda db: accounts.delete_account(db, ana.name))
    assert store.directory.account(ana.name) is None
    with pytest.raises(NotFoundError):
        await accept(store, message(3), ana)
    await swept(store, "mailbox WHERE account_id IS NULL")
    assert count(store, "body") == 1
    assert count(store, "message") == 1
    assert count(store, "credential") == 0
    assert count(store, "mailbox") == len(FIRST_MAILBOXES)


async def test_an_account_id_is_never_given_twice(store: Store, ana: Account) -> None:
    await store.write(lambda db: accounts.delete_account(db, ana.name))
    again = await store.write(lambda db: create_account(db, ana.name))
    assert again.id > ana.id


async def test_the_directory_follows_every_change(store: Store, ana: Account) -> None:
    directory = store.directory
    assert directory.account(ana.name) == ana
    assert directory.account_by_id(ana.id) == ana
    assert directory.first_account() == ana.name
    assert directory.domain("palomar.test") is None
    await store.write(lambda db: accounts.add_domain(db, "Palomar.Test", catch_all="ana@palomar.test"))
    assert directory.domain("palomar.test") == Domain("palomar.test", "local", "ana@palomar.test")
    await store.write(lambda db: accounts.add_domain(db, "palomar.test", "backup"))
    assert directory.domains() == {"palomar.test": Domain("palomar.test", "backup")}
    await store.write(lambda db: accounts.add_alias(db, "Info@palomar.test", ["ana@palomar.test", "x@example.com"]))
    assert directory.alias("info@palomar.test") == ("ana@palomar.test", "x@example.com")
    await store.write(lambda db: accounts.remove_alias(db, "info@palomar.test", "x@example.com"))
    assert store.peek(accounts.list_aliases) == [("info@palomar.test", ("ana@palomar.test",))]
    await store.write(lambda db: accounts.remove_alias(db, "info@palomar.test"))
    assert directory.alias("info@palomar.test") is None
    await store.write(lambda db: accounts.remove_domain(db, "palomar.test"))
    assert directory.domain("palomar.test") is None
    await store.write(lambda db: accounts.set_enabled(db, ana.name, enabled=False))
    assert directory.first_account() is None


async def test_the_directory_tells_used_octets_of_this_moment_where_there_is_a_quota(
    store: Store, ana: Account
) -> None:
    await store.write(lambda db: accounts.set_quota(db, ana.name, 100_000))
    assert store.directory.account(ana.name).used_bytes == 0  # type: ignore[union-attr]
    await accept(store, message(), ana)
    used = store.peek(lambda db: accounts.require_account(db, ana.name)).used_bytes
    assert 0 < used == store.directory.account(ana.name).used_bytes  # type: ignore[union-attr]


async def test_a_refused_change_leaves_the_directory_alone(store: Store, ana: Account) -> None:
    def fail(db: Database) -> None:
        accounts.add_domain(db, "example.com")
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        await store.write(fail)
    assert store.directory.domain("example.com") is None


async def test_what_is_no_domain_or_alias(store: Store, ana: Account) -> None:
    for change in (
        lambda db: accounts.add_domain(db, "not a domain"),
        lambda db: accounts.add_alias(db, "x@palomar.test", ["nonsense"]),
        lambda db: accounts.add_alias(
            db, "x@palomar.test", [f"u{number}@example.com" for number in range(MAX_TARGETS + 1)]
        ),
    ):
        with pytest.raises(StoreError):
            await store.write(change)
    for change in (
        lambda db: accounts.remove_domain(db, "example.com"),
        lambda db: accounts.remove_alias(db, "x@palomar.test"),
        lambda db: accounts.delete_account(db, "x@palomar.test"),
    ):
        with pytest.raises(NotFoundError):
            await store.write(change)


async def test_the_language_of_whoever_has_an_address(store: Store, ana: Account, luis: Account) -> None:
    assert store.directory.language(ana.name) is None
    await store.write(lambda db: accounts.set_language(db, ana.name, "es"))
    await store.write(lambda db: accounts.add_alias(db, "office@palomar.test", [ana.name, luis.name]))
    found = {
        name: store.directory.language(name)
        for name in (ana.name, "ana+lists@palomar.test", "office@palomar.test", luis.name, "eva@example.org", "")
    }
    assert list(found.values()) == ["es", "es", "es", None, None, None]
    await store.write(lambda db: accounts.set_language(db, ana.name, ""))
    assert store.directory.language(ana.name) is None
